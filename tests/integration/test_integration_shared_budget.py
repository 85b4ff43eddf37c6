"""One budget for all replicas and a journal of every call, on a real broker; judged by the simulator's ledger."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from commands import run_command
from rig import SCOPES, WORKFLOW_ID, Rig, create_request, running

from processor.budget.log_records import Asked, Begun, Ended, decode_entry
from processor.budget.permits import CallIdentity
from processor.contract.digests import request_digest
from processor.contract.records import call_reference
from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker

SESSION = "11111111-2222-4333-8444-555555555555"


def limits(window_s: float, **calls: int) -> str:
    told = dict.fromkeys(SCOPES, 10_000) | {name.replace("_", "-"): limit for name, limit in calls.items()}
    return json.dumps({scope: {"limit": limit, "window_s": window_s} for scope, limit in told.items()})


def ids(count: int) -> list[str]:
    return [f"r-{n:06d}" for n in range(count)]


def skewed(count: int) -> list[tuple[bytes, bytes]]:
    """All in one partition."""
    return [(b"one", create_request(n)[1]) for n in range(count)]


def decision(request_id: str, session_id: str = SESSION) -> tuple[bytes, bytes]:
    body = {"request_id": request_id, "operation": "session.decision", "input": {"session_id": session_id}}
    return b"one", orjson.dumps(body)


def creates(rig: Rig) -> list[dict[str, Any]]:
    return [c for c in rig.simulator.ledger()["calls"] if c["route"] == "session.create"]


async def wait_calls(rig: Rig, count: int) -> None:
    await rig.until(lambda: len(creates(rig)) >= count, f"{count} creates")


async def test_one_replica_with_all_the_work_gets_the_whole_budget(kafka: LocalKafka, tmp_path: Path) -> None:
    told = limits(4.0, session_create=40, generic_write=44)
    async with running(kafka, tmp_path, simulator_options=["--limits", told], BUDGET__LIMITS=told) as rig:
        await rig.start("a", "b", "c")
        await rig.publish(skewed(130))
        await rig.wait_finals(130)
        judged = await rig.judge(ids(130))
        assert judged.ok, judged
        assert judged.scopes["session-create"]["max_in_window"] == 40, "the limit is reached and not passed"
        calls = [c["at"] for c in creates(rig)]
        assert all(c["status"] == 201 for c in creates(rig))
        used = len(calls) / (40 * (calls[-1] - calls[0]) / 4.0)
        assert used > 0.9, "a third of the budget each would be a third"


@pytest.mark.parametrize(("version", "scope"), [("v3", "generic-get"), ("v2", "session-decision")])
async def test_decisions_keep_the_limit_of_their_version(kafka: LocalKafka, tmp_path: Path, version: str, scope: str) -> None:
    told = limits(2.0, session_decision=10, generic_get=60)
    ours = told if version == "v2" else limits(2.0, session_decision=60, generic_get=60)
    options = ["--limits", told]
    async with running(kafka, tmp_path, simulator_options=options, BUDGET__LIMITS=ours, DIDIT__API_VERSION=version) as rig:
        await rig.start("a")
        await rig.publish([create_request(0)])
        await rig.wait_finals(1)
        session_id = rig.finals[0]["output"]["session_id"]
        await rig.publish([decision(request_id, session_id) for request_id in ids(31)[1:]])
        await rig.wait_finals(31)
        judged = await rig.judge(ids(31))
        assert judged.ok, judged
        assert judged.by_status == {"succeeded": 31}
        looks = [c for c in rig.simulator.ledger()["calls"] if c["route"] == "session.decision"]
        assert [(c["status"], c["scopes"][0]) for c in looks] == [(200, scope)] * 30, "none is refused"
        most = judged.scopes[scope]["max_in_window"]
        assert most > 20 if version == "v3" else most <= 10


async def test_killing_and_restarting_everybody_cannot_burst(kafka: LocalKafka, tmp_path: Path) -> None:
    told = limits(5.0, session_create=30, generic_write=30)
    async with running(kafka, tmp_path, simulator_options=["--limits", told], BUDGET__LIMITS=told) as rig:
        replicas = await rig.start("a", "b")
        await rig.publish([create_request(n) for n in range(120)])
        for finals in (25, 60):
            await rig.wait_finals(finals)
            for replica in replicas:
                replica.child.kill()
            for replica in replicas:
                replica.start()
        await rig.wait_finals(120)
        judged = await rig.judge(ids(120))
        assert judged.ok, judged
        assert {c["status"] for c in creates(rig)} == {201}


async def test_copies_make_no_call_and_another_content_is_a_conflict(kafka: LocalKafka, tmp_path: Path) -> None:
    """Also C11: the same request in several partitions at once, while the first answer takes its time."""
    slow = ["--faults", '{"latency_s": {"median": 2, "sigma": 0, "max": 2}}']
    async with running(kafka, tmp_path, simulator_options=slow) as rig:
        await rig.start("a", "b")
        same = [(f"key-{n}".encode(), create_request(1)[1]) for n in range(12)]
        other = [(f"key-{n}".encode(), create_request(1, priority="urgent", input={"workflow_id": WORKFLOW_ID})[1]) for n in range(2)]
        await rig.publish(same)
        await rig.wait_finals(1)
        await rig.publish([*other, create_request(2)])
        await rig.until(lambda: len(rig.finals) >= 4, "4 results")
        await rig.until(lambda: sum(len(list(p.events("duplicate"))) for p in rig.processors) >= 11, "11 duplicates")
        await rig.read_rest()
        assert len(creates(rig)) == 2
        assert sorted((f["request_id"], f["status"]) for f in rig.finals) == [
            ("r-000001", "conflict"),
            ("r-000001", "conflict"),
            ("r-000001", "succeeded"),
            ("r-000002", "succeeded"),
        ]
        assert len({f["result_id"] for f in rig.finals}) == 4
        assert len(await rig.records("dead-letters")) == 2
        assert sum(len(list(p.events("duplicate"))) for p in rig.processors) == 11
        async with asyncio.timeout(60):  # duplicates are completed
            while sum(offset for tp, offset in (await rig.committed()).items() if tp.topic.endswith("requests")) < 15:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("memory_s", ["3600", "1"], ids=["remembered", "recalled from the log"])
async def test_a_call_in_flight_at_a_kill_is_looked_up_not_repeated(kafka: LocalKafka, tmp_path: Path, memory_s: str) -> None:
    slow = ["--faults", '{"latency_s": {"median": 1.5, "sigma": 0, "max": 2}}']
    async with running(kafka, tmp_path, simulator_options=slow, BUDGET__MEMORY_S=memory_s) as rig:
        (a,) = await rig.start("a")
        await rig.publish([create_request(n) for n in range(18)])
        await wait_calls(rig, 18)
        a.child.kill()
        in_flight = 18 - len(rig.simulator.ledger()["sessions"])  # on a slow machine the first may have been answered before the last began
        await rig.until(lambda: len(rig.simulator.ledger()["sessions"]) >= 18, "18 sessions")
        if memory_s == "1":
            await asyncio.sleep(2.0)  # everything is older than the memory
        rig.simulator.post("/_sim/faults", {})
        a.start()
        await rig.wait_finals(18)
        judged = await rig.judge(ids(18))
        assert judged.ok, judged
        assert judged.by_status == {"succeeded": 18}
        assert len(creates(rig)) == 18, "no create was repeated"
        doubts, adopted = ({event["reference"].partition(".")[0] for event in a.events(name)} for name in ("doubt", "adopted"))
        assert adopted == doubts  # a lookup may have been made again, at another hop
        assert in_flight <= len(adopted) <= 18


def check(number: int, operation: str, **extra: Any) -> tuple[bytes, bytes]:
    what = {"full_name": f"Ann {number}"} if operation == "aml" else {"email": f"user-{number}@example.com"}
    body = {"request_id": f"r-{number:06d}", "operation": operation, "input": what, **extra}
    return f"user-{number}".encode(), orjson.dumps(body)


@pytest.mark.parametrize(
    ("operation", "on_doubt", "status", "calls", "billed"),
    [("aml", "fail", "succeeded", 2, 1), ("email.send", "fail", "in_doubt", 1, 1), ("email.risk", "repeat", "succeeded", 2, 2)],
)
async def test_a_check_in_flight_at_a_kill_is_never_billed_twice_unasked(
    kafka: LocalKafka, tmp_path: Path, operation: str, on_doubt: str, status: str, calls: int, billed: int
) -> None:
    slow = ["--faults", '{"latency_s": {"median": 1.5, "sigma": 0, "max": 2}}']
    async with running(kafka, tmp_path, simulator_options=slow) as rig:
        (a,) = await rig.start("a")
        await rig.publish([check(n, operation, on_doubt=on_doubt) for n in range(10)])
        await rig.until(lambda: len(rig.simulator.ledger()["calls"]) >= 10, "10 calls")
        a.child.kill()
        await rig.until(lambda: len(rig.simulator.ledger()["checks"]) >= 10, "10 billed checks")
        rig.simulator.post("/_sim/faults", {})
        a.start()
        await rig.wait_finals(10)
        judged = await rig.judge(ids(10))
        assert judged.by_status == {status: 10}
        assert not judged.duplicated
        ledger = rig.simulator.ledger()
        assert len(ledger["calls"]) == 10 * calls
        assert len(ledger["checks"]) == 10 * billed
        assert judged.billed_twice == (10 if billed == 2 else 0)
        assert len(await rig.records("dead-letters")) == (10 if status == "in_doubt" else 0)


async def test_lost_replies_of_checks_are_billed_once(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        lost = [{"fault": "lost_reply"}] * 5
        for route in ("aml", "email.send"):
            rig.simulator.post("/_sim/script", {"route": route, "answers": lost})
        await rig.start("a", "b")
        await rig.publish([check(n, "aml" if n < 10 else "email.send") for n in range(20)])
        await rig.wait_finals(20)
        judged = await rig.judge(ids(20))
        assert judged.ok, judged
        assert judged.by_status == {"succeeded": 15, "in_doubt": 5}
        assert len(rig.simulator.ledger()["checks"]) == 20


async def test_rebalances_in_the_middle_of_slow_calls_repeat_no_billed_call(kafka: LocalKafka, tmp_path: Path) -> None:
    """C01: replicas come and go in less time than a call takes, and the drain cuts calls off."""
    slow = ["--faults", '{"latency_s": {"median": 4, "sigma": 0.2, "max": 6}, "routes": ["session.create", "aml", "email.send"]}']
    async with running(kafka, tmp_path, simulator_options=slow, DIDIT__TIMEOUT_S="8", LANES__DRAIN_S="1") as rig:
        await rig.start("a", "b")
        operations = ["session.create", "aml", "email.send"]
        await rig.publish([create_request(n) if n % 3 == 0 else check(n, operations[n % 3]) for n in range(90)])
        await wait_calls(rig, 10)
        guest = rig.processor("guest")
        for n in range(3):
            guest.start()
            await asyncio.to_thread(guest.wait_event, "partitions_assigned", count=n + 1)
            await asyncio.sleep(2.0)  # less than a call
            await asyncio.to_thread(guest.child.stop, 20.0)
        await rig.wait_finals(90)
        judged = await rig.judge(ids(90))
        assert judged.ok, judged
        assert set(judged.by_status) <= {"succeeded", "in_doubt"}
        doubts = {f["operation"] for f in rig.finals if f["status"] == "in_doubt"}
        assert doubts <= {"email.send"}, "what can be looked up or repeated under its key is"


async def test_a_create_still_under_way_at_a_kill_is_waited_for(kafka: LocalKafka, tmp_path: Path) -> None:
    """Its replica is back, and looks it up, before Didit has made the session."""
    slow = ["--faults", '{"latency_s": {"median": 6, "sigma": 0, "max": 6}, "routes": ["session.create"]}']
    async with running(kafka, tmp_path, simulator_options=slow, DIDIT__TIMEOUT_S="8") as rig:
        (a,) = await rig.start("a")
        await rig.publish([create_request(n) for n in range(5)])
        await wait_calls(rig, 5)
        a.child.kill()
        a.start()
        await rig.until(lambda: any(e["code"] == "doubt_settling" for e in a.events("retry")), "settling")
        await rig.wait_finals(5)
        judged = await rig.judge(ids(5))
        assert judged.ok, judged
        assert judged.by_status == {"succeeded": 5}
        assert len(creates(rig)) == len(rig.simulator.ledger()["sessions"]) == 5


async def test_after_a_kill_whoever_had_not_called_goes_on_at_once(kafka: LocalKafka, tmp_path: Path) -> None:
    """At each kill half a second of creates waits in the log for its turn: some eight requests in all, each of which was in doubt once."""
    told = limits(2.0, session_create=30, generic_write=30)
    options = ["--limits", told, "--faults", '{"latency_s": {"median": 0.1, "sigma": 0.3, "max": 1}}']
    async with running(kafka, tmp_path, simulator_options=options, BUDGET__LIMITS=told) as rig:
        takeovers: list[tuple[float, list[str]]] = []
        for n, victim in enumerate(await rig.start("a", "b")):
            first, half, last = 45 * n, 45 * n + 30, 45 * n + 45
            await rig.publish([create_request(i) for i in range(first, half)])
            await wait_calls(rig, first + 18)  # fifteen may leave at once
            await asyncio.to_thread(victim.child.kill)
            over_at = time.monotonic() + rig.settings.lanes.session_timeout_s
            at_didit = {c["reference"] for c in creates(rig)}
            victim.start()
            await rig.publish([create_request(i) for i in range(half, last)])
            takeovers.append((over_at, [i for i in ids(last)[first:] if call_reference(i, 0) not in at_didit]))
            await rig.wait_finals(last)
        judged = await rig.judge(ids(90))
        assert judged.ok, judged
        done_at = {f["request_id"]: at for f, at in zip(rig.finals, rig.final_times, strict=True)}
        leaving = await begun_and_not_ended(rig)
        waited_s = [done_at[i] - over_at for over_at, found in takeovers for i in found if digest(rig, i) not in leaving]
        assert len(waited_s) > 40
        assert max(waited_s) < 5, sorted(waited_s)[-10:]
        assert sum(digest(rig, i) in leaving for _, found in takeovers for i in found) <= 3, "within a round trip through the log"


def digest(rig: Rig, request_id: str) -> str:
    return request_digest(rig.prefix, request_id)


async def begun_and_not_ended(rig: Rig) -> set[str]:
    """Digests of the requests whose calls were about to leave, or had left, when their replica was killed."""
    open_calls: dict[str, str] = {}
    announced: dict[str, str] = {}
    for record in [record for entry in await rig.records("budget") for record in decode_entry(entry.value)]:
        match record:
            case Asked(id=ask_id, identity=CallIdentity(request=request), announced=later):
                (announced if later else open_calls)[ask_id] = request
            case Begun(id=ask_id):
                open_calls[ask_id] = announced[ask_id]
            case Ended(id=ask_id):
                open_calls.pop(ask_id, None)
    return set(open_calls.values())


async def test_a_journal_that_no_longer_reaches_back_is_said_and_leaves_doubts(kafka: LocalKafka, tmp_path: Path) -> None:
    slow = ["--faults", '{"latency_s": {"median": 1.5, "sigma": 0, "max": 2}}']
    short = limits(3.0)  # calls are held for a promise and a window
    async with running(kafka, tmp_path, simulator_options=[*slow, "--limits", short], more={"BUDGET__LIMITS": short}) as rig:
        (a,) = await rig.start("a")
        await rig.publish([create_request(n) for n in range(10)])
        await wait_calls(rig, 10)
        a.child.kill()
        await rig.until(lambda: len(rig.simulator.ledger()["sessions"]) >= 10, "10 sessions")
        await rig.recreate_budget()
        rig.simulator.post("/_sim/faults", {})
        a.start()
        await rig.wait_finals(10)
        judged = await rig.judge(ids(10))
        assert judged.ok, judged
        assert len(creates(rig)) == 10
        assert list(a.events("calls_forgotten"))
        assert list(a.events("budget_log_replaced"))


async def test_a_log_created_anew_stops_calls_for_a_horizon_and_no_longer(kafka: LocalKafka, tmp_path: Path) -> None:
    told = limits(3.0, session_create=15, generic_write=15)
    async with running(kafka, tmp_path, simulator_options=["--limits", told], BUDGET__LIMITS=told) as rig:
        replicas = await rig.start("a", "b")
        await rig.publish([create_request(n) for n in range(60)])
        await rig.wait_finals(15)
        await rig.recreate_budget()
        await asyncio.gather(*(asyncio.to_thread(r.wait_event, "budget_log_broken") for r in replicas))
        await rig.wait_finals(60)
        judged = await rig.judge(ids(60))
        assert judged.ok, judged
        assert {c["status"] for c in creates(rig)} == {201}


async def test_a_lowered_limit_governs_while_the_old_one_still_runs(kafka: LocalKafka, tmp_path: Path) -> None:
    old, new = limits(4.0, session_create=40), limits(4.0, session_create=12)
    async with running(kafka, tmp_path, simulator_options=["--limits", old], BUDGET__LIMITS=old) as rig:
        (a,) = await rig.start("a")
        await rig.publish([create_request(n) for n in range(400)])
        await rig.wait_finals(40)
        await rig.start("b", BUDGET__LIMITS=new)
        await asyncio.to_thread(a.wait_event, "limit_lowered")
        settled = time.time() + 4.0  # no window that begins later holds a call of before
        later: list[float] = []

        def two_windows() -> bool:
            later[:] = [c["at"] for c in creates(rig) if c["at"] > settled]
            return bool(later) and later[-1] > settled + 8.0

        await rig.until(two_windows, "calls of two windows under the lower limit")
        most = max(sum(1 for at in later if begin <= at < begin + 4.0) for begin in later)
        assert most <= 12


async def test_a_dead_api_burns_no_attempts_and_work_resumes_by_itself(kafka: LocalKafka, tmp_path: Path) -> None:
    breaker = {"BUDGET__BREAKER_FAILURES": "3", "BUDGET__BREAKER_HOLD_S": "1", "RETRY__ATTEMPTS_MAX": "3"}
    async with running(kafka, tmp_path, more=breaker | {"DIDIT__CALLS_MAX": "2"}) as rig:
        rig.simulator.post("/_sim/faults", {"rates": {"error_503": 1.0}, "routes": ["session.create"]})
        (a, _) = await rig.start("a", "b")
        await rig.publish([create_request(n) for n in range(40)])
        await asyncio.sleep(12.0)  # the outage; every attempt limit would be long used up
        called = len(creates(rig))
        rig.simulator.post("/_sim/faults", {})
        await rig.wait_finals(40)
        judged = await rig.judge(ids(40))
        assert judged.ok, judged
        assert judged.by_status == {"succeeded": 40}
        assert called < 25, "a probe now and then"
        assert await rig.records("dead-letters") == []
        assert list(a.events("breaker_opened"))
        assert list(a.events("breaker_closed"))


async def test_an_exhausted_scope_does_not_hold_up_others_in_the_same_partition(kafka: LocalKafka, tmp_path: Path) -> None:
    told = limits(8.0, session_create=20, generic_write=20)
    options = ["--limits", told]
    async with running(
        kafka,
        tmp_path,
        partitions=1,
        simulator_options=options,
        BUDGET__LIMITS=told,
        BUDGET__QUEUE_MAX="10",
        LANES__WORK_MAX="30",
    ) as rig:
        await rig.start("a")
        await rig.publish([decision("d-0")])
        await rig.wait_finals(1)
        await rig.publish([*skewed(50), *(decision(f"d-{n}") for n in range(1, 6))])
        decided = lambda: sum(f["operation"] == "session.decision" for f in rig.finals) >= 6  # noqa: E731
        await rig.until(decided, "decisions before the creates, which take a quarter of a minute,", within_s=10)
        await rig.wait_finals(56)
        judged = await rig.judge([*ids(50), *(f"d-{n}" for n in range(6))])
        assert judged.ok, judged
        parked = [r for r in await rig.records("retry.5s") if dict(r.headers)["vp-last-error"] == b"queue_full"]
        assert parked
        assert all(f["attempts"] == 1 for f in rig.finals)


async def test_the_budget_command_shows_who_holds_what(kafka: LocalKafka, tmp_path: Path) -> None:
    told = limits(30.0, session_create=8)
    async with running(kafka, tmp_path, simulator_options=["--limits", told], BUDGET__LIMITS=told) as rig:
        await rig.start("replica-1")
        await rig.publish([create_request(n) for n in range(30)])
        await rig.wait_finals(4)
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [{"fault": "throttle_429"}]})
        async with asyncio.timeout(60):
            while True:
                shown = await command(rig, "--json")
                view = json.loads(shown)
                scope = next(s for s in view["scopes"] if s["scope"] == "session-create")
                if scope["throttled_lately"] and scope["waiting"]:
                    break
        assert view["replicas"] == ["replica-1"]
        assert (scope["configured"], scope["window_s"]) == (8, 30.0)
        assert 0 < scope["live"] <= 10
        assert (scope["throttled_lately"], scope["foreign"]) == (1, False), "a single 429 shows nobody else"
        table = await command(rig)
        for word in ("session-create", "replica-1", "foreign", "no (1 x 429)"):
            assert word in table, table


async def command(rig: Rig, *options: str) -> str:
    told = await run_command({**rig.environment, "COLUMNS": "200"}, "budget", *options)
    assert told.status == 0, told.err
    return told.text
