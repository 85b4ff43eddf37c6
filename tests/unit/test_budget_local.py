from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest
from virtual_time import run_virtual

from processor.budget.local import LocalBudget
from processor.budget.permits import Budget, BudgetClosedError, CallClass, Fate, Permit, ScopePausedError
from processor.budget.rates import LimitTooSmallError
from processor.budget.scope import StartedFullLimiter
from processor.settings import BudgetSettings, ScopeLimit

CREATE = ("session-create", "generic-write")
DECISION = ("session-decision", "generic-get")
WIDE = 10**9
HOLD_S = 60.0


def budget_of(limit: int = WIDE, *, calls_max: int = 1000, **limits: int) -> LocalBudget:
    scopes = dict.fromkeys((*CREATE, *DECISION), limit) | {name.replace("_", "-"): n for name, n in limits.items()}
    settings = BudgetSettings(limits={name: ScopeLimit(limit=n, window_s=60.0) for name, n in scopes.items()})
    return LocalBudget(settings, calls_max=calls_max, unknown_hold_s=HOLD_S)


def at_once(wait: Coroutine[Any, Any, Permit]) -> Permit | None:
    """The permit, if it was there without a change of tasks."""
    try:
        wait.send(None)
    except StopIteration as done:
        permit: Permit = done.value
        return permit
    wait.close()
    return None


def now() -> float:
    return asyncio.get_running_loop().time()


async def permits_until(budget: Budget, scopes: tuple[str, ...], end: float, fate: Fate = Fate.ANSWERED) -> list[float]:
    """The moments of all permits that one eager caller gets."""
    got: list[float] = []
    try:
        async with asyncio.timeout_at(end):
            while True:
                permit = await budget.acquire(scopes, CallClass.NORMAL)
                got.append(now())
                budget.release(permit, fate)
    except TimeoutError:
        return got


def test_the_limiter_begins_full_and_leaks_from_the_start() -> None:
    async def main() -> None:
        limiter = StartedFullLimiter(2, 10.0)
        assert not limiter.has_capacity()
        start = now()
        await limiter.acquire()
        assert now() - start == pytest.approx(0.1, abs=1e-4)
        assert not limiter.has_capacity()
        await asyncio.sleep(0.2)
        assert limiter.has_capacity(2)
        limiter.take_now()
        assert limiter.has_capacity(1)
        assert not limiter.has_capacity(2)

    run_virtual(main())


def test_a_new_process_cannot_burst() -> None:
    async def main() -> None:
        budget = budget_of(600)
        start = now()
        got = await permits_until(budget, CREATE, start + 1.0)
        assert len(got) == 9
        await budget.close()

    run_virtual(main())


async def test_huge_limits_never_make_anybody_wait() -> None:
    budget = budget_of(WIDE, calls_max=100)
    await asyncio.sleep(0.01)
    for _ in range(100):
        permits = [at_once(budget.acquire(CREATE, CallClass.NORMAL)) for _ in range(100)]
        for permit in permits:
            assert permit is not None
            budget.release(permit, Fate.ANSWERED)
    await budget.close()


async def test_huge_limits_with_all_call_slots_in_use_wait_for_slots_only() -> None:
    budget = budget_of(WIDE, calls_max=10)

    async def caller(scopes: tuple[str, ...]) -> None:
        for _ in range(50):
            permit = await budget.acquire(scopes, CallClass.NORMAL)
            await asyncio.sleep(0)
            budget.release(permit, Fate.ANSWERED)

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        for _ in range(40):
            tasks.create_task(caller(CREATE))
            tasks.create_task(caller(DECISION))
    assert all(scope["in_flight"] in (0, 1) for scope in budget.snapshot().values())  # 1: a dispatcher on its way back
    await budget.close()


def test_no_line_keeps_the_call_slots_to_itself() -> None:
    async def main() -> None:
        budget = budget_of(WIDE, calls_max=3)
        got: dict[tuple[str, ...], int] = {CREATE: 0, DECISION: 0}

        async def caller(scopes: tuple[str, ...]) -> None:
            while True:
                permit = await budget.acquire(scopes, CallClass.NORMAL)
                got[scopes] += 1
                await asyncio.sleep(0.1)
                budget.release(permit, Fate.ANSWERED)

        tasks = [asyncio.create_task(caller(s)) for s in (CREATE, DECISION) for _ in range(20)]
        await asyncio.sleep(60)
        for task in tasks:
            task.cancel()
        assert sum(got.values()) > 1700
        assert min(got.values()) / sum(got.values()) > 0.3
        await budget.close()

    run_virtual(main())


