"""The credits that the account has left at Didit, read now and then, for a metric and its alert."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from processor.budget.permits import Budget, Ending, Fate, HealthSignal, Parked
from processor.didit.account_checks import balance_of
from processor.didit.answers import Answer
from processor.didit.calls import HttpCall
from processor.didit.catalog import OPERATIONS
from processor.didit.verdicts import Forbidden, Success, Verdict
from processor.engine.calls import CallsDidit, ending_of
from processor.engine.own_calls import make_own_call
from processor.observe import metrics

_OPERATION = OPERATIONS["billing.balance"]
_REFERENCE = "balance"  # X-Request-Id of these calls
_DAY_S = 86_400.0  # a key that may not read the balance is asked again after so long

log = structlog.get_logger(__name__)


class BalanceReader:
    """Reads the balance each ``every_s`` seconds, the first time after as long. Runs until cancelled.

    Each read takes a permit like any other call, behind those of requests, and counts in its scope. One that comes to nothing leaves
    no figure: an old one would be taken for the present one.
    """

    def __init__(self, client: CallsDidit, budget: Budget, every_s: float, clock_ms: Callable[[], int], *, pause_s_max: float) -> None:
        self._client, self._budget, self._every_s, self._clock_ms = client, budget, every_s, clock_ms
        self._pause_s_max = pause_s_max

    async def run(self) -> None:
        """Read and wait."""
        wait_s = self._every_s
        while True:
            await asyncio.sleep(wait_s)
            wait_s = self._every_s
            verdict = await self._read()
            metrics.BALANCE.clear()
            if isinstance(verdict, Success) and (found := balance_of(verdict.output)) is not None:
                usd, refilled = found
                metrics.BALANCE.labels("on" if refilled else "off").set(usd)
            elif isinstance(verdict, Forbidden):
                wait_s = max(_DAY_S, self._every_s)
                log.warning(
                    "balance_refused", hint="the API key may not read the credits; VP_DIDIT__BALANCE_S=0 stops asking, once a day now"
                )

    async def _read(self) -> Verdict | Parked | None:
        """One call; None if there is no permit within the interval."""
        call = HttpCall(_OPERATION, _OPERATION.path, (), None, _REFERENCE)
        return await make_own_call(
            self._client,
            self._budget,
            call,
            since_ms=self._clock_ms(),
            within_s=self._every_s,
            pause_s_max=self._pause_s_max,
            ending_of=_ending_of,
        )


def _ending_of(answer: Answer, verdict: Verdict) -> Ending:
    """A key without this right says nothing about the operations of requests, nor about the key."""
    return Ending(Fate.ANSWERED, HealthSignal.NEUTRAL) if isinstance(verdict, Forbidden) else ending_of(answer, verdict)
