"""What all open pages share, such as the overview: asked for once, kept for two seconds, and shown with its age when Kafka is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from processor.console.faults import log_fault
from processor.console.ports import UnavailableError
from processor.contract.times import duration

FRESH_S = 2.0  # younger than this it is given out again
PATIENCE_S = 2.5  # whoever can be shown an older one waits no longer
ASK_S = 10.0  # an answer that takes longer is given up

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class CachedAnswer(Generic[_Answer]):
    """What there is to show."""

    answer: _Answer | None  # the last known one
    trouble: str = ""  # why it is not of now; empty if it is


class AnswerCache(Generic[_Answer]):
    """Asks one question, one at a time.

    Args:
        name: of the question, for the log.
        ask: the question.
        essential: without an answer there is no page: the first one is waited for as long as it may take.
        clock: seconds.
    """

    def __init__(
        self, name: str, ask: Callable[[], Awaitable[_Answer]], *, essential: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._ask, self._essential, self._clock = name, ask, essential, clock
        self._task: asyncio.Task[None] | None = None
        self._asked_at = float("-inf")
        self._answer: _Answer | None = None
        self._trouble = ""

    async def get(self) -> CachedAnswer[_Answer]:
        """The answer of now, or the last known one and why. Takes ``PATIENCE_S`` at most, ``ASK_S`` where an essential one is not known."""
        now = self._clock()
        if (self._task is None or self._task.done()) and now - self._asked_at >= FRESH_S:
            self._asked_at = now
            self._task = asyncio.create_task(self._refresh())
        if self._task is not None and not self._task.done():
            patience = ASK_S + 1.0 if self._answer is None and self._essential else PATIENCE_S
            await asyncio.wait({self._task}, timeout=max(0.0, self._asked_at + patience - self._clock()))
            if not self._task.done():
                return CachedAnswer(self._answer, f"No answer for {duration(PATIENCE_S)}.")
            self._task.result()  # it has kept what it found; it raises only what is no Exception
        return CachedAnswer(self._answer, self._trouble)

    async def close(self) -> None:
        """End the question that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=1.0)

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(ASK_S):
                self._answer = await self._ask()
            self._trouble = ""
        except UnavailableError as exc:
            self._trouble = str(exc)
        except TimeoutError:
            self._trouble = f"No answer within {duration(ASK_S)}."
        except Exception as exc:  # noqa: BLE001 - the page must go on showing what it knows; the text could quote a record
            log_fault(self._name, exc)
            self._trouble = "A fault of the processor; its log says page_failed."
