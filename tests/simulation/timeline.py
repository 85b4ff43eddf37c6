"""What happened in a world, when and where: the log lines of every host, and what was done to them."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from typing import Any, NamedTuple

import orjson
import structlog

from processor.observe.logs import redact
from simulation.loop import HOST, START_S, SimulatedLoop

WORLD = "world"


class Moment(NamedTuple):
    """One line. ``at_s``: seconds since the world began."""

    at_s: float
    host: str
    text: str


class Timeline:
    """Collects moments; ``install`` lets it have the logs of everything in this process."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.moments: list[Moment] = []
        self._loop = loop
        self.on_line: Callable[[str], None] = lambda _line: None

    def add(self, text: str, host: str = WORLD) -> None:
        """Something happened now."""
        self.moments.append(Moment(self._loop.time() - START_S, host, text))
        self.on_line(text)

    def install(self) -> None:
        """Have the logs, as the product writes them: behind its own redaction."""
        structlog.configure(
            processors=[structlog.stdlib.add_log_level, redact, self._collect],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            cache_logger_on_first_use=False,
        )
        logging.Logger.debug = _nothing  # type: ignore[method-assign] # nobody hears it, and aiokafka says it for each poll
        root = logging.getLogger()
        root.handlers = [_Handler(self)]
        root.setLevel(logging.WARNING)

    def _collect(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        self.note(orjson.dumps(event, default=lambda value: type(value).__name__).decode())
        raise structlog.DropEvent

    def note(self, line: str) -> None:
        """A log line of the host that runs now."""
        host = HOST.get()
        self.add(line, host.name if host is not None else WORLD)


def _nothing(*_: object, **__: object) -> None:
    """No line."""


class _Handler(logging.Handler):
    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self._timeline = timeline

    def emit(self, record: logging.LogRecord) -> None:
        error = f" ({record.exc_info[0].__name__})" if record.exc_info and record.exc_info[0] else ""
        self._timeline.note(f"{record.name}: {record.getMessage()}{error}")
