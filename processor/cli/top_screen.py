"""What `processor top` shows: one view at a time, fitted to the terminal, scrolled by lines. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from processor.cli import render_status
from processor.contract.records import Status
from processor.contract.times import duration, relative, time_of_day
from processor.monitoring.diagnosis import diagnose
from processor.monitoring.diagnosis_text import headline, statement, verdict
from processor.monitoring.formatting import verbatim
from processor.monitoring.model import Overview
from processor.repair.delayed import FOLLOWING
from processor.repair.model import DeadLetter, DelayedRecord
from processor.repair.recent_result import FAILED, REFUSED, RecentResult, speeds

HALF_HOUR_MS = 30 * 60 * 1000
ROWS_MAX = 200  # of a list; the commands show all
_HEAD_LINES = 4  # title, two lines of the verdict, a rule


class TopView(StrEnum):
    """What can be looked at, by its key."""

    SUMMARY = "s"
    OPERATIONS = "o"
    REPLICAS = "r"
    WAITING = "w"
    DEAD_LETTERS = "d"


_NAMES = {
    TopView.SUMMARY: "summary",
    TopView.OPERATIONS: "operations",
    TopView.REPLICAS: "replicas",
    TopView.WAITING: "waiting",
    TopView.DEAD_LETTERS: "dead letters",
}
_SCROLLING = " lines: j k space b"
_MOVES: Mapping[str, int] = MappingProxyType({"j": 1, "\x1b[B": 1, "k": -1, "\x1b[A": -1})
_PAGES: Mapping[str, int] = MappingProxyType({" ": 1, "\x1b[6~": 1, "b": -1, "\x1b[5~": -1})


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look has found."""

    overview: Overview | None = None  # None before the first answer
    waiting: Sequence[DelayedRecord] = ()  # by due time
    dead_letters: Sequence[DeadLetter] = ()  # open ones, the newest first
    results: Sequence[RecentResult] | None = None  # the newest first; None while they cannot be read
    trouble: str = ""  # why it is not of now


@dataclass(frozen=True, slots=True)
class TopState:
    """What is looked at, and how far down."""

    view: TopView = TopView.SUMMARY
    offset: int = 0  # lines above the first that is shown
    ended: bool = False


def pressed(state: TopState, key: str, page_lines: int) -> TopState:
    """What a key makes of it; any other key changes nothing. The offset is bounded when it is drawn."""
    if key in {"q", "\x03", "\x04"}:
        return replace(state, ended=True)
    if key in set(TopView):
        return TopState(TopView(key))
    if key in _MOVES or key in _PAGES:
        lines = _MOVES.get(key, 0) + _PAGES.get(key, 0) * max(1, page_lines - 1)
        return replace(state, offset=max(0, state.offset + lines))
    if key == "g":
        return replace(state, offset=0)
    return state


def room_of(height: int) -> int:
    """Lines for the view itself."""
    return max(1, height - _HEAD_LINES - 1)


@dataclass(slots=True)
class TopScreen:
    """Exactly as many lines as the terminal has, none longer than it is wide. ``state.offset`` is put right where it leads too far."""

    seen: Seen
    state: TopState
    body_lines: int = field(default=0, init=False)  # of the whole view, once it is drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        width, height = options.max_width, options.size.height
        plain = options.update(width=width, height=None)
        body = console.render_lines(_body(self.seen, self.state.view), plain, pad=True)
        room, self.body_lines = room_of(height), len(body)
        self.state = replace(self.state, offset=min(self.state.offset, max(0, len(body) - room)))
        shown = body[self.state.offset : self.state.offset + room]
        head = console.render_lines(_head(self.seen, self.state.view, width), plain, pad=True)[:_HEAD_LINES]
        blank = [Segment(" " * width)]
        lines = [*head, *[blank] * (_HEAD_LINES - len(head)), *shown, *[blank] * (room - len(shown))]
        lines += console.render_lines(_foot(self.state, len(body), room, width), plain, pad=True)[:1]
        for number, line in enumerate(lines[:height]):
            yield from line
            if number < min(height, len(lines)) - 1:
                yield Segment.line()


def _head(seen: Seen, view: TopView, width: int) -> RenderableType:
    o = seen.overview
    if o is None:
        return Text(seen.trouble or "looking ...", "bold red" if seen.trouble else "", overflow="ellipsis")
    diagnosis = diagnose(o)
    title = Text(f"{verbatim(o.group)} · {_NAMES[view]} · as of {time_of_day(o.at_ms)} UTC", "bold", no_wrap=True, overflow="ellipsis")
    if seen.trouble:
        told = Text(f"Not of now: {seen.trouble}", "bold red")
    else:
        told = Text(f"{headline(diagnosis)}. {verdict(diagnosis)}", render_status.STYLES[diagnosis.tone])
    told.truncate(2 * width - 8, overflow="ellipsis")
    return Group(title, told)


def _foot(state: TopState, total: int, room: int, width: int) -> Text:
    told = "  ".join([*(f"{view} {_NAMES[view]}" for view in TopView), "q quit"])
    if total > room:
        told += f"  {state.offset + 1}-{min(total, state.offset + room)}/{total}"
    if total > room and len(told) + len(_SCROLLING) <= width:
        told += _SCROLLING
    return Text(told, "reverse", no_wrap=True, overflow="crop")


