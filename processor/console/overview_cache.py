"""The overview that all open pages share: asked for once, kept for two seconds, and shown with its age when Kafka is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from processor.console.faults import log_fault
from processor.console.ports import UnavailableError
from processor.contract.times import duration
from processor.monitoring.model import Overview

FRESH_S = 2.0  # younger than this it is given out again
PATIENCE_S = 2.5  # whoever can be shown an older one waits no longer
ASK_S = 10.0  # an answer that takes longer is given up


@dataclass(frozen=True, slots=True)
class CachedOverview:
    """What there is to show."""

    overview: Overview | None  # the last known one
    trouble: str = ""  # why it is not of now; empty if it is


class OverviewCache:
    """Asks for the overview, one question at a time."""

    def __init__(self, ask: Callable[[], Awaitable[Overview]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock = ask, clock
        self._task: asyncio.Task[None] | None = None
        self._asked_at = float("-inf")
        self._overview: Overview | None = None
        self._trouble = ""

    async def get(self) -> CachedOverview:
        """The overview of now, or the last known one and why. Takes ``PATIENCE_S`` at most, ``ASK_S`` where none is known."""
        now = self._clock()
        if (self._task is None or self._task.done()) and now - self._asked_at >= FRESH_S:
            self._asked_at = now
            self._task = asyncio.create_task(self._refresh())
        if self._task is not None and not self._task.done():
            patience = PATIENCE_S if self._overview else ASK_S + 1.0
            await asyncio.wait({self._task}, timeout=max(0.0, self._asked_at + patience - self._clock()))
            if not self._task.done():
                return CachedOverview(self._overview, f"No answer for {duration(PATIENCE_S)}.")
            self._task.result()  # it has kept what it found; it raises only what is no Exception
        return CachedOverview(self._overview, self._trouble)

    async def close(self) -> None:
        """End the question that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=1.0)

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(ASK_S):
                self._overview = await self._ask()
            self._trouble = ""
        except UnavailableError as exc:
            self._trouble = str(exc)
        except TimeoutError:
            self._trouble = f"No answer within {duration(ASK_S)}."
        except Exception as exc:  # noqa: BLE001 - the page must go on showing what it knows; the text could quote a record
            log_fault("overview", exc)
            self._trouble = "A fault of the processor; its log says page_failed."
