"""Which look at a session goes next when the budget is too small for all of them."""

from __future__ import annotations

import heapq
import random
from dataclasses import replace

import pytest

from processor.budget.fair_queue import FairQueue
from processor.budget.permits import CallClass
from processor.contract.records import Hop, Source
from processor.didit.follow import next_poll_s
from processor.engine.places import poll_order

NOW = 1_764_000_000_000
HOP = Hop(Source("t", 0, 0), NOW - 60_000, session_id="s", due_ms=NOW - 500)


@pytest.mark.parametrize(
    ("hop", "woken", "expected"),
    [
        (HOP, False, (CallClass.FIRST_POLL, NOW - 500)),
        (replace(HOP, polls=3), False, (CallClass.POLL, NOW - 500)),
        (replace(HOP, polls=3, due_ms=NOW + 3_600_000), True, (CallClass.FIRST_POLL, NOW)),
        (replace(HOP, polls=3, settled="approved", settled_ms=NOW - 9000), False, (CallClass.LATE_POLL, NOW - 500)),
        (replace(HOP, polls=1, first_failure_ms=NOW - 7000), False, (CallClass.POLL, NOW - 7000)),
        (replace(HOP, due_ms=None), False, (CallClass.FIRST_POLL, NOW)),
    ],
)
def test_a_first_look_comes_before_further_ones_and_those_before_late_ones(hop: Hop, woken: bool, expected: tuple[CallClass, int]) -> None:
    assert poll_order(hop, NOW, woken=woken) == expected


def test_short_polls_and_later_finals_leave_nobody_waiting() -> None:
    """200 persons, looks after 5, 10, 20, 20 ... s, later finals for all, and a budget of 100 looks a minute: a sixth of what is wanted."""
    draw, polls_s, step_ms = random.Random(7), (5, 10, 20), 600
    finished_ms = [NOW + 200 * n + draw.randrange(5_000, 60_000) for n in range(200)]
    due = [(NOW + 200 * n + 5_000, n) for n in range(200)]
    hops = [replace(HOP, first_ms=NOW + 200 * n, due_ms=at) for at, n in due]
    heapq.heapify(due)
    queue: FairQueue[int] = FairQueue()
    final_ms: dict[int, int] = {}
    for now in range(NOW, NOW + 600_000, step_ms):
        while due and due[0][0] <= now:
            waiter = heapq.heappop(due)[1]
            queue.push(*poll_order(hops[waiter], now, woken=False), waiter)
        n = queue.pop()
        if n is None:
            continue
        if now >= finished_ms[n] and n not in final_ms:
            final_ms[n] = now
        at = now + int(1000 * next_poll_s(hops[n].polls + 1, polls_s, None, draw.random()))
        hops[n] = replace(hops[n], polls=hops[n].polls + 1, due_ms=at, settled="approved" if n in final_ms else None)
        heapq.heappush(due, (at, n))
    assert len(final_ms) == 200
    waits = sorted(final_ms[n] - finished_ms[n] for n in range(200))
    assert waits[-1] <= 150_000
