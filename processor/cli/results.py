"""`processor results`: read the results topic; `results find`: everything about one request."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import orjson
import typer

from processor.cli.dead_letters import find
from processor.cli.kafka import audible_clients, kafka_or_fail
from processor.cli.options import fail, settings_or_fail, write_json
from processor.client.topics import topic_reader
from processor.client.unread_batches import UnreadBatches
from processor.clock import clock_ms
from processor.contract.records import Record, Status
from processor.contract.result_copies import copy_for
from processor.contract.times import DURATION_FORM
from processor.repair.parsing import read_moment
from processor.runtime.event_loop import run_loop
from processor.settings import Settings
from processor.stream.topics import topic_names


@dataclass(frozen=True, slots=True)
class ResultFilter:
    """Which results are printed. An empty set takes all; ``limit`` counts those that are printed."""

    operations: frozenset[str]
    statuses: frozenset[Status]
    since_ms: int | None = None
    limit: int | None = None

    def takes(self, value: bytes | None) -> bool:
        """Whether a record of the results topic is meant; one that is no result is printed as it is, unless something is asked for."""
        if not self.operations and not self.statuses:
            return True
        try:
            result = orjson.loads(value or b"null")
            operation_fits = not self.operations or result["operation"] in self.operations
            status_fits = not self.statuses or result["status"] in self.statuses
        except (ValueError, TypeError, KeyError):
            return False
        return operation_fits and status_fits


def shown_result(record: Record) -> bytes:
    """The value of a record; a copy says for which record it is, as one more member."""
    value, answers = record.value or b"null", copy_for(record.headers)
    if answers is None or not value.endswith(b"}"):
        return value
    return value[:-1] + b',"copy_for":' + orjson.dumps(answers) + b"}"


_INCOMPLETE = 1

app = typer.Typer(invoke_without_command=True)
app.command()(find)


@app.callback()
def results(
    context: typer.Context,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="keep printing new results until interrupted")] = False,
    from_end: Annotated[bool, typer.Option("--from-end", help="only results published from now on")] = False,
    since: Annotated[str | None, typer.Option(help=f"published at or after: RFC 3339, or how long ago as {DURATION_FORM}")] = None,
    operation: Annotated[list[str] | None, typer.Option(help="may be repeated")] = None,
    status: Annotated[list[Status] | None, typer.Option(help="may be repeated")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="at most this many; of each partition the oldest")] = None,
) -> None:
    """Print results, one JSON object a line (read_committed); or find everything about one request.

    A copy of a known result, published for a duplicate request, has the member `copy_for`.

    Exit status: 0, also if there are none; 1 if Kafka cannot be asked, or holds results that nobody can read, which are skipped; 2 if the
    configuration or an option is wrong.
    """
    if context.invoked_subcommand is not None:
        return

    settings = settings_or_fail()
    try:
        since_ms = read_moment(since, clock_ms()) if since else None
    except ValueError as exc:
        fail(str(exc))
    wanted = ResultFilter(frozenset(operation or ()), frozenset(status or ()), since_ms, limit)
    try:
        with kafka_or_fail():
            complete = run_loop(_print_results(settings, wanted, follow=follow, from_end=from_end))
    except KeyboardInterrupt:
        raise typer.Exit from None
    raise typer.Exit(0 if complete else _INCOMPLETE)


async def _print_results(settings: Settings, wanted: ResultFilter, *, follow: bool, from_end: bool) -> bool:
    """Whether all could be read."""
    left, unread = wanted.limit, UnreadBatches(partial(typer.echo, err=True))
    async with topic_reader(settings, [topic_names(settings).results], from_end=from_end) as reader:
        bounds = await reader.bounds(reader.assigned)
        if wanted.since_ms is not None and not from_end:
            for tp, offset in (await reader.offsets_at(reader.assigned, wanted.since_ms)).items():
                reader.seek(tp, bounds[tp][1] if offset is None else offset)
        audible_clients()
        while True:
            found = [record for record in await unread.read(reader, wait_s=0.5) if wanted.takes(record.value)]
            for record in found[:left]:
                write_json(shown_result(record))
            left = None if left is None else left - len(found[:left])
            sys.stdout.buffer.flush()
            through = all((reader.position(tp) or 0) >= end for tp, (_, end) in bounds.items() if tp not in unread.waiting)
            if left == 0 or (through and not follow):
                return not unread.count
