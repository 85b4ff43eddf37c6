"""`processor topics`: create and check the topics."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from processor.cli.kafka import kafka_or_fail
from processor.cli.options import ActJson, ActReport, fail, settings_or_fail
from processor.stream.topics_admin import apply_topics, check_topics

app = typer.Typer(no_args_is_help=True, help="Create and check the topics.")


@app.command("apply")
def topics_apply(
    *,
    partitions: Annotated[int, typer.Option(min=1, help="partitions of requests, results and dead letters")] = 8,
    replication: Annotated[int, typer.Option(min=1, help="copies of each partition; 3 in production")] = 3,
    as_json: ActJson = False,
) -> None:
    """Create the topics that are missing, then check all. Changes nothing that exists."""
    settings, report = settings_or_fail(), ActReport(as_json=as_json)
    with kafka_or_fail(), Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        bar.add_task("creating and checking topics", total=None)
        applied = asyncio.run(apply_topics(settings, partitions=partitions, replication=replication))
    for name in applied.created:
        report.say(f"created {name}")
    if not applied.created:
        report.say("all topics exist")
    report.end({"created": applied.created, "faults": applied.faults})
    if applied.faults:
        fail("\n".join(applied.faults))


@app.command("check")
def topics_check(*, as_json: ActJson = False) -> None:
    """Say what is wrong with the topics; exit status 2 if anything is."""
    settings, report = settings_or_fail(), ActReport(as_json=as_json)
    with kafka_or_fail():
        checked = asyncio.run(check_topics(settings))
    report.end(asdict(checked))
    if found := [*checked.faults, *checked.warnings, *checked.unread]:
        fail("\n".join(found))
    report.say("all topics are as they must be")
