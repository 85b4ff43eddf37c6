"""No input stops a partition, crashes a process, or is lost: each gets its own final result and a dead letter."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record._crc32c import crc
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from rig import WORKFLOW_ID, Rig, create_request, running

from processor.devkit.kafka_cluster import LocalKafka
from processor.stream.topics import topic_names

pytestmark = pytest.mark.broker

GOOD_INPUT = {"workflow_id": WORKFLOW_ID}


def _request(**fields: Any) -> bytes:
    return orjson.dumps({"request_id": "bad", "operation": "session.create", "input": GOOD_INPUT, **fields})


BAD: dict[str, tuple[bytes | None, list[tuple[str, bytes]], str, str | None]] = {
    "tombstone": (None, [], "tombstone", None),
    "empty": (b"", [], "empty", None),
    "blank": (b"  \n", [], "empty", None),
    "not utf-8": (b'{"request_id":"\xff"}', [], "not_utf8", None),
    "not json": (b"{'a':1}", [], "not_json", None),
    "two texts": (b'{"a":1}{"b":2}', [], "not_json", None),
    "null": (b"null", [], "not_an_object", None),
    "list": (b"[]", [], "not_an_object", None),
    "duplicate key": (b'{"request_id":"a","request_id":"b","operation":"session.create","input":{}}', [], "duplicate_key", "request_id"),
    "nan": (b'{"request_id":"bad","operation":"session.create","input":{"metadata":{"x":NaN}}}', [], "not_finite", "input.metadata.x"),
    "infinity": (
        b'{"request_id":"bad","operation":"session.create","input":{"metadata":{"x":-Infinity}}}',
        [],
        "not_finite",
        "input.metadata.x",
    ),
    "half surrogate": (
        b'{"request_id":"bad","operation":"session.create","input":{"vendor_data":"\\ud83d"}}',
        [],
        "lone_surrogate",
        "input.vendor_data",
    ),
    "wrong version": (_request(schema_version=2), [], "not_allowed", "schema_version"),
    "unknown field": (_request(more=1), [], "unknown_field", "more"),
    "unknown input field": (_request(input={**GOOD_INPUT, "more": 1}), [], "unknown_field", "input.more"),
    "wrong type": (_request(input=[]), [], "wrong_type", "input"),
    "no request id": (orjson.dumps({"operation": "session.create", "input": GOOD_INPUT}), [], "missing_field", "request_id"),
    "long request id": (_request(request_id="x" * 129), [], "too_long", "request_id"),
    "null request id": (_request(request_id=None), [], "wrong_type", "request_id"),
    "empty request id": (_request(request_id=""), [], "too_short", "request_id"),
    "too deep": (b'{"a":' + b"[" * 60 + b"]" * 60 + b"}", [], "too_deep", None),
    "very deep": (b"[" * 200_000, [], "too_many_values", None),
    "registry frame": (b"\x00\x00\x00\x00\x2a" + _request(), [], "framed", None),
    "local deadline": (_request(deadline="2027-10-31T02:30:00"), [], "wrong_form", "deadline"),
    "hostile header": (_request(), [("vp-attempt", b"-1")], "header_invalid", "headers.vp-attempt"),
    "huge header": (_request(), [("vp-due-ms", b"9" * 100_000)], "header_invalid", "headers.vp-due-ms"),
    "repeated header": (_request(), [("vp-replay", b"1"), ("vp-replay", b"2")], "header_repeated", "headers.vp-replay"),
    "unknown header of ours": (_request(), [("vp-admin", b"1")], "header_unknown", "headers.vp-admin"),
    "half of the first position": (_request(), [("vp-first-topic", b"t")], "header_incomplete", "headers.vp-first-partition"),
}


async def test_every_bad_record_gets_its_result_and_its_dead_letter(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=1) as rig:
        await rig.start("a")
        offsets = {}
        producer = AIOKafkaProducer(bootstrap_servers=rig.bootstrap, max_request_size=1_100_000)
        await producer.start()
        try:
            for name, (value, headers, _, _) in BAD.items():
                sent = await producer.send_and_wait(f"{rig.prefix}.requests", _named(name, value), name.encode(), headers=headers)
                offsets[name] = sent.offset
            await producer.send_and_wait(f"{rig.prefix}.requests", *reversed(create_request(1)))
        finally:
            await producer.stop()
        await rig.wait_finals(1 + len(BAD))
        await rig.read_rest()
        by_offset = {f["source"]["offset"]: f for f in rig.finals}
        dead = {r.key.decode(): r for r in await rig.records("dead-letters")}
        for name, (value, _, code, field) in BAD.items():
            final = by_offset[offsets[name]]
            assert (final["status"], final["error"]["code"], final["error"]["field"]) == ("rejected", code, field), (name, final)
            assert final["error"]["message"]
            assert dead[name].value == _named(name, value), name
            reason = dict(dead[name].headers)
            assert reason["vp-reason-code"] == code.encode(), name
            assert reason["vp-from-offset"] == str(offsets[name]).encode(), name
        assert len(rig.finals) == len(BAD) + 1
        assert by_offset[max(offsets.values()) + 1]["status"] == "succeeded", "the lane goes on"
        assert len(rig.simulator.ledger()["calls"]) == 1, "a bad record makes no call"


def _named(name: str, value: bytes | None) -> bytes | None:
    """Each has a request id of its own: the same one with another content would be a conflict."""
    return value and value.replace(b'"bad"', orjson.dumps(name))


async def test_copies_of_a_rejected_request_have_one_result_and_one_dead_letter(kafka: LocalKafka, tmp_path: Path) -> None:
    """Whichever lane has them, also in a delay topic, where bad headers are answered at once whatever due time they name."""
    async with running(kafka, tmp_path, partitions=2) as rig:
        await rig.start("a", "b")
        good = create_request(1)[1]
        in_a_year = str(int(time.time() * 1000) + 300 * 86_400_000).encode()
        far = [("vp-due-ms", b"253402300800000")]  # the year 10000
        odd = [("vp-due-ms", in_a_year), ("vp-attempt", b"-1")]
        retry = topic_names(rig.settings).retry(1)
        producer = AIOKafkaProducer(bootstrap_servers=rig.bootstrap)
        await producer.start()
        try:
            for n in range(3):
                await producer.send_and_wait(f"{rig.prefix}.requests", _request(request_id="copied", more=1), partition=n % 2)
                await producer.send_and_wait(retry, _request(request_id="far"), partition=n % 2, headers=far)
                await producer.send_and_wait(retry, _request(request_id="odd"), partition=n % 2, headers=odd)
            await producer.send_and_wait(f"{rig.prefix}.requests", _request(request_id="copied"), partition=0)  # corrected: another content
            await producer.send_and_wait(f"{rig.prefix}.requests", good, partition=1)
            await producer.send_and_wait(retry, good, partition=0)
        finally:
            await producer.stop()
        await rig.until(lambda: len(rig.finals) >= 5, "five final results")
        await rig.until(lambda: sum(1 for p in rig.processors for _ in p.events("duplicate")) >= 7, "seven duplicates")
        for replica in rig.processors:  # a stop publishes what is finished: nothing more comes
            await asyncio.to_thread(replica.child.stop, 20.0)
        await rig.read_rest()
        ends = sorted((f["request_id"], f["status"], f["error"] and f["error"]["code"]) for f in rig.finals)
        assert ends == [
            ("copied", "conflict", "request_id_reused"),
            ("copied", "rejected", "unknown_field"),
            ("far", "rejected", "header_invalid"),
            ("odd", "rejected", "header_invalid"),
            ("r-000001", "succeeded", None),
        ]
        assert len({f["result_id"] for f in rig.finals}) == 5
        assert len(await rig.records("dead-letters")) == 4
        assert len(rig.simulator.ledger()["calls"]) == 1
        assert sum(1 for p in rig.processors for _ in p.events("duplicate")) == 7


async def test_the_largest_record_and_one_that_unpacks_to_more(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=1) as rig:
        await rig.start("a")
        largest = _request(input={**GOOD_INPUT, "vendor_data": "x"}, more="y" * 1_047_000)
        bomb = b'{"request_id":"bomb","operation":"session.create","input":{"x":"' + b"z" * 3_000_000 + b'"}}'
        for compression, value, key in ((None, largest, b"largest"), ("gzip", bomb, b"bomb"), ("gzip", b"{}", b"k" * 200_000)):
            producer = AIOKafkaProducer(
                bootstrap_servers=rig.bootstrap, max_request_size=8_000_000, max_batch_size=8_000_000, compression_type=compression
            )
            await producer.start()
            try:
                await producer.send_and_wait(f"{rig.prefix}.requests", value, key)
            finally:
                await producer.stop()
        await rig.publish([create_request(1)])
        await rig.wait_finals(4)
        await rig.read_rest()
        finals = sorted(rig.finals, key=lambda f: int(f["source"]["offset"]))
        assert [f["status"] for f in finals] == ["rejected", "rejected", "rejected", "succeeded"]
        assert [f["error"]["code"] for f in finals[:3]] == ["unknown_field", "too_large", "key_too_large"]
        dead = {r.key: r for r in await rig.records("dead-letters")}
        assert dead[b"largest"].value == largest
        assert bomb.startswith(dead[b"bomb"].value)
        assert dict(dead[b"bomb"].headers)["vp-value-size-bytes"] == str(len(bomb)).encode()


async def test_forty_of_the_costliest_records_of_the_largest_size_hold_up_nobody(kafka: LocalKafka, tmp_path: Path) -> None:
    unit = b',{"b":1}'  # once 1.4 s of CPU for each: the key twice in the last object was looked for in all of them
    costly = b'{"a":[{}' + unit * (1_040_000 // len(unit)) + b',{"b":1,"b":1}]}'
    exact = b'{"a":[1' + (b",0." + b"1" * 990) * 1040 + b"]}"
    async with running(kafka, tmp_path, partitions=1) as rig:
        producer = AIOKafkaProducer(
            bootstrap_servers=rig.bootstrap, compression_type="gzip", max_batch_size=12_000_000, max_request_size=12_000_000, linger_ms=500
        )
        await producer.start()
        try:
            for n in range(40):
                await producer.send(f"{rig.prefix}.requests", costly if n % 2 else exact, b"k")
            await producer.flush()
        finally:
            await producer.stop()
        await rig.publish([create_request(n) for n in range(10)])
        (a,) = await rig.start("a")
        await rig.wait_finals(50)
        by_status = Counter(f["status"] for f in rig.finals)
        assert by_status == {"rejected": 40, "succeeded": 10}
        assert {f["error"]["code"] for f in rig.finals if f["error"]} == {"too_many_values"}
        assert len(list(a.events("partitions_assigned"))) == 1, "the session was kept"
        assert _cpu_s(a.child.pid) < 10, "it was 20 to 56 s"  # CPU time, whatever else the machine does


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_a_header_name_that_is_not_utf8_does_not_stop_the_partition(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=1) as rig:
        (a,) = await rig.start("a")
        await _produce_raw_header(rig, b"\xff\xfe", b'{"request_id":"raw","operation":"session.create","input":{}}')
        await rig.publish([create_request(1)])
        await rig.wait_finals(2)
        assert a.child.alive
        assert {f["request_id"]: f["status"] for f in rig.finals} == {"raw": "rejected", "r-000001": "succeeded"}


async def _produce_raw_header(rig: Rig, name: bytes, value: bytes) -> None:
    """aiokafka takes text for header names only: a batch is built with a stand-in, the bytes put in, the checksum made again."""
    topic = f"{rig.prefix}.requests"
    stand_in = "~" * len(name)
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1_000_000
    )
    builder.append(offset=0, timestamp=1_700_000_000_000, key=b"raw", value=value, headers=[(stand_in, b"x")])
    raw = bytearray(builder.build())
    at = raw.index(stand_in.encode())
    raw[at : at + len(name)] = name
    struct.pack_into(">I", raw, 17, crc(bytes(raw[21:])))
    producer = AIOKafkaProducer(bootstrap_servers=rig.bootstrap)
    await producer.start()
    try:
        client = producer.client
        await producer.partitions_for(topic)
        leader = client.cluster.leader_for_partition(TopicPartition(topic, 0))
        request = ProduceRequest(transactional_id=None, required_acks=-1, timeout=10_000, topics=[(topic, [(0, bytes(raw))])])
        response = await client.send(leader, request)
        assert response.topics[0][1][0][1] == 0, response
    finally:
        await asyncio.wait_for(producer.stop(), 5)
