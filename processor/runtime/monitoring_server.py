"""Opens the port for those who watch, before anything else, for as long as the process lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from processor import __version__
from processor.console.auth import Access
from processor.console.ports import Operations
from processor.console.server import add_page
from processor.observe.health import Phase
from processor.observe.http import build_app
from processor.runtime.http_server import listening
from processor.runtime.process_status import ProcessStatus, set_build_info
from processor.settings import Settings

log = structlog.get_logger(__name__)


class CannotListenError(Exception):
    """The address for metrics and health cannot be had; the log says why."""


@asynccontextmanager
async def watched(
    settings: Settings, pulse: ProcessStatus, term: asyncio.Event, operations: Operations | None = None
) -> AsyncIterator[None]:
    """Metrics and health of a process, while it runs and while it stops; and the operators' page, where there is something to show.

    Raises:
        CannotListenError: if the port is taken.
    """
    s = settings.observe
    set_build_info(__version__)
    app = build_app(pulse.vitals, pulse.refresh)
    if operations is not None:
        add_page(app, operations, Access(s), group=settings.kafka.group)
    loop = asyncio.get_running_loop()
    tasks = {loop.create_task(pulse.beat(), name="pulse"), loop.create_task(_announce_stop(pulse, term), name="pulse-stop")}
    try:
        async with AsyncExitStack() as stack:
            try:
                port = await stack.enter_async_context(listening(app, s.host, s.port))
            except OSError as exc:
                hint = "another process has the port: give each its own VP_OBSERVE__PORT, or 0 for a free one"
                log.critical("observe_cannot_listen", host=s.host, port=s.port, errno=exc.errno, hint=hint)
                raise CannotListenError from exc
            log.info("observe_listening", host=s.host, port=port)
            yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=1.0)


async def _announce_stop(pulse: ProcessStatus, term: asyncio.Event) -> None:
    await term.wait()
    pulse.enter(Phase.STOPPING)
