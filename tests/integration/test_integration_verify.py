"""`processor verify` on a real Kafka: a killed replica leaves nothing to find, and what is planted by hand is named."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from commands import run_command
from rig import create_request, running

from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker
COUNT = 150
FAULTS = {"latency_s": {"median": 0.05, "sigma": 0.3, "max": 0.3}, "rates": {"error_503": 0.05, "lost_reply": 0.02}}


async def test_a_kill_leaves_nothing_to_find_and_a_second_final_is_named(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, simulator_options=("--faults", json.dumps(FAULTS))) as rig:
        first, _ = await rig.start("a", "b")
        await rig.publish([*map(create_request, range(COUNT)), (b"k", b'{"request_id": "bad"}'), (b"k", b"{")])
        await rig.publish([create_request(0)])  # a copy
        await rig.until(lambda: len(rig.watch.seen.final_ids) > COUNT // 3, "a third of the results")
        await asyncio.to_thread(first.child.kill)
        first.start()
        await rig.wait_finals(COUNT + 2)
        ledger = tmp_path / "ledger.json"
        ledger.write_bytes(orjson.dumps(rig.simulator.ledger()))
        words = ("verify", "--older-than", "1s", "--json", "--billing", str(ledger))
        running_still = await run_command(rig.environment, *words)
        assert running_still.status == 0, running_still.text + running_still.err
        for replica in rig.processors:
            await asyncio.to_thread(replica.child.stop, 20.0)
        (clean,) = (await run_command(rig.environment, *words)).lines
        assert clean["clean"], clean
        assert clean["figures"]["requests"] == COUNT + 3
        assert clean["figures"]["finals"] == COUNT + 2
        assert clean["figures"]["duplicates"] == 1
        assert clean["figures"]["answered"] >= COUNT
        assert clean["figures"]["bills"] >= COUNT - 5, "some ended in doubt"
        assert clean["waiting"]["count"] == clean["figures"]["too_old"] == 0

        copied = next(r for r in await rig.records("results") if r.key == b"r-000007")
        async with AIOKafkaProducer(bootstrap_servers=rig.bootstrap) as producer:
            at = await producer.send_and_wait(f"{rig.prefix}.results", copied.value, copied.key, partition=0)
        page = tmp_path / "audit.html"
        found = await run_command(rig.environment, "verify", "--older-than", "1s", "--html", str(page))
        assert found.status == 1, found.text + found.err
        assert f"{rig.prefix}.results[0]@{at.offset}  'r-000007'" in found.text
        assert "double_final (1)" in found.text
        assert "r-000007" in page.read_text()

        async with AIOKafkaProducer(bootstrap_servers=rig.bootstrap) as producer:
            lost = await producer.send_and_wait(f"{rig.prefix}.requests", create_request(COUNT)[1], partition=0)
        admin = AIOKafkaAdminClient(bootstrap_servers=rig.bootstrap)
        await admin.start()
        await admin.delete_records({TopicPartition(f"{rig.prefix}.requests", 0): RecordsToDelete(before_offset=lost.offset + 1)})
        await admin.close()
        found = await run_command(rig.environment, "verify", "--older-than", "1s", "--json")
        assert found.status == 1, found.text + found.err
        assert found.lines[0]["counts"]["deleted_unfinished"] == 1, found.text


async def test_what_cannot_be_read_is_not_judged(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, apply=False) as rig:
        told = await run_command(rig.environment, "verify")
        assert (told.status, told.out) == (2, b"")
        assert "processor topics apply" in told.err
