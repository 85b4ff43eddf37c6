"""When a request is tried again, or that it is given up. Pure: ``now`` and the draw go in.

Didit asks for exponential backoff with jitter and for ``Retry-After`` as a floor (Didit, "Rate limiting" and "API errors").
"""

from __future__ import annotations

import math
from dataclasses import replace

from processor.contract.codes import SENT_AWAY, Code
from processor.contract.records import Hop
from processor.contract.values import value
from processor.settings import RetrySettings

# A wait that nobody named and that counts no attempt (a bare 429) grows with the hops, from here to there.
_UNCOUNTED_BASE_S = 1.0
_UNCOUNTED_MAX_S = 60.0
_DOUBLINGS_MAX = 40  # 2**40 s is beyond every cap; keeps the float small
_LEAST_PART = 0.1  # of a backoff step that no draw undercuts where the server named no floor
_SPREAD_MAX_S = 60.0  # jitter above a long floor; more would only be late


@value(frozen=True, slots=True)
class Again:
    """Publish to the delay topic of ``delay_s`` with the headers of ``hop``."""

    hop: Hop
    delay_s: int
    cut: bool = False  # Retry-After was longer than the configured cap: worth an alarm


@value(frozen=True, slots=True)
class GiveUp:
    """No further attempt: all are used up, or the deadline comes first."""

    deadline_passed: bool


def backoff_step_s(attempt: int, base_s: float, max_s: float) -> float:
    """The exponential step of an attempt (1 is the first): base, then twice as long each time, up to the maximum."""
    return float(min(max_s, base_s * 2.0 ** min(max(attempt - 1, 0), _DOUBLINGS_MAX)))


def delay_topic_s(wait_s: float, delays_s: tuple[int, ...]) -> int:
    """The longest delay that is not above the wait; the shortest for a wait below all. The due time absorbs the rest."""
    return max((delay_s for delay_s in delays_s if delay_s <= wait_s), default=delays_s[0])


def next_attempt(
    hop: Hop,
    *,
    error_code: Code,
    counted: bool,
    floor_s: float | None,
    doubt_ms: int | None,
    now_ms: int,
    draw: float,
    deadline_ms: int | None,
    policy: RetrySettings,
) -> Again | GiveUp:
    """What follows an attempt that did not end the request.

    Args:
        hop: what the attempt was made under.
        error_code: for the header.
        counted: whether the attempt counts (a throttled or deferred one does not).
        floor_s: ``Retry-After``, or another wait that must not be undercut.
        doubt_ms: a moment before the call, if its fate is unknown.
        now_ms: epoch ms.
        draw: 0 <= draw < 1.
        deadline_ms: the caller's, epoch ms.
        policy: limits and delays.
    """
    attempt = hop.attempt + 1 if counted else hop.attempt
    if counted and attempt >= policy.attempts_max:
        return GiveUp(deadline_passed=False)
    cut = floor_s is not None and floor_s > policy.retry_after_max_s
    floor = None if floor_s is None else min(max(floor_s, 0.0), policy.retry_after_max_s)
    wait_s = _counted_wait_s(attempt, floor or 0.0, draw, policy) if counted else _uncounted_wait_s(hop.hop, floor, draw)
    due_ms = now_ms + math.ceil(wait_s * 1000)
    if deadline_ms is not None and due_ms >= deadline_ms:
        if error_code not in SENT_AWAY or now_ms >= deadline_ms:
            return GiveUp(deadline_passed=True)
        due_ms, wait_s = deadline_ms, (deadline_ms - now_ms) / 1000  # its turn may come before it is expected
    following = replace(
        hop,
        hop=hop.hop + 1,
        attempt=attempt,
        due_ms=due_ms,
        first_failure_ms=hop.first_failure_ms if hop.first_failure_ms is not None else now_ms,
        last_error=error_code,
        doubt_ms=hop.doubt_ms if hop.doubt_ms is not None else doubt_ms,
    )
    return Again(following, delay_topic_s(wait_s, policy.delays_s), cut)


def _counted_wait_s(attempt: int, floor_s: float, draw: float, policy: RetrySettings) -> float:
    """Full jitter above the floor, which is at least a tenth of the step, so that no draw retries at once."""
    least_s = _LEAST_PART * backoff_step_s(attempt, policy.backoff_base_s, policy.backoff_max_s)
    return max(floor_s, least_s) + draw * (1 / _LEAST_PART - 1) * least_s


def _uncounted_wait_s(hop: int, floor_s: float | None, draw: float) -> float:
    """A little above the floor: those who were held up together do not come back together. Without one it grows."""
    if floor_s is not None:
        return max(floor_s, _UNCOUNTED_BASE_S) + draw * min(_SPREAD_MAX_S, max(_UNCOUNTED_BASE_S, floor_s / 10))
    step_s = backoff_step_s(hop + 1, _UNCOUNTED_BASE_S, _UNCOUNTED_MAX_S)
    return max(_UNCOUNTED_BASE_S, step_s * (0.5 + draw / 2))
