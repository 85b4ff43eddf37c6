"""`processor publish`: requests from a file or from standard input to the requests topic."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import Progress

from processor.cli.dry_run import DRY_RUN, print_estimate
from processor.cli.kafka import kafka_or_fail
from processor.cli.options import fail, settings_or_fail, write_json
from processor.client.topics import RequestsFileError, publish_requests, read_requests
from processor.contract.amounts import count
from processor.runtime.event_loop import run_loop
from processor.stream.errors import TopicMissingError
from processor.stream.topics import topic_names

app = typer.Typer()


@app.command()
def publish(
    file: Annotated[typer.FileBinaryRead, typer.Argument(help="JSON Lines: one request a line; - is standard input")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=DRY_RUN)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a sentence")] = False,
) -> None:
    """Publish requests from a file or from standard input. Every line is checked first; if one is bad, nothing is published.

    Exit status: 0 if the brokers have all of them, 1 if perhaps not, 2 if nothing was published.
    """
    settings = settings_or_fail()
    name = "standard input" if file.fileno() == 0 else file.name
    try:
        requests = read_requests(name, file)
    except RequestsFileError as exc:
        fail(f"{name} has lines that are no valid requests; nothing was published:\n{exc}")
    if dry_run:
        print_estimate(settings, Counter(orjson.loads(value)["operation"] for _, value in requests), as_json=as_json)
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("publishing", total=len(requests))
        with kafka_or_fail("Not everything was acknowledged.", "Then publish the file again: readers drop copies by result_id."):
            try:
                run_loop(publish_requests(settings, requests, on_acked=lambda acked: progress.advance(task, acked)))
            except TopicMissingError as exc:
                fail(f"nothing was published. {exc}")
    topic = topic_names(settings).requests
    if as_json:
        write_json(orjson.dumps({"published": len(requests), "topic": topic}))
    else:
        typer.echo(f"published {count(len(requests), 'request')} to {topic}")
