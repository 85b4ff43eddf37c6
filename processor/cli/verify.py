"""`processor verify`: the audit of an installation, from its topics alone (docs/verify.md)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from processor.cli.kafka import quiet_clients
from processor.cli.options import fail, settings_or_fail, write_json
from processor.client.batch import open_private
from processor.clock import clock_ms
from processor.contract.times import DURATION_FORM, parse_duration
from processor.repair.parsing import read_moment
from processor.settings import Settings
from processor.stream.errors import KafkaFailedError
from processor.verify.audit import AuditOptions, audit
from processor.verify.bills import Bills, BillsFormatError, read_bills
from processor.verify.report import AuditReport, html_report, json_report, text_report

app = typer.Typer()

_FINDINGS = 1
_NOT_JUDGED = 2


@app.command()
def verify(
    *,
    since: Annotated[str | None, typer.Option(help="only what was published since: RFC 3339 with its offset, or an age such as 2d")] = None,
    older_than: Annotated[str, typer.Option(help=f"a request that is older has a result, or waits visibly: {DURATION_FORM}")] = "10m",
    billing: Annotated[
        Path | None, typer.Option(help="the calls that were billed: the simulator's ledger, or a CSV of Didit's sessions")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="write the report as a page, too")] = None,
    folder: Annotated[Path | None, typer.Option(help="for temporary files, about 200 bytes a request")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of a text")] = False,
) -> None:
    """Audit a running or stopped installation from its topics alone.

    Are the promises of docs/guarantees.md kept? Changes nothing; docs/verify.md says what is judged, and how.

    Exit status: 0 clean; 1 there are findings; 2 it could not be judged: options, configuration, Kafka, or the disk.
    """
    settings = settings_or_fail()
    options = _options(since, older_than, billing, folder)
    try:
        report = _run(settings, options)
        if html is not None:
            with open_private(html, "wb") as file:
                file.write(html_report(report).encode())
    except KafkaFailedError as exc:
        fail(str(exc), _NOT_JUDGED)
    except OSError as exc:
        fail(f"{exc.filename or folder or 'the folder for temporary files'}: {exc.strerror}; nothing was judged", _NOT_JUDGED)
    if as_json:
        write_json(json_report(report))
    else:
        typer.echo(text_report(report), nl=False)
    if not report.clean:
        raise typer.Exit(_FINDINGS)


def _options(since: str | None, older_than: str, billing: Path | None, folder: Path | None) -> AuditOptions:
    try:
        since_ms = None if since is None else read_moment(since, clock_ms())
        older_s = float(parse_duration(older_than))
    except ValueError as exc:
        fail(str(exc))
    return AuditOptions(since_ms, older_s, None if billing is None else _bills(billing), folder)


def _bills(path: Path) -> Bills:
    try:
        return read_bills(path.read_bytes())
    except OSError as exc:
        fail(f"--billing {path}: {exc.strerror}")
    except BillsFormatError as exc:
        fail(f"--billing {path}: {exc}")


def _run(settings: Settings, options: AuditOptions) -> AuditReport:
    quiet_clients()
    tasks: dict[str, TaskID] = {}
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:

        def show(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of)
            bar.update(tasks[what], completed=done)

        try:
            return asyncio.run(audit(settings, options, show))
        except KeyboardInterrupt:
            fail("interrupted; nothing was judged", 130)
