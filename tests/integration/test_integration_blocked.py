"""A partition of which nothing more can be read is named, with its cause, by commands, page and metrics; the others go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from commands import run_command
from operator_page import OperatorPage
from rig import Rig, create_request, running
from test_integration_observe import ready, scrape, total, until_ready

from processor.devkit.kafka_cluster import LocalKafka
from processor.stream.aiokafka_stop import drop_producer
from processor.stream.clients import build_group_consumer
from processor.stream.partitions import lane_name
from processor.stream.reader import PartitionReader
from processor.stream.topics_admin import apply_topics

pytestmark = pytest.mark.broker


async def _told(rig: Rig, *words: str) -> dict[str, Any]:
    told = await run_command(rig.environment, *words, "--json")
    assert told.status == 0, told.err
    found: dict[str, Any] = json.loads(told.out)
    return found


def _causes(found: dict[str, Any]) -> list[tuple[str, int | None, str, int]]:
    return [(b["topic"], b["partition"], b["cause"], b["offset"]) for b in found["blocked"]]


async def _send(rig: Rig, name: str, partition: int, *, acks: int | str = 1, **rest: Any) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=rig.bootstrap, acks=acks)
    await producer.start()
    try:
        body = orjson.loads(create_request(1)[1]) | {"request_id": name, **rest}
        await producer.send_and_wait(f"{rig.prefix}.requests", orjson.dumps(body), partition=partition)
    finally:
        await producer.stop()


async def test_an_open_transaction_of_somebody_else_is_told_until_it_ends(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=2, OBSERVE__SURVEY_S="0.5") as rig:
        (one,) = await rig.start("one")
        await until_ready(rig, one)
        foreign = AIOKafkaProducer(bootstrap_servers=rig.bootstrap, transactional_id=f"{rig.prefix}-foreign", transaction_timeout_ms=60_000)
        await foreign.start()
        try:
            await foreign.begin_transaction()
            sent = await foreign.send_and_wait(f"{rig.prefix}.requests", b"{}", partition=0)
            await _send(rig, "behind", 0)
            await _send(rig, "beside", 1)
            await rig.wait_finals(1)
            place = {"topic": f"{rig.prefix}.requests", "partition": "0", "cause": "open_transaction"}
            status, lag, _ = await asyncio.gather(
                _told(rig, "status"),
                _told(rig, "lag"),
                rig.until(lambda: total(scrape(one), "vp_partition_blocked_seconds", **place) >= 5, "a blocked partition"),
            )
            page = await asyncio.to_thread(OperatorPage(one).get, "/")
            alone = [(f"{rig.prefix}.requests", 0, "open_transaction", sent.offset)]
            assert _causes(status) == _causes(lag) == alone
            title = f"An open transaction blocks {rig.prefix}.requests[0]"
            assert (status["diagnosis"]["headline"], status["diagnosis"]["verdict"].startswith(title)) == ("Needs somebody", True), status
            assert "Needs somebody" in page
            assert title in page
            assert {f["request_id"] for f in rig.finals} == {"beside"}
            await foreign.abort_transaction()
        finally:
            await foreign.stop()
        await rig.wait_finals(2)
        await rig.until(lambda: total(scrape(one), "vp_partition_blocked_seconds") == 0, "a partition that moves")
        status = await _told(rig, "status")
        assert (status["diagnosis"]["headline"], status["blocked"]) == ("All is well", [])
        assert {event["cause"] for event in one.events("partition_blocked")} == {"open_transaction"}


async def test_topics_that_were_deleted_or_created_again_are_named(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=2) as rig:
        group = build_group_consumer(rig.settings)
        await group.start()
        try:  # as it stands when a topic that was worked on is created again
            group.assign([TopicPartition(f"{rig.prefix}.requests", 1)])
            await group.commit({TopicPartition(f"{rig.prefix}.requests", 1): 50})
        finally:
            await group.stop()
        await rig.read_rest()
        async with rig.admin() as admin:
            await admin.delete_topics([f"{rig.prefix}.retry.2s"])
        status = await _told(rig, "status")
        assert _causes(status) == [
            (f"{rig.prefix}.retry.2s", None, "topic_missing", 0),
            (f"{rig.prefix}.requests", 1, "offset_beyond_end", 50),
        ]
        kinds = [finding["kind"] for finding in status["diagnosis"]["findings"]]
        assert kinds[:3] == ["no_replica", "topic_missing", "offset_beyond_end"]


def spoil(kafka: LocalKafka, topic: str, partition: int, offset: int, change: Callable[[bytearray], None]) -> None:
    """Change a batch where it stands in the log of a broker that runs: what a bad disk does."""
    segment = kafka.folders[0] / "data" / f"{topic}-{partition}" / "00000000000000000000.log"
    data, at = bytearray(segment.read_bytes()), 0
    while int.from_bytes(data[at : at + 8], "big") != offset:
        at += 12 + int.from_bytes(data[at + 8 : at + 12], "big")
    end = at + 12 + int.from_bytes(data[at + 8 : at + 12], "big")
    batch = data[at:end]
    change(batch)
    with segment.open("r+b") as file:
        file.seek(at)
        file.write(batch)


def break_checksum(batch: bytearray) -> None:
    batch[70] ^= 1


def break_header(batch: bytearray) -> None:
    batch[60] ^= 0x55  # the number of records


async def _allow(rig: Rig, topic: str, size_bytes: int) -> None:
    async with rig.admin() as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": str(size_bytes)})])


async def test_what_a_topic_refuses_is_kept_and_called_for_once(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=1) as rig:
        (one,) = await rig.start("one")
        results = f"{rig.prefix}.results"
        await _allow(rig, results, 100)
        asked = [{"request_id": f"e-{n}", "operation": "email.send", "input": {"email": f"a{n}@example.com"}} for n in range(20)]
        await rig.publish([(None, orjson.dumps(body)) for body in asked])
        await rig.until(lambda: bool(list(one.events("publishing_waits"))), "a lane that waits")
        assert all("MessageSizeTooLargeError" in event["hint"] for event in one.events("publishing_waits"))
        await rig.until(lambda: total(scrape(one), "vp_lanes", state="refused") == 1, "the lane to be counted")
        health = ready(one)
        assert (health["ok"], health["partitions"]["refused"]) == (True, 1), "the delay topics are worked on"
        assert "a topic refuses" in " ".join(health["notes"])
        checked = await run_command(rig.environment, "topics", "check")
        assert f"{results}: max.message.bytes is 100; raise it to" in str(checked.err)
        await _allow(rig, results, 2_097_152)
        await rig.wait_finals(20)
        assert {final["status"] for final in rig.finals} == {"succeeded"}
        assert sum(call["route"] == "email.send" for call in rig.simulator.ledger()["calls"]) == 20, "no call was made again"
        assert not list(one.events("life_ended"))


async def test_what_a_deleted_topic_was_to_get_is_kept_and_called_for_once(kafka: LocalKafka, tmp_path: Path) -> None:
    """Also where it is created again with fewer partitions: a processor ended its life, and 11 calls were in doubt."""
    async with running(kafka, tmp_path, partitions=2, LANES__TRANSACTION_S="5") as rig:
        (one,) = await rig.start("one")
        results = f"{rig.prefix}.results"
        await _send(rig, "before", 1)
        await rig.wait_finals(1)
        await rig.read_rest()
        async with rig.admin() as admin:
            await admin.delete_topics([results])
            for n in range(20):
                await _send(rig, f"e-{n}", 1, operation="email.send", input={"email": f"a{n}@example.com"})
            await asyncio.to_thread(one.wait_event, "publishing_waits")
            await admin.create_topics([NewTopic(results, 1, 1)])
        await asyncio.to_thread(one.wait_event, "publishing_goes_on")
        async with asyncio.timeout(60):
            while len(told := await rig.records("results")) < 20:
                await asyncio.sleep(0.5)
        assert {orjson.loads(record.value or b"")["status"] for record in told} == {"succeeded"}
        assert sum(call["route"] == "email.send" for call in rig.simulator.ledger()["calls"]) == 20, "no call was made again"
        assert not list(one.events("life_ended"))


async def test_a_batch_that_cannot_be_read_stops_itself_and_one_without_an_end_its_partition(kafka: LocalKafka, tmp_path: Path) -> None:
    if kafka.external:
        pytest.skip("KAFKA_BOOTSTRAP is set: the log of a broker cannot be broken; unset it to let a local one be started")
    async with running(kafka, tmp_path, partitions=2, OBSERVE__SURVEY_S="0.5") as rig:
        topic = f"{rig.prefix}.requests"
        for name in ("before", "unread", "between", "senseless", "behind"):  # offsets 0 to 4, a batch each
            await _send(rig, name, 0)
        spoil(kafka, topic, 0, 1, break_checksum)
        spoil(kafka, topic, 0, 3, break_header)
        (one,) = await rig.start("one")
        await _send(rig, "beside", 1)
        await rig.wait_finals(4)
        place = {"topic": topic, "partition": "0", "cause": "unreadable_batch"}
        await rig.until(lambda: total(scrape(one), "vp_partition_blocked_seconds", **place) > 0, "a partition that waits")
        assert total(scrape(one), "vp_unread_batches_total", code="batch_unreadable") == 1
        status = await _told(rig, "status")
        assert _causes(status) == [(topic, 0, "unreadable_batch", 3)]
        assert status["diagnosis"]["findings"][0]["kind"] == "unreadable_batch"
        assert [(event["offset"], event["last"]) for event in one.events("partition_waits")] == [(3, 3)]
        await _send(rig, "beside-2", 1)
        await rig.wait_finals(5)

        told = await run_command(rig.environment, "partitions", "skip", topic, "0", "--yes")
        assert (told.status, f"offsets 3 to 3 of {topic}[0]" in told.text) == (0, True), told.err
        await rig.wait_finals(7)
        await rig.until(lambda: total(scrape(one), "vp_partition_blocked_seconds") == 0, "a partition that moves")
        await rig.read_rest()
        assert not [*one.events("life_ended"), *one.events("life_failed")]
        by_status = {(f["status"], f["source"]["partition"], f["source"]["offset"]) for f in rig.finals}
        assert by_status == {
            *(("succeeded", 0, n) for n in (0, 2, 4)),
            *(("rejected", 0, n) for n in (1, 3)),
            *(("succeeded", 1, n) for n in (0, 1)),
        }
        assert {f["error"]["code"] for f in rig.finals if f["status"] == "rejected"} == {"batch_unreadable"}
        letters = [dict(r.headers) for r in await rig.records("dead-letters")]
        assert sorted(int(h["vp-from-offset"]) for h in letters) == [1, 3]
        again = await run_command(rig.environment, "partitions", "skip", topic, "0", "--yes")
        assert (again.status, "nothing is to be skipped" in again.text) == (0, True), again.err
        for command in (("verify", "--older-than", "1s"), ("person", "find", "--vendor-data", "nobody")):
            read = await run_command(rig.environment, *command)
            assert (read.status, "cannot be read on" in f"{read.err}{read.text}") == (0, False), (command, read.err, read.text)


def make_too_long(batch: bytearray) -> None:
    batch[8:12] = (2_000_000_000).to_bytes(4, "big")  # the broker gives nothing of it, nor of what stands behind


def _negative(batch: bytearray) -> None:
    batch[8:12] = b"\xff\xff\xff\xfb"  # the broker says that its log is corrupt


async def test_a_batch_whose_length_is_broken_is_named_and_the_other_partitions_go_on(kafka: LocalKafka, tmp_path: Path) -> None:
    if kafka.external:
        pytest.skip("KAFKA_BOOTSTRAP is set: the log of a broker cannot be broken; unset it to let a local one be started")
    async with running(kafka, tmp_path, partitions=3, OBSERVE__SURVEY_S="0.5") as rig:
        topic = f"{rig.prefix}.requests"
        for partition in (0, 1):
            for name in ("before", "broken", "behind"):  # offsets 0 to 2, a batch each
                await _send(rig, f"{name}-{partition}", partition)
        spoil(kafka, topic, 0, 1, make_too_long)
        spoil(kafka, topic, 1, 1, _negative)
        (one,) = await rig.start("one")
        await _send(rig, "beside", 2)
        await rig.wait_finals(3)
        status, _ = await asyncio.gather(
            _told(rig, "status"), rig.until(lambda: len(list(one.events("partition_waits"))) == 2, "two that wait")
        )
        assert _causes(status) == [(topic, 0, "unreadable_batch", 1), (topic, 1, "unreadable_batch", 1)]
        waits = {(event["partition"], event["offset"], event["detail"]) for event in one.events("partition_waits")}
        assert waits == {(f"{topic}[{n}]", 1, "is not found by the broker: its length is broken") for n in (0, 1)}
        places = [{"topic": topic, "partition": str(n), "cause": "unreadable_batch"} for n in (0, 1)]
        await rig.until(lambda: all(total(scrape(one), "vp_partition_blocked_seconds", **p) > 0 for p in places), "both in the metrics")
        unsure, told = await asyncio.gather(
            run_command(rig.environment, "partitions", "skip", topic, "0", "--yes"),
            run_command(rig.environment, "partitions", "skip", topic, "1", "--to", "3", "--yes"),
        )
        assert (unsure.status, "say with --to where to read on" in unsure.err) == (2, True)
        assert (told.status, f"offsets 1 to 2 of {topic}[1]" in told.text) == (0, True), told.err
        assert {f["request_id"] for f in rig.finals if f["status"] == "succeeded"} == {"before-0", "before-1", "beside"}
        assert not [*one.events("life_ended"), *one.events("life_failed")]


async def _make_topics(rig: Rig) -> None:
    """Partition 1 of the requests and of the results lives on broker 2 alone, their others on broker 1 alone; everything else on both.

    So partition 3 of the requests has a leader whose results have none. Dead letters are taken only while both brokers are there.
    """
    requests = NewTopic(f"{rig.prefix}.requests", -1, -1, replica_assignments={0: [1], 1: [2], 2: [1], 3: [1]})
    wide = {"max.message.bytes": str(rig.settings.lanes.output_bytes_max)}
    results = NewTopic(f"{rig.prefix}.results", -1, -1, replica_assignments={0: [1], 1: [2]}, topic_configs=wide)
    async with rig.admin() as admin:
        dead_letters = NewTopic(f"{rig.prefix}.dead-letters", 4, 2, topic_configs={**wide, "min.insync.replicas": "2"})
        await admin.create_topics([requests, results, dead_letters])
    await apply_topics(rig.settings, partitions=4, replication=2)
    await _until_replicated(rig)


async def _until_replicated(rig: Rig) -> None:
    async with rig.admin() as admin, asyncio.timeout(120):
        while not all(_is_replicated(p) for topic in await admin.describe_topics() for p in topic["partitions"]):
            await asyncio.sleep(0.1)  # one that only broker 2 holds yet would have no leader either when that is killed


def _is_replicated(partition: dict[str, Any]) -> bool:
    return bool(len(partition["isr"]) == len(partition["replicas"]))


async def _until_leaderless(rig: Rig, *partitions: TopicPartition) -> None:
    async with PartitionReader(rig.settings) as reader, asyncio.timeout(120):
        while not set(partitions) <= set((await reader.find(*(tp.topic for tp in partitions))).leaderless):
            await asyncio.sleep(0.1)


async def _leave_open(rig: Rig, partition: int, wrote_to: TopicPartition) -> None:
    """The transaction of an owner of a partition of the requests that was killed in the middle of it."""
    former = AIOKafkaProducer(
        bootstrap_servers=rig.bootstrap,
        transactional_id=f"{rig.settings.kafka.group}-{rig.prefix}.requests-{partition}",
        transaction_timeout_ms=600_000,
    )
    await former.start()
    try:
        await former.begin_transaction()
        await former.send_and_wait(wrote_to.topic, b"{}", partition=wrote_to.partition)
    finally:
        await drop_producer(former, 1.0)


async def _until_result(rig: Rig, partition: TopicPartition, request_id: str) -> None:
    """From this partition alone: the rig's own reader begins again and again while one of its partitions has no leader."""
    reader = AIOKafkaConsumer(bootstrap_servers=rig.bootstrap, isolation_level="read_committed", auto_offset_reset="earliest")
    await reader.start()
    try:
        reader.assign([partition])
        async with asyncio.timeout(60):
            while orjson.loads((await reader.getone()).value)["request_id"] != request_id:
                pass
    finally:
        await reader.stop()


