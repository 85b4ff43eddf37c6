"""Lengths of time for people. Pure."""

from __future__ import annotations

import math

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_MANY_MINUTES = 10  # from here on seconds say nothing


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


def verbatim(text: str) -> str:
    """Text from outside as it is, but for what a terminal would act on."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
