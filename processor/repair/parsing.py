"""What people type to name dead letters, as values. Pure: the time goes in."""

from __future__ import annotations

import re

from processor.contract.decode import parse_deadline

_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_POSITION = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")


def read_moment(text: str, now_ms: int) -> int:
    """Epoch ms of an RFC 3339 time, or of so long ago: ``2h``, ``3d``.

    Raises:
        ValueError: for anything else, with how to write it.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now_ms - int(ago[1]) * _UNITS_MS[ago[2]]
    found = parse_deadline(text)
    if found is None:
        raise ValueError(f"{text!r} is no time: write e.g. 2h, 3d or 2027-01-31T12:00:00Z")
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
