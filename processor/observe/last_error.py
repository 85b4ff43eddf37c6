"""The last error that this process has logged, by application: its event and when.

Texts stay in the log; they may say more than others should see.
"""

from __future__ import annotations

import re
import time
from collections.abc import MutableMapping
from typing import Any

from processor.observe.application import DEFAULT_APPLICATION, current_application

_EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LEVELS = frozenset({"error", "critical"})


class LastError:
    """A structlog processor. Only events of ours have such names; what libraries log is a text."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}  # by application: few, and known beforehand

    @property
    def event(self) -> str:
        """Of the current application, or of the process as a whole; empty if there is none."""
        return self._newest()[1]

    @property
    def at_ms(self) -> int:
        """When it was logged; 0 if there is none."""
        return self._newest()[0]

    def __call__(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Note it."""
        name = event.get("event")
        if method in _LEVELS and isinstance(name, str) and _EVENT.fullmatch(name):
            self._found[current_application()] = (round(time.time() * 1000), name)
        return event

    def _newest(self) -> tuple[int, str]:
        return max(self._found.get(name, (0, "")) for name in (current_application(), DEFAULT_APPLICATION))


LAST_ERROR = LastError()
"""Of this process."""
