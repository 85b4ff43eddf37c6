"""`processor budget`: the shared budget as it stands."""

from __future__ import annotations

import sys
from typing import Annotated

import orjson
import typer
from rich.console import Console

from processor.budget import log_lines
from processor.budget.log import Entry
from processor.cli import render_budget
from processor.cli.kafka import kafka_or_fail
from processor.cli.options import settings_or_fail, write_json
from processor.monitoring.factories import read_budget, read_log
from processor.monitoring.formatting import verbatim
from processor.runtime.event_loop import run_loop

app = typer.Typer()


@app.command()
def budget(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of a table; with --log one for each record")] = False,
    log: Annotated[bool, typer.Option("--log", help="print the records of the budget log instead")] = False,
    since_s: Annotated[float, typer.Option("--since", min=1, max=700_000, help="with --log: how many seconds back")] = 60,
) -> None:
    """Show the shared budget. Per scope: its limit, what is in use, who waits, pauses, breakers, and foreign traffic on the key."""
    settings = settings_or_fail()
    if log:
        with kafka_or_fail():
            entries = run_loop(read_log(settings, since_s))
        print_log(entries, as_json=as_json)
        return
    with kafka_or_fail():
        view = run_loop(read_budget(settings))
    if as_json:
        write_json(render_budget.as_json(view))
    else:
        Console().print(render_budget.as_table(view))


def print_log(entries: list[Entry], *, as_json: bool) -> None:
    """Whoever may write to the log may have written anything: nothing of it moves the terminal."""
    if as_json:
        for found in log_lines.as_objects(entries):
            write_json(orjson.dumps(found))
        return
    for line in log_lines.as_text(entries):
        sys.stdout.buffer.write(verbatim(line).encode() + b"\n")
