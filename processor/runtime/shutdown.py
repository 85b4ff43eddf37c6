"""How a process ends when it is asked to: by an event that everybody looks at, and by a hard limit behind it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import structlog

EXIT_HUNG = 3  # the stop did not end in time

log = structlog.get_logger(__name__)


def stop_on_signals(term: asyncio.Event, limit_s: float) -> None:
    """Set ``term`` on SIGTERM or SIGINT; ``limit_s`` after the first of them the process ends, whatever hangs.

    To be called inside a running loop.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _begin_stop, term, limit_s)


def _begin_stop(term: asyncio.Event, limit_s: float) -> None:
    if term.is_set():
        return
    log.info("stopping", limit_s=limit_s)
    term.set()
    timer = threading.Timer(limit_s, os._exit, (EXIT_HUNG,))  # a thread: it works even if the loop is blocked
    timer.daemon = True
    timer.start()
