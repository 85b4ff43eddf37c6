"""Where a new owner of a partition begins. Pure.

A group without offsets on a topic with history, or with offsets that the topic no longer has, is never resolved
silently: either way leads to a replay (calls made twice) or a loss, so a person decides, by VP_KAFKA__ON_MISSING_OFFSETS.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from processor.contract.amounts import count
from processor.stream.offsets import GapMapError, Restored, decode_metadata, encode_metadata

MissingPolicy = Literal["stop", "earliest", "latest"]


class MissingOffsetsError(Exception):
    """The start position of a partition needs a decision; the text says which and how to give it.

    ``begin`` and ``end``: the offsets that it is about. ``done``: those of them that the last commit says to be done.
    """

    def __init__(self, text: str, begin: int, end: int, done: Collection[int] = ()) -> None:
        super().__init__(text)
        self.begin, self.end, self.done = begin, end, frozenset(done)


@dataclass(frozen=True, slots=True)
class Committed:
    """What the group has stored for a partition."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin, and what to tell the operator."""

    offset: int
    metadata: str
    warning: str | None = None
    foreign: bool = False  # somebody has set the offset by hand: nothing is known of what was done or called


@dataclass(frozen=True, slots=True)
class FoundStart:
    """Where to begin a partition, as the brokers told it after its former owner was fenced."""

    start: Start
    saved_floor: int | None  # the offset that is committed; None unless it is ``start.offset``
    end: int  # of the partition


def starting_point(
    partition: str, saved: Committed | None, begin: int, end: int, *, siblings_committed: bool, policy: MissingPolicy
) -> Start:
    """The offset to seek to and the gap map to start from.

    Args:
        partition: name for the message, ``topic[partition]``.
        saved: the committed offset, read after the former owner was fenced.
        begin: first offset that the partition still has.
        end: offset after its last readable record.
        siblings_committed: whether the group has offsets on other partitions of the topic; then this one is new.
        policy: what the operator has decided.

    Raises:
        MissingOffsetsError: if the policy is ``stop`` and a decision is needed.
    """
    if saved is not None and begin <= saved.offset <= end:
        return Start(saved.offset, saved.metadata, foreign=not saved.metadata)
    known = Restored(None, ())
    if saved is None:
        if begin == end or siblings_committed:
            return Start(begin, "")
        fault = f"{partition}: the group has no committed offset, but the topic holds offsets {begin} to {end - 1}"
    elif saved.offset < begin:
        known = _known(saved)
        fault = f"{partition}: {_deleted(saved.offset, begin, known.done)}"
    else:
        fault = f"{partition}: the committed offset {saved.offset} is beyond the end {end}; the topic seems to have been created again"
    if policy == "stop":
        raise MissingOffsetsError(
            f"{fault}. Decide: VP_KAFKA__ON_MISSING_OFFSETS=earliest processes everything that is still there, =latest skips it.",
            begin,
            end,
            [offset for offset in known.done if offset >= begin],
        )
    if policy == "latest":
        return Start(end, "", f"{fault}; skipping to the end, as configured")
    if saved is not None and saved.offset < begin:
        return Start(begin, _moved(known, begin), f"{fault}; going on with the first offset that is left, as configured")
    return Start(begin, "", f"{fault}; processing from the beginning, as configured")


def _known(saved: Committed) -> Restored:
    try:
        return decode_metadata(saved.offset, saved.metadata)
    except GapMapError:
        return Restored(None, ())


def _deleted(saved: int, begin: int, done: Collection[int]) -> str:
    """What is gone; what was done of it before is no loss."""
    done_before = sum(1 for offset in done if offset < begin)
    but = f", but for {count(done_before, 'offset')} that had been done" if done_before else ""
    return f"offsets {saved} to {begin - 1} were deleted before they were processed{but}"


def _moved(known: Restored, begin: int) -> str:
    """The text of the last commit, for a later offset: what it says of the records that are left is as true as before."""
    if known.log_position is None:
        return ""
    return encode_metadata(begin, [offset for offset in known.done if offset >= begin], known.log_position)
