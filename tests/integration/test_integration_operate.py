"""Operators' work on a real set-up of three replicas: what they are told agrees with the topics and the ledger, and what they repair is
repaired once. ``OPERATE_SIZE=10`` runs it with ten times the load."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from commands import Command
from operator_page import OperatorPage
from rig import WIDE_LIMITS, Rig, create_request, running
from test_integration_observe import scrape, total, until_ready
from test_integration_status import command, overview

from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import ProcessorProcess

pytestmark = pytest.mark.broker

SIZE = int(os.environ.get("OPERATE_SIZE", "1"))
BACKLOG = 400 if SIZE == 1 else 2000 * SIZE
ASKED = BACKLOG + 110  # requests before the refusals
DEAD = 50 * SIZE
WINDOW_S = 5.0
LIMIT = 200 if SIZE == 1 else 500
REFUSAL = {"status": 400, "body": '{"workflow_id":"Invalid workflow_id."}'}


def wide(**narrow: int) -> str:
    return json.dumps(WIDE_LIMITS | {scope: {"limit": limit, "window_s": WINDOW_S} for scope, limit in narrow.items()})


async def agree(rig: Rig, replicas: list[ProcessorProcess], requested: int) -> None:
    """Topics, metrics, command and page tell the same once nothing moves any more."""
    await rig.until(lambda: total(scrape(*replicas), "vp_lag_records") == 0, "no lag")
    seen, samples = await overview(rig), scrape(*replicas)
    assert sum(p["unfinished"] for p in seen["partitions"]) == 0
    finals = Counter(f["status"] for f in rig.finals)
    assert len({f["request_id"] for f in rig.finals}) == requested
    for status, count in finals.items():
        assert total(samples, "vp_results_total", status=status) == count, status
    dead = await rig.records("dead-letters")
    dealt_with = len(repaired(await rig.records("repairs")))
    assert total(samples, "vp_dead_letters_total") == len(dead)
    assert seen["dead_letters"]["open"] == len(dead) - dealt_with
    assert sum(seen["dead_letters"]["by_reason"].values()) == len(dead) - dealt_with
    calls = [c for c in rig.simulator.ledger()["calls"] if "session-create" in c["scopes"]]
    assert total(samples, "vp_calls_total", scope="session-create") == len(calls)
    assert total(samples, "vp_budget_over_limit_total") == 0
    await say_the_same(rig, OperatorPage(replicas[0]))


async def say_the_same(rig: Rig, page: OperatorPage) -> None:
    """Command and page give one headline. They are asked one after the other, so it may change in between: until it stands still."""
    for _ in range(20):
        headline, shown = (await overview(rig))["diagnosis"]["headline"], await asyncio.to_thread(page.get, "/")
        if headline in shown:
            return
    raise AssertionError(f"{headline} is not in {shown[:500]}")


async def test_operators_see_the_truth_and_mend_each_dead_letter_once(kafka: LocalKafka, tmp_path: Path) -> None:
    limits = wide(**{"session-create": LIMIT})
    async with running(
        kafka,
        tmp_path,
        partitions=6,
        simulator_options=("--limits", limits),
        BUDGET__LIMITS=limits,
        OBSERVE__SURVEY_S="1",
        BUDGET__BREAKER_FAILURES="5",
        BUDGET__BREAKER_HOLD_S="2",
        LANES__WORK_MAX="100",
    ) as rig:
        replicas = await rig.start("one", "two", "three")
        await until_ready(rig, *replicas)
        page = OperatorPage(replicas[1])
        await backlog(rig, replicas, page)
        await outage(rig, replicas, page)
        await asked_to_wait(rig, replicas)
        await refusals(rig, replicas, page)
        await repair(rig, page)
        await rig.read_rest()
        rounds = Counter((f["request_id"], f.get("replay", 0)) for f in rig.finals)
        assert set(rounds.values()) == {1}, "one final result for each round"
        assert {f["status"] for f in rig.finals if f.get("replay") == 1} == {"succeeded"}
        assert all(s["max_in_window"] <= s["limit"] for key in rig.simulator.ledger()["scopes"].values() for s in key.values())
        assert "No dead letters" in await asyncio.to_thread(page.get, "/dead-letters")
        found = await asyncio.to_thread(page.get, f"/request?id=r-{ASKED:06d}")
        assert "succeeded" in found
        assert "redriven" in found.lower()


async def backlog(rig: Rig, replicas: list[ProcessorProcess], page: OperatorPage) -> None:
    """The time to drain is about right, and everybody tells the same."""
    await rig.publish([create_request(n) for n in range(BACKLOG)])
    began = time.monotonic()
    await rig.wait_finals(LIMIT // 2)
    busy, done = await overview(rig), len(rig.finals)
    (owed,) = [d for d in busy["drains"] if d["scope"] == "session-create"]
    assert 0.6 * (BACKLOG - done) - LIMIT <= owed["calls"] <= BACKLOG, (owed, done)
    assert "session-create" in await asyncio.to_thread(page.get, "/")
    await rig.wait_finals(BACKLOG, 60.0 + 3 * BACKLOG * WINDOW_S / LIMIT)
    assert owed["drain_s"] <= 1.5 * (time.monotonic() - began)
    await agree(rig, replicas, BACKLOG)


async def outage(rig: Rig, replicas: list[ProcessorProcess], page: OperatorPage) -> None:
    """Breakers open on all replicas, nothing is dead-lettered for it, and it ends by itself."""
    rig.simulator.post("/_sim/faults", {"rates": {"error_503": 1.0}, "routes": ["session.create"]})
    await rig.publish([create_request(n) for n in range(BACKLOG, BACKLOG + 100)])
    await rig.until(lambda: total(scrape(*replicas), "vp_breaker_open", operation="session.create") == 3, "open breakers")
    assert "Didit fails on session.create" in (await overview(rig))["diagnosis"]["verdict"]
    assert "Didit fails on session.create" in await asyncio.to_thread(page.get, "/")
    assert "session.create" in (await command(rig, "status")).decode(), "the verdict names what fails"
    rig.simulator.post("/_sim/faults", {"rates": {}})
    await rig.wait_finals(BACKLOG + 100)
    await rig.until(lambda: total(scrape(*replicas), "vp_breaker_open") == 0, "closed breakers")


async def asked_to_wait(rig: Rig, replicas: list[ProcessorProcess]) -> None:
    """A pause is seen everywhere, and takes nobody's readiness."""
    headers = [["Retry-After", "20"], ["X-RateLimit-Limit", str(LIMIT)], ["X-RateLimit-Remaining", "0"]]
    answer = {"status": 429, "headers": headers, "body": '{"detail":"Request was throttled."}'}
    rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [answer]})
    await rig.publish([create_request(n) for n in range(BACKLOG + 100, ASKED)])
    await rig.until(lambda: total(scrape(replicas[2]), "vp_budget_paused_seconds", scope="session-create") > 0, "a pause")
    async with asyncio.timeout(15):  # a command sees the log as it was a second ago
        while not [s for s in (await overview(rig))["budget"]["scopes"] if s["scope"] == "session-create" and s["paused_for_s"] > 0]:
            pass
    assert b"session-create is paused" in replicas[0].get("/readyz")[1]
    await rig.wait_finals(ASKED)


