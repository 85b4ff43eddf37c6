"""Commands about dead letters, and about one request: `processor deadletters`, `processor results find`."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import Annotated

import orjson
import typer

from processor.cli import render_dead_letters
from processor.cli.dead_letter_options import (
    AsJson,
    At,
    By,
    Everything,
    Key,
    Limit,
    Note,
    Operations,
    Reasons,
    RequestIds,
    Since,
    Until,
    Yes,
    act_document,
    bar,
    check_narrow,
    explain_errors,
    print_summary,
    read_index,
    read_selection,
)
from processor.cli.kafka import FAILED
from processor.cli.options import ActJson, ActReport, ask_or_fail, fail, login, settings_or_fail, write_json
from processor.clock import clock_ms
from processor.contract.decode import read_request_id
from processor.contract.redaction import masked_request
from processor.contract.times import duration
from processor.repair import redrive as actions
from processor.repair.dead_letter_index import read_dead_letter
from processor.repair.model import DeadLetterStatus
from processor.repair.plan import make_plan, select
from processor.repair.request_history import request_history
from processor.runtime.event_loop import run_loop

_LISTED = 100

app = typer.Typer(no_args_is_help=True, help="List dead letters, redrive or discard them (docs/repair.md).")


@app.command("list")
def list_dead_letters(
    *,
    reason: Reasons = None,
    operation: Operations = None,
    request_id: RequestIds = None,
    key: Key = None,
    at: At = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    handled: Annotated[bool, typer.Option("--handled", help="those that were redriven or discarded instead of the open ones")] = False,
    as_json: AsJson = False,
) -> None:
    """List open dead letters, the oldest first, and how many there are of each reason. With --json one a line, all of them."""
    settings = settings_or_fail()
    selection = read_selection(reason, operation, request_id, key, at, since, until, limit)
    with explain_errors():
        index = run_loop(read_index(settings))
    statuses = {DeadLetterStatus.REDRIVEN, DeadLetterStatus.DISCARDED} if handled else {DeadLetterStatus.OPEN}
    found = select(index.dead_letters, replace(selection, count_max=None), statuses=statuses)
    if as_json:
        for dead_letter in found[:limit]:
            write_json(render_dead_letters.dead_letter_json(dead_letter))
        return
    console = render_dead_letters.console()
    if found:
        console.print(render_dead_letters.dead_letters_table(found[: limit or _LISTED], of=len(found), complete=index.complete))
        console.print(render_dead_letters.summary_table(found))
        console.print("look at one: `processor deadletters show PARTITION:OFFSET`; then redrive or discard (docs/repair.md)")
    else:
        console.print(f"no {'handled' if handled else 'open'} dead letter fits")


@app.command()
def show(
    position: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="as listed")],
    *,
    raw: Annotated[bool, typer.Option("--raw", help="write the caller's own bytes to stdout: personal data")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: why it failed, where it came from, and its document with every value masked."""
    settings = settings_or_fail()
    ((partition, offset),) = read_selection(at=[position]).positions
    with explain_errors():
        found = run_loop(read_dead_letter(settings, partition, offset))
    if found is None:
        fail(f"there is no dead letter at {position} (any more); `processor deadletters list` shows those that are there", FAILED)
    dead_letter, record = found
    if raw:
        sys.stdout.buffer.write(record.value or b"")
    elif as_json:
        shown = {**orjson.loads(render_dead_letters.dead_letter_json(dead_letter)), "request": masked_request(record.value)}
        write_json(orjson.dumps(shown))
    else:
        render_dead_letters.console().print(render_dead_letters.render_dead_letter(dead_letter, masked_request(record.value)))


