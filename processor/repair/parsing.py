"""What people type to name dead letters, as values. Pure: the time goes in."""

from __future__ import annotations

import re

from processor.contract.decode import parse_deadline
from processor.contract.times import DURATION_FORM, is_duration, parse_duration

_POSITION = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")


def read_moment(text: str, now_ms: int) -> int:
    """Epoch ms of an RFC 3339 time, or of so long ago: ``2h``, ``3d``.

    Raises:
        ValueError: for anything else, with how to write it.
    """
    if is_duration(text):
        return now_ms - parse_duration(text) * 1000
    found = parse_deadline(text)
    if found is None:
        raise ValueError(f"{text!r} is no time: write 2027-01-31T12:00:00Z, or how long ago as {DURATION_FORM}")
    return found


def read_position(text: str) -> tuple[int, int]:
    """Partition and offset of a dead letter, from ``partition:offset``.

    Raises:
        ValueError: for anything else, with how to write it.
    """
    found = _POSITION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no position: write PARTITION:OFFSET, e.g. 3:1042, as `processor deadletters list` shows it")
    return int(found[1]), int(found[2])
