"""Lines that repeat are written as the first ones, a count, and the last one, so that no flood fills a disk.

A *kind* of line is its logger, level, event and code; of events that list what is wrong also the detail. In each window the first lines
of a kind pass; the others are counted, and when the window is over the last of them is written with ``repeated``: how many it stands for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from processor.observe.application import DEFAULT_APPLICATION, current_application

WINDOW_S = 60.0
PASS_MAX = 20  # lines of a kind and window
LIBRARY_PASS_MAX = 1  # the same of libraries: aiokafka says ten times a second, for each of its clients, that a broker is away
_KINDS_MAX = 500
_TEMPLATE_CHARS = 80
# few values each; part of what a line is about
_TELLING = ("code", "reason", "error", "kind", "endpoint", "scope", "topic", "task", "application")
# a line for each thing that is wrong: each detail is a kind of its own, or the twenty-first would not be named
_LISTS = frozenset({"right_missing", "topic_unusable", "topic_unread", "memory_too_short"})


@dataclass(slots=True)
class _Window:
    until: float
    passed: int = 0
    repeated: int = 0
    last: Mapping[str, Any] = field(default_factory=dict)


class Thinning:
    """Decides which lines pass. Pure: ``now`` goes in, seconds of any monotonic clock."""

    def __init__(self, *, pass_max: int = PASS_MAX, window_s: float = WINDOW_S, kinds_max: int = _KINDS_MAX) -> None:
        self._pass_max, self._window_s, self._kinds_max = pass_max, window_s, kinds_max
        self._windows: OrderedDict[tuple[Any, ...], _Window] = OrderedDict()  # in the order of their ends

    @property
    def kinds_held(self) -> int:
        """Kinds of lines that are counted now; bounded."""
        return len(self._windows)

    def admits(self, kind: tuple[Any, ...], line: Mapping[str, Any], now: float, *, pass_max: int | None = None) -> bool:
        """Whether a line passes; at most ``pass_max`` of its kind. Call ``due`` first, or an old window goes on counting."""
        window = self._windows.get(kind)
        if window is None:
            window = self._windows[kind] = _Window(now + self._window_s)
        if window.passed < (self._pass_max if pass_max is None else pass_max):
            window.passed += 1
            return True
        window.repeated += 1
        window.last = line
        return False

    def due(self, now: float) -> list[dict[str, Any]]:
        """The last line of each window that is over, or has to make room, with ``repeated``."""
        found = []
        while self._windows and (len(self._windows) > self._kinds_max or next(iter(self._windows.values())).until <= now):
            _, window = self._windows.popitem(last=False)
            if window.repeated:
                found.append({**window.last, "repeated": window.repeated})
        return found


class LogThinner:
    """The same for structlog (as a processor) and for the standard library's loggers (as a filter of a handler). Thread-safe."""

    def __init__(
        self, write: Callable[[dict[str, Any]], None], *, thinning: Thinning | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write, self._thinning, self._clock = write, thinning or Thinning(), clock
        self._lock = threading.Lock()

    def __call__(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A structlog processor.

        Raises:
            structlog.DropEvent: if the line is counted and not written.
        """
        detail = event.get("detail") if event.get("event") in _LISTS else None
        kind = (method, event.get("event"), detail, *(str(event.get(name)) for name in _TELLING))
        if not self._admits(kind, event):
            raise structlog.DropEvent
        return event

    def filter(self, record: logging.LogRecord) -> bool:
        """A filter for ``logging.Handler.addFilter``; the message's template is what a line is about."""
        application = current_application()
        kind = (record.levelname, record.name, str(record.msg)[:_TEMPLATE_CHARS], application)
        line = {"event": record.getMessage(), "logger": record.name, "level": record.levelname.lower()}
        if application != DEFAULT_APPLICATION:
            line["application"] = application
        return self._admits(kind, line, pass_max=LIBRARY_PASS_MAX)

    def flush(self, *, everything: bool = False) -> None:
        """Write what is due; ``everything`` at the end of the process. To be called now and then: a flood may end with silence."""
        with self._lock:
            due = self._thinning.due(float("inf") if everything else self._clock())
        for line in due:
            self._write(line)

    def _admits(self, kind: tuple[Any, ...], line: Mapping[str, Any], *, pass_max: int | None = None) -> bool:
        self.flush()
        with self._lock:
            return self._thinning.admits(kind, dict(line), self._clock(), pass_max=pass_max)
