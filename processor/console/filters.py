"""Numbers, times and names as people read them. Pure; times are epoch ms, lengths are seconds."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from processor.repair.model import REASONS, SAME_AGAIN

_THIN = "\u202f"  # narrow no-break space: 1 234
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_TIME_MS_MAX = 253_402_300_799_000  # the year 9999

_LEFT_OUT = {
    "in_doubt": "a billed call may have taken place: made again, it may be paid twice",
    "replayed": "redriven too often already: the cause is still there",
    "cut": "not whole in the dead-letter topic: its caller publishes it anew",
    "conflict": "its request id stands for another content: its caller publishes it under its own id",
    "late": "its deadline has passed: it would end as expired",
    "later": "the budget does not reach for them yet: do it again when those before them have started",
    "too_large": "longer than a record may be: VP_LANES__OUTPUT_BYTES_MAX and max.message.bytes of the topics say how long",
    "handled": "somebody has dealt with it meanwhile",
    "gone": "the topic keeps it no more",
}


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


def relative(at_ms: int, now_ms: int) -> str:
    """``in 3 min``, ``2 h ago``, ``now``; one unit."""
    away = (at_ms - now_ms) / 1000.0
    if abs(away) < 1:
        return "now"
    size = abs(away)
    for unit_s, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s")):
        if size >= unit_s:
            shown = f"{number(size // unit_s)} {name}"
            return f"in {shown}" if away > 0 else f"{shown} ago"
    return "now"


def utc(at_ms: int) -> str:
    """``2026-11-25 12:03:05``, in UTC."""
    return _stamp(at_ms, "%Y-%m-%d %H:%M:%S")


def clock(at_ms: int) -> str:
    """``12:03:05``, in UTC."""
    return _stamp(at_ms, "%H:%M:%S")


def machine(at_ms: int) -> str:
    """The same for a ``<time datetime>``."""
    return _stamp(at_ms, "%Y-%m-%dT%H:%M:%SZ")


def size(size_bytes: int) -> str:
    """``812 B``, ``3 kB``, ``1.2 MB``."""
    if size_bytes < 1000:  # noqa: PLR2004 - a kilobyte
        return f"{size_bytes} B"
    return f"{number(size_bytes / 1000)} kB" if size_bytes < 1_000_000 else f"{size_bytes / 1_000_000:.1f} MB"  # noqa: PLR2004 - a megabyte


def reason(kind: str) -> str:
    """What a reason type means; empty for one that says it itself."""
    return REASONS.get(kind, "")


def hopeless(kind: str) -> str:
    """What to consider before a redrive of this reason type; empty where nothing speaks against it."""
    same = "the same bytes get the same answer, unless what refused them was changed"
    return same if kind in SAME_AGAIN else ""


def left_out(why: str) -> str:
    """Why a redrive leaves a dead letter alone."""
    return _LEFT_OUT.get(why, why.replace("_", " "))


def within(label: str) -> str:
    """A bucket of due times: ``due`` is those whose time has come."""
    return "due now" if label == "due" else f"within {label}" if label[:1].isdigit() else label


def _stamp(at_ms: int, form: str) -> str:
    return datetime.fromtimestamp(min(max(at_ms, 0), _TIME_MS_MAX) / 1000, UTC).strftime(form)
