"""Calls to Didit that no request asks for. Each takes a permit like any other call, behind those of requests, and counts in its scopes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from processor.budget.permits import NOT_SENT, Ask, Budget, CallClass, Ending, Fate, Parked, Permit
from processor.clock import boot_clock
from processor.didit.answers import Answer
from processor.didit.calls import HttpCall
from processor.didit.verdicts import Throttled, Verdict, classify
from processor.engine.calls import CallsDidit, count_answer, count_call, throttle_s


async def make_own_call(
    client: CallsDidit,
    budget: Budget,
    call: HttpCall,
    *,
    since_ms: int,
    within_s: float,
    pause_s_max: float,
    ending_of: Callable[[Answer, Verdict], Ending],
) -> Verdict | Parked | None:
    """One call, which must only read. A rate-limit 429 pauses its scopes for every replica.

    Args:
        client: makes it.
        budget: gives the permit.
        call: what to send.
        since_ms: since when it waits, epoch ms.
        within_s: so long a permit is waited for, s.
        pause_s_max: a longer ``Retry-After`` pauses the scopes no longer, s.
        ending_of: what the budget is told of the end of the call.

    Returns:
        What the answer means; or why there was no call: ``Parked``, or None if no permit came in time.

    Raises:
        BudgetClosedError: no call was made.
    """
    operation = call.operation
    ask = Ask(operation.name, operation.scopes, CallClass.POLL, since_ms, None, operation.timeout_s)
    try:
        async with asyncio.timeout(within_s):
            permit = await budget.acquire(ask)
    except TimeoutError:
        return None
    if isinstance(permit, Parked):
        return permit
    if not isinstance(permit, Permit):
        raise TypeError(f"a call without an identity cannot be a {type(permit).__name__}")
    if boot_clock() > permit.start_by:  # the process stood still meanwhile
        budget.release(permit, NOT_SENT)
        return None
    ending = Ending(Fate.UNKNOWN)
    try:
        count_call(permit.ask)
        answer = await client.send(call)
        verdict = classify(operation, answer)
        ending = ending_of(answer, verdict)
        if isinstance(verdict, Throttled):
            for scope in verdict.scopes:
                budget.pause(scope, throttle_s(verdict, pause_s_max))
    finally:
        budget.release(permit, ending)
    count_answer(operation.name, verdict)
    return verdict
