"""Which records are finished, as the log tells; the group's offsets say so too, and may expire or be reset. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from processor.budget.log_records import LaneDone
from processor.budget.permits import CallIdentity
from processor.contract.digests import position_digest

_WORDS_MAX = 8  # of a lane, 3 kB each at most


@dataclass(frozen=True, slots=True)
class _Told:
    done: LaneDone
    offset: int  # where in the log it stands

    @property
    def bits(self) -> int:
        """The gap map."""
        return int.from_bytes(self.done.gap_map, "little")

    def includes(self, older: _Told) -> bool:
        """Whether it tells of all records of which an older one does."""
        ahead = self.done.floor - older.done.floor
        return ahead >= 0 and not (older.bits >> ahead) & ~self.bits


class FinishedRecords:
    """What the owners of lanes have said.

    It is said of records that had been called before, so whoever was called later is not meant: a topic that was created again has
    other records at the same offsets. Of each lane the newest word is kept, and each older one until a newer one includes it: whoever
    begins from offsets that were set by hand has no gap map, even where they stand as before. Of more than eight those that tell least go.
    """

    def __init__(self) -> None:
        self._told: dict[str, tuple[_Told, ...]] = {}

    def note(self, done: LaneDone, offset: int) -> None:
        """An owner's word was read, in whatever order."""
        others = (t for t in self._told.get(done.lane, ()) if t.offset != offset)
        told = sorted((*others, _Told(done, offset)), key=lambda t: t.offset)
        kept = [t for n, t in enumerate(told, 1) if not any(newer.includes(t) for newer in told[n:])]
        if len(kept) > _WORDS_MAX:
            kept.remove(min(kept[:-1], key=lambda t: (t.done.floor, t.bits.bit_count())))
        self._told[done.lane] = tuple(kept)

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