def test_lines_share_a_scope_evenly() -> None:
    async def main() -> None:
        budget = budget_of(WIDE, generic_get=120)
        start = now()
        both = await asyncio.gather(
            *(permits_until(budget, scopes, start + 600) for scopes in (DECISION, ("generic-get",)) for _ in range(5))
        )
        first, second = sum(map(len, both[:5])), sum(map(len, both[5:]))
        assert first + second > 0.85 * 1200
        assert abs(first - second) <= 2
        await budget.close()

    run_virtual(main())


def test_the_best_waiter_of_the_moment_gets_the_permit() -> None:
    async def main() -> None:
        budget = budget_of(60)
        served: list[str] = []

        async def caller(name: str, call_class: CallClass) -> None:
            budget.release(await budget.acquire(CREATE, call_class), Fate.ANSWERED)
            served.append(name)

        async with asyncio.TaskGroup() as tasks:
            for name, call_class in (("bulk", CallClass.BULK), ("retry", CallClass.RETRY), ("normal", CallClass.NORMAL)):
                tasks.create_task(caller(name, call_class))
            await asyncio.sleep(0.5)  # the dispatcher is at work for them already
            tasks.create_task(caller("urgent", CallClass.URGENT))
        assert served == ["urgent", "normal", "retry", "bulk"]
        await budget.close()

    run_virtual(main())


def test_a_pause_is_a_floor_and_only_grows() -> None:
    async def main() -> None:
        budget = budget_of(600)
        await asyncio.sleep(1)
        start = now()
        budget.pause("session-create", 4.0)
        budget.pause("session-create", 1.0)
        assert budget.paused_for_s(CREATE) == pytest.approx(4.0)
        assert budget.paused_for_s(DECISION) == 0
        waiting = asyncio.create_task(permits_until(budget, CREATE, start + 4.9))
        await asyncio.sleep(2)
        assert at_once(budget.acquire(DECISION, CallClass.NORMAL)) is not None
        budget.pause("generic-write", 2.5)
        got = await waiting
        assert got
        assert got[0] >= start + 4.5
        await budget.close()

    run_virtual(main())


def test_a_pause_that_comes_while_the_pacer_is_waited_for_is_kept() -> None:
    async def main() -> None:
        budget = budget_of(session_create=60)
        start = now()
        waiting = asyncio.create_task(permits_until(budget, CREATE, start + 8))
        await asyncio.sleep(0.5)
        budget.pause("generic-write", 4.0)
        got = await waiting
        assert got
        assert got[0] >= start + 4.5
        assert all(later - earlier > 0.9 for earlier, later in itertools.pairwise(got)), "a pause ends without a burst"
        await budget.close()

    run_virtual(main())


def test_a_long_pause_turns_everybody_away_and_holds_nothing() -> None:
    async def main() -> None:
        budget = budget_of(session_decision=1200)
        waiting = asyncio.create_task(budget.acquire(DECISION, CallClass.NORMAL))
        await asyncio.sleep(0)
        budget.pause("session-decision", 3600.0)
        with pytest.raises(ScopePausedError) as told:
            await waiting
        assert told.value.wait_s == pytest.approx(3600.0, abs=0.1)
        with pytest.raises(ScopePausedError):
            await budget.acquire(DECISION, CallClass.URGENT)
        await asyncio.sleep(1)
        assert [scope["in_flight"] for scope in budget.snapshot().values()] == [0, 0, 0, 0]
        assert at_once(budget.acquire(("generic-get",), CallClass.NORMAL)) is not None, "another scope is held up"
        await asyncio.sleep(3598)
        budget.release(await budget.acquire(DECISION, CallClass.NORMAL), Fate.ANSWERED)
        await budget.close()

    run_virtual(main())


