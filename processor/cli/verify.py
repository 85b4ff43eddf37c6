"""`processor verify`: the audit of an installation, from its topics alone (docs/verify.md)."""

from __future__ import annotations

import os
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
from processor.runtime.event_loop import run_loop
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

    Exit status: 0 clean; 1 there are findings; 2 it could not be judged: options, configuration, Kafka, or the disk; or it is clean, and
    the page could not be written.
    """
    settings = settings_or_fail()
    options = _options(since, older_than, billing, folder)
    if html is not None:
        check_writable(html)
    try:
        report = _run(settings, options)
    except KafkaFailedError as exc:
        fail(str(exc), _NOT_JUDGED)
    except OSError as exc:
        fail(f"{exc.filename or folder or 'the folder for temporary files'}: {exc.strerror}; nothing was judged", _NOT_JUDGED)
    tell(report, html, as_json=as_json)


def tell(report: AuditReport, html: Path | None, *, as_json: bool) -> None:
    """Show a report, and end with status 1 or 2 where that is what it comes to. What cannot be filed as a page is shown all the same."""
    fault = None if html is None else _write_page(html, report)
    if as_json:
        write_json(json_report(report))
    else:
        typer.echo(text_report(report), nl=False)
    if fault is not None:
        fail(f"--html {html}: {fault}; the audit is done, but the page is not written", _NOT_JUDGED if report.clean else _FINDINGS)
    if not report.clean:
        raise typer.Exit(_FINDINGS)


def check_writable(html: Path) -> None:
    """Before the audit, which may take long. Nothing is written; what is no plain file (a pipe) is left alone."""
    is_new = not os.path.lexists(html)
    if not (is_new or html.is_file() or html.is_dir()):
        return
    try:
        open_private(html, "ab").close()
        if is_new:
            html.unlink()
    except OSError as exc:
        fail(f"--html {html}: {exc.strerror}; nothing was judged", _NOT_JUDGED)


def _write_page(html: Path, report: AuditReport) -> str | None:
    """Why it could not be written; None if it was."""
    try:
        with open_private(html, "wb") as file:
            file.write(html_report(report).encode())
    except OSError as exc:
        return exc.strerror or type(exc).__name__
    return None


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
            return run_loop(audit(settings, options, show))
        except KeyboardInterrupt:
            fail("interrupted; nothing was judged", 130)
