"""Numbers and foreign text for people. Pure. Durations and times are in ``times``."""

from __future__ import annotations

import math

_THIN = "\u202f"  # narrow no-break space: 1 234


def number(value: float) -> str:
    """``1 234``: whole, in groups of three."""
    return f"{value:,.0f}".replace(",", _THIN)


def count(value: int, one: str, many: str | None = None) -> str:
    """``1 record``, ``20 records``."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"


def percent(part: float, whole: float) -> str:
    """``98 %``; never 100 % before it is full, never 0 % of something."""
    if whole <= 0:
        return "0" + _THIN + "%"
    share = 100.0 * part / whole
    shown = math.floor(share) if share >= 1 else math.ceil(share)
    return f"{shown}{_THIN}%"


def verbatim(text: str) -> str:
    """Text from outside as it is, but for what a terminal would act on."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