def test_a_suspended_account_gets_one_probe_at_a_time() -> None:
    async def main() -> None:
        budget = budget_of()
        await asyncio.sleep(1)
        start, got = now(), list[tuple[float, Permit]]()

        async def caller(scopes: tuple[str, ...]) -> None:
            permit = await budget.acquire(scopes, CallClass.NORMAL)
            got.append((now() - start, permit))

        budget.suspend(10.0)
        budget.suspend(30.0)
        budget.suspend(5.0)  # never shortens
        callers = [asyncio.create_task(caller(scopes)) for scopes in (CREATE, DECISION) for _ in range(5)]
        await asyncio.sleep(29.9)
        assert got == []
        await asyncio.sleep(100)
        (at, probe), *others = got
        assert at == pytest.approx(30, abs=0.01)
        assert probe.probe
        assert others == [], "two probes at once"
        budget.suspend(20.0)  # the probe failed
        budget.release(probe, Fate.ANSWERED)
        await asyncio.sleep(19.9)
        assert len(got) == 1
        await asyncio.sleep(0.2)
        assert len(got) == 2
        budget.release(got[1][1], Fate.UNKNOWN)  # it showed nothing: the next one leaves 20 s after it
        await asyncio.sleep(19.7)
        assert len(got) == 2
        await asyncio.sleep(0.3)
        assert len(got) == 3
        budget.resume()
        budget.release(got[2][1], Fate.ANSWERED)
        await asyncio.sleep(0.1)
        assert len(got) == 10
        await asyncio.gather(*callers)
        await budget.close()

    run_virtual(main())


def test_a_probe_that_nobody_waits_for_is_left_to_the_next_caller() -> None:
    async def main() -> None:
        budget = budget_of(600)
        budget.suspend(10.0)
        gone = asyncio.create_task(budget.acquire(CREATE, CallClass.NORMAL))
        await asyncio.sleep(5)
        gone.cancel()
        await asyncio.sleep(10)
        start = now()
        permit = await budget.acquire(CREATE, CallClass.NORMAL)
        assert permit.probe
        assert now() - start < 1
        await budget.close()

    run_virtual(main())


def test_a_call_of_unknown_fate_keeps_its_place_for_the_hold() -> None:
    async def main() -> None:
        budget = budget_of(WIDE, session_create=24)  # one call in flight
        start = now()
        budget.release(await budget.acquire(CREATE, CallClass.NORMAL), Fate.UNKNOWN)
        released = now()
        assert released - start < 3
        budget.release(await budget.acquire(CREATE, CallClass.NORMAL), Fate.NOT_SENT)
        assert now() - released >= HOLD_S
        again = now()
        budget.release(await budget.acquire(CREATE, CallClass.NORMAL), Fate.ANSWERED)
        assert now() - again < 3, "nothing left, nothing is held"
        await budget.close()

    run_virtual(main())


@pytest.mark.parametrize("limit", [1, 2])
def test_the_smallest_limits_are_used_in_full_and_rest_after_a_start(limit: int) -> None:
    async def main() -> None:
        budget = budget_of(WIDE, session_create=limit)
        start = now()
        got = await permits_until(budget, CREATE, start + 1320)
        assert got[0] >= start + HOLD_S + 60
        assert len(got) >= limit * 19
        assert all(later - earlier > 60 for earlier, later in zip(got, got[limit:], strict=False))
        await budget.close()

    run_virtual(main())


def test_a_waiter_that_is_cancelled_in_the_turn_of_its_grant_passes_the_permit_on() -> None:
    async def main() -> None:
        budget = budget_of(WIDE, calls_max=1)
        await asyncio.sleep(1)
        held = await budget.acquire(CREATE, CallClass.NORMAL)
        first = asyncio.create_task(budget.acquire(CREATE, CallClass.NORMAL))
        second = asyncio.create_task(budget.acquire(CREATE, CallClass.NORMAL))
        await asyncio.sleep(1)
        line = budget._lines[CREATE]
        budget.release(held, Fate.ANSWERED)
        for _ in range(10):
            if len(line.queue) == 1:
                break
            await asyncio.sleep(0)
        assert not first.done()
        first.cancel()  # granted, not resumed
        permit = await asyncio.wait_for(second, 1)
        with pytest.raises(asyncio.CancelledError):
            await first
        budget.release(permit, Fate.ANSWERED)
        await asyncio.sleep(1)
        assert at_once(budget.acquire(CREATE, CallClass.NORMAL)) is not None, "a call slot was lost"
        await budget.close()

    run_virtual(main())


