"""What each of several applications comes to in one line: for the page's index, `processor status` and `top`. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from processor.contract.times import time_of_day
from processor.monitoring.diagnosis import Tone, diagnose
from processor.monitoring.diagnosis_text import headline, title_of
from processor.monitoring.formatting import done_within
from processor.monitoring.model import Overview

UNKNOWN = "Nothing is known yet"


@dataclass(frozen=True, slots=True)
class ApplicationLine:
    """One application. Without an overview only the first four fields say anything."""

    name: str
    tone: Tone
    headline: str  # two or three words
    title: str  # what the bottleneck is, or why nothing is known
    at_ms: int | None = None
    owed: int = 0  # calls that are owed and due now; estimated
    drain_s: float = 0.0  # how long the slowest scope takes; inf while none may pass
    done_in: str = "-"  # the same as a text; "-" if none is owed
    done_at: str = ""  # "14:03 UTC"; empty if none is owed, or nobody can say
    unfinished: int = 0  # records of the input topics
    waiting: int = 0  # records of the delay topics
    dead_letters: int = 0  # open
    dead_letters_complete: bool = True  # false: there are more than were read
    trouble: str = ""  # why it is not of now


def line_of(name: str, overview: Overview | None, trouble: str = "") -> ApplicationLine:
    """The line of an application.

    Args:
        name: of the application.
        overview: the last known one; None if nothing is known.
        trouble: why it is not of now; empty if it is.
    """
    if overview is None:
        return ApplicationLine(name, Tone.BAD, UNKNOWN, trouble, trouble=trouble)
    diagnosis = diagnose(overview)
    owing = [drain for drain in overview.drains if drain.calls]
    slowest = max(owing, key=lambda drain: drain.drain_s, default=None)
    drain_s = 0.0 if slowest is None else slowest.drain_s
    return ApplicationLine(
        name,
        diagnosis.tone,
        headline(diagnosis),
        title_of(diagnosis.leading),
        overview.at_ms,
        owed=sum(drain.calls for drain in owing),
        drain_s=drain_s,
        done_in="-" if slowest is None else done_within(slowest),
        done_at="" if slowest is None or not math.isfinite(drain_s) else f"{time_of_day(overview.at_ms + round(drain_s * 1000))[:5]} UTC",
        unfinished=sum(p.unfinished for p in overview.partitions),
        waiting=overview.waiting.count,
        dead_letters=overview.dead_letters.open,
        dead_letters_complete=overview.dead_letters.complete,
        trouble=trouble,
    )
