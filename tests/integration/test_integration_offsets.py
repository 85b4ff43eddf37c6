"""Offsets, gap maps, retention holes, and partitions full of records that wait."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.protocol.admin import DeleteGroupsRequest
from rig import Rig, create_request, running

from processor.client.topics import topic_reader
from processor.contract.encode import retry_output
from processor.contract.headers import read_hop
from processor.contract.records import Hop, Record, Source
from processor.devkit.kafka_cluster import LocalKafka
from processor.stream.topics import topic_names

pytestmark = pytest.mark.broker


async def test_offsets_of_everything_published_and_nothing_else_are_committed(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=2) as rig:
        (a,) = await rig.start("a")
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [{"fault": "hang"}]})
        await rig.publish([create_request(n) for n in range(100)])
        await rig.wait_finals(99)
        committed = await rig.committed()
        assert sum(o for tp, o in committed.items() if tp.topic.endswith(".requests")) < 100, "the hanging one is not passed"
        await asyncio.to_thread(a.child.kill)
        calls = len(rig.simulator.ledger()["calls"])
        a.start()
        await rig.wait_finals(100)
        *looks, last = [call["route"] for call in rig.simulator.ledger()["calls"][calls:]]
        assert set(looks) == {"session.list"}, "what was done above the hanging one is not repeated"
        assert last == "session.create", "it was looked for until it could be under way no more, and then made"
        judged = await rig.judge([f"r-{n:06d}" for n in range(100)])
        assert judged.ok, judged


def risk_request(number: int) -> tuple[bytes, bytes]:
    """A check whose call nobody can look up, nor repeat without paying."""
    body = {"request_id": f"r-{number:06d}", "operation": "ip.risk", "input": {"ip_address": f"203.0.113.{number}"}}
    return b"k", orjson.dumps(body)


async def test_a_group_without_offsets_on_a_topic_with_history_needs_a_decision(kafka: LocalKafka, tmp_path: Path) -> None:
    """The first start of all, after callers: the log never held anything, so nothing is forgotten."""
    async with running(kafka, tmp_path, partitions=1) as rig:
        await delete_offsets(rig)
        await rig.publish([create_request(n) for n in range(5)] + [risk_request(n) for n in range(5, 10)])
        refused = rig.processor("refused")
        refused.start()
        assert await asyncio.to_thread(refused.child.wait, 120.0) == 1
        assert "VP_KAFKA__ON_MISSING_OFFSETS" in refused.child.log_tail()
        assert "of 10 offsets: finished, and would be skipped as duplicates: 0;" in refused.child.log_tail()
        assert "would be in doubt: 0; not called, and would be done: 10." in refused.child.log_tail()
        assert not rig.simulator.ledger()["calls"]
        decided = rig.processor("decided", KAFKA__ON_MISSING_OFFSETS="earliest")
        decided.start()
        await rig.wait_finals(10)
        assert {f["status"] for f in rig.finals} == {"succeeded"}
        assert not list(decided.events("calls_forgotten"))


async def test_what_the_budget_log_remembers_is_not_done_again_when_offsets_are_lost_or_reset(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=1) as rig:
        (a,) = await rig.start("a")
        await rig.publish([create_request(n) for n in range(5)] + [risk_request(n) for n in range(5, 10)])
        await rig.publish([(b"k", b'{"request_id":"bad","operation":"ip.risk","input":7}')])
        await rig.wait_finals(11)
        await asyncio.to_thread(a.child.stop, 20.0)
        await rig.publish([risk_request(n) for n in range(20, 23)])
        await delete_offsets(rig)
        a.start()
        assert await asyncio.to_thread(a.child.wait, 120.0) == 1
        told = [int(n) for n in re.findall(r" (\d+)(?: offsets|;|\.)", a.child.log_tail().rpartition("By the budget log,")[2])]
        assert told == [14, 10, 0, 4], "the rejected one was not called either"
        (b,) = await rig.start("b", KAFKA__ON_MISSING_OFFSETS="earliest")
        await rig.wait_finals(14)
        await asyncio.to_thread(b.child.stop, 20.0)
        await commit_by_hand(rig, 0)
        (c,) = await rig.start("c")
        await rig.publish([risk_request(30)])
        await rig.wait_finals(15)
        await asyncio.to_thread(c.child.stop, 20.0)
        await rig.read_rest()
        assert len(rig.finals) == len({f["result_id"] for f in rig.finals}) == 15, "no second final result"
        assert Counter(f["status"] for f in rig.finals) == {"succeeded": 14, "rejected": 1}
        assert len(rig.simulator.ledger()["calls"]) == 14


async def delete_offsets(rig: Rig) -> None:
    """The group's offsets expire."""
    admin = AIOKafkaAdminClient(bootstrap_servers=rig.bootstrap)
    await admin.start()
    try:
        node = await admin.find_coordinator(rig.settings.kafka.group)
        answer = await admin._send_request(DeleteGroupsRequest([rig.settings.kafka.group]), node)  # noqa: SLF001 - the public client cannot
        assert [code for _, code in answer.results] == [0], answer
    finally:
        await admin.close()


