"""How long brokers hold our requests back, by a quota on our user or client id.

A broker that throttles answers at once, says in that answer for how long it will read nothing more from this connection, and keeps to it
(KIP-219): what is asked next is answered so much later, or not within its deadline. aiokafka reads past what it says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_KEPT_S = 60.0  # what is over for longer explains nothing any more


class Throttling:
    """What brokers have said of it to all clients of a process.

    Args:
        clock: seconds, monotonic.

    Attributes:
        total_s: the sum of what they have said.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._longest_s = 0.0
        self.total_s = 0.0

    def note(self, response: Any) -> float:
        """Look at an answer of a broker, of whatever kind.

        Returns:
            for how long it says that requests are held back, seconds, if none has said so lately; else 0.
        """
        held_s: float = getattr(response, "throttle_time_ms", 0) / 1000
        if held_s <= 0:
            return 0.0
        before_s = self.recent_s
        self._longest_s = max(before_s, held_s)
        self._until = max(self._until, self._clock() + held_s)
        self.total_s += held_s
        return 0.0 if before_s else held_s

    @property
    def recent_s(self) -> float:
        """The longest time that they have said lately, seconds; 0 if that is over for a minute."""
        return self._longest_s if self._clock() <= self._until + _KEPT_S else 0.0


THROTTLING = Throttling()
