"""The seam between a lane and what is done with a record."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from processor.contract.records import Output, Record


class WorkAbandonedError(Exception):
    """The handler cannot work at all any more: the record is left to the next life, and this life ends."""


class Work:
    """One record at work. Waiting work ends at once when the lane stops; a call in flight is given time to end."""

    __slots__ = ("calling", "record", "stopping", "task")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.calling = False  # set while an interruption would leave the fate of a call unknown
        self.stopping = False
        self.task: asyncio.Task[None] | None = None

    def before_wait(self) -> None:
        """To be called before each wait.

        Raises:
            asyncio.CancelledError: if the lane has begun to stop meanwhile; the next owner takes the record up again.
        """
        if self.stopping:
            raise asyncio.CancelledError

    def stop(self) -> None:
        """End now if it waits; otherwise end before the next wait."""
        self.stopping = True
        if not self.calling and self.task is not None:
            self.task.cancel()


class Handler(Protocol):
    """What a lane does with its records."""

    async def handle(self, record: Record, work: Work) -> Sequence[Output]:
        """The outputs that complete this record: at least one, each at most ``output_bytes_max`` long."""
        ...

    def broken(self, record: Record, reason: str) -> Sequence[Output]:
        """The outputs that complete a record on which ``handle`` failed in an unforeseen way. Must not raise."""
        ...
