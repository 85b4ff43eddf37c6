"""How a process ends when it is asked to: by an event that everybody looks at, and by a hard limit behind it."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn

import structlog

EXIT_HUNG = 3  # the stop did not end in time
LEAVE_S = 5.0  # for the threads of the loop, and the last traces, when all is done

log = structlog.get_logger(__name__)


def stop_on_signals(term: asyncio.Event) -> None:
    """Set ``term`` on SIGTERM or SIGINT. To be called inside a running loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, term.set)


def exit_after(limit_s: float, status: int = EXIT_HUNG) -> None:
    """End the process with a status, unless it has ended by then; from a thread, so that it works even if the loop is blocked."""
    timer = threading.Timer(limit_s, os._exit, (status,))
    timer.daemon = True
    timer.start()


async def then_leave(main: Awaitable[int]) -> int:
    """The exit status of a process, which ends with it within ``LEAVE_S`` once all is done.

    What is left then is the loop, which waits for the threads of its executor: a lookup of a name takes half a minute if no name server
    answers.
    """
    status = await main
    exit_after(LEAVE_S, status)
    return status


def end_process(status: int) -> NoReturn:
    """End now that everything is closed: what was registered for the end is called, but no object is freed one by one.

    With gigabytes in millions of objects Python takes longer for that than a stop may last, and the limit cannot end it: Python stops
    threads that are daemons before it begins.
    """
    atexit._run_exitfuncs()  # noqa: SLF001 - no public way; Python's multiprocessing ends its children by it
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # nobody reads it any more
            stream.flush()
    os._exit(status)


async def limit_stop(term: asyncio.Event, limit_s: float, *, exit_after: Callable[[float], None] = exit_after) -> None:
    """Once ``term`` is set, whoever set it, the process ends within ``limit_s``, whatever hangs."""
    await term.wait()
    log.info("stopping", limit_s=limit_s)
    exit_after(limit_s)
