"""What people have released from the delay topics: records to be worked on now, although they are not due, or to be ended. Pure.

A release names records by their place and moves none of them, so no second copy can come about. It is never needed: without
it the records start when they are due; only a lane that waits before a batch that cannot be read needs one to go on. Memory is
bounded, and anybody might write to the topic: what is read is checked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from processor.contract.acts import encode_act, read_act
from processor.contract.records import Source

KIND = "released"
KIND_END = "ended"
OFFSETS_MAX = 500  # of one release, as its schema says
KEPT_MS = 15 * 60_000
_KEPT_MAX = 100_000
_SCHEMAS = {KIND: "release.v1", KIND_END: "end.v1"}


class ReleaseFormatError(ValueError):
    """A record of the repairs topic cannot be read. The text is safe to show."""


@dataclass(frozen=True, slots=True)
class Release:
    """Records of one partition of a delay topic, in the order in which they are to start."""

    topic: str
    partition: int
    offsets: tuple[int, ...]
    run_id: str  # of the command that asked; a UUID
    end: bool = False  # they are to end as failed, without another call


class Releases:
    """Releases of the last minutes; ``listeners`` are told of each new one."""

    def __init__(self) -> None:
        self.listeners: set[Callable[[Release], None]] = set()
        self._kept: OrderedDict[tuple[str, int, int], tuple[int, bool]] = OrderedDict()  # when each was read, oldest first; to be ended

    def __len__(self) -> int:
        return len(self._kept)

    def note_release(self, release: Release, now_ms: int) -> None:
        """A release was read at ``now_ms``."""
        for offset in release.offsets:
            key = (release.topic, release.partition, offset)
            _, end = self._kept.pop(key, (0, False))
            self._kept[key] = (now_ms, release.end or end)  # what is to be ended stays so
        while self._kept and (len(self._kept) > _KEPT_MAX or next(iter(self._kept.values()))[0] < now_ms - KEPT_MS):
            self._kept.popitem(last=False)
        for listener in self.listeners:
            listener(release)

    def names(self, source: Source, now_ms: int) -> bool:
        """Whether a record is released."""
        found = self._kept.get((source.topic, source.partition, source.offset))
        return found is not None and found[0] >= now_ms - KEPT_MS

    def ends(self, source: Source) -> bool:
        """Whether a record is to end without another call. The answer holds for as long as it is remembered."""
        found = self._kept.get((source.topic, source.partition, source.offset))
        return found is not None and found[1]


def encode_release(release: Release, *, at_ms: int, by: str) -> bytes:
    """The value of its record in the repairs topic.

    Raises:
        ValueError: if it is not as its schema says, e.g. with too many offsets.
    """
    kind = KIND_END if release.end else KIND
    value = {
        "schema_version": 1,
        "kind": kind,
        "run_id": release.run_id,
        "at_ms": at_ms,
        "by": by,
        "topic": release.topic,
        "partition": release.partition,
        "offsets": list(release.offsets),
    }
    return encode_act(_SCHEMAS[kind], value, "release")


def read_release(value: bytes | None) -> Release | None:
    """The release that a record of the repairs topic holds; None for a record of another kind.

    Raises:
        ReleaseFormatError: if it is neither.
    """
    if (found := read_act(value, _SCHEMAS, ReleaseFormatError)) is None:
        return None
    return Release(
        found["topic"],
        int(found["partition"]),
        tuple(int(offset) for offset in found["offsets"]),
        found["run_id"],
        end=found["kind"] == KIND_END,
    )
