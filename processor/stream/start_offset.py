"""Where a new owner of a partition begins. Pure.

A group without offsets on a topic with history, or with offsets that the topic no longer has, is never resolved
silently: either way leads to a replay (calls made twice) or a loss, so a person decides, by VP_KAFKA__ON_MISSING_OFFSETS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MissingPolicy = Literal["stop", "earliest", "latest"]


class MissingOffsetsError(Exception):
    """The start position of a partition needs a decision; the text says which and how to give it.

    ``begin`` and ``end``: the offsets that it is about.
    """

    def __init__(self, text: str, begin: int, end: int) -> None:
        super().__init__(text)
        self.begin, self.end = begin, end


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
    if saved is None:
        if begin == end or siblings_committed:
            return Start(begin, "")
        fault = f"{partition}: the group has no committed offset, but the topic holds offsets {begin} to {end - 1}"
    elif saved.offset < begin:
        fault = f"{partition}: offsets {saved.offset} to {begin - 1} were deleted before they were processed"
    else:
        fault = f"{partition}: the committed offset {saved.offset} is beyond the end {end}; the topic seems to have been created again"
    if policy == "stop":
        raise MissingOffsetsError(
            f"{fault}. Decide: VP_KAFKA__ON_MISSING_OFFSETS=earliest processes everything that is still there, =latest skips it.",
            begin,
            end,
        )
    if policy == "latest":
        return Start(end, "", f"{fault}; skipping to the end, as configured")
    if saved is not None and saved.offset < begin:
        return Start(begin, "", f"{fault}; going on with the first offset that is left, as configured")
    return Start(begin, "", f"{fault}; processing from the beginning, as configured")
