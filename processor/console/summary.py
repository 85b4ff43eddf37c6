"""What the overview comes to: four tiles, a card for each scope, and whatever is out of the ordinary. Pure; times are epoch ms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from processor.budget.view import BreakerView, ScopeView
from processor.console.filters import clock, count, number, percent
from processor.monitoring.formatting import duration
from processor.monitoring.model import DrainView, Overview

_FULL = 0.9  # from this share on a budget with somebody waiting sets the pace
_LONG_S = 300.0  # a backlog that lasts longer is worth a look


class Tone(StrEnum):
    """How much it needs a person; the page shows it by a word and a sign, not by colour alone."""

    GOOD = "good"
    WATCH = "watch"
    BAD = "bad"


_WORDS = {Tone.GOOD: "All is well", Tone.WATCH: "Worth a look", Tone.BAD: "Needs somebody"}


@dataclass(frozen=True, slots=True)
class Tile:
    """One of the four suspects."""

    name: str
    tone: Tone
    state: str  # two or three words
    figure: str
    text: str
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something out of the ordinary, and what it means."""

    tone: Tone
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class ScopeCard:
    """One scope as its card says it."""

    view: ScopeView
    tone: Tone
    state: str
    share: str
    drain: DrainView | None
    paused_until_ms: int | None
    foreign: str  # empty without


@dataclass(frozen=True, slots=True)
class Summary:
    """All of it."""

    tone: Tone
    word: str
    tiles: tuple[Tile, ...]
    notices: tuple[Notice, ...]
    scopes: tuple[ScopeCard, ...]  # those that need most first


def summarize(overview: Overview) -> Summary:
    """What an overview comes to."""
    tiles = (_budget(overview), _backlog(overview), _didit(overview), _dead_letters(overview))
    notices = tuple(_notices(overview))
    tone = _worst([*(t.tone for t in tiles), *(n.tone for n in notices)])
    drains = {drain.scope: drain for drain in overview.drains}
    cards = [_card(scope, drains.get(scope.scope), overview) for scope in overview.budget.scopes]
    cards.sort(key=lambda c: (-_weight(c.tone), -(c.view.used / max(1, c.view.limit)), c.view.scope))
    return Summary(tone, _WORDS[tone], tiles, notices, tuple(cards))


def _budget(o: Overview) -> Tile:
    if o.budget.blocked_for_s > 0:
        return Tile("Budget", Tone.BAD, "Held", duration(o.budget.blocked_for_s), "until calls may start again: the budget log was lost")
    if not o.budget.scopes:
        return Tile("Budget", Tone.GOOD, "Unused", "0" + "\u202f%", "no call has been asked for yet")
    busiest = max(o.budget.scopes, key=lambda s: s.used / max(1, s.limit))
    full = [s for s in o.budget.scopes if _is_full(s)]
    lowered = [s for s in o.budget.scopes if s.limit < s.configured]
    text = f"of {busiest.scope} used: {number(busiest.used)} of {number(busiest.limit)} calls"
    if full:
        return Tile("Budget", Tone.WATCH, "Sets the pace", percent(busiest.used, busiest.limit), text)
    if lowered:
        return Tile("Budget", Tone.WATCH, "Lowered", percent(busiest.used, busiest.limit), text)
    return Tile("Budget", Tone.GOOD, "Has room", percent(busiest.used, busiest.limit), text)


def _backlog(o: Overview) -> Tile:
    orphans = sum(1 for p in o.partitions if p.owner is None)
    owed = [d for d in o.drains if d.calls > 0]
    longest = max(owed, key=lambda d: (d.drain_s, d.calls), default=None)
    if orphans and o.group_state in {"Empty", "Dead", "Stable"}:
        return Tile("Backlog", Tone.BAD, "Not worked on", number(orphans), "of the partitions below have no replica")
    if longest is None:
        due = o.waiting.count - o.waiting.due_now
        return Tile(
            "Backlog", Tone.GOOD, "Empty", "0", f"calls owed; {count(due, 'record')} due later" if due else "calls owed; nothing waits"
        )
    owed_text = f"{count(longest.calls, 'call')} owed in {longest.scope}"
    if not math.isfinite(longest.drain_s):
        return Tile("Backlog", Tone.BAD, "Stands still", number(longest.calls), f"calls owed in {longest.scope}, and none may pass now")
    done = f"done at about {clock(o.at_ms + round(longest.drain_s * 1000))[:5]} UTC"
    tone, state = (Tone.WATCH, "Takes its time") if longest.drain_s > _LONG_S else (Tone.GOOD, "Drains")
    return Tile("Backlog", tone, state, duration(longest.drain_s), f"{owed_text}; {done}")


