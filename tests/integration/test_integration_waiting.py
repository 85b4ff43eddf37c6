"""Requests that wait in the delay topics: they are seen, and start at once when they are released; judged by topics and ledger."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from commands import Told, run_command
from operator_page import OperatorPage
from rig import WORKFLOW_ID, Rig, create_request, running

from processor.client.topics import request_producer
from processor.devkit.kafka_cluster import LocalKafka
from processor.monitoring.delayed_view import delayed_view
from processor.repair.delayed_index import DelayedIndex
from processor.repair.release import publish_releases, releases_of
from processor.stream.releases import Release

pytestmark = pytest.mark.broker

RUN = "11111111-2222-4333-8444-555555555555"
LONG = {"RETRY__DELAYS_S": "[1,2,600]"}
WAIT_LONG = {"status": 503, "headers": [["Retry-After", "700"]], "body": "{}"}
WAIT_SHORT = {"status": 503, "headers": [["Retry-After", "1"]], "body": "{}"}


def ids(count: int) -> list[str]:
    return [f"r-{n:06d}" for n in range(count)]


async def retry(rig: Rig, *arguments: str) -> Told:
    return await run_command(rig.environment, "retry", *arguments)


async def listed(rig: Rig, *arguments: str) -> dict[str, Any]:
    done = await retry(rig, "list", "--json", *arguments)
    assert done.status == 0, done.err
    found: dict[str, Any] = orjson.loads(done.out)
    return found


async def let_wait(rig: Rig, count: int, route: str = "session.create") -> None:
    """Publish requests whose first call fails, so that they wait for 700 s."""
    rig.simulator.post("/_sim/script", {"route": route, "answers": [WAIT_LONG] * count})
    await rig.publish([create_request(n) for n in range(count)])
    await rig.until(lambda: len(rig.watch.seen.retries) >= count, f"{count} waiting records")


async def test_two_hundred_wait_are_listed_and_come_within_seconds_when_released(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, more=LONG) as rig:
        await rig.start("a", "b")
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [WAIT_SHORT] * 7})
        await rig.publish([create_request(n) for n in range(1000, 1007)])
        await rig.wait_finals(7)  # what waited and is done is not listed
        await let_wait(rig, 207 - 7)
        found = await listed(rig)
        in_topic = await rig.records("retry.10m")
        assert found["count"] == len(in_topic) == 200
        assert {(r["partition"], r["offset"]) for r in found["records"]} == {(r.source.partition, r.source.offset) for r in in_topic}
        assert {r["request_id"] for r in found["records"]} == set(ids(200))
        assert found["by_reason"] == {"http_503": 200}
        assert found["by_due"] == {"due": 0, "1 min": 0, "10 min": 0, "1 h": 200, "6 h": 0, "later": 0}
        assert found["complete"]
        table = await retry(rig, "list", "--due-within", "2h", "--limit", "3")
        assert "not shown: 197 more" in table.text
        assert "200 waiting, 0 of them due. By due time: 1 h 200. By reason: http_503 200." in table.text
        assert "`processor retry release` starts them now" in table.text
        assert (await listed(rig, "--due-within", "10m"))["count"] == 0

        tried = await retry(rig, "release", "--all", "--dry-run")
        assert (tried.status, "nothing was released" in tried.text) == (0, True)
        begun = time.monotonic()
        done = await retry(rig, "release", "--reason", "http_503", "--yes")
        assert done.status == 0, done.text + done.err
        assert "(200) were started and are finished." in done.text
        await rig.wait_finals(207)
        assert time.monotonic() - begun < 120, "their time had come in an hour"
        assert (await listed(rig))["count"] == 0
        judged = await rig.judge([*ids(200), *(f"r-{n:06d}" for n in range(1000, 1007))])
        assert (judged.missing, judged.duplicated, judged.billed_twice) == ((), (), 0)
        assert judged.by_status == {"succeeded": 207}
        assert judged.early_retries > 100, "some were put off for a second, because the queue before the budget was full"
        assert await rig.records("dead-letters") == []


async def test_a_release_outlives_a_rebalance_and_junk_beside_it(kafka: LocalKafka, tmp_path: Path) -> None:
    slow = {"rates": {}, "latency_s": {"median": 0.2, "sigma": 0.1, "max": 0.5}}
    async with running(kafka, tmp_path, more={**LONG, "DIDIT__CALLS_MAX": "6"}) as rig:
        (a,) = await rig.start("a")
        await let_wait(rig, 120)
        rig.simulator.post("/_sim/faults", slow)
        async with request_producer(rig.settings) as producer:
            for junk in (b"{", None, b'{"kind":"released"}', b"[1]", b"x" * 70_000, b'{"kind":"of tomorrow"}'):
                await producer.send_and_wait(f"{rig.prefix}.repairs", junk, b"k")
        done = await retry(rig, "release", "--all", "--yes", "--wait", "0")
        assert done.status == 1, "not all are done with yet"
        assert "look with `processor retry list`" in done.text
        assert len(rig.finals) < 120
        await rig.start("b")
        await rig.wait_finals(120)
        assert len(list(a.events("repair_malformed"))) == 1, "said once a minute at most"
        judged = await rig.judge(ids(120))
        assert (judged.missing, judged.duplicated, judged.billed_twice) == ((), (), 0)
        assert judged.by_status == {"succeeded": 120}


async def test_a_release_of_what_is_done_or_elsewhere_does_nothing(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=1, more={**LONG, "RETRY__PARTITIONS": "1"}) as rig:
        (a,) = await rig.start("a")
        await let_wait(rig, 3)
        delay, requests = f"{rig.prefix}.retry.10m", f"{rig.prefix}.requests"
        assert (await retry(rig, "release", "--request-id", "r-000001", "--yes")).status == 0
        await rig.wait_finals(1)
        calls = len(rig.simulator.ledger()["calls"])
        offsets = {r.key: r.source.offset for r in await rig.records("retry.10m")}
        done, waiting = offsets[b"user-000001"], offsets[b"user-000002"]
        again = [Release(delay, 0, (done, done, 10**12), RUN), Release(requests, 0, (0, 1, 2), RUN), Release("elsewhere", 7, (0,), RUN)]
        await publish_releases(rig.settings, again, by="test", at_ms=1)
        await publish_releases(rig.settings, [Release(delay, 0, (waiting, waiting), RUN)] * 2, by="test", at_ms=1)
        await rig.wait_finals(2)  # so the one before it has been read
        assert [e["count"] for e in a.events("released")] == [1, 1]
        assert len(rig.simulator.ledger()["calls"]) == calls + 2, "a look whether it was created, and the create"
        assert [f["request_id"] for f in rig.finals] == ["r-000001", "r-000002"]
        (left,) = (await listed(rig))["records"]
        said = await asyncio.to_thread(OperatorPage(a).act, "/waiting/end", f"{delay}:0:{left['offset']}", f"{delay}:0:{done}")
        assert "1 request told to end." in said, "what is done is left as it is"
        await rig.wait_finals(3)
        ended = (rig.finals[-1]["status"], rig.finals[-1]["error"]["code"])
        assert ended == ("in_doubt", "ended_by_hand"), "its first call was answered 503, and may have been done"
        assert (await listed(rig))["count"] == 0


async def test_a_pause_of_the_budget_holds_what_is_released(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, more=LONG) as rig:
        await rig.start("a")
        text = '{"detail":"Session creation rate limit exceeded. You can make up to 600 requests per minute."}'
        paused = {"status": 429, "headers": [["Retry-After", "900"]], "body": text}
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [paused]})
        await rig.publish([create_request(0)])
        await rig.until(lambda: len(rig.watch.seen.retries) >= 1, "a waiting record")
        done = await retry(rig, "release", "--all", "--yes")
        assert done.status == 0, done.text
        assert "Of these, 1 was put off and waits again" in done.text
        assert len(rig.simulator.ledger()["calls"]) == 1, "no call before Retry-After, whoever asks"
        (left,) = (await listed(rig))["records"]
        assert left["request_id"] == "r-000000"
        assert left["due_ms"] > (time.time() + 800) * 1000
        assert left["attempt"] == 0


async def test_a_released_follower_looks_at_once(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, FOLLOW__POLLS_S="[3600]", RETRY__DELAYS_S="[1,60]") as rig:
        await rig.start("a")
        what = {"workflow_id": WORKFLOW_ID, "vendor_data": "u"}
        names = ["Null", "No", "true", "1e3"]
        for name in names:
            body = {"request_id": name, "operation": "verification", "input": {**what, "vendor_data": name}}
            await rig.publish([(name.encode(), orjson.dumps(body))])
        await rig.until(lambda: len(rig.watch.seen.retries) >= 4, "4 waiting records")
        for session in rig.simulator.ledger()["sessions"]:
            for step in ("In Progress", "Approved"):
                rig.simulator.post(f"/_sim/sessions/{session['session_id']}/status", {"status": step})
        found = await listed(rig, "--request-id", "No", "--request-id", "Null", "--reason", "following")
        assert sorted(r["request_id"] for r in found["records"]) == ["No", "Null"]
        assert [r["reason"] for r in found["records"]] == [None, None]
        assert (await listed(rig, "--request-id", "no"))["count"] == 0
        done = await retry(rig, "release", "--request-id", "Null", "--yes")
        assert (done.status, "(1) were started and are finished" in done.text) == (0, True), done.text
        await rig.wait_finals(1)
        assert [f["request_id"] for f in rig.finals] == ["Null"]
        done = await retry(rig, "release", "--reason", "following", "--operation", "verification", "--yes")
        assert done.status == 0
        await rig.wait_finals(4)
        assert Counter(f["output"]["status"] for f in rig.finals) == {"Approved": 4}


async def test_a_release_in_the_middle_of_a_doubt_bills_nothing_twice(kafka: LocalKafka, tmp_path: Path) -> None:
    """The call is under way at Didit for longer than we wait; who is released meanwhile finds the session, or waits for the doubt's end."""
    late = {"rates": {"late_reply": 1.0}, "hang_s": 6.0}
    async with running(kafka, tmp_path, more={**LONG, "RETRY__BACKOFF_BASE_S": "9000", "RETRY__BACKOFF_MAX_S": "9000"}) as rig:
        await rig.start("a")
        rig.simulator.post("/_sim/faults", late)
        await rig.publish([create_request(n) for n in range(5)])
        await rig.until(lambda: len(rig.watch.seen.retries) >= 5, "5 waiting records")
        rig.simulator.post("/_sim/faults", {"rates": {}})
        for _ in range(3):
            assert (await retry(rig, "release", "--all", "--yes", "--wait", "5")).status in (0, 1)
        await rig.wait_finals(5)
        judged = await rig.judge(ids(5))
        assert (judged.missing, judged.duplicated, judged.billed_twice) == ((), (), 0)
        assert judged.by_status == {"succeeded": 5}


