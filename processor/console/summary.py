"""A diagnosis as the overview shows it: headline, a tile for each area, a card for each scope, and what else is not well. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from processor.budget.view import ScopeView
from processor.console.runbooks import runbook_of
from processor.contract.amounts import count, number
from processor.contract.pauses import paused_name
from processor.contract.times import duration, time_of_day
from processor.monitoring.diagnosis import Area, Diagnosis, Finding, FindingKind, Tone, diagnose
from processor.monitoring.diagnosis_text import advice_of, headline, title_of
from processor.monitoring.formatting import percent
from processor.monitoring.model import DrainView, Overview

# what a tile and a card say of their most urgent finding, in two or three words
STATES: Mapping[FindingKind, str] = MappingProxyType(
    {
        FindingKind.ACCOUNT_REFUSED: "Refuses the account",
        FindingKind.OPERATION_FAILING: "Fails",
        FindingKind.OPERATION_REFUSED: "Refuses operations",
        FindingKind.NO_REPLICA: "None",
        FindingKind.PARTITIONS_UNOWNED: "Not enough",
        FindingKind.BUDGET_LOG_LOST: "Held",
        FindingKind.TOPIC_MISSING: "Topic missing",
        FindingKind.NO_LEADER: "Blocked",
        FindingKind.UNDER_MIN_ISR: "Blocked",
        FindingKind.OFFSET_BEYOND_END: "Blocked",
        FindingKind.UNREADABLE_BATCH: "Blocked",
        FindingKind.OPEN_TRANSACTION: "Blocked",
        FindingKind.BACKLOG_STUCK: "Stands still",
        FindingKind.CLOCK_WRONG: "Wrong clock",
        FindingKind.PAUSED: "Paused",
        FindingKind.REBALANCING: "Rebalancing",
        FindingKind.LIMIT_LOWERED: "Lowered",
        FindingKind.ASKED_TO_WAIT: "Asked us to wait",
        FindingKind.REPLICA_SILENT: "Silent",
        FindingKind.PARTITION_IDLE: "Stands still",
        FindingKind.RETRIES_OVERDUE: "Late",
        FindingKind.CALLS_IDLE: "Not begun",
        FindingKind.BUDGET_UNUSED: "Too slow",
        FindingKind.BUDGET_FULL: "Sets the pace",
        FindingKind.BACKLOG_HELD: "Held",
        FindingKind.BACKLOG_LONG: "Takes its time",
        FindingKind.RATE_LIMITED: "Throttles",
        FindingKind.REPLICAS_LACKING: "Brokers missing",
        FindingKind.DEAD_LETTERS_OPEN: "To repair",
        FindingKind.BACKLOG_DRAINS: "Drains",
        FindingKind.BACKLOG_EMPTY: "Empty",
    }
)


@dataclass(frozen=True, slots=True)
class Tile:
    """One of the suspects."""

    name: str
    tone: Tone
    state: str  # two or three words
    figure: str
    text: str
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that is not well, and what it means."""

    tone: Tone
    title: str
    text: str
    runbook: str  # its name


@dataclass(frozen=True, slots=True)
class ScopeCard:
    """One scope as its card says it."""

    view: ScopeView
    tone: Tone
    state: str
    share: str
    drain: DrainView | None
    paused_until_ms: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """All of it."""

    tone: Tone
    headline: str  # two or three words
    title: str  # what the bottleneck is
    advice: str  # what to do; may be empty
    runbook: str  # its name; empty where all is well
    tiles: tuple[Tile, ...]
    notices: tuple[Notice, ...]  # what is not well beside what the verdict says
    scopes: tuple[ScopeCard, ...]  # those that need most first


def summarize(overview: Overview) -> Summary:
    """What an overview comes to."""
    diagnosis = diagnose(overview)
    leading = diagnosis.leading
    tiles = tuple(_tile(area, overview, diagnosis.of_area(area)) for area in Area)
    notices = tuple(Notice(f.tone, title_of(f), advice_of(f), runbook_of(f.kind)) for f in diagnosis.others)
    drains = {drain.scope: drain for drain in overview.drains}
    cards = [_card(scope, drains.get(scope.scope), overview, diagnosis) for scope in overview.budget.scopes]
    cards.sort(key=lambda c: (-c.tone.weight, -(c.view.used / max(1, c.view.limit)), c.view.scope))
    runbook = runbook_of(leading.kind)
    return Summary(diagnosis.tone, headline(diagnosis), title_of(leading), advice_of(leading), runbook, tiles, notices, tuple(cards))


def _tile(area: Area, o: Overview, finding: Finding | None) -> Tile:
    name, link, unfound, shown = _TILES[area]
    tone, state = (Tone.GOOD, unfound) if finding is None else (finding.tone, STATES[finding.kind])
    figure, text = shown(o, finding)
    return Tile(name, tone, state, figure, text, link)


