"""What the commands about dead letters are told, and how they speak."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from processor.cli.kafka import FAILED, kafka_or_fail
from processor.cli.options import ActReport, fail
from processor.cli.render_dead_letters import left_out_lines
from processor.clock import clock_ms
from processor.contract.times import DURATION_FORM
from processor.repair.dead_letter_index import DeadLetterIndex
from processor.repair.model import LeftOut, RepairSummary, Selection
from processor.repair.parsing import read_moment, read_position
from processor.repair.redrive import RepairFencedError
from processor.settings import Settings

_INTERRUPTED = 130

Reasons = Annotated[list[str] | None, typer.Option("--reason", help="type or code of the reason; may be repeated")]
Operations = Annotated[list[str] | None, typer.Option("--operation", help="may be repeated")]
RequestIds = Annotated[list[str] | None, typer.Option("--request-id", help="may be repeated")]
Key = Annotated[str | None, typer.Option(help="the record's Kafka key")]
At = Annotated[list[str] | None, typer.Option("--at", metavar="PARTITION:OFFSET", help="position as listed; may be repeated")]
Since = Annotated[str | None, typer.Option(help=f"failed at or after: RFC 3339, or how long ago as {DURATION_FORM}")]
Until = Annotated[str | None, typer.Option(help=f"failed before: RFC 3339, or how long ago as {DURATION_FORM}")]
Limit = Annotated[int | None, typer.Option(min=1, help="at most this many, the oldest")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of tables")]
Everything = Annotated[bool, typer.Option("--all", help="all of them, if no other filter is given")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]
By = Annotated[str | None, typer.Option(help="who repairs, for the audit; default login name and host")]
Note = Annotated[str | None, typer.Option(help="why, for the audit; no personal data")]


def read_selection(
    reason: list[str] | None = None,
    operation: list[str] | None = None,
    request_id: list[str] | None = None,
    key: str | None = None,
    at: list[str] | None = None,
    since: str | None = None,
    until: str | None = None,
    limit: int | None = None,
) -> Selection:
    """The dead letters that options name; ends where one cannot be read."""
    at_ms = clock_ms()
    try:
        return Selection(
            frozenset(reason or ()),
            frozenset(operation or ()),
            frozenset(request_id or ()),
            frozenset(read_position(text) for text in at or ()),
            read_moment(since, at_ms) if since else None,
            read_moment(until, at_ms) if until else None,
            os.fsencode(key) if key is not None else None,
            limit,
        )
    except ValueError as exc:
        fail(str(exc))


def check_narrow(s: Selection, *, everything: bool) -> None:
    """An act on everything has to be asked for."""
    narrow = (
        s.reasons or s.operations or s.request_ids or s.positions or s.since_ms is not None or s.until_ms is not None or s.key is not None
    )
    if not narrow and not everything:
        fail("say which: --reason, --operation, --request-id, --key, --at, --since, --until; or --all")


async def read_index(settings: Settings) -> DeadLetterIndex:
    """All dead letters as they stand now."""
    index = DeadLetterIndex(settings)
    try:
        await index.refresh()
    finally:
        await index.close()
    return index


@contextmanager
def explain_errors() -> Iterator[None]:
    """Errors as people need them: ours, once, instead of the clients' own."""
    try:
        with kafka_or_fail(then="Then run the same command again: nothing is done twice."):
            yield
    except RepairFencedError as exc:
        fail(str(exc), FAILED)
    except KeyboardInterrupt:
        fail("interrupted; run the same command again to go on", _INTERRUPTED)


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; what it yields is told how many of all are done."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done, of: progress.update(task, completed=done, total=of)


def print_summary(report: ActReport, done: RepairSummary, what: str) -> None:
    """How many, and why not the others."""
    report.say(f"{done.count} {what} (run {done.run_id})")
    for line in left_out_lines(done.left_out):
        report.say(line.plain)


def act_document(selected: int, done: RepairSummary | None, left_out: Mapping[LeftOut, int] = MappingProxyType({})) -> dict[str, object]:
    """An act for a program; ``done`` is None where nothing was done. ``left_out``: of the plan."""
    reasons = Counter(left_out) + Counter(done.left_out if done is not None else {})
    return {
        "selected": selected,
        "done": 0 if done is None else done.count,
        "left_out": {why.value: count for why, count in sorted(reasons.items())},
        "run_id": None if done is None else done.run_id,
        "last_due_ms": None if done is None else done.last_due_ms,
    }
