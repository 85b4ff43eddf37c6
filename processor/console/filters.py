"""Names as the page shows them. Pure."""

from __future__ import annotations

from processor.contract.records import Status
from processor.monitoring.diagnosis import Tone
from processor.repair.model import REASONS, SAME_AGAIN

_TONES = {Status.SUCCEEDED: Tone.GOOD, Status.REJECTED: Tone.WATCH, Status.CONFLICT: Tone.WATCH, Status.EXPIRED: Tone.WATCH}


def reason(kind: str) -> str:
    """What a reason type means; empty for one that says it itself."""
    return REASONS.get(kind, "")


def hopeless(kind: str) -> str:
    """What to consider before a redrive of this reason type; empty where nothing speaks against it."""
    same = "the same bytes get the same answer, unless what refused them was changed"
    return same if kind in SAME_AGAIN else ""


def within(label: str) -> str:
    """A bucket of due times: ``due`` is those whose time has come."""
    return "due now" if label == "due" else f"within {label}" if label[:1].isdigit() else label


def outcome_tone(status: Status) -> Tone:
    """What a result is marked with: a request that could not be answered is for us, one that was refused for its caller."""
    return _TONES.get(status, Tone.BAD)
