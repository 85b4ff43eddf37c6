"""structlog set-up: one JSON object a line on stderr, nothing personal in it.

Log calls of ours name codes, counts and positions, never content. Redaction is the second line of defence: a field whose
name could hold personal data or a secret is masked, and long texts are cut.
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

from processor.observe.application import DEFAULT_APPLICATION, current_application
from processor.observe.last_error import LAST_ERROR
from processor.observe.log_thinning import LogThinner
from processor.settings import LogSettings

_TEXT_MAX = 500
_MASKED_PARTS = (
    "key", "token", "secret", "password", "authorization", "signature", "cookie", "email", "phone", "name", "address", "birth",
    "document", "image", "url", "vendor_data", "body", "value", "input", "output", "metadata", "request_id", "contact", "portrait",
)  # fmt: skip
_PLAIN = frozenset({"logger_name", "topic_name", "partition", "value_bytes", "key_id"})


_in_force: list[LogThinner] = []  # one at most: the set-up of the process


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask fields by name and cut long texts (a structlog processor)."""
    for field, content in event.items():
        if field not in _PLAIN and field != "event" and any(part in field.lower() for part in _MASKED_PARTS):
            event[field] = "***"
        elif isinstance(content, str) and len(content) > _TEXT_MAX:
            event[field] = content[:_TEXT_MAX] + "..."
    return event


def name_application(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Say which application a line is of, where the deployment names any (a structlog processor)."""
    if (application := current_application()) != DEFAULT_APPLICATION:
        event.setdefault("application", application)
    return event


def _render(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    return orjson.dumps(event, default=lambda value: type(value).__name__).decode()


def configure_logs(settings: LogSettings) -> LogThinner:
    """Set up structlog and route the standard library's loggers (aiokafka, aiohttp, asyncio) through it.

    Returns what counts repeated lines; ``flush_repeated`` is to be called now and then, e.g. each second.
    """
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    renderer: Any = _render if settings.format == "json" else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())

    def write(line: dict[str, Any]) -> None:
        print(renderer(None, "", line), file=sys.stderr, flush=True)  # noqa: T201 - the logger itself would count it once more

    thinner = LogThinner(write)
    shared: list[Any] = [structlog.stdlib.add_log_level, stamp, name_application, redact]
    structlog.configure(
        processors=[LAST_ERROR, *shared, thinner, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(("code", "detail"))],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler.setFormatter(formatter)
    handler.addFilter(thinner)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING))
    _in_force[:] = [thinner]
    atexit.register(thinner.flush, everything=True)
    return thinner


def flush_repeated() -> None:
    """Write the counts of lines that were repeated, where their minute is over; a flood may end with silence."""
    for thinner in _in_force:
        thinner.flush()