def _body(seen: Seen, view: TopView) -> RenderableType:
    o = seen.overview
    if o is None:
        return Text("")
    match view:
        case TopView.SUMMARY:
            diagnosis = diagnose(o)
            others = [Text(statement(f), render_status.STYLES[f.tone]) for f in diagnosis.others]
            dead, waiting, replicas, backlog = render_status.facts(o)
            budget = render_status.scope_table(o, diagnosis)
            return Group(
                *render_status.pause_lines(o, cut=True),
                budget,
                Text(),
                _outcomes(seen, o.at_ms),
                dead,
                waiting,
                replicas,
                Text(),
                *others,
                Text() if others else "",
                backlog,
            )
        case TopView.OPERATIONS:
            return _operations(seen, o)
        case TopView.REPLICAS:
            return Group(render_status.replica_table(o), Text(), render_status.lag_table(o.partitions, o.blocked, compact=True))
        case TopView.WAITING:
            return _waiting(seen.waiting, o.at_ms)
    return _dead_letters(seen.dead_letters, o.at_ms)


def _table(headers: Sequence[str], rows: Sequence[Sequence[Text | str]]) -> Table:
    """Columns of names give way where there is no room, the others never."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, header in enumerate(headers):
        width = max((len(row[number]) for row in rows), default=0)
        table.add_column(
            header,
            no_wrap=True,
            overflow="ellipsis",
            justify="right" if header in _NUMBERS else "left",
            min_width=None if header in _NAMED else max(width, len(header)),
        )
    for row in rows:
        table.add_row(*row)
    return table


_NAMED = frozenset({"request", "operation", "reason", "replica"})
_NUMBERS = frozenset({"attempts", "partitions", "succeeded", "failed", "refused", "half within", "95 % within"})


def _recent(seen: Seen, now_ms: int) -> list[RecentResult]:
    return [r for r in seen.results or () if r.finished_ms >= now_ms - HALF_HOUR_MS]


def _outcomes(seen: Seen, now_ms: int) -> Text:
    if seen.results is None:
        return Text("results: they cannot be read now", "yellow")
    counts = Counter(r.status for r in _recent(seen, now_ms))
    told = ", ".join(f"{status.replace('_', ' ')} {count}" for status, count in counts.most_common())
    bad = any(counts[status] for status in FAILED)
    return render_status.told(f"results of the last 30 min: {told or 'none'}", "yellow" if bad else "")


def _operations(seen: Seen, o: Overview) -> RenderableType:
    if seen.results is None:
        return Text("The results cannot be read now.", "yellow")
    recent, held = _recent(seen, o.at_ms), {breaker.name for breaker in o.budget.breakers}
    paused = {act.name for act in o.pauses}
    quick = {speed.operation: speed for speed in speeds(recent)}
    rows: list[Sequence[Text | str]] = []
    counts = Counter((r.operation or "unreadable", _KINDS.get(r.status, "")) for r in recent)
    for name in sorted({operation for operation, _ in counts} | held | paused):
        speed = quick.get(name)
        times = (duration(speed.median_s), duration(speed.p95_s)) if speed else ("-", "-")
        numbers = (str(counts[name, kind]) for kind in ("succeeded", "failed", "refused"))
        state = Text("paused", "bold yellow") if name in paused else Text("held", "bold red") if name in held else ""
        rows.append((_foreign(name), *numbers, *times, state))
    table = _table(("operation", "succeeded", "failed", "refused", "half within", "95 % within", ""), rows)
    note = Text("Final results of the last 30 minutes; failed: also expired and in doubt; refused: the caller's mistakes.", "dim")
    return Group(table if rows else Text("No final result in the last 30 minutes."), note)


_KINDS = {Status.SUCCEEDED: "succeeded"} | dict.fromkeys(FAILED, "failed") | dict.fromkeys(REFUSED, "refused")


def _waiting(records: Sequence[DelayedRecord], now_ms: int) -> RenderableType:
    if not records:
        return Text("Nothing waits in the delay topics.")
    rows = [
        (relative(r.due_ms, now_ms), _foreign(r.request_id), _foreign(r.operation), _foreign(r.reason or FOLLOWING), str(r.attempt))
        for r in records[:ROWS_MAX]
    ]
    table = _table(("due", "request", "operation", "reason", "attempts"), rows)
    return Group(table, *_more(len(records), "processor retry list"))


def _dead_letters(dead_letters: Sequence[DeadLetter], now_ms: int) -> RenderableType:
    if not dead_letters:
        return Text("No dead letter is open.")
    rows = [
        (
            relative(letter.failed_ms, now_ms),
            letter.position,
            _foreign(letter.request_id),
            _foreign(letter.operation),
            _foreign(f"{letter.reason_type} {letter.reason_code}"),
        )
        for letter in dead_letters[:ROWS_MAX]
    ]
    return Group(_table(("when", "at", "request", "operation", "reason"), rows), *_more(len(dead_letters), "processor deadletters list"))


def _foreign(text: str | None) -> Text:
    """What a caller wrote, but for what a terminal would act on."""
    return render_status.told(text or "?")


def _more(count: int, command: str) -> list[Text]:
    return [Text(f"and {count - ROWS_MAX} more: `{command}`", "dim")] if count > ROWS_MAX else []
