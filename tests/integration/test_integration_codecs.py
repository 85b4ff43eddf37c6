"""Whatever a producer packs with, every reader of ours reads it; a batch that is none, or grows too large, stops nothing but itself."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import confluent_kafka
import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code
from dead_letters import cli
from deploy_files import ROOT
from rig import Rig, create_request, running

from processor.client import VerificationClient
from processor.devkit.kafka_cluster import LocalKafka
from processor.stream.topics import topic_specs

pytestmark = pytest.mark.broker

CODECS = (None, "gzip", "snappy", "lz4", "zstd")
BOMB_BYTES = 60_000_000
RISE_MB_MAX = 64


def _request(name: str) -> bytes:
    _, body = create_request(1)
    return orjson.dumps(orjson.loads(body) | {"request_id": name})


async def _publish_aiokafka(rig: Rig, codec: str | None, names: list[str]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=rig.bootstrap, compression_type=codec, linger_ms=20)
    await producer.start()
    try:
        await asyncio.gather(*[await producer.send(f"{rig.prefix}.requests", _request(name), b"k") for name in names])
    finally:
        await producer.stop()


def _publish_librdkafka(rig: Rig, codec: str | None, names: list[str]) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": rig.bootstrap, "compression.type": codec or "none", "linger.ms": 20})
    for name in names:
        producer.produce(f"{rig.prefix}.requests", _request(name), b"k")
    assert producer.flush(20) == 0


async def _set_codec(rig: Rig, topic: str, codec: str) -> None:
    spec = next(s for s in topic_specs(rig.settings, partitions=2, replication=1) if s.name == f"{rig.prefix}.{topic}")
    admin = AIOKafkaAdminClient(bootstrap_servers=rig.bootstrap)
    await admin.start()
    try:  # what is not named goes back to its default
        resource = ConfigResource(ConfigResourceType.TOPIC, spec.name, {**spec.configs, "compression.type": codec})
        for answer in await admin.alter_configs([resource]):
            assert for_code(answer.resources[0][0]).errno == 0, answer
    finally:
        await admin.close()


async def test_every_codec_is_read_by_every_reader(kafka: LocalKafka, tmp_path: Path) -> None:
    """From two kinds of producers, and from topics that the broker packs: by lanes, budget, client, command and the rig's own reader."""
    async with running(kafka, tmp_path, partitions=2) as rig:
        for topic, packed_with in (("results", "zstd"), ("budget", "snappy"), ("dead-letters", "lz4")):
            await _set_codec(rig, topic, packed_with)
        await rig.start("a")
        wanted = []
        for codec in CODECS:
            for_each = {by: [f"{by}-{codec}-{i}" for i in range(4)] for by in ("aiokafka", "librdkafka")}
            wanted += [name for names in for_each.values() for name in names]
            await _publish_aiokafka(rig, codec, for_each["aiokafka"])
            await asyncio.to_thread(_publish_librdkafka, rig, codec, for_each["librdkafka"])
        await rig.wait_finals(len(wanted))
        async with VerificationClient(kafka=rig.settings.kafka) as client:
            assert (await client.request("aml", {"full_name": "Ann Example"}, timeout_s=60)).succeeded
        found = await cli(rig, "results", "find", wanted[-1], "--json")
        assert (found.status, found.lines[0]["request_id"]) == (0, wanted[-1]), found
        await rig.read_rest()
        statuses = {f["request_id"]: f["status"] for f in rig.finals}
        assert {name: statuses.get(name) for name in wanted} == dict.fromkeys(wanted, "succeeded")


def _peak_mb(pid: int) -> float:
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


