"""Times as Didit writes them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(epoch_s: float, timespec: str = "auto") -> str:
    """ISO 8601 in UTC, with ``Z``."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
