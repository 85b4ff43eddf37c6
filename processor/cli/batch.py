"""`processor batch`: a file of requests in, a file of results out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from processor.cli.dry_run import DRY_RUN, print_estimate
from processor.cli.kafka import kafka_or_fail
from processor.cli.options import fail, settings_or_fail, write_json
from processor.client.batch import Batch, BatchError, BatchProgress
from processor.client.batch_source import read_batch
from processor.client.estimate import time_left_s
from processor.client.topics import RequestsFileError
from processor.contract.amounts import count
from processor.contract.times import duration
from processor.runtime.event_loop import run_loop
from processor.settings import Settings
from processor.stream.errors import TopicMissingError

_EXIT_NOT_ALL = 1
_TEMPORARY = "the folder for temporary files (TMPDIR)"  # the rows lie there meanwhile
_EXIT_INTERRUPTED = 130
_NOT_COMPARED = (
    "Results were told by their request ids alone: one of another request under the same id is not seen without Read on the requests topic."
)

app = typer.Typer()


@app.command()
def batch(
    source: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="requests: JSON Lines, or CSV or .xlsx with columns like input.full_name")
    ],
    target: Annotated[
        Path | None,
        typer.Argument(dir_okay=False, help="results are written here, one JSON object a line; or a table, if it ends in .csv or .xlsx"),
    ] = None,
    *,
    operation: Annotated[str | None, typer.Option(help="operation of every line; a line of JSON is then the input alone")] = None,
    sheet: Annotated[str | None, typer.Option(help="sheet of a workbook; default the first one")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=DRY_RUN)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of sentences")] = False,
) -> None:
    """Run a file of requests and write a file of results. Run it again to go on after an interruption.

    Exit status: 0 if all succeeded, 1 if some did not, 2 if nothing was begun, 130 if it was interrupted.
    """
    settings = settings_or_fail()
    try:
        rows = read_batch(source, operation, sheet)
    except RequestsFileError as exc:
        fail(f"{source} has lines that are no valid requests; nothing was published:\n{exc}")
    except OSError as exc:
        fail(f"{exc.filename or _TEMPORARY}: {exc.strerror}; nothing was published")
    if dry_run:
        print_estimate(settings, rows.left, as_json=as_json)
        return
    if target is None:
        fail(f"say where the results go, e.g. `processor batch {source} {source.stem}.done.csv`; nothing was published")
    with kafka_or_fail(then="Then run the same command again to go on."):
        try:
            ended = _run_shown(settings, Batch(settings, target, rows))
        except (BatchError, TopicMissingError) as exc:
            fail(str(exc))
        except OSError as exc:
            fail(f"{exc.filename or target}: {exc.strerror}. Then run the same command again to go on: what is done is kept", _EXIT_NOT_ALL)
        except KeyboardInterrupt:
            fail(f"interrupted; run the same command again to go on with {target}", _EXIT_INTERRUPTED)
    _tell(ended, target, as_json=as_json)
    raise typer.Exit(0 if ended.all_succeeded else _EXIT_NOT_ALL)


def _tell(ended: BatchProgress, target: Path, *, as_json: bool) -> None:
    if as_json:
        document = {
            "requests": ended.total,
            "finished": ended.finished,
            "known": ended.known,
            "by_status": {str(status): number for status, number in ended.done.items()},
            "compared": ended.compares,
            "unread_batches": ended.unread,
            "target": str(target),
        }
        write_json(orjson.dumps(document))
        return
    counts = ", ".join(f"{number} {status}" for status, number in sorted(ended.done.items()))
    typer.echo(f"{ended.finished} of {count(ended.total, 'request')}: {counts or 'none'}; results are in {target}", err=True)
    if not ended.compares:
        typer.echo(_NOT_COMPARED, err=True)
    if ended.known:
        again = "To ask again, give these lines a request_id of their own."
        typer.echo(f"done before: {ended.known}. Nothing was asked again, the results are those of then. {again}", err=True)


def _run_shown(settings: Settings, run: Batch) -> BatchProgress:
    """Run a batch under a progress bar that says how long the budget makes it last at least."""
    limits = {scope: (limit.limit, limit.window_s) for scope, limit in settings.rate_limits.items()}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("results", total=run.progress.total, left="")

        def show(progress: BatchProgress) -> None:
            left = duration(time_left_s(run.left, limits))
            bar.update(task, completed=progress.finished, left=f"{progress.published} published; the budget makes it last {left} at least")

        def tell(text: str) -> None:
            bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

        return run_loop(run.run(show, tell))
