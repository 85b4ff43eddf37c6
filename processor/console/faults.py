"""Faults of the page itself: logged where they happen, because nobody may come back to ask; their texts may quote a record."""

from __future__ import annotations

import traceback
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


class LoggedFaultError(Exception):
    """A fault of the processor that is in the log already."""


def log_fault(view: str, error: BaseException) -> None:
    """Say which view failed, how and where."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    log.error("page_failed", view=view, error=type(error).__name__, at=f"{Path(at.filename).name}:{at.lineno}")
