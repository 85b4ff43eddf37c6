"""Which records are finished, as the log tells; the group's offsets say so too, and may expire or be reset. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from processor.budget.log_records import LaneDone
from processor.budget.permits import CallIdentity
from processor.contract.digests import position_digest


@dataclass(frozen=True, slots=True)
class _Told:
    done: LaneDone
    offset: int  # where in the log it stands


class FinishedRecords:
    """What the owners of lanes have said.

    It is said of records that had been called before, so whoever was called later is not meant: a topic that was created again has
    other records at the same offsets. Of each lane the newest word is kept, and the one that goes farthest: after a reset of the
    group's offsets the newest begins from the start again.
    """

    def __init__(self) -> None:
        self._told: dict[str, tuple[_Told, ...]] = {}

    def note(self, done: LaneDone, offset: int) -> None:
        """An owner's word was read, in whatever order."""
        told = (*self._told.get(done.lane, ()), _Told(done, offset))
        newest, farthest = max(told, key=lambda t: t.offset), max(told, key=lambda t: (t.done.floor, t.offset))
        self._told[done.lane] = (newest,) if newest is farthest else (newest, farthest)

    def hold(self, called: CallIdentity, called_at: int) -> bool:
        """Whether the record of a call is finished that was asked for at this offset of the log."""
        return any(t.offset > called_at and t.done.holds(called.offset) for t in self._told.get(called.lane, ()))

    def follow_on(self, earlier: FinishedRecords) -> None:
        """The log is read again."""
        for told in earlier._told.values():
            for word in told:
                self.note(word.done, word.offset)


def has_moved_on(record: CallIdentity, called: CallIdentity) -> bool:
    """Whether a call shows that a caller's own record is done: a later hop of it, which was published together with its offset."""
    elsewhere = (called.lane, called.offset) != (record.lane, record.offset)
    same_round = (called.request, called.first, called.replay) == (record.request, record.first, record.replay)
    return elsewhere and same_round and record.first == position_digest(f"{record.lane}@{record.offset}")
