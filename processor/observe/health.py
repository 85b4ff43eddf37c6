"""Whether a process lives, and whether it works. Pure.

Liveness looks at our own event loop alone: a broker outage, a rebalance, a rate pause or an account fault must never restart a
healthy process, because a restart cures none of them and costs time. Readiness tells the truth about work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from processor.contract.amounts import count
from processor.contract.times import duration

_POLL_MARGIN_S = 60.0
_SILENCE_S = 25.0  # two signs of life of our own were missed; after 30 s the log is given up, and read again


class Phase(StrEnum):
    """What the process is about."""

    STARTING = "starting"
    WAITING_FOR_KAFKA = "waiting_for_kafka"
    WORKING = "working"
    STANDING_BY = "standing_by"  # another process has our instance id
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a process knows of itself; seconds."""

    phase: Phase
    phase_s: float  # for so long
    detail: str  # our own words
    tick_s: float  # since the event loop last ran the watch
    stall_s: float  # longer means that it stands still
    worker: bool = True  # whether it owns partitions and calls; what follows is of workers
    member: bool = False  # the group has told which partitions are ours
    lanes_open: int = 0
    lanes_restoring: int = 0
    lanes_leaderless: int = 0  # cannot be taken over: no broker leads them, or a new leader waits for replicas
    lanes_unfenced: int = 0  # the brokers cannot end their last transaction, a former owner's or our own
    lanes_refused: int = 0  # a topic refuses what they publish
    poll_s: float | None = None  # since the consumer's last poll came back; None without a consumer
    poll_stall_s: float = 120.0  # the group member ends after so long, and the next one builds its clients
    budget_joined: bool = False
    budget_silence_s: float = 0.0
    kafka_fault: str = ""  # why the last connection to Kafka did not come about, with its code
    throttled_s: float = 0.0  # for so long at most the brokers hold our requests back, as a quota says
    clock_fault: str = ""  # what is wrong with this machine's clock
    paused: Mapping[str, float] = field(default_factory=dict)  # scopes, seconds left
    restarting: tuple[str, ...] = ()  # tasks that failed and are about to be started again


@dataclass(frozen=True, slots=True)
class HealthReport:
    """A verdict. ``notes`` are worth knowing and no reason to complain."""

    ok: bool
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def joint(reports: Mapping[str, HealthReport], *, ok: bool) -> HealthReport:
    """What the reports of all applications come to; each reason names its application, unless all of them have it.

    Args:
        reports: by application.
        ok: the verdict. Where it is good, the reasons of those that are not well are notes.
    """
    if len(reports) == 1:
        return next(iter(reports.values()))
    reasons = _named({name: report.reasons for name, report in reports.items()})
    notes = _named({name: report.notes for name, report in reports.items()})
    return HealthReport(ok=True, notes=(*reasons, *notes)) if ok else HealthReport(ok=False, reasons=reasons, notes=notes)


def all_live(reports: Mapping[str, HealthReport]) -> HealthReport:
    """Whether the process needs a restart: a stall that nothing else ends is one, whichever application has it."""
    return joint(reports, ok=all(report.ok for report in reports.values()))


def any_works(reports: Mapping[str, HealthReport]) -> HealthReport:
    """Whether the process works: for one application at least. The others must not take away what works."""
    return joint(reports, ok=any(report.ok for report in reports.values()))


def _named(texts: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    of_all = [text for text in next(iter(texts.values()), ()) if all(text in others for others in texts.values())]
    return (*of_all, *(f"{name}: {text}" for name, found in texts.items() for text in found if text not in of_all))


def live(v: Vitals) -> HealthReport:
    """Whether a restart is needed."""
    reasons = []
    if v.tick_s > v.stall_s:
        reasons.append(f"the event loop has stood still for {duration(v.tick_s)}")
    if v.phase is Phase.WORKING and v.poll_s is not None and v.poll_s > v.poll_stall_s + _POLL_MARGIN_S:
        reasons.append(f"no poll for {duration(v.poll_s)}, and the watch over it did not act")
    return HealthReport(not reasons, tuple(reasons))


def ready(v: Vitals) -> HealthReport:
    """Whether requests are worked on now."""
    pauses = (f"{scope} is paused for {duration(left_s)}" for scope, left_s in sorted(v.paused.items()))
    notes = (*pauses, *_waits(v), *(f"the task {name!r} failed and is started again" for name in v.restarting))
    fault = f"connections to Kafka fail: {v.kafka_fault}" if v.kafka_fault else ""
    throttled = f"Kafka holds our requests back by a quota, for up to {duration(v.throttled_s)}" if v.throttled_s else ""
    if v.phase is not Phase.WORKING:
        detail = v.detail if not fault else ""
        reason = f"{v.phase} for {duration(v.phase_s)}{f': {detail}' if detail else ''}"
        return HealthReport(ok=False, reasons=tuple(filter(None, (reason, fault, throttled))), notes=notes)
    reasons = _not_working(v) if v.worker else []
    told = tuple(filter(None, (fault, throttled)))  # connections that are there may work on
    return HealthReport(ok=False, reasons=(*reasons, *told), notes=notes) if reasons else HealthReport(ok=True, notes=(*notes, *told))


def _not_working(v: Vitals) -> list[str]:
    reasons = []
    if v.clock_fault:
        reasons.append(v.clock_fault)
    elif not v.budget_joined:
        reasons.append("the budget log is not joined: no call may start")
    elif v.budget_silence_s > _SILENCE_S:
        silence = f"the budget log was not heard for {duration(v.budget_silence_s)}"
        reasons.append(f"{silence}: are the brokers there, and is its topic as `processor topics check` wants it?")
    if not v.member:
        reasons.append("no partitions are assigned: joining the group, or a rebalance")
    elif v.lanes_restoring:
        owned = v.lanes_open + v.lanes_restoring + v.lanes_leaderless + v.lanes_unfenced + v.lanes_refused
        reasons.append(f"being taken over: {v.lanes_restoring} of {count(owned, 'partition')}")
    elif _waits(v) and not v.lanes_open:
        reasons.append(f"no partition of ours can be worked on: are the brokers there, the topics as they must be? {'; '.join(_waits(v))}")
    return reasons


def _waits(v: Vitals) -> tuple[str, ...]:
    """Partitions that wait while the others work."""
    leaderless = (
        f"partitions without a leader: {v.lanes_leaderless}, or with a new one that waits for replicas in sync; they wait for their brokers"
    )
    unfenced = (
        f"partitions whose last transaction cannot be ended: {v.lanes_unfenced}; they wait until brokers answer, and every partition that "
        "it wrote to has a leader and enough replicas in sync: `processor status` and the log event publishing_waits name those without"
    )
    refused = (
        f"partitions whose outcomes a topic refuses: {v.lanes_refused}; the log event publishing_waits says why: `processor topics check` "
        "tells what to set, `processor acls` what to grant"
    )
    counts = ((leaderless, v.lanes_leaderless), (unfenced, v.lanes_unfenced), (refused, v.lanes_refused))
    return tuple(text for text, number in counts if number)


def started(v: Vitals) -> HealthReport:
    """Whether the start is over. It does not depend on brokers: waiting for them is work like any other."""
    waiting = (f"waiting for Kafka for {duration(v.phase_s)}: {v.detail}",) if v.phase is Phase.WAITING_FOR_KAFKA else ()
    return HealthReport(v.phase is not Phase.STARTING, () if v.phase is not Phase.STARTING else ("starting",), waiting)