@app.command()
def redrive(
    *,
    reason: Reasons = None,
    operation: Operations = None,
    request_id: RequestIds = None,
    key: Key = None,
    at: At = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    everything: Everything = False,
    in_doubt: Annotated[bool, typer.Option("--in-doubt", help="also those whose billed call may have been made: it is made again")] = False,
    replays_max: Annotated[int, typer.Option(min=1, help="leave out what was redriven this many times already")] = 3,
    share: Annotated[float, typer.Option(min=0.01, max=1, help="share of the budget that the redrives may use")] = 0.5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    yes: Yes = False,
    note: Note = None,
    by: By = None,
    as_json: ActJson = False,
) -> None:
    """Give dead letters a new round, at a share of the budget and behind live requests. Run it again after an interruption.

    Exit status: 0 if it is done, 1 if it failed or another repair took over (run it again), 2 if it cannot be begun.
    """
    settings, named = settings_or_fail(), read_selection(reason, operation, request_id, key, at, since, until, limit)
    check_narrow(named, everything=everything)
    with explain_errors():
        index = run_loop(read_index(settings))
    selection = replace(named, in_doubt=in_doubt, replays_max=replays_max)
    plan = make_plan(
        index.dead_letters,
        selection,
        actions.limits_of(settings),
        now_ms=clock_ms(),
        share=share,
        busy=index.repairs.busy_ms,
        horizon_s=actions.horizon_s(settings),
    )
    report = ActReport(as_json=as_json)
    report.say(render_dead_letters.plan_page(plan))
    if dry_run or not plan.chosen:
        report.end(act_document(len(plan.chosen), None, plan.left_out))
        return
    if not yes:
        ask_or_fail(f"Redrive {len(plan.chosen)}?", "nothing was redriven", as_json=as_json)
    with explain_errors(), bar("redriving", len(plan.chosen)) as advance:
        done = run_loop(actions.redrive(settings, plan.chosen, by=by or login(), share=share, note=note, on_progress=advance))
    print_summary(report, done, "redriven")
    report.end(act_document(len(plan.chosen), done, plan.left_out))
    if done.last_due_ms is not None:
        left = duration(max(0.0, (done.last_due_ms - clock_ms()) / 1000))
        report.say(f"the last one starts in {left}; follow them with `processor results --follow` and `processor retry list`")


@app.command()
def discard(
    *,
    reason: Reasons = None,
    operation: Operations = None,
    request_id: RequestIds = None,
    key: Key = None,
    at: At = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    everything: Everything = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    yes: Yes = False,
    note: Note = None,
    by: By = None,
    as_json: ActJson = False,
) -> None:
    """Mark dead letters as done, so that they are no longer listed. The topic keeps them as long as any other."""
    settings, selection = settings_or_fail(), read_selection(reason, operation, request_id, key, at, since, until, limit)
    check_narrow(selection, everything=everything)
    with explain_errors():
        index = run_loop(read_index(settings))
    chosen = select(index.dead_letters, selection, statuses={DeadLetterStatus.OPEN})
    report = ActReport(as_json=as_json)
    report.say(f"{len(chosen)} to discard")
    if dry_run or not chosen:
        report.end(act_document(len(chosen), None))
        return
    if not yes:
        ask_or_fail(f"Discard {len(chosen)}?", "nothing was discarded", as_json=as_json)
    with explain_errors(), bar("discarding", len(chosen)) as advance:
        done = run_loop(actions.discard(settings, chosen, by=by or login(), note=note, on_progress=advance))
    print_summary(report, done, "discarded")
    report.end(act_document(len(chosen), done))


def find(
    request_id: Annotated[str, typer.Argument(help="exactly as the caller wrote it")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show everything about one request: its record, where it waits, its results, dead letters, and what was done about them."""
    if read_request_id(request_id) is None or any("\ud800" <= char <= "\udfff" for char in request_id):  # bytes that are no UTF-8
        fail("that cannot be a request_id: it has 1 to 128 characters, none of them a control character or half of a character")
    settings = settings_or_fail()
    with explain_errors():
        found = run_loop(request_history(settings, request_id))
    if as_json:
        write_json(orjson.dumps(asdict(found)))
    else:
        render_dead_letters.console().print(render_dead_letters.render_request_history(found))
    raise typer.Exit(0 if found.steps else FAILED)
