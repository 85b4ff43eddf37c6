"""The name of the log that is followed, from what replicas say of it. Pure.

A log has no identity of its own: a topic that was deleted and made again goes on at the same offsets, if enough was written meanwhile. So
whoever joins a log without a name gives it one, and every sign of life says it.
"""

from __future__ import annotations

from collections.abc import Collection

from processor.budget.log import LogUnavailableError
from processor.budget.log_records import Alive

NAMING_S = 20.0
"""So long a record that gives a name may be under way: several may give one at once, and not have read the first one yet."""

_SETTLED_MAX = 20


class LogName:
    """What one reading of the log says of its name.

    Args:
        settled: other names for which the log was read again, and had its own all the same.
    """

    def __init__(self, settled: tuple[str, ...] = ()) -> None:
        self.name = ""  # the first one that somebody gave who joined this very log
        self._named_at = float("-inf")
        self._hearsay = ""  # the newest one of others: their joining is not in what was read
        self._joined: set[str] = set()  # client ids that joined this log within what was read
        self._other = ""  # by which somebody knows this log who follows it
        self._settled = settled[-_SETTLED_MAX:]

    def hear(self, alive: Alive, at: float) -> None:
        """A sign of life was read, at ``at`` (s, own clock).

        Whoever joins says so without a name. A name from anybody else may be that of an earlier log, held back by a producer.
        """
        if not alive.log_name:
            self._joined.add(alive.client)
        elif alive.client not in self._joined:
            self._hearsay = alive.log_name
        elif not self.name:
            self.name, self._named_at = alive.log_name, at
        if alive.log_name not in {"", self.name, *self._settled} and self.name and at > self._named_at + NAMING_S:
            self._other = alive.log_name

    def keep(self, clients: Collection[str]) -> None:
        """Only these are there still."""
        self._joined &= set(clients)

    def read_back_from(self, start: int) -> None:
        """All of the past is read, from an offset on. If not from the first one, those who named the log may have joined before."""
        self._other = ""
        if start > 0:
            self.name = self.name or self._hearsay

    def next_reading(self) -> LogName:
        """For the log as it is read again."""
        return LogName((*self._settled, self._other) if self._other else self._settled)

    def check(self) -> None:
        """To be called while the log is followed.

        Raises:
            LogUnavailableError: if somebody knows it by another name: it may have been made again, and filled to beyond what was read.
        """
        if self._other:
            raise LogUnavailableError("somebody knows this log by another name: it is read again from its beginning")
