"""The `processor` command. Thin: it reads options, calls one function, prints. Heavy imports wait for their command."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from processor import __version__
from processor.cli.batch import batch, fail, register, settings_or_fail
from processor.cli.dead_letters import deadletters_app, find
from processor.cli.retry import retry_app
from processor.cli.simulate import simulate
from processor.cli.status import lag, status, top
from processor.settings import ConfigurationError, Settings

app = typer.Typer(no_args_is_help=True, pretty_exceptions_show_locals=False)
topics_app = typer.Typer(no_args_is_help=True, help="Create and check the topics.")
app.add_typer(topics_app, name="topics")
app.add_typer(retry_app, name="retry")
app.command()(batch)
app.command()(register)
app.command()(status)
app.command()(top)
app.command()(lag)
app.command()(simulate)
app.add_typer(deadletters_app, name="deadletters")
results_app = typer.Typer(invoke_without_command=True)
results_app.command("find")(find)
app.add_typer(results_app, name="results")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"verification-processor {__version__}")
        raise typer.Exit


@app.callback()
def options_of_all(
    *,
    _version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version, and end")] = False,
) -> None:
    """Pushes identity verifications from Kafka through Didit's API."""


@app.command()
def run() -> None:
    """Process requests until SIGTERM or SIGINT. Settings come from the environment (VP_...)."""
    settings = settings_or_fail()
    from processor.observe.logs import configure_logs  # noqa: PLC0415
    from processor.worker.service import run as run_service  # noqa: PLC0415

    if settings.didit.key() is None:
        fail("the configuration is not usable:\n  VP_DIDIT__API_KEY: is missing (or set VP_DIDIT__API_KEY_FILE)")
    configure_logs(settings.log)
    try:
        raise typer.Exit(run_service(settings))
    except ConfigurationError as exc:
        fail(str(exc))


@app.command()
def webhooks() -> None:
    """Receive Didit's webhooks until SIGTERM or SIGINT and publish them to the events topic (docs/webhooks.md)."""
    settings = settings_or_fail()
    from processor.observe.logs import configure_logs  # noqa: PLC0415
    from processor.webhooks.service import run as run_receiver  # noqa: PLC0415

    configure_logs(settings.log)
    try:
        raise typer.Exit(run_receiver(settings))
    except ConfigurationError as exc:
        fail(str(exc))


@topics_app.command("apply")
def topics_apply(
    partitions: Annotated[int, typer.Option(min=1, help="partitions of requests, results and dead letters")] = 8,
    replication: Annotated[int, typer.Option(min=1, help="copies of each partition; 3 in production")] = 3,
) -> None:
    """Create the topics that are missing, then check all. Changes nothing that exists."""
    from processor.stream.errors import KafkaFailedError  # noqa: PLC0415
    from processor.stream.topics_admin import apply_topics  # noqa: PLC0415

    settings = settings_or_fail()
    try:
        applied = asyncio.run(apply_topics(settings, partitions=partitions, replication=replication))
    except KafkaFailedError as exc:
        fail(str(exc), 1)
    for name in applied.created:
        typer.echo(f"created {name}")
    if not applied.created:
        typer.echo("all topics exist")
    if applied.faults:
        fail("\n".join(applied.faults))


@topics_app.command("check")
def topics_check() -> None:
    """Say what is wrong with the topics; exit status 2 if anything is."""
    from processor.stream.errors import KafkaFailedError  # noqa: PLC0415
    from processor.stream.topics_admin import check_topics  # noqa: PLC0415

    try:
        checked = asyncio.run(check_topics(settings_or_fail()))
    except KafkaFailedError as exc:
        fail(str(exc), 1)
    if found := [*checked.faults, *checked.warnings, *checked.unread]:
        fail("\n".join(found))
    typer.echo("all topics are as they must be")