async def refusals(rig: Rig, replicas: list[ProcessorProcess], page: OperatorPage) -> None:
    """Each has a dead letter, and everybody counts the same."""
    rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [REFUSAL] * DEAD})
    await rig.publish([create_request(n) for n in range(ASKED, ASKED + DEAD)])
    await rig.wait_finals(ASKED + DEAD)
    await agree(rig, replicas, ASKED + DEAD)
    assert len((await command(rig, "deadletters", "list", "--json", "--limit", "100000")).splitlines()) == DEAD
    assert f"{DEAD}" in await asyncio.to_thread(page.get, "/dead-letters")


async def repair(rig: Rig, page: OperatorPage) -> None:
    """Two fifths by the page, the rest by a command that is killed half-way and run again."""
    by_page = 2 * DEAD // 5
    ticked = await asyncio.to_thread(page.positions, by_page)
    for begin in range(0, by_page, 20):
        assert "redriven" in (await asyncio.to_thread(page.redrive, *ticked[begin : begin + 20])).lower()
    assert set(repaired(await rig.records("repairs"))) == set(ticked)
    assert f"{DEAD - by_page}" in await asyncio.to_thread(page.get, "/dead-letters")
    await redrive_and_kill(rig)
    if len(repaired(await rig.records("repairs"))) < DEAD:
        await command(rig, "deadletters", "redrive", "--all", "--yes", "--share", "1")
    done = repaired(await rig.records("repairs"))
    assert len(done) == len(set(done)) == DEAD, "each once"
    await rig.until(lambda: sum(f.get("replay") == 1 for f in rig.finals) >= DEAD, f"{DEAD} repaired requests")


def repaired(records: list[Any]) -> list[str]:
    """Positions of redriven dead letters, from the audit."""
    found = [orjson.loads(record.value) for record in records]
    return [f"{r['target']['partition']}:{r['target']['offset']}" for r in found if r["kind"] == "redriven"]


async def redrive_and_kill(rig: Rig) -> None:
    """Begin to redrive everything, and kill the command with the first repair that is seen of it."""
    before = len(await rig.records("repairs"))
    words = ("deadletters", "redrive", "--all", "--yes", "--share", "1")
    child = Command(rig.environment, *words)
    async with asyncio.timeout(60):
        while len(await rig.records("repairs")) == before and child.alive:
            await asyncio.sleep(0.01)
    await child.kill()
