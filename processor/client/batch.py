"""A file of requests in, a file of results out, for `processor batch`. Run again after an interruption, it goes on where it was."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
import stat
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import orjson

from processor.client.batch_rows import BatchRows, LeftRows
from processor.client.batch_source import TABLES, WORKBOOK
from processor.client.csv_file import write_csv
from processor.client.known_results import Final, answering, read_known_results
from processor.client.table import RESULT_COLUMNS, result_row, table_row
from processor.client.topics import publish_requests, topic_reader
from processor.client.unread_batches import UnreadBatches
from processor.client.workbook import ROWS_MAX, WorkbookError, openpyxl_or_fail, write_workbook
from processor.contract.records import ResultKind, Status
from processor.contract.strict_json import loads
from processor.settings import Settings
from processor.stream.errors import NotAuthorizedError
from processor.stream.reader import PartitionReader
from processor.stream.topic_reader import TopicReader
from processor.stream.topics import topic_names

_CHUNK = 500

_log = logging.getLogger(__name__)


class BatchError(Exception):
    """The batch cannot start; the text says why and what to do. Nothing was published."""


@dataclass(slots=True)
class BatchProgress:
    """How far a batch is."""

    total: int
    published: int = 0
    known: int = 0  # of those that are done: they were so before this batch began
    done: Counter[str] = field(default_factory=Counter)  # by status
    unread: int = 0  # batches of the topics that cannot be read, and may have held results
    compares: bool = True  # results are held to the records that they answer; false without the right to read these

    @property
    def finished(self) -> int:
        """Requests with a final result."""
        return sum(self.done.values())

    @property
    def all_succeeded(self) -> bool:
        """Whether every request has succeeded."""
        return self.done[Status.SUCCEEDED] == self.total


class Batch:
    """One run of a file: publishes its requests and writes their final results to ``target``, one a line, as they come.

    Beside the target, ``<target>.state`` says how far the run is, for the next one; it is removed at the end. A target that ends in
    ``.csv`` or ``.xlsx`` becomes a table at the end, with a row for each request; until then the results are in ``<target>.jsonl``.
    """

    def __init__(self, settings: Settings, target: Path, rows: BatchRows) -> None:
        if target.suffix.lower() == WORKBOOK:
            _refuse_workbook(target, len(rows))
        self._settings = settings
        self._table = target if target.suffix.lower() in TABLES else None
        self._target = target if self._table is None else target.with_name(target.name + ".jsonl")
        self._rows = rows
        self._on_progress: Callable[[BatchProgress], None] = lambda _: None
        self._topic, self._requests = topic_names(settings).results, topic_names(settings).requests
        self._left = LeftRows(rows)
        self._state_path = target.with_name(target.name + ".state")
        self._digest = _digest_of(rows)
        self.progress = BatchProgress(len(rows))
        self._unread = UnreadBatches(self._tell_unread)
        self._tell: Callable[[str], None] = _log.warning

    @property
    def left(self) -> Mapping[str, int]:
        """Requests without a final result, by operation."""
        return self._rows.left

    async def run(self, on_progress: Callable[[BatchProgress], None], tell: Callable[[str], None] = _log.warning) -> BatchProgress:
        """Publish what is not published, and write results until all are there.

        Args:
            on_progress: called at every step.
            tell: gets a sentence about each batch of the topics that cannot be read.

        Raises:
            BatchError: if the target belongs to another file, or another process writes it.
            KafkaFailedError: run it again when Kafka is back.
        """
        self._on_progress, self._tell, state = on_progress, tell, self._resume()
        with open_private(self._target, "ab") as out:
            self._lock(out)
            await self._run(state, out)
            if self._table is not None:
                write_answers(self._rows, self._target, self._table)
            self._state_path.unlink(missing_ok=True)  # before the results: without them it would stand for a batch that is under way
            if self._table is not None:
                self._target.unlink()
        return self.progress

    async def _run(self, state: dict[str, Any] | None, out: BinaryIO) -> None:
        async with (
            topic_reader(self._settings, [self._topic], from_end=True) as reader,
            TopicReader(self._settings, self._unread.note) as requests,
        ):
            if state is None:
                positions = {tp.partition: reader.position(tp) for tp in reader.assigned}
                state = {"input_sha256": self._digest, "published": 0, "positions": {str(p): at for p, at in positions.items()}}
                self._save(state)
            for tp in reader.assigned:
                reader.seek(tp, state["positions"].get(str(tp.partition), 0))  # one that was added has only what came since
            self.progress.published = state["published"]
            self._on_progress(self.progress)
            if not state["published"]:
                await self._take_known(out)
            publishing = asyncio.get_running_loop().create_task(self._publish(state))
            try:
                await self._collect(reader, requests, publishing, out)
            finally:
                publishing.cancel()
                await asyncio.wait({publishing})

    def _resume(self) -> dict[str, Any] | None:
        if not self._state_path.parent.is_dir():
            raise BatchError(f"the folder {self._state_path.parent} does not exist")
        # with a state it is this batch's, which ended before it had tidied up: it is written again
        if self._table is not None and self._table.exists() and self._table.stat().st_size and not self._state_path.exists():
            raise BatchError(f"{self._table} is there already; name another file, or remove it")
        if self._target.exists() and self._target.stat().st_size and not self._state_path.exists():
            raise BatchError(f"{self._target} is there and was not left by an unfinished batch; name another file, or remove it")
        if not self._state_path.exists():
            return None
        state = _read_state(self._state_path)
        if state["input_sha256"] != self._digest:
            raise BatchError(f"{self._target} was begun with another input; name another file, or remove it and {self._state_path}")
        if not self._target.exists():
            return state | {"published": 0}  # what had come is gone with it, and stands in the topic
        with open_private(self._target, "ab") as file, self._target.open("rb") as lines:
            self._lock(file)
            kept = 0
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # cut by the end of the process: it is written again
                kept += len(line)
                self._note(orjson.loads(line))
            file.truncate(kept)
        return state

    def _lock(self, file: BinaryIO) -> None:
        """Until the file is closed nobody else writes it: two at once would cut each other's lines."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BatchError(f"{self._target} is being written by another `processor batch`; let that one go on, or end it") from None
        except OSError:  # a file system without locks
            return

    async def _take_known(self, out: BinaryIO) -> None:
        """What was asked before, in an earlier batch or otherwise, is not asked again: its result stands in the topic."""

        def note_uncompared() -> None:
            self.progress.compares = False

        async with aclosing(
            read_known_results(self._settings, self._left, on_unread=self._unread.note, on_uncompared=note_uncompared)
        ) as results:
            async for result, value in results:
                if self._note({"request_id": result.request_id, "status": result.status}):
                    out.write(value + b"\n")
                    self.progress.known += 1
        out.flush()
        self._on_progress(self.progress)

    async def _publish(self, state: dict[str, Any]) -> None:
        while (begin := state["published"]) < len(self._rows):
            end = min(begin + _CHUNK, len(self._rows))
            chunk = [self._rows[row] for row in range(begin, end) if self._rows.is_left(row)]
            await publish_requests(self._settings, [(item.key, item.value) for item in chunk])
            state["published"] = end
            self._save(state)
            self.progress.published = state["published"]
            self._on_progress(self.progress)

    async def _collect(self, reader: PartitionReader, requests: TopicReader, publishing: asyncio.Task[None], out: BinaryIO) -> None:
        while self._rows.left:
            if publishing.done():
                publishing.result()  # an error ends the batch; it goes on when it is run again
            records = await self._unread.read(reader, wait_s=0.5)
            finals = [(record, result) for record in records if (result := final_result(record.value)) is not None]
            for record, result in await self._of_ours(requests, finals):
                if self._note(result):
                    out.write((record.value or b"") + b"\n")
            out.flush()
            self._on_progress(self.progress)

    async def _of_ours(self, requests: TopicReader, finals: Sequence[Final]) -> Sequence[Final]:
        """Without another's results under an id of ours. Who may not read the requests topic has to take those, too."""
        if not self.progress.compares:
            return finals
        try:
            return await answering(requests, self._requests, finals, self._left.get)
        except NotAuthorizedError:
            self.progress.compares = False
            return finals

    def _tell_unread(self, text: str) -> None:
        self.progress.unread += 1
        self._tell(text)

    def _note(self, result: Mapping[str, Any]) -> bool:
        """A final result was read; whether it is the first of a row."""
        row = self._rows.row_of(request_id) if isinstance(request_id := result.get("request_id"), str) else None
        if row is None or not self._rows.finish(row):
            return False
        self.progress.done[result["status"]] += 1
        return True

    def _save(self, state: Mapping[str, Any]) -> None:
        with _written_whole(self._state_path) as file:
            file.write(orjson.dumps(state))


