"""Logs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from processor.settings.base import Group


class LogSettings(Group):
    """Logs: JSON lines on stderr, without personal data."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest level that is written")
    format: Literal["json", "text"] = Field("json", description="`json`, or `text` for a terminal")
