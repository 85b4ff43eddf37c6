"""Commands for people with a file or without an account: `processor batch`, `processor register`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from processor.settings import ConfigurationError, Settings, load_settings
from processor.times import duration

if TYPE_CHECKING:
    from processor.client.batch import Batch
    from processor.client.batch import BatchProgress as Counts

AUTH_URL = "https://apx.didit.me/auth/v2"
_EXIT_NOT_ALL, _EXIT_UNUSABLE, _EXIT_INTERRUPTED = 1, 2, 130


def fail(text: str, status: int = _EXIT_UNUSABLE) -> NoReturn:
    """Say why, and end with a status."""
    typer.echo(text, err=True)
    raise typer.Exit(status)


def settings_or_fail() -> Settings:
    """The settings, or the end."""
    try:
        return load_settings()
    except ConfigurationError as exc:
        fail(str(exc))


def batch(
    source: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="requests: JSON Lines, or CSV with columns like input.full_name")
    ],
    target: Annotated[Path, typer.Argument(dir_okay=False, help="results are written here, one JSON object a line")],
    operation: Annotated[str | None, typer.Option(help="of every line; a line of JSON is then the input alone")] = None,
) -> None:
    """Run a file of requests and write a file of results. Run it again to go on after an interruption.

    Exit status: 0 if all succeeded, 1 if some did not, 2 if nothing was begun, 130 if it was interrupted.
    """
    from processor.client.batch import Batch, BatchError, read_batch  # noqa: PLC0415
    from processor.client.topics import RequestsFileError  # noqa: PLC0415
    from processor.stream.errors import KafkaFailedError, TopicMissingError  # noqa: PLC0415

    settings = settings_or_fail()
    try:
        items = read_batch(source, operation)
    except RequestsFileError as exc:
        fail(f"{source} has lines that are no valid requests; nothing was published:\n{exc}")
    except UnicodeDecodeError:
        fail(f"{source} is not UTF-8; save it as UTF-8")
    try:
        ended = _run_shown(settings, Batch(settings, source, target, items))
    except (BatchError, TopicMissingError) as exc:
        fail(str(exc))
    except KafkaFailedError as exc:
        fail(f"{exc} Then run the same command again to go on", _EXIT_NOT_ALL)
    except KeyboardInterrupt:
        fail(f"interrupted; run the same command again to go on with {target}", _EXIT_INTERRUPTED)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(ended.done.items()))
    typer.echo(f"{ended.finished} of {ended.total} requests: {counts or 'none'}; results are in {target}", err=True)
    raise typer.Exit(0 if ended.all_succeeded else _EXIT_NOT_ALL)


def _run_shown(settings: Settings, run: Batch) -> Counts:
    """Run a batch under a progress bar that says how long the budget makes it last at least."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    from processor.client.batch import time_left_s  # noqa: PLC0415

    limits = {scope: (limit.limit, limit.window_s) for scope, limit in settings.budget.all_limits.items()}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("results", total=run.progress.total, left="")

        def show(progress: Counts) -> None:
            left = duration(time_left_s(run.left, limits))
            bar.update(task, completed=progress.finished, left=f"{progress.published} published; the budget makes it last {left} at least")

        return asyncio.run(run.run(show))


def register(
    email: Annotated[str, typer.Argument(help="of the account; Didit sends it a code")],
    key_file: Annotated[Path | None, typer.Option(help="write the API key there, for its owner alone, instead of showing it")] = None,
    url: Annotated[str, typer.Option(help="base of Didit's account API")] = AUTH_URL,
) -> None:
    """Make an account and an application at Didit, and get its API key: shown once, or written to a file with mode 600."""
    from processor.didit.registration import RegistrationError, verify, write_key  # noqa: PLC0415
    from processor.didit.registration import register as begin  # noqa: PLC0415

    if key_file is not None and key_file.exists():
        fail(f"{key_file} is there already; nothing was done")
    password = typer.prompt("Password (8 characters, upper, lower, digit, special)", hide_input=True, confirmation_prompt=True)
    try:
        asyncio.run(begin(url, email, password))
        code = typer.prompt("Code from the e-mail")
        made = asyncio.run(verify(url, email, code.strip()))
    except RegistrationError as exc:
        fail(str(exc), _EXIT_NOT_ALL)
    typer.echo(f"application {made.application} of {made.organization}", err=True)
    if key_file is None:
        typer.echo(made.api_key)
        typer.echo("the key is shown this once; keep it where only the processor can read it", err=True)
        return
    try:
        write_key(key_file, made.api_key)
    except OSError as exc:
        fail(f"{key_file} cannot be written ({type(exc).__name__}); get the key from Didit's console", _EXIT_NOT_ALL)
    typer.echo(f"the key is in {key_file}; set VP_DIDIT__API_KEY_FILE={key_file}", err=True)