def final_result(value: bytes | None) -> Mapping[str, Any] | None:
    """A final result; None for what is none, e.g. bytes that something else wrote to the topic."""
    try:
        found = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return None
    is_final = isinstance(found, dict) and found.get("kind") == ResultKind.FINAL and isinstance(found.get("status"), str)
    return found if is_final else None


def _digest_of(rows: BatchRows) -> str:
    """Of the requests, whatever file, sheet and options they come from."""
    found = hashlib.sha256()
    for item in rows:
        found.update(item.value + b"\n")
    return found.hexdigest()


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state = orjson.loads(path.read_bytes())
        return {"input_sha256": str(state["input_sha256"]), "published": int(state["published"]), "positions": dict(state["positions"])}
    except (KeyError, TypeError, ValueError):
        again = "remove it and the results beside it, and run the batch again: what is done is not asked again"
        raise BatchError(f"{path} cannot be read (was the disk full, or the power lost?); {again}") from None


def _refuse_workbook(target: Path, rows: int) -> None:
    """Before anything is asked, and not when all have answered."""
    try:
        openpyxl_or_fail()
    except WorkbookError as exc:
        raise BatchError(f"{target}: {exc}") from None
    if rows >= ROWS_MAX:
        raise BatchError(f"{target}: a sheet holds {ROWS_MAX - 1} rows, and there are {rows}; write the results to a .csv")


