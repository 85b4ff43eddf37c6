"""The budget log goes away, is made again, or is shared by two installations: nothing is lost, doubted or paid for twice by it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from commands import run_command
from rig import WIDE_LIMITS, WORKFLOW_ID, Rig, create_request, running

from processor.devkit.kafka_cluster import LocalKafka
from processor.stream.offsets import decode_metadata
from processor.stream.topics_admin import check_topics

pytestmark = pytest.mark.broker


def risk(request_id: str) -> tuple[bytes, bytes]:
    """A paid check whose lost call leaves a doubt that nobody can settle."""
    return b"one", orjson.dumps({"request_id": request_id, "operation": "ip.risk", "input": {"ip_address": "203.0.113.7"}})


def calls(rig: Rig) -> list[dict[str, Any]]:
    return [c for c in rig.simulator.ledger()["calls"] if c["route"] == "ip.risk"]


async def let_append(rig: Rig, *, possible: bool) -> None:
    """Let every append to the budget topic fail, and nothing else."""
    configs = {"message.timestamp.type": "LogAppendTime"} | ({} if possible else {"max.message.bytes": "1"})
    async with rig.admin() as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, f"{rig.prefix}.budget", configs=configs)])
    async with asyncio.timeout(30):  # a broker does not know at once, and a start asks it
        while bool((await check_topics(rig.settings)).faults) == possible:
            await asyncio.sleep(0.05)


async def metadata(rig: Rig) -> list[tuple[int, str]]:
    async with rig.admin() as admin:
        found = await admin.list_consumer_group_offsets(rig.settings.kafka.group)
        return [(o.offset, o.metadata) for tp, o in found.items() if tp.topic.endswith(".requests") and o.offset >= 0]


async def test_a_kill_while_the_budget_log_is_away_puts_nothing_in_doubt(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=1) as rig:
        (a,) = await rig.start("a")
        await rig.publish([risk("warm")])
        await rig.wait_finals(1)
        await let_append(rig, possible=False)
        await asyncio.to_thread(a.wait_event, "budget_log_unavailable")
        await rig.publish([(b"one", b"not json")])  # it needs no call, so its outcome is committed in the outage
        await rig.until(lambda: len(rig.finals) >= 2, "the refusal of the bad record")
        ((offset, text),) = await metadata(rig)
        assert decode_metadata(offset, text).log_position is not None
        a.child.kill()
        await let_append(rig, possible=True)
        await rig.publish([risk(f"r-{n}") for n in range(20)])  # nobody has ever started these
        a.start()
        await rig.wait_finals(21)
        await rig.read_rest()
        statuses = Counter(f["status"] for f in rig.finals if str(f["request_id"]).startswith("r-"))
        assert (statuses, len(calls(rig))) == (Counter(succeeded=20), 21)


async def test_two_installations_on_one_key_each_answer_their_own_requests(kafka: LocalKafka, tmp_path: Path) -> None:
    """Their replicas have the same names: those of pods follow from manifests that are the same."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    topic = f"shared-{tmp_path.name[-12:]}-{id(folders)}"
    async with running(kafka, folders[0], BUDGET__TOPIC=topic) as one, running(kafka, folders[1], BUDGET__TOPIC=topic) as two:
        await one.start("pod-0")
        (second,) = await two.start("pod-0")
        await one.publish([create_request(n) for n in range(3)])
        await one.wait_finals(3)
        other = {"workflow_id": WORKFLOW_ID, "vendor_data": "somebody-else"}
        await two.publish([create_request(0), create_request(1, input=other), create_request(7)])
        await two.wait_finals(3)
        assert {f["request_id"]: f["status"] for f in two.finals} == dict.fromkeys(("r-000000", "r-000001", "r-000007"), "succeeded")
        assert not list(second.events("instance_id_taken"))
        for rig, stranger in ((one, two), (two, one)):
            told = await run_command(rig.environment, "status", "--json")
            assert [r["instance"] for r in orjson.loads(told.out)["replicas"]] == ["pod-0", f"{stranger.settings.kafka.group}/pod-0"]


async def test_a_budget_topic_made_again_under_living_replicas_makes_no_paid_call_twice(kafka: LocalKafka, tmp_path: Path) -> None:
    slow = ["--faults", json.dumps({"latency_s": {"median": 28, "sigma": 0, "max": 28}, "routes": ["ip.risk"]})]
    limits = {scope: {"limit": 1000, "window_s": 3.0} for scope in WIDE_LIMITS}
    options = [*slow, "--limits", json.dumps(limits)]
    variables = {"DIDIT__TIMEOUT_S": "60", "BUDGET__LIMITS": json.dumps(limits)}
    async with running(kafka, tmp_path, partitions=1, simulator_options=options, more=variables) as rig:
        replicas = await rig.start("a", "b")
        await rig.publish([create_request(n) for n in range(20)])
        await rig.wait_finals(20)
        ((offset, text),) = await metadata(rig)
        before = decode_metadata(offset, text).log_position
        await rig.publish([risk("paid")])
        await rig.until(lambda: len(calls(rig)) == 1, "the paid call")
        await rig.recreate_budget(away_s=12.0)  # longer than signs of life wait for each other, so that producers hold some back
        await asyncio.gather(*(asyncio.to_thread(r.wait_event, "budget_log_broken") for r in replicas))
        await asyncio.gather(*(asyncio.to_thread(r.wait_event, "budget_joined", count=2) for r in replicas))
        await rig.publish([(b"one", b"not json")])
        await rig.until(lambda: len(rig.finals) >= 21, "the refusal of the bad record")
        ((offset, text),) = await metadata(rig)
        after = decode_metadata(offset, text).log_position
        assert before is not None
        assert after is not None
        assert after.log == before.log, "the paid call was noted in the former log, which is what the next owner must see"
        for replica in replicas:
            replica.child.kill()
        heir = rig.processor("heir")
        heir.start()
        await rig.until(lambda: any(f["request_id"] == "paid" for f in rig.finals), "an outcome of the paid check")
        assert [f["status"] for f in rig.finals if f["request_id"] == "paid"] == ["in_doubt"]
        assert len(calls(rig)) == 1
        assert list(heir.events("calls_forgotten"))
