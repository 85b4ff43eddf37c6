"""Durations and times as people write and read them: one printer and one parser for commands, page, logs and topic names.

Pure; times are epoch ms and shown in UTC.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

DURATION_FORM = "a whole number with s, m, h or d, such as 30s, 15m, 6h or 2d"

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_MANY_MINUTES = 10  # from here on seconds say nothing
_UNITS_S = {"d": _DAY, "h": _HOUR, "m": _MINUTE, "s": 1}
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_TIME_MS_MAX = 253_402_300_799_000  # the year 9999
_AHEAD_MS_MAX = 1000  # of a broker's stamp over our clock, which follows the brokers' a moment behind


def is_past(moment_ms: int | None, now_ms: int) -> bool:
    """Whether a deadline, epoch ms, has come; None has none."""
    return moment_ms is not None and moment_ms <= now_ms


def written_since_ms(stamp_ms: int, there_ms: int) -> int:
    """A moment before a record was written that was there at ``there_ms``; epoch ms.

    Of a topic with ``CreateTime`` the stamp is by the clock of whoever wrote it. One of the future says nothing: then it is a day before.
    """
    return max(0, stamp_ms if stamp_ms <= there_ms + _AHEAD_MS_MAX else there_ms - 1000 * _DAY)


def duration(seconds: float) -> str:
    """``2 min 5 s``, ``3 h 10 min``; two units at most."""
    if not math.isfinite(seconds):
        return "without end"
    whole = max(0, round(seconds))
    if whole < 1:
        return "less than 1 s"
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        minutes, rest = divmod(whole, _MINUTE)
        return f"{minutes} min" + (f" {rest} s" if rest and minutes < _MANY_MINUTES else "")
    if whole < _DAY:
        hours, rest = divmod(whole, _HOUR)
        return f"{hours} h" + (f" {rest // _MINUTE} min" if rest >= _MINUTE else "")
    days, rest = divmod(whole, _DAY)
    return f"{days} d" + (f" {rest // _HOUR} h" if rest >= _HOUR else "")


def relative(at_ms: int, now_ms: int) -> str:
    """``in 3 min 20 s``, ``2 h ago``, ``now``."""
    away_s = (at_ms - now_ms) / 1000
    if abs(away_s) < 1:
        return "now"
    return f"in {duration(away_s)}" if away_s > 0 else f"{duration(-away_s)} ago"


def moment_of(text: Any) -> datetime | None:
    """An ISO 8601 time as Didit writes it, in UTC where it names no zone; None for anything else."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def parse_duration(text: str) -> int:
    """Seconds of ``30s``, ``15m``, ``6h`` or ``2d``.

    Raises:
        ValueError: for anything else, with how to write it; quotes nothing.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"write {DURATION_FORM}")
    return int(found[1]) * _UNITS_S[found[2]]


def is_duration(text: str) -> bool:
    """Whether ``parse_duration`` takes it."""
    return _DURATION.fullmatch(text) is not None


def short_duration(seconds: int) -> str:
    """``90`` -> ``90s``, ``600`` -> ``10m``: the largest unit without a remainder, as ``parse_duration`` reads it."""
    return next(f"{seconds // size_s}{unit}" for unit, size_s in _UNITS_S.items() if seconds % size_s == 0)


def utc(at_ms: int | None) -> str:
    """``2026-11-25 12:03:05Z``; what no calendar holds is its nearest end, ``never`` where there is none."""
    return "never" if at_ms is None else _moment(at_ms).strftime("%Y-%m-%d %H:%M:%SZ")


def time_of_day(at_ms: int) -> str:
    """``12:03:05``, in UTC."""
    return _moment(at_ms).strftime("%H:%M:%S")


def iso(at_ms: int) -> str:
    """``2026-11-25T12:03:05Z``, for programs."""
    return _moment(at_ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(min(max(at_ms, 0), _TIME_MS_MAX) / 1000, UTC)
