"""Commands for requests that wait in the delay topics: `processor retry list`, `release` and `end` (docs/waiting.md)."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress

from processor.cli import render_retry
from processor.cli.kafka import kafka_or_fail
from processor.cli.options import ActJson, ActReport, ask_or_fail, fail, login, settings_or_fail, write_json
from processor.clock import clock_ms
from processor.contract.amounts import count
from processor.contract.codes import ErrorCode
from processor.contract.schemas import operations as known
from processor.contract.times import DURATION_FORM, parse_duration
from processor.monitoring.delayed_view import delayed_view
from processor.monitoring.factories import BudgetUnreadableError, is_account_held
from processor.repair.delayed import DelayedProgress, DelayedSelection, select
from processor.repair.delayed_index import DelayedIndex, HeldIndex
from processor.repair.model import DelayedRecord
from processor.repair.release import follow, publish_releases, releases_of
from processor.runtime.event_loop import run_loop
from processor.settings import Settings

app = typer.Typer(no_args_is_help=True, help="List requests that wait for a later attempt, start them now, or end them.")

_NOT_ALL = 1
_WIDTH = 200  # of a table that nobody sees on a terminal
_BY_MAX = 200

Reasons = Annotated[list[str] | None, typer.Option("--reason", help="an error code as listed, or `following` (a session); may be repeated")]
Operations = Annotated[list[str] | None, typer.Option("--operation", help="may be repeated")]
RequestIds = Annotated[list[str] | None, typer.Option("--request-id", help="exactly as the caller wrote it; may be repeated")]
DueWithin = Annotated[str | None, typer.Option(help=f"due now or within this time: {DURATION_FORM}")]


@app.command("list")
def retry_list(
    *,
    reason: Reasons = None,
    operation: Operations = None,
    request_id: RequestIds = None,
    due_within: DueWithin = None,
    limit: Annotated[int | None, typer.Option(min=1, help="rows at most; 50 in a table, all with --json")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of a table")] = False,
) -> None:
    """Show what waits in the delay topics: until when, why, after how many attempts, where.

    While the whole account is held it also shows the requests that wait for it in the processors, as `waits_for_account`.

    Exit status: 0, also if nothing waits; 1 if Kafka cannot be asked; 2 if the configuration or an option is wrong.
    """
    settings = settings_or_fail()
    indices, found = _find_waiting(settings, _selection(reason, operation, request_id, due_within, None), held=True)
    now_ms = clock_ms()
    view = delayed_view(found, now_ms, complete=indices[0].complete)
    if as_json:
        write_json(render_retry.as_json(view, found[:limit], now_ms))
        return
    rows = found[: limit or 50]
    if rows:
        Console(width=None if sys.stdout.isatty() else _WIDTH).print(render_retry.as_table(rows, now_ms))
    if len(rows) < len(found):
        typer.echo(f"not shown: {len(found) - len(rows)} more; --limit {len(found)} shows all")
    typer.echo(render_retry.summary(view))
    typer.echo(render_retry.meaning(view, now_ms) if found or not any(len(index.records) for index in indices) else _none_selected(indices))


@app.command("release")
def retry_release(
    *,
    reason: Reasons = None,
    operation: Operations = None,
    request_id: RequestIds = None,
    due_within: DueWithin = None,
    everything: Annotated[bool, typer.Option("--all", help="everything that waits")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="at most this many, in the order of their due times")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be released")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    wait: Annotated[float, typer.Option(min=0, max=3600, help="seconds to wait for the outcome")] = 30.0,
    as_json: ActJson = False,
) -> None:
    """Start waiting requests now, whenever they are due. Their budget, pauses and limits hold as always.

    Exit status: 0 if all named are done with, or there were none; 1 if some are not yet, you said no, or Kafka cannot be asked; 2 if
    nothing was begun because the configuration or an option is wrong, or nobody answered.
    """
    settings = settings_or_fail()
    wanted = _selection(reason, operation, request_id, due_within, limit)
    if everything and wanted.narrows:
        fail("--all goes with no filter but --limit; leave one of them out")
    if not everything and not wanted.narrows:
        fail("say what to release: --reason, --operation, --request-id, --due-within, or --all; `processor retry list` shows what waits")
    if (held := ErrorCode.WAITS_FOR_ACCOUNT) in wanted.reasons:
        fail(f"--reason {held}: a release does not override it; {held.remedy}, and they go on by themselves")
    indices, found = _find_waiting(settings, wanted, held=False)
    report = ActReport(as_json=as_json)
    if not found:
        report.say(_none_selected(indices))
        report.end(_act(found, None))
        return
    view = delayed_view(found, clock_ms(), complete=indices[0].complete)
    report.say(f"selected: {render_retry.summary(view)}")
    if dry_run:
        report.say(f"nothing was released; the same command without --dry-run releases these {len(found)}")
        report.end(_act(found, None))
        return
    if not yes:
        ask_or_fail(f"Start {count(len(found), 'request')} now?", "nothing was released", as_json=as_json)
    _tell(report, found, _release(settings, indices, found, wait), wait)


@app.command("end")
def retry_end(
    request_ids: Annotated[list[str], typer.Argument(help="as `processor retry list` shows them, exactly as the callers wrote them")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be ended")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    wait: Annotated[float, typer.Option(min=0, max=3600, help="seconds to wait for the outcome")] = 30.0,
    as_json: ActJson = False,
) -> None:
    """End waiting requests without another call: each gets its final result (`failed`, `ended_by_hand`) and a dead letter.

    A request whose earlier call may have been done ends as `in_doubt`. Each dead letter can be redriven.

    Exit status: 0 if all that wait under these ids are done with; 1 if some are not yet, an id does not wait, you said no, or Kafka
    cannot be asked; 2 if the configuration is wrong, or nobody answered.
    """
    settings = settings_or_fail()
    indices, found = _find_waiting(settings, _selection(None, None, request_ids, None, None), held=True)
    if absent := sorted(set(request_ids) - {r.request_id for r in found if r.request_id is not None}):
        where = "it is done, at work or unknown: `processor results find` tells"
        fail(f"{render_retry.shown(absent[0])} does not wait ({where}); nothing was ended", _NOT_ALL)
    report = ActReport(as_json=as_json)
    report.say(f"selected: {render_retry.summary(delayed_view(found, clock_ms(), complete=indices[0].complete))}")
    if dry_run:
        report.say(f"nothing was ended; the same command without --dry-run ends these {len(found)}")
        report.end(_act(found, None))
        return
    if not yes:
        ask_or_fail(f"End {count(len(found), 'request')} as failed?", "nothing was ended", as_json=as_json)
    _tell(report, found, _release(settings, indices, found, wait, end=True), wait)


def _tell(report: ActReport, found: Sequence[DelayedRecord], progress: DelayedProgress, within_s: float) -> None:
    """What became of them; ends with status 1 if some are not done with."""
    report.say(render_retry.outcome(progress, within_s))
    report.end(_act(found, progress))
    if progress.left:
        raise typer.Exit(_NOT_ALL)


def _act(found: Sequence[DelayedRecord], progress: DelayedProgress | None) -> dict[str, object]:
    """For a program; ``progress`` is None where nothing was done."""
    done = {"named": 0, "done": 0, "left": 0, "delayed_again": {}} if progress is None else {**asdict(progress), "left": progress.left}
    return {"selected": len(found), **done}


def _find_waiting(settings: Settings, wanted: DelayedSelection, *, held: bool) -> tuple[list[DelayedIndex], list[DelayedRecord]]:
    """What waits in the delay topics; with ``held`` also, behind it, what waits in the processors because the account is held."""

    async def look() -> list[DelayedIndex]:
        indices = [DelayedIndex(settings)]
        with suppress(BudgetUnreadableError):  # what waits in the delay topics can be told without it
            indices += [HeldIndex(settings)] if held and await is_account_held(settings) else []
        try:
            for index in indices:
                await index.refresh()
        finally:
            await _close(indices)
        return indices

    try:
        with kafka_or_fail():
            indices = run_loop(look())
    except KeyboardInterrupt:
        _interrupted("nothing was done")
    return indices, select((record for index in indices for record in index.records), wanted, clock_ms())


async def _close(indices: Sequence[DelayedIndex]) -> None:
    for index in indices:
        await index.close()


def _release(
    settings: Settings, indices: Sequence[DelayedIndex], found: list[DelayedRecord], within_s: float, *, end: bool = False
) -> DelayedProgress:

    async def release(bar: Progress) -> DelayedProgress:
        task = bar.add_task("done with", total=len(found))
        releases = releases_of(found, str(uuid.uuid4()), end=end)
        with kafka_or_fail("Not every release was acknowledged.", "Then run it again: what is done by then is not released twice."):
            await publish_releases(settings, releases, by=login()[:_BY_MAX], at_ms=clock_ms())
        try:
            with kafka_or_fail("The release is written, but what becomes of it cannot be seen."):
                return await follow(found, indices, within_s, lambda progress: bar.update(task, completed=progress.done))
        finally:
            await _close(indices)

    try:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            return run_loop(release(bar))
    except KeyboardInterrupt:
        _interrupted("what was released goes on by itself; `processor retry list` shows what waits")


def _selection(
    reasons: list[str] | None, operations: list[str] | None, request_ids: list[str] | None, due_within: str | None, limit: int | None
) -> DelayedSelection:

    unknown = sorted(set(operations or ()) - set(known()))
    if unknown:
        fail(f"--operation {unknown[0]!r}: there is no such operation; known are {', '.join(known())}")
    try:
        within_s = None if due_within is None else float(parse_duration(due_within))
    except ValueError as exc:
        fail(f"--due-within {due_within!r} is no length of time; {exc}")
    return DelayedSelection(frozenset(reasons or ()), frozenset(operations or ()), frozenset(request_ids or ()), within_s, limit)


def _none_selected(indices: Sequence[DelayedIndex]) -> str:

    view = delayed_view((record for index in indices for record in index.records), clock_ms(), complete=indices[0].complete)
    if not view.count:
        return "nothing waits in the delay topics; nothing needs to be done"
    more = "" if view.complete else "; not everything was read"
    return f"none of the {view.count} that wait is selected; they wait for: {render_retry.counted(view.by_reason)}{more}"


def _interrupted(text: str) -> NoReturn:
    fail(f"interrupted; {text}", 130)
