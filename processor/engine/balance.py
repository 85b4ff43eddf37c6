"""The credits that the account has left at Didit, read now and then, for a metric and its alert."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import structlog

from processor.budget.permits import Ask, Budget, CallClass, Ending, Fate, HealthSignal, Permit
from processor.didit.calls import HttpCall
from processor.didit.catalog import OPERATIONS
from processor.didit.verdicts import Forbidden, Success, Verdict, classify
from processor.engine.calls import CallsDidit, count_answer, count_call, ending_of
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

    def __init__(self, client: CallsDidit, budget: Budget, every_s: float, clock_ms: Callable[[], int]) -> None:
        self._client, self._budget, self._every_s, self._clock_ms = client, budget, every_s, clock_ms

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

    async def _read(self) -> Verdict | None:
        """One call; None if there is no permit within the interval."""
        ask = Ask(_OPERATION.name, _OPERATION.scopes, CallClass.POLL, self._clock_ms(), None, _OPERATION.timeout_s)
        try:
            async with asyncio.timeout(self._every_s):
                permit = await self._budget.acquire(ask)
        except TimeoutError:
            return None
        return await self._call(permit) if isinstance(permit, Permit) else None

    async def _call(self, permit: Permit) -> Verdict:
        ending = Ending(Fate.UNKNOWN)
        try:
            count_call(permit.ask)
            answer = await self._client.send(HttpCall(_OPERATION, _OPERATION.path, (), None, _REFERENCE))
            verdict = classify(_OPERATION, answer)
            # a key without this right says nothing about the operations of requests, nor about the key
            ending = Ending(Fate.ANSWERED, HealthSignal.NEUTRAL) if isinstance(verdict, Forbidden) else ending_of(answer, verdict)
        finally:
            self._budget.release(permit, ending)
        count_answer(_OPERATION.name, verdict)
        return verdict


def balance_of(output: Any) -> tuple[float, bool] | None:
    """US dollars, and whether Didit refills them by itself; None if the answer does not say.

    The amount is a decimal as text (Didit, "Get credit balance").
    """
    try:
        usd = float(output["balance"])
    except (KeyError, TypeError, ValueError):
        return None
    return (usd, output.get("auto_refill_enabled") is True) if math.isfinite(usd) else None