async def test_the_book_reads_only_what_is_new_and_lists_what_is_malformed(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, more=LONG) as rig:
        index = DelayedIndex(rig.settings)
        try:
            await index.refresh()
            assert (len(index.records), index.complete) == (0, True)
            (a,) = await rig.start("a")
            await let_wait(rig, 10)
            await index.refresh()
            assert (len(index.records), index.complete) == (10, True)
            await asyncio.to_thread(a.child.stop, 20.0)
            async with request_producer(rig.settings) as producer:
                bad = orjson.dumps({"request_id": "odd", "operation": "aml", "input": 7})
                await producer.send_and_wait(f"{rig.prefix}.retry.10m", bad, b"k", headers=[("vp-nonsense", b"\xff")])
            await index.refresh()
            view = delayed_view(index.records, int(time.time() * 1000))
            assert (view.count, view.due_now) == (11, 1)
            (odd,) = [r for r in index.records if r.request_id == "odd"]
            assert (odd.operation, odd.reason) == ("aml", "header_unknown")
            some = sorted(index.records, key=lambda r: r.due_ms)[1:4]
            await publish_releases(rig.settings, releases_of(some, RUN), by="test", at_ms=1)
            a.start()  # it was away when the release was written
            await rig.until(lambda: len(rig.watch.seen.final_ids) >= 4, "3 released and the malformed one")
            await index.refresh()
            assert len(index.records) == 7
        finally:
            await index.close()


