"""`processor topics`: create and check the topics."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from processor.cli.kafka import kafka_or_fail
from processor.cli.options import fail, settings_or_fail
from processor.stream.topics_admin import apply_topics, check_topics

app = typer.Typer(no_args_is_help=True, help="Create and check the topics.")


@app.command("apply")
def topics_apply(
    partitions: Annotated[int, typer.Option(min=1, help="partitions of requests, results and dead letters")] = 8,
    replication: Annotated[int, typer.Option(min=1, help="copies of each partition; 3 in production")] = 3,
) -> None:
    """Create the topics that are missing, then check all. Changes nothing that exists."""
    settings = settings_or_fail()
    with kafka_or_fail():
        applied = asyncio.run(apply_topics(settings, partitions=partitions, replication=replication))
    for name in applied.created:
        typer.echo(f"created {name}")
    if not applied.created:
        typer.echo("all topics exist")
    if applied.faults:
        fail("\n".join(applied.faults))


@app.command("check")
def topics_check() -> None:
    """Say what is wrong with the topics; exit status 2 if anything is."""
    settings = settings_or_fail()
    with kafka_or_fail():
        checked = asyncio.run(check_topics(settings))
    if found := [*checked.faults, *checked.warnings, *checked.unread]:
        fail("\n".join(found))
    typer.echo("all topics are as they must be")
