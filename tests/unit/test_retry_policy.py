from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from processor.contract.codes import ErrorCode
from processor.contract.records import Hop, Source
from processor.retry.policy import Again, GiveUp, backoff_step_s, delay_topic_s, next_attempt
from processor.settings import RetrySettings

FIRST = Hop(Source("v.requests", 1, 7), first_ms=1_000)
POLICY = RetrySettings()
NOW_MS = 1_700_000_000_000


def step(hop: Hop = FIRST, **changes: Any) -> Again | GiveUp:
    given: dict[str, Any] = {
        "error_code": "http_503",
        "counted": True,
        "floor_s": None,
        "doubt_ms": None,
        "now_ms": NOW_MS,
        "draw": 0.5,
        "deadline_ms": None,
        "policy": POLICY,
    }
    return next_attempt(hop, **(given | changes))


def again(hop: Hop = FIRST, **changes: Any) -> Again:
    found = step(hop, **changes)
    assert isinstance(found, Again)
    return found


def wait_ms(found: Again) -> int:
    assert found.hop.due_ms is not None
    return found.hop.due_ms - NOW_MS


def test_a_counted_failure_takes_an_attempt_and_leaves_its_traces() -> None:
    found = again()
    assert found.hop == replace(FIRST, hop=1, attempt=1, due_ms=found.hop.due_ms, first_failure_ms=NOW_MS, last_error="http_503")
    assert not found.cut


def test_the_first_failure_and_the_first_doubt_are_kept() -> None:
    hop = replace(FIRST, first_failure_ms=5, doubt_ms=6, last_error="timeout")
    found = again(hop, doubt_ms=NOW_MS - 30_000)
    assert (found.hop.first_failure_ms, found.hop.doubt_ms, found.hop.last_error) == (5, 6, "http_503")
    assert again(doubt_ms=NOW_MS - 30_000).hop.doubt_ms == NOW_MS - 30_000
    assert again(doubt_ms=None).hop.doubt_ms is None


def test_the_backoff_doubles_up_to_its_maximum_with_jitter_from_a_tenth() -> None:
    steps = [backoff_step_s(n, 5, 3600) for n in range(1, 13)]
    assert steps[:4] == [5, 10, 20, 40]
    assert steps[-1] == backoff_step_s(10_000, 5, 3600) == 3600
    least = [wait_ms(again(replace(FIRST, attempt=n), draw=0.0)) for n in range(3)]
    most = [wait_ms(again(replace(FIRST, attempt=n), draw=math.nextafter(1, 0))) for n in range(3)]
    assert least == [500, 1000, 2000]
    assert most == [5000, 10_000, 20_000]


def test_a_counted_wait_stands_on_its_floor_too() -> None:
    assert [wait_ms(again(floor_s=120.0, draw=draw)) for draw in (0.0, 0.5)] == [120_000, 120_000 + 2250]


@pytest.mark.parametrize(("floor_s", "least_ms"), [(0.0, 1000), (0.503, 1000), (2.5, 2500), (29.999, 29_999), (30.0, 30_000)])
def test_an_uncounted_wait_stands_on_its_floor(floor_s: float, least_ms: int) -> None:
    assert wait_ms(again(counted=False, floor_s=floor_s, draw=0.0)) == least_ms
    assert wait_ms(again(counted=False, floor_s=floor_s, draw=0.999)) > least_ms


def test_an_uncounted_wait_without_a_floor_grows_with_the_hops_to_a_minute() -> None:
    waits = [wait_ms(again(replace(FIRST, hop=n), counted=False, draw=math.nextafter(1, 0))) for n in range(10)]
    assert waits[:4] == [1000, 2000, 4000, 8000]
    assert waits[-1] == 60_000
    assert wait_ms(again(counted=False, draw=0.0)) == 1000


def test_a_long_retry_after_is_cut_and_says_so() -> None:
    found = again(counted=False, floor_s=999_999.0, draw=0.0)
    assert found.cut
    assert wait_ms(found) == POLICY.retry_after_max_s * 1000
    assert not again(counted=False, floor_s=POLICY.retry_after_max_s).cut
    assert again(counted=True, floor_s=math.inf).cut


def test_a_fraction_of_a_millisecond_rounds_up() -> None:
    assert wait_ms(again(counted=False, floor_s=2.0001, draw=0.0)) == 2001


@pytest.mark.parametrize(("attempt", "expected"), [(4, Again), (5, GiveUp), (6, GiveUp)])
def test_attempts_are_limited(attempt: int, expected: type) -> None:
    assert POLICY.attempts_max == 6
    found = step(replace(FIRST, attempt=attempt))
    assert isinstance(found, expected)
    if isinstance(found, GiveUp):
        assert not found.deadline_passed


def test_what_is_not_counted_is_never_exhausted() -> None:
    hop = replace(FIRST, attempt=POLICY.attempts_max, hop=100_000)
    assert again(hop, counted=False).hop.attempt == POLICY.attempts_max


def test_a_wait_to_the_deadline_is_given_up() -> None:
    assert step(counted=False, floor_s=10.0, draw=0.0, deadline_ms=NOW_MS + 10_000) == GiveUp(deadline_passed=True)
    assert isinstance(step(counted=False, floor_s=10.0, draw=0.0, deadline_ms=NOW_MS + 10_001), Again)


def test_one_that_waits_for_room_in_its_line_waits_until_its_deadline() -> None:
    """Its turn may come sooner than is expected; at the deadline it is answered."""
    found = again(counted=False, error_code=ErrorCode.QUEUE_FULL, floor_s=100.0, draw=0.0, deadline_ms=NOW_MS + 90_000)
    assert (wait_ms(found), found.delay_s) == (90_000, 60)
    assert wait_ms(again(counted=False, error_code=ErrorCode.QUEUE_FULL, floor_s=10.0, draw=0.0, deadline_ms=NOW_MS + 90_000)) == 10_000
    late = step(counted=False, error_code=ErrorCode.QUEUE_FULL, floor_s=100.0, draw=0.0, deadline_ms=NOW_MS)
    assert late == GiveUp(deadline_passed=True)


@pytest.mark.parametrize(("wait_s", "topic_s"), [(0.2, 10), (10, 10), (59.9, 10), (60, 60), (3599, 600), (3600, 3600), (90_000, 3600)])
def test_the_delay_topic_is_the_longest_that_is_not_above_the_wait(wait_s: float, topic_s: int) -> None:
    assert delay_topic_s(wait_s, POLICY.delays_s) == topic_s