async def test_the_commands_say_what_to_do(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, apply=False, more=LONG) as rig:
        missing = await retry(rig, "list")
        assert missing.status == 1
        assert "processor topics apply" in missing.err
    (tmp_path / "topics").mkdir()
    async with running(kafka, tmp_path / "topics", more=LONG) as rig:
        empty = await retry(rig, "list")
        assert (empty.status, "needs to be done" in empty.text) == (0, True)
        nothing = await retry(rig, "release", "--all", "--yes")
        assert (nothing.status, "nothing waits" in nothing.text) == (0, True)
        await rig.start("a")
        await let_wait(rig, 2)
        none = await retry(rig, "release", "--reason", "http_500", "--yes")
        assert (none.status, "none of the 2 that wait is selected; they wait for: http_503 2" in none.text) == (0, True)
        unasked = await retry(rig, "release", "--all")
        assert (unasked.status, "--yes" in unasked.err) == (2, True)
        for wrong, told in (
            (("release",), "say what to release"),
            (("release", "--all", "--reason", "x"), "leave one of them out"),
            (("list", "--due-within", "10"), "such as 30s, 15m, 6h or 2d"),
            (("list", "--operation", "nope"), "known are"),
        ):
            done = await retry(rig, *wrong)
            assert (done.status, told in done.err) == (2, True), (wrong, done.err)
        assert (await listed(rig))["count"] == 2, "nothing of this has released anything"
    away = await run_command({"VP_KAFKA__BOOTSTRAP": "127.0.0.1:1"}, "retry", "list")
    assert (away.status, "127.0.0.1:1" in away.err, "Traceback" in away.err) == (1, True, False)
