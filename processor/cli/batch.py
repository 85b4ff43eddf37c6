"""`processor batch`: a file of requests in, a file of results out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from processor.cli.kafka import kafka_or_fail
from processor.cli.options import fail, settings_or_fail
from processor.client.batch import Batch, BatchError, BatchProgress, read_batch, time_left_s
from processor.client.topics import RequestsFileError
from processor.contract.times import duration
from processor.settings import Settings
from processor.stream.errors import TopicMissingError

_EXIT_NOT_ALL = 1
_EXIT_INTERRUPTED = 130

app = typer.Typer()


@app.command()
def batch(
    source: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="requests: JSON Lines, or CSV with columns like input.full_name")
    ],
    target: Annotated[
        Path, typer.Argument(dir_okay=False, help="results are written here, one JSON object a line; or a table, if it ends in .csv")
    ],
    operation: Annotated[str | None, typer.Option(help="of every line; a line of JSON is then the input alone")] = None,
) -> None:
    """Run a file of requests and write a file of results. Run it again to go on after an interruption.

    Exit status: 0 if all succeeded, 1 if some did not, 2 if nothing was begun, 130 if it was interrupted.
    """
    settings = settings_or_fail()
    try:
        items = read_batch(source, operation)
    except RequestsFileError as exc:
        fail(f"{source} has lines that are no valid requests; nothing was published:\n{exc}")
    with kafka_or_fail(then="Then run the same command again to go on."):
        try:
            ended = _run_shown(settings, Batch(settings, source, target, items))
        except (BatchError, TopicMissingError) as exc:
            fail(str(exc))
        except KeyboardInterrupt:
            fail(f"interrupted; run the same command again to go on with {target}", _EXIT_INTERRUPTED)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(ended.done.items()))
    typer.echo(f"{ended.finished} of {ended.total} requests: {counts or 'none'}; results are in {target}", err=True)
    if ended.known:
        again = "To ask again, give these lines a request_id of their own."
        typer.echo(f"{ended.known} of them were done before, and nothing was asked again: the results are those of then. {again}", err=True)
    raise typer.Exit(0 if ended.all_succeeded else _EXIT_NOT_ALL)


def _run_shown(settings: Settings, run: Batch) -> BatchProgress:
    """Run a batch under a progress bar that says how long the budget makes it last at least."""
    limits = {scope: (limit.limit, limit.window_s) for scope, limit in settings.rate_limits.items()}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("results", total=run.progress.total, left="")

        def show(progress: BatchProgress) -> None:
            left = duration(time_left_s(run.left, limits))
            bar.update(task, completed=progress.finished, left=f"{progress.published} published; the budget makes it last {left} at least")

        return asyncio.run(run.run(show))