@pytest.fixture(scope="module")
def two_brokers() -> Iterator[LocalKafka]:
    """The first of them is never stopped. A follower waits long for news, and so does not hear soon that what it has is committed."""
    overrides = {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500", "replica.fetch.wait.max.ms": "3000"}
    with LocalKafka(brokers=2, overrides=overrides) as cluster:
        if cluster.external:
            pytest.skip("KAFKA_BOOTSTRAP is set: its brokers are not ours to kill; unset it to let local ones be started")
        yield cluster


async def test_a_takeover_waits_for_a_new_leader_that_does_not_know_its_end_and_the_others_work(
    two_brokers: LocalKafka, tmp_path: Path
) -> None:
    async with running(two_brokers, tmp_path, apply=False, OBSERVE__SURVEY_S="0.5", LANES__RESTORE_S="4") as rig:
        topic, second = f"{rig.prefix}.requests", two_brokers.brokers[1]
        new, well = TopicPartition(topic, 1), TopicPartition(f"{rig.prefix}.results", 0)
        wants_both = {"min.insync.replicas": "2"}
        async with rig.admin() as admin:
            await admin.create_topics([NewTopic(topic, -1, -1, replica_assignments={0: [1, 2], 1: [2, 1]}, topic_configs=wants_both)])
        await apply_topics(rig.settings, partitions=2, replication=2)
        await _until_replicated(rig)
        await _send(rig, "well", 0, acks="all")
        await _send(rig, "new", 1, acks="all")  # its follower has it, and does not know yet that it is committed
        await asyncio.to_thread(second.kill)
        (one,) = await rig.start("one")
        await _until_result(rig, well, "well")
        await rig.until(lambda: [e["partition"] for e in one.events("takeover_waits")] == [lane_name(new)], "a takeover that waits")
        blocked = {"topic": topic, "partition": "1", "cause": "under_min_isr"}
        restore_s = rig.settings.lanes.restore_s
        await rig.until(lambda: total(scrape(one), "vp_partition_blocked_seconds", **blocked) > restore_s, "a long wait")
        status, health = await _told(rig, "status"), ready(one)
        assert _causes(status) == [(topic, 0, "under_min_isr", 1), (topic, 1, "under_min_isr", 0)]
        assert "has fewer replicas in sync than min.insync.replicas" in status["diagnosis"]["verdict"], status
        assert (health["ok"], health["partitions"]["leaderless"]) == (True, 1), "the others work"
        assert "a new one that waits for replicas in sync" in " ".join(health["notes"])
        second.start()
        await rig.wait_finals(2)
        await rig.until(lambda: total(scrape(one), "vp_partition_blocked_seconds") == 0, "all replicas in sync")
        assert len(list(one.events("partitions_assigned"))) == 1, "the same life"
        assert not [*one.events("life_ended"), *one.events("life_failed")]


async def test_takeovers_and_lanes_wait_for_the_leaders_that_they_need_and_the_other_partitions_work(
    two_brokers: LocalKafka, tmp_path: Path
) -> None:
    async with running(two_brokers, tmp_path, apply=False, OBSERVE__SURVEY_S="0.5", LANES__RESTORE_S="4", LANES__TRANSACTION_S="6") as rig:
        await _make_topics(rig)
        topic, second = f"{rig.prefix}.requests", two_brokers.brokers[1]
        well, results = (TopicPartition(f"{rig.prefix}.results", n) for n in (0, 1))
        await _send(rig, "waits", 1)
        await _send(rig, "unfenced", 2)
        await _leave_open(rig, 2, results)
        await asyncio.to_thread(second.kill)
        await _until_leaderless(rig, TopicPartition(topic, 1), results)
        await _send(rig, "well", 0)
        (one,) = await rig.start("one")
        await _until_result(rig, well, "well")
        blocked = {"topic": results.topic, "partition": "1", "cause": "no_leader"}
        await rig.until(lambda: total(scrape(one), "vp_partition_blocked_seconds", **blocked) > rig.settings.lanes.restore_s, "a long wait")
        status = await _told(rig, "status")
        short = [(f"{rig.prefix}.dead-letters", n, "under_min_isr", 0) for n in range(4)]
        assert _causes(status) == [(topic, 1, "no_leader", 0), (*results, "no_leader", 0), *short]
        assert status["diagnosis"]["verdict"].startswith(f"{topic}[1], {lane_name(results)} has no leader"), status
        waits = {event["partition"]: event["hint"] for event in one.events("takeover_waits")}
        assert set(waits) == {f"{topic}[1]", f"{topic}[2]"}
        assert f"former owner cannot be ended: no broker leads {lane_name(results)};" in waits[f"{topic}[2]"]
        assert [total(scrape(one), "vp_lanes", state=state) for state in ("leaderless", "unfenced")] == [1, 1]
        page = await asyncio.to_thread(OperatorPage(one).get, "/")
        health = ready(one)
        assert (lane_name(results) in page, health["ok"], health["partitions"]["unfenced"]) == (True, True, 1), "the others work"
        second.start()
        await rig.wait_finals(3)
        assert {event["partition"] for event in one.events("takeover_goes_on")} == set(waits)
        assert [total(scrape(one), "vp_lanes", state=state) for state in ("leaderless", "unfenced")] == [0, 0]
        assert len(await rig.records("results")) == 3, "nothing of the former owner's, and nothing hidden behind it"

        # the results of a lane that works lose their leader, the dead letters of another one replicas
        await asyncio.to_thread(second.kill)
        await _until_leaderless(rig, results)
        await _send(rig, "kept", 3)
        await rig.until(lambda: bool(list(one.events("publishing_waits"))), "a lane that waits")
        await _send(rig, "beside", 2)
        await _until_result(rig, well, "beside")
        assert [total(scrape(one), "vp_lanes", state=state) for state in ("restoring", "unfenced")] == [0, 1]
        rig.simulator.post("/_sim/script", {"route": "email.send", "answers": [{"status": 400, "body": "{}"}]})
        await _send(rig, "refused", 2, operation="email.send", input={"email": "a@b.example"})
        await rig.until(lambda: len(list(one.events("publishing_waits"))) == 2, "another lane that waits")
        named = zip((lane_name(results), f"{rig.prefix}.dead-letters["), one.events("publishing_waits"), strict=True)
        assert [name in event["hint"] for name, event in named] == [True, True]
        second.start()
        await asyncio.gather(_until_result(rig, results, "kept"), _until_result(rig, well, "refused"))
        await rig.until(lambda: total(scrape(one), "vp_lanes", state="unfenced") == 0, "lanes that work again")
        assert len(rig.simulator.ledger()["calls"]) == 6, "nothing was called again"
        assert len(list(one.events("partitions_assigned"))) == 1, "the same life"
        assert not [*one.events("life_ended"), *one.events("life_failed")]
