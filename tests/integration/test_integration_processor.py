"""Whole processors on a real Kafka: nothing lost, nothing twice, whatever happens to them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from rig import create_request, running

from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker


async def test_every_request_gets_its_one_result(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        await rig.start("a")
        requests = [create_request(n) for n in range(200)]
        await rig.publish(requests)
        await rig.wait_finals(200)
        judged = await rig.judge([f"r-{n:06d}" for n in range(200)])
        assert judged.ok, judged
        assert judged.by_status == {"succeeded": 200}
        assert judged.billed_twice == 0
        result = next(f for f in rig.finals if f["request_id"] == "r-000007")
        assert result["output"]["vendor_data"] == "user-000007"
        assert result["attempts"] == 1
        assert result["error"] is None


async def test_sigterm_under_load_ends_in_time_and_leaves_nothing_twice(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, simulator_options=["--faults", '{"latency_s": {"median": 0.2, "sigma": 0.3, "max": 1}}']) as rig:
        (a,) = await rig.start("a")
        await rig.publish([create_request(n) for n in range(300)])
        await rig.wait_finals(50)
        a.child.terminate()
        status = await asyncio.to_thread(a.child.wait, 2 * rig.settings.lanes.shutdown_s)
        assert status == 0, f"3 says that its limit has ended it\n{a.child.log_tail()}"
        await rig.start("b")  # the group was left: the next one gets everything at once
        await rig.wait_finals(300)
        judged = await rig.judge([f"r-{n:06d}" for n in range(300)])
        assert judged.ok, judged
        assert judged.billed_twice == 0
        calls = len(rig.simulator.ledger()["calls"])
        assert calls == 300, "a drained stop repeats no call"


async def test_kill_and_restart_under_load(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, simulator_options=["--faults", '{"latency_s": {"median": 0.05, "sigma": 0.5, "max": 1}}']) as rig:
        a, _ = await rig.start("a", "b")
        await rig.publish([create_request(n) for n in range(600)])
        for share in (100, 250, 400):
            await rig.wait_finals(share)
            await asyncio.to_thread(a.child.kill)
            a.start()
        await rig.wait_finals(600)
        judged = await rig.judge([f"r-{n:06d}" for n in range(600)])
        assert judged.ok, judged