@pytest.mark.parametrize("turns", range(8))
def test_cancellation_in_any_turn_loses_nothing(turns: int) -> None:
    async def main() -> None:
        budget = budget_of(WIDE, calls_max=1)
        await asyncio.sleep(1)
        held = await budget.acquire(CREATE, CallClass.NORMAL)
        waiter = asyncio.create_task(budget.acquire(CREATE, CallClass.NORMAL))
        await asyncio.sleep(1)
        budget.release(held, Fate.ANSWERED)
        for _ in range(turns):
            await asyncio.sleep(0)
        waiter.cancel()
        (outcome,) = await asyncio.gather(waiter, return_exceptions=True)
        if isinstance(outcome, Permit):
            budget.release(outcome, Fate.ANSWERED)
        await asyncio.sleep(1)
        assert all(scope["waiting"] == 0 for scope in budget.snapshot().values())
        assert all(scope["in_flight"] == 0 for scope in budget.snapshot().values())
        assert at_once(budget.acquire(CREATE, CallClass.NORMAL)) is not None
        await budget.close()

    run_virtual(main())


def test_close_ends_every_wait_and_every_task() -> None:
    async def main() -> None:
        budget: Budget = budget_of(24)
        held = await budget.acquire(CREATE, CallClass.NORMAL)
        await budget.acquire(DECISION, CallClass.NORMAL)
        waiters = [asyncio.create_task(budget.acquire(s, CallClass.NORMAL)) for s in (CREATE, DECISION) for _ in range(3)]
        await asyncio.sleep(0.1)
        budget.suspend(1000)
        await budget.close()
        await budget.close()
        outcomes = await asyncio.gather(*waiters, return_exceptions=True)
        assert all(isinstance(outcome, BudgetClosedError) for outcome in outcomes)
        with pytest.raises(BudgetClosedError):
            await budget.acquire(CREATE, CallClass.NORMAL)
        budget.release(held, Fate.UNKNOWN)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        loop: Any = asyncio.get_running_loop()
        assert [handle for handle in loop._scheduled if not handle.cancelled()] == []

    run_virtual(main())


def test_a_permit_is_given_back_once() -> None:
    async def main() -> None:
        budget = budget_of()
        permit = await budget.acquire(CREATE, CallClass.NORMAL)
        budget.release(permit, Fate.ANSWERED)
        with pytest.raises(ValueError, match="twice"):
            budget.release(permit, Fate.ANSWERED)
        with pytest.raises(KeyError):
            await budget.acquire(("unheard-of",), CallClass.NORMAL)
        await budget.close()

    run_virtual(main())


def test_the_snapshot_counts() -> None:
    async def main() -> None:
        budget = budget_of(WIDE, calls_max=1)
        await budget.acquire(CREATE, CallClass.NORMAL)
        waiting = asyncio.create_task(budget.acquire(DECISION, CallClass.NORMAL))
        await asyncio.sleep(0.1)
        budget.pause("session-create", 3.0)
        seen = budget.snapshot()
        assert seen["session-create"] == {"limit": WIDE, "in_flight": 1, "waiting": 0, "paused_for_s": pytest.approx(3.0)}
        assert seen["session-decision"]["waiting"] == 1
        waiting.cancel()
        await budget.close()

    run_virtual(main())


def test_a_share_without_a_call_is_refused() -> None:
    async def main() -> None:
        settings = BudgetSettings(share=0.005)
        with pytest.raises(LimitTooSmallError):
            LocalBudget(settings, calls_max=1, unknown_hold_s=1)

    run_virtual(main())


def test_a_fault_of_a_dispatcher_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        budget = budget_of(60)
        monkeypatch.setattr(budget._gate, "wait", lambda: 1 / 0)
        with pytest.raises(BudgetClosedError):
            await budget.acquire(CREATE, CallClass.NORMAL)
        task = budget._lines[CREATE].task
        assert task is not None
        await asyncio.wait([task])
        assert isinstance(task.exception(), ZeroDivisionError)
        await budget.close()

    run_virtual(main())
