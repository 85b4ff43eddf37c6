"""Numbers and foreign text for people. Pure. Durations and times are in ``times``."""

from __future__ import annotations

import math

from processor.contract.amounts import THIN_SPACE
from processor.contract.times import duration
from processor.monitoring.model import DrainView


def percent(part: float, whole: float) -> str:
    """``98 %``; never 100 % before it is full, never 0 % of something."""
    if whole <= 0:
        return "0" + THIN_SPACE + "%"
    share = 100.0 * part / whole
    shown = math.floor(share) if share >= 1 else math.ceil(share)
    return f"{shown}{THIN_SPACE}%"


def size(size_bytes: float) -> str:
    """``84 MB``, ``1.2 GB``; ``-`` for nothing."""
    if size_bytes <= 0:
        return "-"
    megabytes = size_bytes / 1_000_000
    return f"{max(1, round(megabytes))} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"  # noqa: PLR2004 - a GB


def done_within(drain: DrainView) -> str:
    """How long what is owed takes; where operators hold all that is left, nobody can say."""
    return "unknown until resumed" if drain.paused and not math.isfinite(drain.drain_s) else duration(drain.drain_s)


def silence(silent_s: float) -> str:
    """For how long a replica of the group was not heard: ``not for 5 min``; nobody knows it of one that left what is remembered."""
    return f"not for {duration(silent_s)}" if math.isfinite(silent_s) else "not lately"


def one_line_json(text: bytes) -> bytes:
    r"""JSON on one line for a terminal: the same value, with whatever a terminal would act on as ``\u`` escapes.

    JSON leaves line separators (U+2028, U+2029, U+0085), C1 codes and bidi controls as they are, which forge lines or reorder them.
    """
    if text.isascii() and b"\x7f" not in text:
        return text
    return "".join(c if c.isprintable() or c == "\n" else _json_escape(c) for c in text.decode(errors="replace")).encode()


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def verbatim(text: str) -> str:
    """Text from outside as it is, but for what a terminal would act on."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
