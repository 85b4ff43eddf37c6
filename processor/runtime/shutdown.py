"""How a process ends when it is asked to: by an event that everybody looks at, and by a hard limit behind it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable

import structlog

EXIT_HUNG = 3  # the stop did not end in time

log = structlog.get_logger(__name__)


def stop_on_signals(term: asyncio.Event) -> None:
    """Set ``term`` on SIGTERM or SIGINT. To be called inside a running loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, term.set)


def exit_after(limit_s: float) -> None:
    """End the process with EXIT_HUNG, unless it has ended by then; from a thread, so that it works even if the loop is blocked."""
    timer = threading.Timer(limit_s, os._exit, (EXIT_HUNG,))
    timer.daemon = True
    timer.start()


async def limit_stop(term: asyncio.Event, limit_s: float, *, exit_after: Callable[[float], None] = exit_after) -> None:
    """Once ``term`` is set, whoever set it, the process ends within ``limit_s``, whatever hangs."""
    await term.wait()
    log.info("stopping", limit_s=limit_s)
    exit_after(limit_s)
