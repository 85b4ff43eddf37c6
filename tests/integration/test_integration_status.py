"""`processor status`, `lag` and `top`, the page and the metrics tell the same, and the truth, about a real set-up."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from commands import Command, run_command
from rig import WIDE_LIMITS, Rig, create_request, running
from test_integration_observe import scrape, total, until_ready

from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker


async def command(rig: Rig, *words: str, status: int = 0) -> bytes:
    """Run a command of ours as an operator would; its stdout."""
    told = await run_command({**rig.environment, "COLUMNS": "160"}, *words)
    assert told.status == status, told.err
    return told.out


async def overview(rig: Rig) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await command(rig, "status", "--json"))
    return found


def kinds(seen: dict[str, Any]) -> list[str]:
    """Of what the diagnosis has found, the most urgent first."""
    return [finding["kind"] for finding in seen["diagnosis"]["findings"]]


async def test_status_tells_the_truth_in_good_and_bad_times(kafka: LocalKafka, tmp_path: Any) -> None:
    limits = WIDE_LIMITS | {"session-create": {"limit": 40, "window_s": 10.0}}
    options = ("--limits", json.dumps(limits))
    async with running(kafka, tmp_path, simulator_options=options, BUDGET__LIMITS=json.dumps(limits), OBSERVE__SURVEY_S="0.5") as rig:
        empty = await overview(rig)
        assert kinds(empty) == ["no_replica", "backlog_empty"]
        assert (empty["diagnosis"]["tone"], empty["diagnosis"]["headline"]) == ("bad", "Needs somebody")
        replicas = await rig.start("one", "two", "three")
        await until_ready(rig, *replicas)
        calm = await overview(rig)
        assert calm["diagnosis"] | {"findings": []} == {
            "tone": "good",
            "headline": "All is well",
            "verdict": "Nothing waits for budget.",
            "findings": [],
        }
        assert {r["instance"] for r in calm["replicas"]} == {"one", "two", "three"}
        assert sum(r["partitions"] for r in calm["replicas"]) == len(calm["partitions"]) == 4 + 3 * 2
        assert all(p["owner"] in {"one", "two", "three"} for p in calm["partitions"])

        await rig.publish([create_request(n) for n in range(400)])  # 400 calls at 40 in 10 s: 100 s
        await rig.wait_finals(40)
        busy = await overview(rig)
        (drain,) = [d for d in busy["drains"] if d["scope"] == "session-create"]
        done = len({f["request_id"] for f in rig.finals})
        assert 0.7 * (400 - done) <= drain["calls"] <= 400, (drain, done)
        assert 40 <= drain["drain_s"] <= 110
        async with asyncio.timeout(60):
            while "budget_full" not in kinds(busy):  # the window fills
                busy = await overview(rig)
        assert (busy["diagnosis"]["tone"], kinds(busy)[0]) == ("watch", "budget_full"), busy["diagnosis"]
        assert "The budget is the bottleneck in session-create" in busy["diagnosis"]["verdict"]
        await rig.until(lambda: total(scrape(replicas[0]), "vp_backlog_calls", scope="session-create") > 0, "a survey")
        seen = total(scrape(replicas[0]), "vp_backlog_calls", scope="session-create")
        again = next(d["calls"] for d in (await overview(rig))["drains"] if d["scope"] == "session-create")
        assert abs(seen - again) <= 60, "the metric and the command agree"
        used = max(total(scrape(r), "vp_budget_used", scope="session-create") for r in replicas)
        assert used <= 40 + 4, "who reads the log late counts a call for so much longer: a second is four calls here"

        async with asyncio.timeout(60):
            while "The budget is the bottleneck" not in (screen := (await command(rig, "status")).decode()):
                pass  # a window after a burst is not full all the time
        for word in (
            "Worth a look. The budget is the bottleneck",
            "session-create",
            "owed calls",
            "replica ",
            "\none ",
            "waiting:",
            "dead letters: none open",
        ):
            assert word in screen, screen
        lag = json.loads(await command(rig, "lag", "--json"))
        assert sum(p["unfinished"] for p in lag["partitions"]) > 0
        assert "not done;" in (await command(rig, "lag")).decode()

        assert total(scrape(*replicas), "vp_budget_over_limit_total") == 0


async def test_without_brokers_the_commands_say_so(kafka: LocalKafka, tmp_path: Any) -> None:
    async with running(kafka, tmp_path) as rig:
        rig.environment["VP_KAFKA__BOOTSTRAP"] = "127.0.0.1:1"
        for words in (("status",), ("lag",), ("budget",)):
            assert await command(rig, *words, status=1) == b""


async def test_top_shows_the_screen_until_it_is_interrupted(kafka: LocalKafka, tmp_path: Any) -> None:
    async with running(kafka, tmp_path) as rig:
        top = Command({**rig.environment, "COLUMNS": "160"}, "top", "--every", "1")
        try:
            await rig.until(lambda: b"dead letters" in top.out, "screen")
        finally:
            top.send_signal(2)
        told = await top.end(20.0)
        assert told.status == 0, told.err
        assert b"No replica is heard" in told.out
