"""Commands about one person: `processor person find` and `erase` (docs/privacy.md)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
import typer
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table
from rich.text import Text

from processor.cli.dead_letter_options import explain_errors
from processor.cli.kafka import quiet_clients
from processor.cli.options import ActJson, ActReport, fail, login, settings_or_fail, write_json
from processor.contract.amounts import count
from processor.contract.times import utc
from processor.monitoring.formatting import verbatim
from processor.repair.person_erase import ErasePlan, EraseSummary, erase_person, plan_erasure
from processor.repair.person_search import OnLook, PersonFindings, find_person
from processor.runtime.event_loop import run_loop
from processor.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Find the records of one person, and erase what can be erased.")

_NOT_ALL = 1
_LISTED = 100
_BY_MAX = 200
_CHARS_MAX = 512
T = TypeVar("T")

VendorData = Annotated[
    str | None, typer.Option(help="the person's vendor_data, exactly; `-` reads it from stdin, so that no shell history keeps it")
]
VendorDataFile = Annotated[Path | None, typer.Option(help="a file that holds it, instead")]


@app.command()
def find(
    *,
    vendor_data: VendorData = None,
    vendor_data_file: VendorDataFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of a table")] = False,
) -> None:
    """List the records of a person, and when each is deleted at the latest. Reads all topics from their beginning; changes nothing.

    Exit status: 0, also if there are none; 1 if Kafka cannot be asked; 2 if the configuration or an option is wrong.
    """
    settings, person = settings_or_fail(), _person(vendor_data, vendor_data_file)
    found = _run(lambda on_look: find_person(settings, person, on_look))
    if as_json:
        write_json(orjson.dumps(_document(found)))
        return
    if found.records:
        Console(width=None if sys.stdout.isatty() else _BY_MAX).print(records_table(found))
    if len(found.records) > _LISTED:
        typer.echo(f"not shown: {len(found.records) - _LISTED} more; --json has them all")
    typer.echo(person_summary(found))


@app.command()
def erase(
    *,
    vendor_data: VendorData = None,
    vendor_data_file: VendorDataFile = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do it; without, it only says what would be done")] = False,
    wait: Annotated[float, typer.Option(min=0, max=86_400, help="seconds to wait for the outcome")] = 120.0,
    as_json: ActJson = False,
) -> None:
    """End a person's waiting requests, discard their dead letters, delete them at Didit; and say until when the rest remains.

    Without --yes it only says what would be done. Deletions are ordinary requests, so processors must run. Run it again to go on.

    Exit status: 0 if all is done; 1 if something is not yet, or was refused, or Kafka cannot be asked; 2 if the configuration or an
    option is wrong.
    """
    settings, person, report = settings_or_fail(), _person(vendor_data, vendor_data_file), ActReport(as_json=as_json)
    plan, found = _run(lambda on_look: plan_erasure(settings, person, on_look))
    report.say(person_summary(found))
    report.say(_planned(plan))
    if not yes:
        report.say("nothing was done; the same command with --yes does it")
        report.end({"planned": _counts(plan), "done": None, **_document(found)})
        return
    done = _run(
        lambda on_look: erase_person(settings, person, plan, by=login()[:_BY_MAX], within_s=wait, on_look=on_look),
    )
    _tell(report, settings, done)
    report.end({"planned": _counts(plan), "done": _done(done), **_document(done.findings)})
    if done.left or done.failed:
        raise typer.Exit(_NOT_ALL)


def _person(given: str | None, path: Path | None) -> str:
    if (given is None) is (path is None):
        fail("name the person by --vendor-data, or by --vendor-data-file; one of them")
    try:
        raw = path.read_bytes() if path is not None else sys.stdin.buffer.read() if given == "-" else None
        text = (given or "") if raw is None else raw.decode("utf-8-sig")  # an editor may begin a file with a mark
    except (OSError, UnicodeDecodeError) as exc:
        fail(f"--vendor-data{'' if path is None else '-file'}: it cannot be read ({type(exc).__name__}); it is one line of UTF-8")
    person = text.removesuffix("\n").removesuffix("\r")
    if raw is not None and "\n" in person:
        fail("that is more than one line, or an empty one follows: name one person at a time")  # it would be taken for one who has nothing
    if not person or len(person) > _CHARS_MAX or any("\ud800" <= char <= "\udfff" for char in person):
        fail(f"that cannot be a vendor_data: it has 1 to {_CHARS_MAX} characters")
    return person


def _run(act: Callable[[OnLook], Coroutine[Any, Any, T]]) -> T:
    quiet_clients()
    with explain_errors(), _bars() as show:
        return run_loop(act(show))


@contextmanager
def _bars() -> Iterator[OnLook]:
    tasks: dict[str, TaskID] = {}
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:

        def show(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of)
            bar.update(tasks[what], completed=done, total=of)

        yield show


def records_table(found: PersonFindings) -> Table:
    """One row a record, the first ones; what a caller wrote is shown as it is."""
    table = Table("where", "written", "gone at the latest", "request", "operation", "found by", box=None, pad_edge=False)
    for r in found.records[:_LISTED]:
        gone = found.gone_ms(r)
        place = f"{r.topic}[{r.partition}]@{r.offset}"
        cells = (place, utc(r.at_ms), "never" if gone is None else utc(gone), r.request_id or "", r.operation or "", r.why)
        table.add_row(*(Text(verbatim(cell)) for cell in cells))
    return table


def person_summary(found: PersonFindings) -> str:
    """What was found, until when it is there, and where nobody has looked."""
    unread = f"; not looked through: {', '.join(found.unread)}, which VP_RETRY__DELAYS_S does not name" if found.unread else ""
    if not found.records:
        return f"nothing about this person is in the topics{unread}"
    counted = ", ".join(f"{topic} {number}" for topic, number in sorted(found.counts.items()))
    until = found.last_gone_ms
    gone = "some of it stays for ever: `processor topics check` says why" if until is None else f"all of it is gone by {utc(until)}"
    records, waiting = count(len(found.records), "record"), count(len(found.waiting & found.requests), "request waits", "requests wait")
    more = "" if found.complete else "; there is more than could be looked through: erase, and look again"
    return f"{records} ({counted}); {waiting}; {gone}{more}{unread}"


def _planned(plan: ErasePlan) -> str:
    counts = _counts(plan)
    return (
        f"to be done: end {count(counts['ends'], 'waiting request')}, discard {count(counts['discards'], 'dead letter')}, delete "
        f"{count(counts['deletions'], 'session or user', 'sessions and users')} at Didit; tombstones to write: {counts['tombstones']}"
    )


def _tell(report: ActReport, settings: Settings, done: EraseSummary) -> None:
    report.say(f"run {done.run_id}: ended {done.ended}, discarded {done.discarded}, deletions {done.deleted}, tombstones {done.tombstones}")
    for what, ids in (
        ("without a final result yet; run it again when processors have worked", done.left),
        ("refused: repair the cause, then redrive the dead letter", done.failed),
    ):
        if ids:
            report.say(f"{len(ids)} {what}: {verbatim(', '.join(ids[:5]))}; `processor results find` tells about each")
    if settings.files.media_folder is not None and done.findings.sessions:
        folders = count(len(done.findings.sessions), "folder")
        report.say(f"images are yours to delete: {folders}, named by session, in VP_FILES__MEDIA_FOLDER")
    report.say(f"what remains: {person_summary(done.findings)}")


def _counts(plan: ErasePlan) -> dict[str, int]:
    parts: dict[str, Sequence[object]] = {
        "ends": plan.ends,
        "discards": plan.discards,
        "deletions": plan.deletions,
        "tombstones": plan.tombstones,
    }
    return {name: len(part) for name, part in parts.items()}


def _done(done: EraseSummary) -> dict[str, object]:
    names = ("run_id", "ended", "discarded", "deleted", "tombstones", "left", "failed")
    return {name: getattr(done, name) for name in names}


def _document(found: PersonFindings) -> dict[str, object]:
    """For a program; times are epoch ms. It does not repeat who was asked for."""
    return {
        "records": [{**asdict(r), "gone_ms": found.gone_ms(r)} for r in found.records],
        "counts": found.counts,
        "waiting": sorted(found.waiting & found.requests),
        "sessions": sorted(found.sessions),
        "last_gone_ms": found.last_gone_ms,
        "complete": found.complete,
        "unread": list(found.unread),
    }
