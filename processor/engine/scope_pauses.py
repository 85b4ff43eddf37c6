"""What a rate-limit 429 means for everybody: the scopes that it holds up are paused on every replica."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from processor.budget.permits import Budget
from processor.didit.verdicts import Throttled
from processor.engine.calls import throttle_s

log = structlog.get_logger(__name__)


class ScopePauses:
    """Pauses scopes.

    Args:
        budget: of all replicas.
        limits: calls a window by scope, as configured.
        pause_s_max: a longer ``Retry-After`` pauses the scopes no longer, s.
    """

    def __init__(self, budget: Budget, limits: Mapping[str, int], pause_s_max: float) -> None:
        self._budget, self._limits, self._pause_s_max = budget, limits, pause_s_max

    def note(self, throttled: Throttled) -> None:
        """Pause the scope that tripped on every replica; all of the call's scopes if the answer does not tell which."""
        wait_s = throttle_s(throttled, self._pause_s_max)
        scopes = throttled.scopes
        if len(scopes) > 1 and throttled.limit is not None:
            scopes = tuple(s for s in scopes if self._limits[s] == throttled.limit) or scopes
        for scope in scopes:
            log.warning("throttled", scope=scope, wait_s=wait_s)
            self._budget.pause(scope, wait_s, throttled.limit if len(scopes) == 1 else None)
        if scopes and throttled.limit is not None and all(self._limits[s] != throttled.limit for s in scopes):
            log.error(
                "limit_differs",
                scopes=scopes,
                configured=[self._limits[s] for s in scopes],
                told=throttled.limit,
                hint="Didit names another limit than VP_BUDGET__LIMITS; correct it. A lower one of one scope is obeyed for an hour",
            )
