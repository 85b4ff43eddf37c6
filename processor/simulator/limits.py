"""Rate limits: a sliding window for each key and scope, exact. Pure (Didit, "Rate limiting").

A call counts in every scope that applies; the first one that is used up answers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from processor.simulator.config import Limit

_TEXTS = {
    "session-create": "Session creation rate limit exceeded. You can make up to {limit} requests per minute.",
    "session-decision": "Session decision rate limit exceeded. You can make up to {limit} requests per minute.",
    "generic-get": "GET request rate limit exceeded. You can make up to {limit} requests per minute.",
    "generic-write": "Write request rate limit exceeded. You can make up to {limit} requests per minute.",
    "session-generate-pdf": "PDF generation rate limit exceeded. You can make up to {limit} requests per minute.",
    "session-add-images": "Image upload rate limit exceeded. You can make up to {limit} requests per minute.",
    "session-update-kyc": "Session update rate limit exceeded. You can make up to {limit} requests per minute.",
    "session-update-poa": "Session update rate limit exceeded. You can make up to {limit} requests per minute.",
    "ingest-write": "Request was throttled. Expected available in {wait_s} seconds.",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A 429: which scope, and when it has room again."""

    scope: str
    limit: int
    reset_at: float  # epoch seconds
    retry_after_s: int

    @property
    def headers(self) -> dict[str, str]:
        """The documented headers, present on a 429 only."""
        return {
            "Retry-After": str(self.retry_after_s),
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(math.ceil(self.reset_at)),
        }

    @property
    def body(self) -> dict[str, str]:
        """The body: documented for the generic scopes, creates and transactions; the others are worded alike."""
        return {"detail": _TEXTS[self.scope].format(limit=self.limit, wait_s=self.retry_after_s)}


class Windows:
    """All counters."""

    def __init__(self, limits: Mapping[str, Limit], *, rejected_count: bool) -> None:
        self._limits, self._rejected_count = limits, rejected_count
        self._calls: dict[tuple[str, str], deque[float]] = {}

    def admit(self, key: str, scopes: tuple[str, ...], now: float) -> Refusal | None:
        """Count a call of ``key`` at ``now`` in all scopes, or refuse it. ``now`` never goes back."""
        refusal = next((r for scope in scopes if (r := self._refusal(key, scope, now))), None)
        if refusal is None or self._rejected_count:
            for scope in scopes:
                self._calls[key, scope].append(now)
        return refusal

    def standing(self, key: str, scopes: tuple[str, ...], now: float) -> dict[str, str]:
        """The headers of a success, where the switch wants them: of the scope that has the least room."""
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

    def _refusal(self, key: str, scope: str, now: float) -> Refusal | None:
        limit = self._limits[scope]
        calls = self._expire(key, scope, now)
        if len(calls) < limit.limit:
            return None
        reset_at = calls[len(calls) - limit.limit] + limit.window_s
        return Refusal(scope, limit.limit, reset_at, max(1, math.ceil(reset_at - now)))


def max_in_window(times: list[float], window_s: float) -> int:
    """The most calls in any window of this length; a call leaves a window exactly ``window_s`` later."""
    most = first = 0
    for last, time in enumerate(times):
        while times[first] <= time - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most