def write_answers(rows: BatchRows, results: Path, table: Path) -> None:
    """A table of the requests with what became of each; it is there when it is whole.

    Args:
        rows: the requests.
        results: the final result of each, one a line, in any order.
        table: is written.

    Raises:
        OSError: if it cannot be.
    """
    places, begin = array("Q", [0]) * len(rows), 0
    with results.open("rb") as lines:
        for line in lines:
            if (row := rows.row_of(orjson.loads(line)["request_id"])) is not None:
                places[row] = begin
            begin += len(line)

        def result_at(place: int) -> dict[str, Any]:
            lines.seek(place)
            found: dict[str, Any] = orjson.loads(lines.readline())
            return found

        asked = dict.fromkeys(name for item in rows for name in table_row(loads(item.value)) if name not in RESULT_COLUMNS)
        answered = (table_row(loads(item.value)) | result_row(result_at(places[row])) for row, item in enumerate(rows))
        with _written_whole(table) as file:
            write = write_workbook if table.suffix.lower() == WORKBOOK else write_csv
            write(file, answered, [*asked, *RESULT_COLUMNS])


@contextmanager
def _written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its place when all of it is written; until then it stands beside that."""
    fresh = path.with_name(path.name + ".new")
    try:
        with open_private(fresh, "wb") as file:
            yield file
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)  # it takes the room that a disk may lack
        raise


def open_private(path: Path, mode: Literal["wb", "ab"]) -> BinaryIO:
    """Open for writing what nobody but its owner may read (mode 600): a new file from its first byte on, one that is there from now on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if mode == "wb" else os.O_APPEND) | os.O_CLOEXEC, 0o600)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, mode)
