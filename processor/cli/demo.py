"""`processor demo`: everything on one machine, with its proof."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from processor.cli.kafka import quiet_clients
from processor.cli.options import fail
from processor.devkit.demo import run_demo
from processor.devkit.display import Screen, proof_table
from processor.devkit.kafka_cluster import LocalKafkaError
from processor.runtime.event_loop import run_loop

app = typer.Typer()


@app.command()
def demo(
    *,
    requests: Annotated[int, typer.Option(min=20, max=20_000, help="requests to publish")] = 300,
    seed: Annotated[int, typer.Option(help="of the load and the faults")] = 1,
    json_only: Annotated[bool, typer.Option("--json", help="print only one JSON object")] = False,
    stay: Annotated[bool, typer.Option("--stay", help="leave everything up for the page and the commands, until Ctrl-C")] = False,
) -> None:
    """Demonstration: a real Kafka, the simulator with faults, three processors, one killed half-way. Exit status 1 if a promise broke."""
    quiet_clients()  # a broker that is being started refuses connections
    try:
        with Screen() as screen:
            report = run_loop(run_demo(requests, seed, screen, stay=stay))
    except LocalKafkaError as exc:
        fail(str(exc), 1)
    if json_only:
        sys.stdout.buffer.write(report.as_json() + b"\n")
    else:
        Console().print(proof_table(report))
    raise typer.Exit(0 if report.ok else 1)
