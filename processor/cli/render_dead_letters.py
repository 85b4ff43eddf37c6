"""What `processor deadletters` and `processor results find` show at a terminal, and as JSON. Texts are shown verbatim."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from processor.cli.fitted_rows import FittedRows
from processor.contract.amounts import count
from processor.contract.redaction import as_text
from processor.contract.times import duration, utc
from processor.monitoring.formatting import verbatim
from processor.repair.model import DeadLetter, DeadLetterStatus, LeftOut, Plan, RequestHistory

_WIDTH = 240  # where nobody looks: a line is not cut for a screen that is not there
_INSIST = {LeftOut.IN_DOUBT: " (--in-doubt)", LeftOut.REPLAYED: " (--replays-max)"}
_MANY = 20_000  # so many waiting records fill what lanes look ahead


def console() -> Console:
    """Of stdout."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False, emoji=False, markup=False)


def plain(text: str | None) -> Text:
    """Verbatim, but for what a terminal would obey."""
    return Text(verbatim(text)) if text is not None else Text("-", "dim")


def dead_letter_json(dead_letter: DeadLetter) -> bytes:
    """One line."""
    return orjson.dumps(asdict(dead_letter))


def dead_letters_table(dead_letters: Sequence[DeadLetter], *, of: int, complete: bool) -> RenderableType:
    """The dead letters, the oldest first."""
    rows = FittedRows(_wide_table(dead_letters), [_block(x) for x in dead_letters])
    notes = []
    if of > len(dead_letters):
        notes.append(Text(f"{len(dead_letters)} of {of} shown, the oldest; see more with --limit", "dim"))
    if not complete:
        notes.append(Text("there are older ones that were not read", "bold"))
    return Group(rows, *notes)


def _block(x: DeadLetter) -> tuple[Text, Text]:
    where = f" at {verbatim(x.reason_field)}" if x.reason_field else ""
    again = f", redriven {count(x.hop.replay, 'time')}" if x.hop.replay else ""
    told = Text(f"  {verbatim(f'{x.reason_type}: {x.reason_code}')}{where}, {count(x.attempts, 'attempt')}{again}, ")
    named = Text.assemble((x.position, "bold"), "  ", utc(x.failed_ms), "  ", plain(x.operation), "  ", plain(x.request_id))
    return named, told + _status(x)


def _wide_table(dead_letters: Sequence[DeadLetter]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for header in ("at", "failed", "request_id", "operation", "reason", "field", "attempts", "replays", "status"):
        table.add_column(header, overflow="fold", justify="right" if header in ("attempts", "replays") else "left")
    for x in dead_letters:
        table.add_row(
            x.position,
            utc(x.failed_ms),
            plain(x.request_id),
            plain(x.operation),
            plain(f"{x.reason_type}: {x.reason_code}"),
            plain(x.reason_field),
            str(x.attempts),
            str(x.hop.replay),
            _status(x),
        )
    return table


def summary_table(dead_letters: Sequence[DeadLetter]) -> RenderableType:
    """How many of each reason."""
    counts = Counter((x.reason_type, x.reason_code, x.operation) for x in dead_letters)
    table = Table(title="by reason", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for header in ("count", "reason", "operation"):
        table.add_column(header, justify="right" if header == "count" else "left")
    for (kind, code, operation), number in counts.most_common():
        table.add_row(str(number), plain(f"{kind}: {code}"), plain(operation))
    return table


def render_dead_letter(dead_letter: DeadLetter, document: Mapping[str, Any] | None) -> RenderableType:
    """One dead letter."""
    hop = dead_letter.hop
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    rows: dict[str, Text] = {
        "at": Text(dead_letter.position),
        "status": _status(dead_letter),
        "failed": Text(utc(dead_letter.failed_ms)),
        "reason": plain(f"{dead_letter.reason_type}: {dead_letter.reason_code}"),
        "": plain(dead_letter.reason_message),
        "field": plain(dead_letter.reason_field),
        "HTTP status": plain(str(dead_letter.http_status) if dead_letter.http_status is not None else None),
        "request_id": plain(dead_letter.request_id),
        "operation": plain(dead_letter.operation),
        "attempts": Text(f"{dead_letter.attempts}, and {count(hop.replay, 'time')} redriven before"),
        "came from": plain(str(dead_letter.came_from)),
        "caller's record": plain(f"{hop.first}, {utc(hop.first_ms)}"),
        "size": Text(f"{count(dead_letter.size_bytes, 'byte')}{', cut here' if dead_letter.cut else ''}"),
    }
    for name, shown in rows.items():
        table.add_row(name, shown)
    return Group(table, _document(document))


def plan_page(plan: Plan) -> RenderableType:
    """What a redrive would do."""
    when = f"; the last one starts in {duration(plan.last_start_s)}" if plan.chosen else ""
    notes = [Text(f"{len(plan.chosen)} to redrive{when}", "bold")]
    if len(plan.chosen) > _MANY:
        notes.append(Text(f"that is much at once: long waits of other requests may start late; portions of --limit {_MANY} avoid it"))
    notes += left_out_lines(plan.left_out)
    return Group(*notes)


def left_out_lines(left_out: Mapping[LeftOut, int]) -> list[Text]:
    """Why some are not redriven, and what to do about it."""
    return [Text(f"{number} left out ({why}): {why.text}{_INSIST.get(why, '')}") for why, number in sorted(left_out.items())]


def render_request_history(request_history: RequestHistory) -> RenderableType:
    """Everything about a request."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for header in ("when", "what", "where", ""):
        table.add_column(header, overflow="fold")
    for step in request_history.steps:
        table.add_row(utc(step.at_ms), step.what, plain(step.where), plain(step.text))
    parts: list[RenderableType] = [table] if request_history.steps else []
    if request_history.steps:
        parts.append(_document(request_history.request))
    return Group(*parts, *(plain(note) for note in request_history.notes))


def _document(document: Mapping[str, Any] | None) -> RenderableType:
    return (
        plain_lines(as_text(dict(document))) if document is not None else Text("(its bytes are no JSON object that could be shown)", "dim")
    )


def plain_lines(text: str) -> RenderableType:
    """Several lines, verbatim; no other character than the line feed begins one."""
    return Group(*(plain(line) for line in text.split("\n")))


def _status(dead_letter: DeadLetter) -> Text:
    if dead_letter.status is DeadLetterStatus.OPEN:
        return Text("open")
    return plain(f"{dead_letter.status.value} {utc(dead_letter.handled_ms)} by {dead_letter.handled_by}")
