"""How many of what, for people: ``1 record``, ``20 records``, ``1 call waits``. Pure, and the one place that knows one from many."""

from __future__ import annotations

THIN_SPACE = "\u202f"
"""Narrow, without a line break: between the groups of a number, and before its unit."""


def number(value: float) -> str:
    """``1 234``: whole, in groups of three."""
    return f"{value:,.0f}".replace(",", THIN_SPACE)


def count(value: float, one: str, many: str | None = None) -> str:
    """So many of something; ``many`` where it is not ``one`` with an s. Both may go on with the verb: ``call waits``, ``calls wait``."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"