async def test_batches_that_grow_to_gigabytes_cost_one_answer_each(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=4) as rig:
        (a,) = await rig.start("a")
        await rig.publish([create_request(n) for n in range(20)])
        await rig.wait_finals(20)
        assert a.child.pid is not None
        before_mb = _peak_mb(a.child.pid)
        sent = []
        for codec in ("gzip", "lz4", "zstd"):
            producer = AIOKafkaProducer(
                bootstrap_servers=rig.bootstrap, compression_type=codec, max_request_size=2**31 - 1, max_batch_size=2**31 - 1
            )
            await producer.start()
            try:
                sent += [await producer.send_and_wait(f"{rig.prefix}.requests", b" " * BOMB_BYTES, partition=p) for p in range(4)]
            finally:
                await producer.stop()
        await rig.publish([create_request(n) for n in range(20, 40)])
        await rig.wait_finals(40 + len(sent))
        rise_mb = _peak_mb(a.child.pid) - before_mb
        await rig.read_rest()
        assert rise_mb < RISE_MB_MAX, f"{BOMB_BYTES} bytes of each batch were unpacked"
        refused = {(f["source"]["partition"], f["source"]["offset"]): f["error"] for f in rig.finals if f["status"] == "rejected"}
        assert {k: e["code"] for k, e in refused.items()} == {(r.partition, r.offset): "batch_too_large" for r in sent}
        assert all(f"offsets {o} to {o} of {rig.prefix}.requests[{p}]" in e["message"] for (p, o), e in refused.items())
        assert sum(f["status"] == "succeeded" for f in rig.finals) == 40
        letters = [dict(r.headers) for r in await rig.records("dead-letters")]
        assert {(int(h["vp-from-partition"]), int(h["vp-from-offset"])) for h in letters} == set(refused)
        assert {h["vp-reason-code"] for h in letters} == {b"batch_too_large"}


async def test_records_that_pack_well_are_all_worked_on(kafka: LocalKafka, tmp_path: Path) -> None:
    """90 requests of 900 kB in batches that unpack to 14 MB: within the bound, so each has its own result, and memory stays bounded."""
    async with running(kafka, tmp_path, partitions=1) as rig:
        producer = AIOKafkaProducer(
            bootstrap_servers=rig.bootstrap, compression_type="gzip", max_request_size=2**31 - 1, max_batch_size=14_000_000, linger_ms=500
        )
        await producer.start()
        try:
            padded = [create_request(n)[1] + b" " * 900_000 for n in range(90)]
            await asyncio.gather(*[await producer.send(f"{rig.prefix}.requests", body) for body in padded])
        finally:
            await producer.stop()
        (a,) = await rig.start("a")
        await rig.wait_finals(90)
        assert a.child.pid is not None
        peak_mb = _peak_mb(a.child.pid)
        await rig.read_rest()
        assert {f["status"] for f in rig.finals} == {"succeeded"}
        assert peak_mb < 256, "of 81 MB of records few may be in memory at once"


async def _publish_padded(rig: Rig, codec: str, partition: int, names: list[str]) -> None:
    """One batch that packs a thousandfold, and grows to what may just be unpacked."""
    producer = AIOKafkaProducer(
        bootstrap_servers=rig.bootstrap, compression_type=codec, max_request_size=2**31 - 1, max_batch_size=2**31 - 1
    )
    await producer.start()
    try:
        batch = producer.create_batch()
        for name in names:
            assert batch.append(key=b"k", value=_request(name) + b" " * 1_000_000, timestamp=None) is not None
        await (await producer.send_batch(batch, f"{rig.prefix}.requests", partition=partition))
    finally:
        await producer.stop()


async def test_the_worst_batches_on_every_partition_at_once_stay_within_the_memory_limit(kafka: LocalKafka, tmp_path: Path) -> None:
    limit_mb = _memory_limit_mb()
    async with running(kafka, tmp_path, partitions=16) as rig:
        for p in range(16):
            await _publish_padded(rig, ("gzip", "zstd")[p % 2], p, [f"{p}-{i}" for i in range(16)])
        (a,) = await rig.start("a")
        await rig.until(lambda: len({f["source"]["partition"] for f in rig.finals}) == 16, "a result of every partition")
        assert a.child.pid is not None
        peak_mb = _peak_mb(a.child.pid)
        await rig.read_rest()
        assert {f["status"] for f in rig.finals} == {"succeeded"}
        assert peak_mb < limit_mb, "the pod would be killed, and whoever takes its partitions over"


def _memory_limit_mb() -> int:
    found = re.search(r"limits:\n\s+memory: (\d+)Mi", (ROOT / "deploy/k8s/base/processor.yaml").read_text())
    assert found is not None
    return int(found[1])