@app.command()
def publish(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="JSON Lines: one request a line")],
) -> None:
    """Publish requests from a file. Every line is checked first; if one is bad, nothing is published."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    from processor.client.topics import RequestsFileError, publish_requests, read_requests  # noqa: PLC0415
    from processor.stream.errors import KafkaFailedError  # noqa: PLC0415

    settings = settings_or_fail()
    try:
        requests = read_requests(file)
    except RequestsFileError as exc:
        fail(f"{file} has lines that are no valid requests; nothing was published:\n{exc}", 1)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("publishing", total=len(requests))
        try:
            asyncio.run(publish_requests(settings, requests, on_acked=lambda count: progress.advance(task, count)))
        except KafkaFailedError as exc:
            fail(f"not everything was acknowledged. {exc} Then publish the file again: readers drop copies by result_id", 1)
    typer.echo(f"published {len(requests)} requests to {settings.kafka.topic_prefix}.requests")


@results_app.callback()
def results(
    context: typer.Context,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on with new results until interrupted")] = False,
    from_end: Annotated[bool, typer.Option("--from-end", help="only results that come from now on")] = False,
) -> None:
    """Print results, one JSON object a line (read_committed); or find everything about one request."""
    if context.invoked_subcommand is not None:
        return
    from processor.stream.errors import KafkaFailedError  # noqa: PLC0415

    settings = settings_or_fail()
    try:
        asyncio.run(_print_results(settings, follow=follow, from_end=from_end))
    except KafkaFailedError as exc:
        fail(str(exc), 1)
    except KeyboardInterrupt:
        raise typer.Exit from None


async def _print_results(settings: Settings, *, follow: bool, from_end: bool) -> None:
    from processor.client.topics import read_topics, topic_reader  # noqa: PLC0415
    from processor.stream.topics import topic_names  # noqa: PLC0415

    async with topic_reader(settings, [topic_names(settings).results], from_end=from_end) as reader:
        bounds = await reader.bounds(reader.assigned)
        while True:
            for record in await read_topics(reader, wait_s=0.5):
                sys.stdout.buffer.write((record.value or b"null") + b"\n")
            sys.stdout.buffer.flush()
            if not follow and all((reader.position(tp) or 0) >= end for tp, (_, end) in bounds.items()):
                return


@app.command()
def budget(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of a table")] = False,
) -> None:
    """Show the shared budget: per scope its limit, what is in use, who waits, pauses, breakers, and foreign traffic on the key."""
    from rich.console import Console  # noqa: PLC0415

    from processor.cli import render_budget  # noqa: PLC0415
    from processor.monitoring.factories import read_budget  # noqa: PLC0415
    from processor.stream.errors import KafkaFailedError  # noqa: PLC0415

    settings = settings_or_fail()
    try:
        view = asyncio.run(read_budget(settings))
    except KafkaFailedError as exc:
        fail(str(exc), 1)
    if as_json:
        sys.stdout.buffer.write(render_budget.as_json(view) + b"\n")
    else:
        Console().print(render_budget.as_table(view))


@app.command()
def demo(
    *,
    requests: Annotated[int, typer.Option(min=20, max=20_000, help="requests to publish")] = 300,
    seed: Annotated[int, typer.Option(help="of the load and the faults")] = 1,
    json_only: Annotated[bool, typer.Option("--json", help="print only one JSON object")] = False,
    stay: Annotated[bool, typer.Option("--stay", help="leave everything up for the page and the commands, until Ctrl-C")] = False,
) -> None:
    """Show it: real Kafka, simulator with faults, three processors, one killed half-way; exit status 1 if a promise broke."""
    from rich.console import Console  # noqa: PLC0415

    from processor.devkit.demo import run_demo  # noqa: PLC0415
    from processor.devkit.display import Screen, proof_table  # noqa: PLC0415
    from processor.devkit.kafka_cluster import LocalKafkaError  # noqa: PLC0415

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that is being started refuses connections
    try:
        with Screen() as screen:
            report = asyncio.run(run_demo(requests, seed, screen, stay=stay))
    except LocalKafkaError as exc:
        fail(str(exc), 1)
    if json_only:
        sys.stdout.buffer.write(report.as_json() + b"\n")
    else:
        Console().print(proof_table(report))
    raise typer.Exit(0 if report.judgement.ok else 1)
