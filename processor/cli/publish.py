"""`processor publish`: a file of requests to the requests topic."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from processor.cli.kafka import kafka_or_fail
from processor.cli.options import fail, settings_or_fail
from processor.client.topics import RequestsFileError, publish_requests, read_requests

app = typer.Typer()


@app.command()
def publish(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="JSON Lines: one request a line")],
) -> None:
    """Publish requests from a file. Every line is checked first; if one is bad, nothing is published."""
    settings = settings_or_fail()
    try:
        requests = read_requests(file)
    except RequestsFileError as exc:
        fail(f"{file} has lines that are no valid requests; nothing was published:\n{exc}", 1)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("publishing", total=len(requests))
        with kafka_or_fail("Not everything was acknowledged.", "Then publish the file again: readers drop copies by result_id."):
            asyncio.run(publish_requests(settings, requests, on_acked=lambda count: progress.advance(task, count)))
    typer.echo(f"published {len(requests)} requests to {settings.kafka.topic_prefix}.requests")
