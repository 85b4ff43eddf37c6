"""What `processor status`, `top` and `lag` show at a terminal, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import Any

import orjson
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from processor.budget.view import TenantView
from processor.contract.amounts import count
from processor.contract.pauses import PauseAct
from processor.contract.times import duration, relative, utc
from processor.monitoring.diagnosis import Diagnosis, Tone, diagnose
from processor.monitoring.diagnosis_text import headline, statement, verdict
from processor.monitoring.formatting import done_within, silence, size, verbatim
from processor.monitoring.model import BlockedPartition, DrainView, Overview, PartitionView, ReplicaView

_BAR = 10
STYLES = {Tone.GOOD: "bold green", Tone.WATCH: "bold yellow", Tone.BAD: "bold red"}


def as_json(o: Overview) -> bytes:
    """One JSON object: seconds, calls, records and epoch ms; an endless time is null. ``diagnosis`` is what it comes to."""
    found = asdict(o) | {"diagnosis": _diagnosis(diagnose(o))}
    for scope, seen in zip(found["budget"]["scopes"], o.budget.scopes, strict=True):
        scope["foreign"] = seen.foreign
    return orjson.dumps(found)


def _diagnosis(found: Diagnosis) -> dict[str, Any]:
    findings = [{"kind": f.kind, "tone": f.tone, "area": f.area, "subject": f.subject, "figures": f.figures} for f in found.findings]
    return {"tone": found.tone, "headline": headline(found), "verdict": verdict(found), "findings": findings}


def screen(o: Overview) -> RenderableType:
    """One screen: the verdict and what else is not well, then budget, replicas, backlog, what waits, what is dead."""
    diagnosis = diagnose(o)
    text = Text(f"{headline(diagnosis)}. {verdict(diagnosis)}", STYLES[diagnosis.tone])
    head = Panel(text, title=told(o.group), subtitle=told(f"group {o.group_state}"))
    others = [Text(statement(f), STYLES[f.tone]) for f in diagnosis.others]
    backlog = lag_table(o.partitions, o.blocked, by_topic=True, compact=True)
    budget = (scope_table(o, diagnosis), *tenant_lines(o.budget.tenants))
    parts = (*budget, Text(), replica_table(o), Text(), backlog, Text(), _waiting(o), _dead(o))
    return Group(head, *others, *pause_lines(o), Text(), *parts)


def told(text: str, style: str = "") -> Text:
    """A text with names that others chose (replicas, tenants, operations), but for what a terminal would act on."""
    return Text(verbatim(text), style)


def told_of(act: PauseAct) -> str:
    """What is paused, since when, who and why, in one line."""
    return verbatim(f"{act.name} since {utc(act.at_ms)} by {act.by}: {act.reason}")


def pause_lines(o: Overview, *, cut: bool = False) -> list[Text]:
    """What operators have paused, and what waits for it. ``cut``: to one line each, by its beginning."""
    if cut:
        return [Text(f"paused: {told_of(act)}", "yellow", no_wrap=True, overflow="ellipsis") for act in o.pauses]
    until = "when they are done is unknown until `processor resume`"
    return [
        Text(f"paused: {told_of(act)}; {count(o.paused_calls.get(act.name, 0), 'call waits', 'calls wait')}, {until}", "yellow")
        for act in o.pauses
    ]


def tenant_lines(tenants: tuple[TenantView, ...]) -> list[Text]:
    """Which tenants wait, and the share that each has of its class while all of them do."""
    if not tenants:
        return []
    names = {"": "without a tenant", "~": "others"}
    return [told("tenants that wait: " + ", ".join(f"{names.get(t.tenant, t.tenant)} {t.waiting} ({t.share:.0%})" for t in tenants))]


def replica_table(o: Overview) -> RenderableType:
    """Each replica, also those that were heard in the last ten minutes, and below it their last errors."""
    if not o.replicas:
        return Text("No replica is in the group.", "bold red")
    table = Table(box=None, pad_edge=False)
    table.add_column("replica", no_wrap=True, overflow="ellipsis", min_width=8)
    rows = [(Text(str(r.partitions)), _heard(r), *_told(r)) for r in o.replicas]
    for number, header in enumerate(("parts", "heard", "version", "up", "memory", "clock")):
        width = max(len(header), *(len(row[number]) for row in rows))
        table.add_column(header, no_wrap=True, justify="right" if header in {"parts", "memory"} else "left", min_width=width)
    for r, row in zip(o.replicas, rows, strict=True):
        table.add_row(told(r.instance), *row)
    failed = [r for r in o.replicas if r.last_error]
    return Group(table, *(told(f"{r.instance}: last error {r.last_error}, {relative(r.last_error_ms, o.at_ms)}") for r in failed))


def _heard(r: ReplicaView) -> Text:
    if r.heard:
        return Text("yes")
    if not r.in_group:
        return Text(f"left {duration(r.silent_s // 60 * 60)} ago", "dim")
    return Text(silence(r.silent_s), "bold red")


def _told(r: ReplicaView) -> tuple[Text, ...]:
    clock = Text(f"{r.clock_off_s:.1f} s off" if r.clock_off_s else "right", "bold red" if r.clock_off_s else "")
    if not r.version:
        return (Text("-"), Text("-"), Text("-"), clock)
    return (told(r.version), Text(duration(r.uptime_s)), Text(size(r.memory_bytes)), clock)


def facts(o: Overview) -> list[RenderableType]:
    """What follows the budget, for a small screen: what is dead and what waits first."""
    return [_dead(o), _waiting(o), _replicas(o), lag_table(o.partitions, o.blocked, by_topic=True, compact=True)]


def lag_table(
    partitions: tuple[PartitionView, ...], blocked: tuple[BlockedPartition, ...], *, by_topic: bool = False, compact: bool = False
) -> RenderableType:
    """Unfinished records by partition, or by topic, and what nothing more can be read of. ``compact``: without their offsets."""
    caption = None if by_topic or compact else "unfinished: at most, as markers of transactions count until they are passed"
    table = Table(box=None, pad_edge=False, caption=caption, caption_justify="left")
    for header in (
        "topic",
        *(() if by_topic else ("partition",)),
        *(() if by_topic or compact else ("done below", "end")),
        "unfinished",
        "owners" if by_topic else "owner",
        "blocked",
    ):
        named = header in {"owner", "owners", "blocked"}  # names that may go on in a second line; a topic is never cut
        table.add_column(header, justify="left" if named or header == "topic" else "right", no_wrap=not named, overflow="fold")
    if by_topic:
        _add_topics(table, partitions, blocked)
        return table
    by_partition = {(b.topic, b.partition): b for b in blocked}
    for p in partitions:
        owner = told(p.owner or "nobody", "" if p.owner else "bold red")
        cells = (str(p.partition), *(() if compact else (str(p.floor), str(p.end))), str(p.unfinished))
        table.add_row(told(p.topic), *cells, owner, _blocked(by_partition.get((p.topic, p.partition))))
    for b in blocked:
        if b.partition is None:
            table.add_row(told(b.topic), *["-"] * (len(table.columns) - 2), _blocked(b))
    return table


def _add_topics(table: Table, partitions: tuple[PartitionView, ...], blocked: tuple[BlockedPartition, ...]) -> None:
    for topic, found in groupby(partitions, key=lambda p: p.topic):
        views = list(found)
        ownerless = sum(1 for p in views if p.owner is None)
        owners = Text(f"{ownerless} of {count(len(views), 'partition')} without" if ownerless else "all", "bold red" if ownerless else "")
        stuck = sum(1 for b in blocked if b.topic == topic)
        table.add_row(
            told(topic),
            str(sum(p.unfinished for p in views)),
            owners,
            Text(f"{stuck} of {len(views)}" if stuck else "-", "bold red" if stuck else ""),
        )
    for b in blocked:
        if b.partition is None:
            table.add_row(told(b.topic), "-", "-", _blocked(b))


def _blocked(b: BlockedPartition | None) -> Text:
    return Text("-") if b is None else told(f"{b.cause} at {b.offset}, {duration(b.blocked_s)}", "bold red")


def scope_table(o: Overview, diagnosis: Diagnosis) -> RenderableType:
    """The budget by scope."""
    table = Table(box=None, pad_edge=False)
    table.add_column("scope", no_wrap=True)
    table.add_column("used of limit", no_wrap=True, justify="right")
    table.add_column("", no_wrap=True, max_width=_BAR, overflow="crop")
    for header in ("waiting", "owed calls", "done in"):
        table.add_column(header, justify="right")
    drains = {d.scope: d for d in o.drains}
    for s in o.budget.scopes:
        drain = drains.get(s.scope, DrainView(s.scope, 0, 0.0))
        filled = min(_BAR, round(_BAR * s.used / s.limit))
        finding = diagnosis.of_scope(s.scope)
        bar = Text("█" * filled + "░" * (_BAR - filled), "cyan" if finding is None else STYLES[finding.tone])
        done_in = done_within(drain).removesuffix(" until resumed") if drain.calls else "-"
        table.add_row(told(s.scope), f"{s.used} of {s.limit}", bar, str(s.waiting), str(drain.calls), done_in)
    return table


def _replicas(o: Overview) -> RenderableType:
    parts = [
        told(f"{r.instance} ({r.partitions})" + ("" if r.heard else " not heard"), "" if r.heard else "bold red")
        for r in o.replicas
        if r.in_group
    ] or [Text("none", "bold red")]
    return Text("replicas (partitions): ") + Text(", ").join(parts)


def _waiting(o: Overview) -> RenderableType:
    w = o.waiting
    if not w.count:
        return Text("waiting: nothing waits in the delay topics")
    reasons = ", ".join(f"{name} {count}" for name, count in sorted(w.by_reason.items(), key=lambda item: -item[1]))
    when = "" if w.next_due_ms is None else f", the next in {duration(max(0.0, (w.next_due_ms - o.at_ms) / 1000))}"
    more = "" if w.complete else " at least"
    return told(f"waiting: {w.count}{more} in the delay topics, {w.due_now} due{when} ({reasons}); see `processor retry list`")


def _dead(o: Overview) -> RenderableType:
    d = o.dead_letters
    if not d.open:
        return Text(f"dead letters: none open ({d.redriven} redriven, {d.discarded} discarded)")
    reasons = ", ".join(f"{name} {count}" for name, count in sorted(d.by_reason.items(), key=lambda item: -item[1]))
    return told(f"dead letters: {d.open} open ({reasons}); see `processor deadletters list`", "yellow")
