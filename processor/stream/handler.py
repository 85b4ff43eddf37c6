"""The interface between a lane and the code that works on a record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from processor.budget.permits import LaneCalls, LogPosition, ParkedWait
from processor.contract.records import Hint, Output, Record
from processor.contract.values import value

OUTPUT_TOO_LARGE = "OutputTooLarge"  # a reason of ``Handler.broken``; any other is the name of an exception


class WorkAbandonedError(Exception):
    """The handler cannot work at all any more: the record is left to the next life, and this life ends."""


@value(frozen=True, slots=True)
class Outputs:
    """What completes a record: published in one transaction with its offset.

    Raises:
        ValueError: without any output; to complete a record with nothing, say why with ``NothingToPublish``.
    """

    records: Sequence[Output]  # each at most ``output_bytes_max`` long

    def __post_init__(self) -> None:
        if not self.records:
            raise ValueError("no outputs")  # an outcome of nothing would be a silent loss


@value(frozen=True, slots=True)
class NothingToPublish:
    """The record is complete, and nothing is to be published for it."""

    reason: Literal["duplicate", "published_before"]  # the outcome is that of another record, or stands in the results already


Outcome = Outputs | NothingToPublish


class CallHistory(Protocol):
    """Remembers the calls of all replicas, so that a new owner of a partition knows what the former one may have done."""

    def position(self) -> LogPosition:
        """Every later call is noted at or after this position of the journal."""
        ...

    async def replay_lane(self, lane: str, since: LogPosition | None, unfinished: Callable[[int], bool]) -> LaneCalls:
        """Make the calls of a lane known, before any of its records is worked on. Waits until the journal can be read; to be bounded.

        Args:
            lane: ``topic[partition]``.
            since: the position that the lane's last commit holds; ``history.EVERYTHING`` if it is not known, None if nothing can
                have been called.
            unfinished: which of the lane's records are not finished, by offset.

        Returns:
            From when on all calls are known, and what is known of them.
        """
        ...

    def done(self, lane: str, floor: int, gap_map: bytes) -> None:
        """The owner of a lane has committed this: see ``log_records.LaneDone``. Told later, and not each time."""
        ...

    def forget(self, lane: str) -> None:
        """The lane is no longer ours."""
        ...

    async def flush(self, within_s: float) -> None:
        """Wait until what this process has told of its calls is noted, so that the next owner of a lane sees it; so long at most."""
        ...


class Work:
    """One record at work. Waiting work ends at once when the lane stops; a call in flight is given time to end."""

    __slots__ = (
        *("aside", "calling", "ended", "finished_before", "hint", "history_truncated", "is_cancelled"),
        *("parked", "record", "request_id", "stopping", "task"),
    )

    def __init__(
        self,
        record: Record,
        *,
        history_truncated: bool = False,
        finished_before: bool = False,
        hint: Hint | None = None,
        ended: bool = False,
        parked: ParkedWait | None = None,
    ) -> None:
        self.record = record
        self.parked = parked  # its wait for room in its line, until it stands there
        self.hint = hint  # what has happened meanwhile to what it waits for
        self.ended = ended  # somebody wants it to end as failed, without another call
        self.history_truncated = history_truncated  # the journal does not reach back to what a former owner may have called
        self.finished_before = finished_before  # by the journal a record of this place is finished, unless the topic was created again
        self.is_cancelled: Callable[[str], bool] = lambda _request_id: False  # whether a request was taken back by its caller
        self.aside = False  # its lane has read far beyond it: it is to wait for its turn elsewhere, if others may want one
        self.request_id: str | None = None  # set by the handler as soon as it is read
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
        self.leave_parked()  # it comes to its line in this turn of the loop

    def leave_parked(self) -> None:
        """It waits for room no more."""
        if self.parked is not None:
            self.parked.leave()
            self.parked = None

    def stop(self) -> None:
        """End now if it waits; otherwise end before the next wait."""
        self.stopping = True
        if not self.calling and self.task is not None:
            self.task.cancel()


class Handler(Protocol):
    """What a lane does with its records."""

    async def handle(self, record: Record, work: Work) -> Outcome:
        """Work on a record until its outcome is known. May be cancelled; the record is handled again by the next owner then.

        Raises:
            WorkAbandonedError: nothing can be worked on any more. Any other exception completes the record by ``broken``.
        """
        ...

    def park(self, record: Record, start: Callable[[], None]) -> ParkedWait | None:
        """A record that was sent away from a full line waits for room in it; None if it waits for its due time.

        ``start`` is called when it is to start, and not before this returns. Must not raise.
        """
        ...

    def broken(self, record: Record, reason: str) -> Outputs:
        """What completes a record on which ``handle`` failed in an unforeseen way. Must not raise.

        ``reason``: the name of an exception's class, or ``OUTPUT_TOO_LARGE``: what it made does not fit a record.
        """
        ...