def _didit(o: Overview) -> Tile:
    if any(c.name == "account" for c in o.budget.breakers):
        return Tile("Didit", Tone.BAD, "Refuses the account", "0", "calls pass but a probe: look at key, credits and contract")
    if o.budget.breakers:
        failing = count(len(o.budget.breakers), "operation")
        names = ", ".join(c.name for c in o.budget.breakers[:3])
        return Tile("Didit", Tone.BAD, "Fails", failing, f"held until a probe succeeds: {names}")
    paused = [s for s in o.budget.scopes if s.paused_for_s > 0]
    if paused:
        longest = max(paused, key=lambda s: s.paused_for_s)
        return Tile("Didit", Tone.WATCH, "Asked us to wait", duration(longest.paused_for_s), f"until calls in {longest.scope} go on")
    throttled = sum(s.throttled_lately for s in o.budget.scopes)
    if throttled:
        return Tile("Didit", Tone.WATCH, "Throttles", number(throttled), "answers with 429 in ten minutes: somebody else uses the key")
    return Tile("Didit", Tone.GOOD, "Answers", "OK", "no breaker is open, and no pause")


def _dead_letters(o: Overview) -> Tile:
    more = "" if o.dead_letters.complete else " or more"
    if not o.dead_letters.open:
        return Tile("Dead letters", Tone.GOOD, "None", "0", "open; nothing to repair", "/dead-letters")
    kinds = count(len(o.dead_letters.by_reason), "kind of reason", "kinds of reasons")
    return Tile("Dead letters", Tone.WATCH, "To repair", number(o.dead_letters.open) + more, f"open, {kinds}", "/dead-letters")


def _card(s: ScopeView, drain: DrainView | None, o: Overview) -> ScopeCard:
    tone, state = Tone.GOOD, "has room"
    if o.budget.blocked_for_s > 0:
        tone, state = Tone.BAD, "held"
    elif s.paused_for_s > 0:
        tone, state = Tone.WATCH, "paused"
    elif s.foreign:
        tone, state = Tone.WATCH, "foreign traffic"
    elif _is_full(s):
        tone, state = Tone.WATCH, "full"
    elif not s.used and not s.waiting:
        state = "quiet"
    until_ms = o.at_ms + round(s.paused_for_s * 1000) if s.paused_for_s > 0 else None
    return ScopeCard(s, tone, state, percent(s.used, s.limit), drain, until_ms, _foreign(s))


def _foreign(s: ScopeView) -> str:
    parts = [f"limit lowered from {number(s.configured)} to {number(s.limit)}"] if s.limit < s.configured else []
    parts += [f"{number(s.throttled_lately)} answers of 429 in ten minutes"] if s.throttled_lately else []
    return ", ".join(parts)


def _notices(o: Overview) -> list[Notice]:
    found = []
    if o.budget.blocked_for_s > 0:
        text = f"No call starts for {duration(o.budget.blocked_for_s)}, so that no budget is overrun. It ends by itself."
        found.append(Notice(Tone.BAD, "The budget log was lost", text))
    found += [_circuit(c) for c in o.budget.breakers]
    for s in o.budget.scopes:
        if s.paused_for_s > 0:
            until = clock(o.at_ms + round(s.paused_for_s * 1000))
            text = f"Didit answered with 429. Calls go on at {until} UTC, on every replica; it ends by itself."
            found.append(Notice(Tone.WATCH, f"{s.scope} is paused", text))
        if s.foreign:
            text = f"{_foreign(s)}. Find what else uses this API key, or set VP_BUDGET__LIMITS to what Didit grants."
            found.append(Notice(Tone.WATCH, f"Somebody else seems to use {s.scope}", text[:1].upper() + text[1:]))
    return found + _group(o)


def _circuit(c: BreakerView) -> Notice:
    probe = "A probe is on its way." if c.probing else f"Next probe in {duration(c.probe_in_s)}."
    if c.name == "account":
        text = f"Key, credits or contract: all calls are held but a probe. Mend it; work resumes by itself. {probe}"
        return Notice(Tone.BAD, "Didit refuses the account", text)
    return Notice(Tone.BAD, f"{c.name} fails at Didit", f"Its calls are held and use no attempts up; it resumes by itself. {probe}")


def _group(o: Overview) -> list[Notice]:
    found = []
    if o.group_state in {"Empty", "Dead"}:
        found.append(Notice(Tone.BAD, "No replica is in the group", "Nothing is worked on. Start `processor run`."))
    elif o.group_state != "Stable":
        text = f"Partitions are being handed over (Kafka says {o.group_state}). Should it last, look for two replicas with one instance id."
        found.append(Notice(Tone.WATCH, "The group is rebalancing", text))
    elif orphans := sum(1 for p in o.partitions if p.owner is None):
        text = "Their records wait. A replica that joins takes them over."
        found.append(Notice(Tone.BAD, f"{count(orphans, 'partition has', 'partitions have')} no owner", text))
    found += [
        Notice(
            Tone.WATCH,
            f"{r.instance} has not been heard for 45 s",
            "It is in the group, but says nothing in the budget log. Look at its log.",
        )
        for r in o.replicas
        if not r.heard
    ]
    return found


def _is_full(s: ScopeView) -> bool:
    return s.waiting > 0 and max(s.used, s.live) >= _FULL * s.limit


def _weight(tone: Tone) -> int:
    return [Tone.GOOD, Tone.WATCH, Tone.BAD].index(tone)


def _worst(tones: list[Tone]) -> Tone:
    return max(tones, key=_weight, default=Tone.GOOD)
