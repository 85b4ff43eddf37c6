"""Rate limits: an exact sliding window for each key and scope. Pure (Didit, "Rate limiting").

A call counts in every scope that applies; the first scope that is used up rejects it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from processor.simulator.config import RateLimit

_TEXTS = {
    "session-create": "Session creation rate limit exceeded. You can make up to {limit} requests per minute.",
    "session-decision": "Session decision rate limit exceeded. You can make up to {limit} requests per minute.",
    "generic-get": "GET request rate limit exceeded. You can make up to {limit} requests per minute.",
    "generic-write": "Write request rate limit exceeded. You can make up to {limit} requests per minute.",
    "session-generate-pdf": "PDF generation rate limit exceeded. You can make up to {limit} requests per minute.",
    "session-add-images": "Image upload rate limit exceeded. You can make up to {limit} requests per minute.",
    "session-update-kyc": "Session KYC data update rate limit exceeded. You can make up to {limit} requests per minute.",
    "session-update-poa": "Session POA data update rate limit exceeded. You can make up to {limit} requests per minute.",
    "ingest-write": "Request was throttled. Expected available in {wait_s} seconds.",
}


@dataclass(frozen=True, slots=True)
class TooManyRequests:
    """A rejection by a rate limit: which scope, and when it admits calls again."""

    scope: str
    limit: int
    reset_at: float  # epoch seconds
    retry_after_s: int

    @property
    def headers(self) -> dict[str, str]:
        """The documented headers of a 429."""
        return {
            "Retry-After": str(self.retry_after_s),
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(math.ceil(self.reset_at)),
        }

    @property
    def body(self) -> dict[str, str]:
        """The body; documented for the generic scopes, creates and transactions, the other texts follow their pattern."""
        return {"detail": _TEXTS[self.scope].format(limit=self.limit, wait_s=self.retry_after_s)}


class RateLimiter:
    """The windows of all keys and scopes. ``rejected_count``: rejected calls count too."""

    def __init__(self, limits: Mapping[str, RateLimit], *, rejected_count: bool) -> None:
        self._limits = limits
        self._rejected_count = rejected_count
        self._calls: dict[tuple[str, str], deque[float]] = {}

    def admit(self, key: str, scopes: tuple[str, ...], now: float) -> TooManyRequests | None:
        """Count a call of ``key`` at ``now`` (epoch seconds, never going back) in all scopes. Returns None if it is admitted."""
        rejection = next((r for scope in scopes if (r := self._rejection(key, scope, now))), None)
        if rejection is None or self._rejected_count:
            for scope in scopes:
                self._calls[key, scope].append(now)
        return rejection

    def quota_headers(self, key: str, scopes: tuple[str, ...], now: float) -> dict[str, str]:
        """Rate headers of an admitted call: those of the scope with the fewest calls left."""
        if not scopes:
            return {}
        for scope in scopes:
            self._expire(key, scope, now)
        scope = min(scopes, key=lambda name: self._limits[name].limit - len(self._calls[key, name]))
        limit, calls = self._limits[scope], self._calls[key, scope]
        return {
            "X-RateLimit-Limit": str(limit.limit),
            "X-RateLimit-Remaining": str(max(0, limit.limit - len(calls))),
            "X-RateLimit-Reset": str(math.ceil((calls[0] if calls else now) + limit.window_s)),
        }

    def _expire(self, key: str, scope: str, now: float) -> deque[float]:
        calls = self._calls.setdefault((key, scope), deque())
        while calls and calls[0] <= now - self._limits[scope].window_s:
            calls.popleft()
        return calls

    def _rejection(self, key: str, scope: str, now: float) -> TooManyRequests | None:
        limit = self._limits[scope]
        calls = self._expire(key, scope, now)
        if len(calls) < limit.limit:
            return None
        reset_at = calls[len(calls) - limit.limit] + limit.window_s
        return TooManyRequests(scope, limit.limit, reset_at, max(1, math.ceil(reset_at - now)))


def max_in_window(times: list[float], window_s: float) -> int:
    """The most calls in any window of this length; ``times`` ascend. A call at ``t`` is outside at ``t + window_s``."""
    most = first = 0
    for last, time in enumerate(times):
        while times[first] <= time - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most
