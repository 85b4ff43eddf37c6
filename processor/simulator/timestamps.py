"""Timestamps in Didit's format. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(epoch_s: float, timespec: str = "auto") -> str:
    """ISO 8601 in UTC, ending in ``Z``. ``timespec`` as in ``datetime.isoformat``."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
