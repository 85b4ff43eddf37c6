"""Asks of others that are as usual are taken in with few steps: what these must not leave out."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from memory_log import MemoryLog, MemoryTopic
from virtual_time import run_virtual

from processor.budget.call_index import CallState
from processor.budget.log_records import Asked, Ended, Failed, UsualAsk, encode, parse_entry, read_usual_ask
from processor.budget.permits import Ask, CallClass, CallIdentity, HealthSignal, Permit
from processor.budget.replica_limits import ReplicaLimits
from processor.budget.shared import SharedBudget
from processor.budget.state import BudgetState, Rules
from processor.contract.digests import position_digest

RULES = Rules({"a": (600, 60.0)}, 30.0, 60.0, 30.0, 0.1, 10.0, 3600.0, 86_400.0, 3, 15.0, 30.0)
MARK = CallIdentity(position_digest("r"), position_digest("c"), position_digest("f"), "t[0]", 5)


def asked(name: str, identity: CallIdentity = MARK) -> Asked:
    return Asked(name, ("a",), 90.0, "op", identity=identity)


def usual(record: Asked) -> UsualAsk:
    [raw] = parse_entry(encode(record))
    found = read_usual_ask(raw)
    assert found is not None
    return found


def test_an_end_is_noted_of_the_call_of_its_ask() -> None:
    state, requests = BudgetState(RULES, 0.0), [position_digest(str(n)) for n in range(3)]
    for n, request in enumerate(requests):
        assert state.apply_usual(usual(asked(f"c-{n}", replace(MARK, request=request))), n, 0.0, 0)
    state.apply(Ended("c-1", used=True, acted=True), 3, 1.0, 1000)
    states = [call.state for request in requests for call in state.journal.memory.of(request)]
    assert states == [CallState.OPEN, CallState.ACTED, CallState.OPEN]


def test_an_answer_is_noted_of_the_call_of_its_ask() -> None:
    state, requests = BudgetState(RULES, 0.0), [position_digest(str(n)) for n in range(3)]
    for n, request in enumerate(requests):
        assert state.apply_usual(usual(asked(f"c-{n}", replace(MARK, request=request))), n, 0.0, 0)
    assert not state.apply_answered("c-1", 1.0, 1000, acted=True), "the first end of an endpoint makes its breaker"
    state.breaker("op")
    assert state.apply_answered("c-1", 1.0, 1000, acted=True)
    assert not state.apply_answered("c-1", 1.0, 1000, acted=True), "it has an end"
    states = [call.state for request in requests for call in state.journal.memory.of(request)]
    assert states == [CallState.OPEN, CallState.ACTED, CallState.OPEN]


def test_an_answer_that_matters_to_a_breaker_is_left_to_it() -> None:
    state = BudgetState(RULES, 0.0)
    for n in range(2):
        assert state.apply_usual(usual(asked(f"c-{n}", replace(MARK, request=position_digest(str(n))))), n, 0.0, 0)
    state.apply(Failed("c-0"), 2, 1.0, 1000)
    assert not state.apply_answered("c-1", 1.0, 1000, acted=True), "failures are no longer in a row"
    state.apply(Ended("c-1", used=True, acted=True, health=HealthSignal.GOOD), 3, 1.0, 1000)
    assert state.breaker("op").is_undisturbed_by(HealthSignal.GOOD)


def test_an_ask_whose_request_is_known_is_compared_with_what_is_known() -> None:
    state, copy = BudgetState(RULES, 0.0), asked("c-1", replace(MARK, first=position_digest("another")))
    assert state.apply_usual(usual(asked("c-0")), 0, 0.0, 0)
    assert not state.apply_usual(usual(copy), 1, 1.0, 1000)
    state.apply(copy, 1, 1.0, 1000)
    assert [call.copy_of for call in state.journal.memory.of(MARK.request)] == ["", MARK.first]


def test_an_own_ask_that_is_read_back_starts() -> None:
    async def play() -> object:
        limits = ReplicaLimits("pod", calls_max=50, queue_max=100, park_s=60.0)
        budget = SharedBudget(MemoryLog(MemoryTopic()), RULES, limits, draw=lambda: 0.0, clock=asyncio.get_running_loop().time)
        task = asyncio.create_task(budget.run())
        try:
            async with asyncio.timeout(RULES.wait_s / 2):  # of virtual time; later it would be asked for again
                return await budget.acquire(Ask("op", ("a",), CallClass.NORMAL, 0, MARK))
        finally:
            task.cancel()
            await asyncio.wait({task})
            await budget.close()

    assert isinstance(run_virtual(play()), Permit)
