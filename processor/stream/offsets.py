"""Which offsets of one partition are done. Pure: no Kafka types, no clock.

Offsets arrive in ascending order and are finished in any order. What is done beyond the oldest unfinished offset is kept
as a *gap map* and committed beside that offset, so that a later owner repeats none of it. Holes in the log (transaction
markers, compaction) count as done: an offset is unfinished only if it was delivered and not finished.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from operator import itemgetter

from processor.budget.permits import LogPosition

# A commit's metadata may be 4096 characters long (Kafka's offset.metadata.max.bytes): 24 000 bits are 4000 in base64.
GAP_MAP_BITS = 24_000
_DONE = ord("1")
_VERSION = "2"  # 2:<name of the journal>@<offset in it>:<gap map>
_VERSION_WITHOUT_POSITION = "1"  # 1:<gap map>
_OFFSET_OF = itemgetter(LogPosition._fields.index("offset"))
_POSITION = re.compile(r"([0-9a-f]{8})@([0-9]{1,19}):")


class GapMapError(ValueError):
    """The metadata of a committed offset was not written by this program."""


class OffsetTracker:
    """Which offsets of one partition are done, during one assignment.

    Promises: ``floor`` never falls, and never passes an offset that was delivered and not finished. So a commit of ``view``
    loses nothing, and with its metadata a later owner repeats nothing. Offsets that were never delivered although later ones
    were (transaction markers, compacted records) count as done.

    The metadata can describe ``GAP_MAP_BITS`` offsets: deliver only while ``span`` is below that, finish only what ``fits``.

    Args:
        floor: the committed offset; everything below it is done.
        done: offsets at or above it that are done all the same, from the metadata of the commit; lower ones are ignored.

    Example:
        >>> tracker = OffsetTracker(10, done=[12])
        >>> [tracker.deliver(offset) for offset in (10, 11, 12, 14)]  # 12 was finished by an earlier owner, 13 is a marker
        [True, True, False, True]
        >>> tracker.finish([11, 14])
        >>> tracker.floor, tracker.unfinished_count, tracker.is_unfinished(13)
        (10, 1, True)
        >>> floor, metadata = tracker.view(log_position=LogPosition("0a1b2c3d", 500))
        >>> floor, decode_metadata(floor, metadata).done
        (10, (11, 12, 14))
        >>> tracker.finish([10])
        >>> tracker.floor
        15
    """

    def __init__(self, floor: int, done: Iterable[int] = ()) -> None:
        self.floor = floor  # everything below is done
        self.next = floor  # the least offset that has not been delivered
        self._unfinished: dict[int, None] = {}  # insertion order is offset order
        self._done = {offset for offset in done if offset >= floor}
        self._called: dict[int, LogPosition] = {}  # unfinished offsets that may have been called, with the journal's position then

    def deliver(self, offset: int) -> bool:
        """Note a delivered record. False: an earlier owner has finished it.

        Raises:
            ValueError: if offsets do not ascend; a rewind inside one assignment would repeat work.
        """
        if offset < self.next:
            raise ValueError(f"offset {offset} was delivered after {self.next - 1}")
        self.next = offset + 1
        if offset in self._done:
            self._advance()
            return False
        self._unfinished[offset] = None
        return True

    def started(self, offset: int, log_position: LogPosition) -> None:
        """Note that an offset may be called from this position of the journal on. The first one counts."""
        self._called.setdefault(offset, log_position)

    def finish(self, offsets: Iterable[int]) -> None:
        """Note that the outcomes of these delivered offsets are published."""
        for offset in offsets:
            del self._unfinished[offset]
            self._done.add(offset)
            self._called.pop(offset, None)
        self._advance()

    def skip_to(self, position: int) -> None:
        """Note that nothing below ``position`` is left to be delivered (the tail was markers, not records)."""
        if position > self.next:
            self.next = position
            self._advance()

    def view(self, extra: Collection[int] = (), *, log_position: LogPosition) -> tuple[int, str]:
        """The offset to commit and its metadata, as if ``extra`` were finished already; ``log_position`` is the journal's now."""
        floor = next((offset for offset in self._unfinished if offset not in extra), self.next)
        done = (o for offsets in (self._done, extra) for o in offsets if o >= floor)
        return floor, encode_metadata(floor, done, self._recall_from(extra, log_position))

    def is_unfinished(self, offset: int) -> bool:
        """Whether an offset is not done, delivered or not."""
        return offset >= self.floor and offset not in self._done

    def _recall_from(self, extra: Collection[int], now: LogPosition) -> LogPosition:
        called = [at for offset, at in self._called.items() if offset not in extra]
        # noted in a log that is gone: a new owner must see that it cannot be recalled
        gone = next((at for at in called if at.log != now.log), None)
        return gone or min([*called, now], key=_OFFSET_OF)

    @property
    def unfinished_count(self) -> int:
        """Delivered and not finished."""
        return len(self._unfinished)

    @property
    def span(self) -> int:
        """How far was read beyond the oldest unfinished offset.

        What a former owner had finished further on does not count: its commit could describe it, and who counted it might never read on,
        with a lower bound than that owner had.
        """
        return self.next - self.floor

    def fits(self, offset: int) -> bool:
        """Whether this offset can be noted as done in the gap map now."""
        return offset - self.floor < GAP_MAP_BITS

    def _advance(self) -> None:
        floor = next(iter(self._unfinished), self.next)
        if floor > self.floor:
            self.floor = floor
            self._done = {offset for offset in self._done if offset >= floor}


