"""`processor budget`: the shared budget as it stands."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import orjson
import typer
from rich.console import Console

from processor.budget import log_lines
from processor.cli import render_budget
from processor.cli.kafka import kafka_or_fail
from processor.cli.options import settings_or_fail, write_json
from processor.monitoring.factories import read_budget, read_log

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
            entries = asyncio.run(read_log(settings, since_s))
        for line in map(orjson.dumps, log_lines.as_objects(entries)) if as_json else map(str.encode, log_lines.as_text(entries)):
            sys.stdout.buffer.write(line + b"\n")
        return
    with kafka_or_fail():
        view = asyncio.run(read_budget(settings))
    if as_json:
        write_json(render_budget.as_json(view))
    else:
        Console().print(render_budget.as_table(view))
