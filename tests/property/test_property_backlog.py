"""A mixed backlog on fleets in virtual time: the budget is in use until the last request is done, and nobody is written twice for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from memory_fleet import ANSWER_S, Fleet
from virtual_time import run_virtual

from processor.budget.view import budget_view
from processor.budget.windows import BURST_PART
from processor.didit.catalog import SCOPES_OF
from processor.monitoring.drain import drains, owed_calls

# A tenth of the defaults: lines of 10, and 30 calls in 6 s.
BUDGET = {"queue_max": 10, "limits": {"generic-write": {"limit": 30, "window_s": 6.0}, "session-create": {"limit": 60, "window_s": 6.0}}}
PACE_S = 6.0 / 30
HELD_S = 0.1 + ANSWER_S + 0.05  # a call counts for so much longer than its window: the slack, its answer, the log


@dataclass(frozen=True)
class Drained:
    """What became of a backlog."""

    calls: Sequence[tuple[float, str]]  # seconds since its publication, operation; of generic-write
    told_s: float  # how long it takes, as told when it was published
    rewrites: int  # records written because a line was full
    rewritten_most: int  # the same, of one request
    statuses: dict[str, int]


async def drain(replicas: int, operations: Sequence[str], **members: Any) -> Drained:
    fleet, loop = Fleet(replicas, budget=BUDGET), asyncio.get_running_loop()
    await fleet.start()
    try:
        fleet.request("first", "aml")  # another operation is wanted within the hour
        async with asyncio.timeout(3600):
            await fleet.topics.done.wait()
            began, before = loop.time(), len(fleet.didit.calls)
            for number, operation in enumerate(operations):
                fleet.request(f"r-{number}", operation, **members)
                await asyncio.sleep(0.001)
            budget = fleet.members[0].budget
            called = [name for _, name, _ in fleet.didit.calls[before:]]
            asked = {name: float(operations.count(name) - called.count(name)) for name in set(operations)}
            view = budget_view(budget.state, SCOPES_OF, fleet.members[0].clock())
            told_s = max(d.drain_s for d in drains(owed_calls(asked, (), 0), view))
            await fleet.topics.done.wait()
        calls = [(at - began, name) for at, name, _ in fleet.didit.calls[before:] if "generic-write" in SCOPES_OF[name]]
        rewrites = fleet.topics.rewrites
        return Drained(calls, told_s, rewrites["queue_full"], max(fleet.topics.sent_away.values(), default=0), fleet.topics.statuses)
    finally:
        await fleet.stop()


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    replicas=st.sampled_from([1, 2, 4]),
    parts=st.tuples(st.integers(0, 60), st.integers(40, 90), st.integers(10, 40)),
    order=st.sampled_from(["one after the other", "mixed"]),
)
@example(replicas=2, parts=(83, 167, 30), order="one after the other")
@example(replicas=4, parts=(0, 90, 40), order="mixed")
def test_the_budget_is_in_use_while_anything_waits(replicas: int, parts: tuple[int, int, int], order: str) -> None:
    operations = [name for name, count in zip(("verification", "session.create", "aml"), parts, strict=True) for _ in range(count)]
    if order == "mixed":
        operations = operations[::3] + operations[1::3] + operations[2::3]
    found = run_virtual(drain(replicas, operations))
    count, last_s = len(operations), found.calls[-1][0]
    assert len(found.calls) == count
    assert found.statuses == {"succeeded": count + 1}
    for (before_s, _), (after_s, _) in pairwise(found.calls):
        pace_s = PACE_S / (1 - BURST_PART) if before_s <= 6.0 else PACE_S  # a window that begins with a burst has half of its calls left
        assert after_s - before_s <= 5 * pace_s, f"no call for {after_s - before_s:.1f} s while requests waited"
    possible_s = count * PACE_S * (6.0 + HELD_S) / 6.0
    assert last_s <= 1.01 * possible_s, f"use {possible_s / last_s:.1%}"
    assert abs(found.told_s - last_s) <= 0.1 * last_s + 1.0
    assert found.rewrites <= count
    assert found.rewritten_most <= 2
