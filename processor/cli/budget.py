"""`processor budget`: the shared budget as it stands."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from processor.cli import render_budget
from processor.cli.kafka import kafka_or_fail
from processor.cli.options import settings_or_fail, write_json
from processor.monitoring.factories import read_budget

app = typer.Typer()


@app.command()
def budget(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of a table")] = False,
) -> None:
    """Show the shared budget. Per scope: its limit, what is in use, who waits, pauses, breakers, and foreign traffic on the key."""
    settings = settings_or_fail()
    with kafka_or_fail():
        view = asyncio.run(read_budget(settings))
    if as_json:
        write_json(render_budget.as_json(view))
    else:
        Console().print(render_budget.as_table(view))