def encode_metadata(floor: int, done: Iterable[int], log_position: LogPosition) -> str:
    """Metadata text: a version, the position from which a new owner reads the journal, and the gap map.

    The gap map is, in base64, one bit for each offset from ``floor`` on, least significant first.

    Raises:
        ValueError: if an offset lies beyond the map, or the position is one that ``decode_metadata`` cannot read.
    """
    position = f"{log_position.log}@{log_position.offset}:"
    if _POSITION.fullmatch(position) is None:
        raise ValueError(f"the position {position!r} in the journal could not be read by the next owner")
    offsets = list(done)
    if not offsets:
        return f"{_VERSION}:{position}"
    for offset in (min(offsets), max(offsets)):
        if not 0 <= offset - floor < GAP_MAP_BITS:
            raise ValueError(f"offset {offset} does not fit a gap map from {floor}")
    size_bytes = (max(offsets) - floor >> 3) + 1
    # one for each bit, the last first, so that a single step packs all of them: behind a flood there are 20 000
    digits = bytearray(b"0" * (8 * size_bytes))
    last = floor + len(digits) - 1
    for offset in offsets:
        digits[last - offset] = _DONE
    bits = int(digits, 2).to_bytes(size_bytes, "little")
    return f"{_VERSION}:{position}{base64.b64encode(bits).decode()}"


def gap_map_of(metadata: str) -> bytes:
    """The bits of a text that ``encode_metadata`` has made."""
    return base64.b64decode(metadata.rpartition(":")[2])


@dataclass(frozen=True, slots=True)
class Restored:
    """What the metadata of a committed offset says. ``log_position`` is None if nothing was noted in a journal before it."""

    log_position: LogPosition | None
    done: tuple[int, ...]  # offsets that are done although they are not below the committed one


def decode_metadata(floor: int, metadata: str) -> Restored:
    """The position and the gap map. Empty metadata is an empty map.

    Raises:
        GapMapError: if the text is not such a map.
    """
    if not metadata:
        return Restored(None, ())
    version, _, rest = metadata.partition(":")
    position: LogPosition | None = None
    try:
        if version == _VERSION:
            match = _POSITION.match(rest)
            if match is None:
                raise GapMapError("no position")
            position, rest = LogPosition(match[1], int(match[2])), rest[match.end() :]
        elif version != _VERSION_WITHOUT_POSITION:
            raise GapMapError("unknown version")
        bits = base64.b64decode(rest, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise GapMapError(f"the metadata of the committed offset is not a gap map: {exc}") from exc
    return Restored(position, tuple(floor + index * 8 + bit for index, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1))


@dataclass(frozen=True, slots=True)
class Finished:
    """What a commit says of one partition: everything below ``floor`` is done, and these offsets above it."""

    floor: int = 0
    above: frozenset[int] = frozenset()

    def holds(self, offset: int) -> bool:
        """Whether the record at an offset is done."""
        return offset < self.floor or offset in self.above

    def left_before(self, end: int) -> int:
        """Offsets before ``end`` that are not done; transaction markers among them count too."""
        return max(0, end - self.floor - sum(1 for offset in self.above if offset < end))


def finished_of(floor: int, metadata: str) -> Finished:
    """What a committed offset and its metadata say. A text that is no gap map says nothing, as for a lane."""
    try:
        return Finished(floor, frozenset(decode_metadata(floor, metadata).done))
    except GapMapError:
        return Finished(floor)