async def commit_by_hand(rig: Rig, offset: int) -> None:
    """As ``kafka-consumer-groups --reset-offsets`` does: an offset with an empty text."""
    consumer = AIOKafkaConsumer(bootstrap_servers=rig.bootstrap, group_id=rig.settings.kafka.group, enable_auto_commit=False)
    await consumer.start()
    try:
        partition = TopicPartition(f"{rig.prefix}.requests", 0)
        consumer.assign([partition])
        await consumer.commit({partition: offset})
    finally:
        await consumer.stop()


async def test_a_retention_hole_needs_a_decision(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=1) as rig:
        (a,) = await rig.start("a")
        await rig.publish([create_request(n) for n in range(10)])
        await rig.wait_finals(10)
        await asyncio.to_thread(a.child.stop, 20.0)
        await rig.publish([create_request(n) for n in range(10, 30)])
        admin = AIOKafkaAdminClient(bootstrap_servers=rig.bootstrap)
        await admin.start()
        await admin.delete_records({TopicPartition(f"{rig.prefix}.requests", 0): RecordsToDelete(before_offset=20)})
        await admin.close()
        a.start()
        assert await asyncio.to_thread(a.child.wait, 120.0) == 1
        assert "were deleted before they were processed" in a.child.log_tail()
        decided = rig.processor("decided", KAFKA__ON_MISSING_OFFSETS="earliest")
        decided.start()
        await rig.wait_finals(20)
        assert list(decided.events("offsets_decided"))
        await rig.read_rest()
        assert {f["request_id"] for f in rig.finals} == {f"r-{n:06d}" for n in [*range(10), *range(20, 30)]}


async def test_one_slow_record_before_more_than_a_gap_map_can_hold(kafka: LocalKafka, tmp_path: Path) -> None:
    count = 25_000
    async with running(kafka, tmp_path, partitions=1, LANES__AHEAD_MAX="24000", DIDIT__TIMEOUT_S="25") as rig:
        rig.simulator.post("/_sim/faults", {"rates": {}, "hang_s": 20})
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [{"fault": "hang"}]})
        await rig.start("a")
        bad = [(b"k", b"%d" % n) for n in range(count)]  # cheap: rejected without a call, keyed by their position
        await rig.publish([create_request(1)])
        await rig.publish(bad)
        await rig.publish([create_request(2)])
        await rig.wait_finals(count + 2)
        judged = await rig.judge(["r-000001", "r-000002"])
        assert judged.ok, judged
        assert judged.finals == count + 2
        assert (await rig.committed())[TopicPartition(f"{rig.prefix}.requests", 0)] == count + 2


async def test_two_thousand_waiting_retries_start_when_they_are_due(kafka: LocalKafka, tmp_path: Path) -> None:
    count = 2_000  # far more than may be worked on, or prefetched, at once
    async with running(kafka, tmp_path, partitions=1, RETRY__PARTITIONS="1", RETRY__DELAYS_S="[10]") as rig:
        topic = topic_names(rig.settings).retry(10)
        now_ms = int(time.time() * 1000)
        producer = AIOKafkaProducer(bootstrap_servers=rig.bootstrap, linger_ms=20, max_batch_size=262_144)
        await producer.start()
        sent = []
        for n in range(count):
            key, value = create_request(n)
            due_ms = now_ms + 30_000 + (n * 7919) % 10_000  # not in the order of the log
            hop = Hop(Source(f"{rig.prefix}.requests", 0, n), now_ms, hop=1, attempt=1, due_ms=due_ms, last_error="test")
            output = retry_output(Record(Source("x", 0, n), key, value), hop, 10)
            sent.append(await producer.send(topic, output.value, output.key, headers=list(output.headers)))
        await asyncio.gather(*sent)
        await producer.stop()
        (a,) = await rig.start("a")
        await rig.publish([(b"k", create_request(count)[1])])
        await rig.wait_finals(count + 1)
        assert rig.finals[0]["request_id"] == f"r-{count:06d}", "those who wait hold nothing that others need"
        judged = await rig.judge([f"r-{n:06d}" for n in range(count + 1)])
        assert judged.ok, judged
        written = await rig.records("retry.10s")
        dues_ms = {record.value: read_hop(record).due_ms or 0 for record in written[:count]}
        for again in written[count:]:  # on a slow machine a call may fail, or its line be full, when it is due
            assert again.timestamp_ms >= dues_ms[again.value] - 1000, "who waits for the time is not written once more"
        assert a.child.alive


async def test_an_idle_lane_moves_past_transaction_markers(kafka: LocalKafka, tmp_path: Path) -> None:
    """Or retention, which removes the markers one day, would look like records lost before they were processed."""
    async with running(kafka, tmp_path, partitions=1, RETRY__PARTITIONS="1", RETRY__DELAYS_S="[1]") as rig:
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [{"fault": "error_503"}] * 5})
        await rig.start("a")
        await rig.publish([create_request(n) for n in range(5)])
        await rig.wait_finals(5)
        partition = TopicPartition(f"{rig.prefix}.retry.1s", 0)
        async with topic_reader(rig.settings, [partition.topic]) as reader:
            _, end = (await reader.bounds([partition]))[partition]
        assert end > 5, "there are markers behind the records"
        deadline = time.monotonic() + 30
        while (await rig.committed()).get(partition) != end:
            assert time.monotonic() < deadline, (await rig.committed(), end)
            await asyncio.sleep(0.2)
