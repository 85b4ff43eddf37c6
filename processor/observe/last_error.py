"""The last error that this process has logged: its event and when. Texts stay in the log; they may say more than others should see."""

from __future__ import annotations

import re
import time
from collections.abc import MutableMapping
from typing import Any

_EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LEVELS = frozenset({"error", "critical"})


class LastError:
    """A structlog processor. Only events of ours have such names; what libraries log is a text."""

    def __init__(self) -> None:
        self.event, self.at_ms = "", 0

    def __call__(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Note it."""
        name = event.get("event")
        if method in _LEVELS and isinstance(name, str) and _EVENT.fullmatch(name):
            self.event, self.at_ms = name, round(time.time() * 1000)
        return event


LAST_ERROR = LastError()
"""Of this process."""
