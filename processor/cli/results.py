"""`processor results`: read the results topic; `results find`: everything about one request."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from processor.cli.dead_letters import find
from processor.cli.kafka import audible_clients, kafka_or_fail
from processor.cli.options import settings_or_fail, write_json
from processor.client.topics import read_topics, topic_reader
from processor.settings import Settings
from processor.stream.topics import topic_names

app = typer.Typer(invoke_without_command=True)
app.command()(find)


@app.callback()
def results(
    context: typer.Context,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on with new results until interrupted")] = False,
    from_end: Annotated[bool, typer.Option("--from-end", help="only results that come from now on")] = False,
) -> None:
    """Print results, one JSON object a line (read_committed); or find everything about one request."""
    if context.invoked_subcommand is not None:
        return

    settings = settings_or_fail()
    try:
        with kafka_or_fail():
            asyncio.run(_print_results(settings, follow=follow, from_end=from_end))
    except KeyboardInterrupt:
        raise typer.Exit from None


async def _print_results(settings: Settings, *, follow: bool, from_end: bool) -> None:

    async with topic_reader(settings, [topic_names(settings).results], from_end=from_end) as reader:
        bounds = await reader.bounds(reader.assigned)
        audible_clients()
        while True:
            for record in await read_topics(reader, wait_s=0.5):
                write_json(record.value or b"null")
            sys.stdout.buffer.flush()
            if not follow and all((reader.position(tp) or 0) >= end for tp, (_, end) in bounds.items()):
                return