def _budget(o: Overview, finding: Finding | None) -> tuple[str, str]:
    if finding is not None and finding.kind is FindingKind.BUDGET_LOG_LOST:
        return duration(o.budget.blocked_for_s), "until calls may start again: the budget log was lost"
    if not o.budget.scopes:
        return percent(0, 0), "no call has been asked for yet"
    meant = [s for s in o.budget.scopes if finding is not None and s.scope == finding.subject]
    s = max(meant or o.budget.scopes, key=lambda s: s.used / max(1, s.limit))
    return percent(s.used, s.limit), f"of {s.scope} used: {number(s.used)} of {number(s.limit)} calls"


def _backlog(o: Overview, finding: Finding | None) -> tuple[str, str]:
    if finding is None or finding.kind is FindingKind.BACKLOG_EMPTY:
        later = o.waiting.count - o.waiting.due_now
        return "0", f"calls owed; {count(later, 'record')} due later" if later else "calls owed; nothing waits"
    if finding.kind is FindingKind.PAUSED:
        told = f"calls wait for the end of the pause of {paused_name(finding.subject)}; done at an unknown time"
        return number(finding.figures["calls"]), told
    if "blocked_s" in finding.figures:
        done = "written to" if finding.kind is FindingKind.UNDER_MIN_ISR else "read of"
        return duration(finding.figures["blocked_s"]), f"nothing can be {done} {finding.subject}"
    if finding.kind is FindingKind.PARTITION_IDLE:
        return duration(finding.figures["idle_s"]), f"since a record of {finding.subject} was done"
    if finding.kind is FindingKind.RETRIES_OVERDUE:
        return duration(finding.figures["late_s"]), f"late; {count(int(finding.figures['due']), 'record')} due"
    return _owed(o, finding)


def _owed(o: Overview, finding: Finding) -> tuple[str, str]:
    if finding.kind is FindingKind.REPLICAS_LACKING:
        return number(finding.figures["partitions"]), f"partitions lack replicas in sync: {finding.subject}"
    calls = int(finding.figures["calls"])
    if finding.kind is FindingKind.BACKLOG_STUCK:
        return number(calls), f"calls owed in {finding.subject}, and none may pass now"
    drain_s = finding.figures["drain_s"]
    if finding.kind is FindingKind.BACKLOG_HELD:
        return number(finding.figures["held"]), f"calls held in {finding.subject}; {count(calls, 'other')} done in {duration(drain_s)}"
    done = f"done at about {time_of_day(o.at_ms + round(drain_s * 1000))[:5]} UTC"
    return duration(drain_s), f"{count(calls, 'call')} owed in {finding.subject}; {done}"


def _replicas(o: Overview, finding: Finding | None) -> tuple[str, str]:
    if finding is not None and finding.kind is FindingKind.PARTITIONS_UNOWNED:
        return number(finding.figures["partitions"]), "partitions have no owner"
    heard = sum(1 for replica in o.replicas if replica.heard)
    return number(heard), f"of {number(sum(1 for replica in o.replicas if replica.in_group))} are heard; the group is {o.group_state}"


def _didit(o: Overview, finding: Finding | None) -> tuple[str, str]:
    if finding is None:
        return "OK", "no breaker is open, and no pause"
    match finding.kind:
        case FindingKind.ACCOUNT_REFUSED:
            return "0", "calls pass but a probe: look at key, application and contract"
        case FindingKind.OPERATION_FAILING | FindingKind.OPERATION_REFUSED:
            names = [c.name for c in o.budget.breakers]
            return count(len(names), "operation"), f"held until a probe succeeds: {', '.join(names[:3])}"
        case FindingKind.ASKED_TO_WAIT:
            return duration(finding.figures["paused_s"]), f"until calls in {finding.subject} go on"
        case _:
            return number(finding.figures["answers"]), f"answers with 429 in {finding.subject} in ten minutes"


def _dead_letters(o: Overview, _finding: Finding | None) -> tuple[str, str]:
    if not o.dead_letters.open:
        return "0", "open; nothing to repair"
    more = "" if o.dead_letters.complete else " or more"
    return number(o.dead_letters.open) + more, f"open, {count(len(o.dead_letters.by_reason), 'kind of reason', 'kinds of reasons')}"


# name, link, what it says if nothing was found, its figure and text
_TILES: Mapping[Area, tuple[str, str | None, str, Callable[[Overview, Finding | None], tuple[str, str]]]] = MappingProxyType(
    {
        Area.BUDGET: ("Budget", None, "Has room", _budget),
        Area.BACKLOG: ("Backlog", None, "Empty", _backlog),
        Area.REPLICAS: ("Replicas", None, "At work", _replicas),
        Area.DIDIT: ("Didit", None, "Answers", _didit),
        Area.DEAD_LETTERS: ("Dead letters", "/dead-letters", "None", _dead_letters),
    }
)


def _card(s: ScopeView, drain: DrainView | None, o: Overview, diagnosis: Diagnosis) -> ScopeCard:
    finding = diagnosis.of_scope(s.scope)
    if finding is None:
        tone, state = Tone.GOOD, "Has room" if s.used or s.waiting else "Quiet"
    else:
        tone, state = finding.tone, STATES[finding.kind]
    until_ms = o.at_ms + round(s.paused_for_s * 1000) if s.paused_for_s > 0 else None
    return ScopeCard(s, tone, state, percent(s.used, s.limit), drain, until_ms)
