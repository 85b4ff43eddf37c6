from __future__ import annotations

import heapq

from hypothesis import given
from hypothesis import strategies as st

from processor.contract.codes import ForeignCode
from processor.contract.records import Hop, Source
from processor.retry.delay_queue import DelayQueue
from processor.retry.policy import Again, GiveUp, backoff_step_s, next_attempt
from processor.settings import RetrySettings

draws = st.floats(0, 1, exclude_max=True)
floors = st.none() | st.floats(0, 10**13, allow_nan=False)
moments_ms = st.integers(0, 2**52)
policies = st.builds(
    RetrySettings,
    attempts_max=st.integers(1, 1000),
    backoff_base_s=st.floats(0.01, 100),
    backoff_max_s=st.floats(0.01, 100_000),
    retry_after_max_s=st.floats(0.1, 10**6),
    delays_s=st.sets(st.integers(1, 10**5), min_size=1, max_size=6).map(lambda s: tuple(sorted(s))),
)
hops = st.builds(
    Hop,
    first=st.just(Source("t", 0, 0)),
    first_ms=moments_ms,
    hop=st.integers(0, 10**6),
    attempt=st.integers(0, 1000),
    first_failure_ms=st.none() | moments_ms,
    doubt_ms=st.none() | moments_ms,
)


@given(
    hop=hops,
    counted=st.booleans(),
    floor_s=floors,
    doubt_ms=st.none() | moments_ms,
    now_ms=moments_ms,
    draw=draws,
    deadline_in_ms=st.none() | st.integers(-(10**6), 10**8),
    policy=policies,
)
def test_every_step_keeps_its_promises(
    hop: Hop,
    counted: bool,
    floor_s: float | None,
    doubt_ms: int | None,
    now_ms: int,
    draw: float,
    deadline_in_ms: int | None,
    policy: RetrySettings,
) -> None:
    deadline_ms = None if deadline_in_ms is None else now_ms + deadline_in_ms
    step = next_attempt(
        hop,
        error_code=ForeignCode("x"),
        counted=counted,
        floor_s=floor_s,
        doubt_ms=doubt_ms,
        now_ms=now_ms,
        draw=draw,
        deadline_ms=deadline_ms,
        policy=policy,
    )
    if isinstance(step, GiveUp):
        if not step.deadline_passed:
            assert counted
            assert hop.attempt + 1 >= policy.attempts_max
        else:
            assert deadline_ms is not None
        return
    due_ms = step.hop.due_ms
    assert due_ms is not None
    wait_s = (due_ms - now_ms) / 1000
    floor = min(floor_s or 0.0, policy.retry_after_max_s)
    assert wait_s >= floor, "earlier than the floor"
    assert step.cut == (floor_s is not None and floor_s > policy.retry_after_max_s)
    if counted:
        backoff_s = backoff_step_s(hop.attempt + 1, policy.backoff_base_s, policy.backoff_max_s)
        assert backoff_s <= policy.backoff_max_s
        assert backoff_s / 10 - 1e-6 <= wait_s <= floor + backoff_s + 0.002
        assert hop.attempt < step.hop.attempt < policy.attempts_max
    else:
        assert 1 <= wait_s <= max(floor, 1) + 60.002
        assert step.hop.attempt == hop.attempt
    assert deadline_ms is None or due_ms < deadline_ms
    fitting = [d for d in policy.delays_s if d * 1000 <= due_ms - now_ms]
    assert step.delay_s in ({max(fitting)} if fitting else {policy.delays_s[0]}) or step.delay_s + 0.001 > wait_s
    assert step.hop.hop == hop.hop + 1
    assert step.hop.first_failure_ms == (now_ms if hop.first_failure_ms is None else hop.first_failure_ms)
    assert step.hop.doubt_ms == (doubt_ms if hop.doubt_ms is None else hop.doubt_ms)


@given(draw=draws, low=st.floats(0, 10**6), more=st.floats(0, 10**6), counted=st.booleans(), attempt=st.integers(0, 3))
def test_a_longer_floor_or_a_later_attempt_never_comes_earlier(draw: float, low: float, more: float, counted: bool, attempt: int) -> None:
    def due_ms(attempt: int, floor_s: float) -> int:
        hop = Hop(Source("t", 0, 0), 0, attempt=attempt)
        step = next_attempt(
            hop,
            error_code=ForeignCode("x"),
            counted=counted,
            floor_s=floor_s,
            doubt_ms=None,
            now_ms=0,
            draw=draw,
            deadline_ms=None,
            policy=RetrySettings(),
        )
        assert isinstance(step, Again)
        assert step.hop.due_ms is not None
        return step.hop.due_ms

    assert due_ms(attempt, low) <= due_ms(attempt, low + more)
    assert due_ms(attempt, low) <= due_ms(attempt + 1, low)


@given(
    st.lists(
        st.tuples(st.just("push"), st.integers(0, 50), st.just(0))
        | st.tuples(st.just("pop"), st.integers(0, 60), st.integers(0, 10))
        | st.tuples(st.just("remove"), st.integers(0, 60), st.just(0))
        | st.tuples(st.just("clear"), st.just(0), st.just(0)),
        max_size=60,
    )
)
def test_the_delay_queue_is_a_sorted_list(steps: list[tuple[str, int, int]]) -> None:
    queue: DelayQueue[int] = DelayQueue()
    model: list[tuple[int, int]] = []  # due, sequence
    for sequence, (what, first, second) in enumerate(steps):
        if what == "push":
            queue.push(first, sequence, sequence)
            heapq.heappush(model, (first, sequence))
        elif what == "clear":
            queue.clear()
            model.clear()
        elif what == "remove":
            held = [m for m in model if m[1] == first]
            assert queue.holds(first) == bool(held)
            assert queue.remove(first) == (first if held else None)
            model = sorted(m for m in model if m[1] != first)
        else:
            due = sorted(m for m in model if m[0] <= first)[:second]
            assert queue.pop_due(first, second) == [m[1] for m in due]
            model = [m for m in model if m not in due]
            heapq.heapify(model)
        assert len(queue) == len(model)
        assert queue.next_due_ms == (model[0][0] if model else None)
