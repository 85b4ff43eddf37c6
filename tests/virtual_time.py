"""An event loop whose clock jumps to the next timer, so that ten minutes of pacing run in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_MICRO = 1_000_000
_START_US = 1_000 * _MICRO


async def wait_minutes(event: asyncio.Event, minutes: float) -> None:
    """Until something is set, or so much time has passed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(60 * minutes):
            await event.wait()


class DeadlockError(Exception):
    """Every task waits and no timer is set."""


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_us = _START_US

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError
        # each turn of the loop takes a microsecond: with a clock that stands still, rounding can arm a timer for ever
        self.now_us += max(1, -int(-timeout * _MICRO // 1))
        return []  # no sockets, no threads: nothing else can be ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time. No sockets, no threads."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._clock_resolution = 1 / _MICRO

    def time(self) -> float:
        return self._jumping.now_us / _MICRO


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time.

    Raises:
        DeadlockError: if nothing could ever happen again.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
