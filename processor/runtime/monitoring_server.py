"""Opens the monitoring port, before anything else, for as long as the process lives."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from processor import __version__
from processor.console.auth import Access
from processor.console.ports import Operations
from processor.console.runbooks import Links
from processor.console.server import add_page
from processor.observe.health import Phase
from processor.observe.http import build_app
from processor.observe.metric_export import metric_export
from processor.runtime.http_server import CLOSE_S, listening
from processor.runtime.process_status import ProcessStatus, set_constants
from processor.runtime.process_tasks import ProcessTasks
from processor.settings import Settings

log = structlog.get_logger(__name__)


class CannotListenError(Exception):
    """An address cannot be had; the log says which and why."""


async def start_monitoring(
    tasks: ProcessTasks, settings: Settings, status: ProcessStatus, applications: Mapping[str, Operations] | None = None
) -> None:
    """Serve metrics and health while the process runs and while it stops; and the operators' page, where there is something to show.

    Raises:
        CannotListenError: if the port is taken.
        ConfigurationError: if metrics are to be sent, and cannot be.
    """
    s = settings.observe
    set_constants(__version__)
    export = metric_export(settings, status.refresh)
    if export is not None:
        tasks.close_later("metrics export", export.close, within_s=CLOSE_S)
        tasks.start_restarting("metrics export", export.run)
    app = build_app(status.vitals, status.refresh)
    if applications:
        add_page(app, applications, Access(s), group=settings.kafka.group, links=Links(s.runbooks_url, s.dashboard_url, s.trace_url))
    tasks.start("event loop watch", status.beat())
    tasks.start("stop announcement", _announce_stop(status, tasks.term))
    try:
        port = await tasks.open("monitoring server", listening(app, s.host, s.port), close_s=CLOSE_S)
    except OSError as exc:
        hint = "another process has the port: give each its own VP_OBSERVE__PORT, or 0 for a free one"
        log.critical("observe_cannot_listen", host=s.host, port=s.port, errno=exc.errno, hint=hint)
        raise CannotListenError from exc
    log.info("observe_listening", host=s.host, port=port, version=__version__)


async def _announce_stop(status: ProcessStatus, term: asyncio.Event) -> None:
    await term.wait()
    status.enter(Phase.STOPPING)
