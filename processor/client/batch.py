"""A file of requests in, a file of results out, for `processor batch`. Run again after an interruption, it goes on where it was."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import orjson

from processor.client.known_results import read_known_results
from processor.client.table import RESULT_COLUMNS, TableError, decoded, result_row, table_row, table_rows, written_table
from processor.client.topics import RequestsFileError, line_fault, publish_requests, read_topics, record_key, topic_reader
from processor.contract.decode import Accepted, decode
from processor.contract.digests import content_digest, ordered
from processor.contract.records import ID_NAMESPACE, Record, ResultKind, Source, Status
from processor.contract.strict_json import JsonError, dumps, loads
from processor.didit.catalog import first_call
from processor.settings import Settings
from processor.stream.partitions import TopicPartition
from processor.stream.reader import PartitionReader
from processor.stream.topics import topic_names

_CHUNK = 500
_TABLE = ".csv"


class BatchError(Exception):
    """The batch cannot start; the text says why and what to do. Nothing was published."""


@dataclass(frozen=True, slots=True)
class Item:
    """One request of the file."""

    request_id: str
    content: str  # its digest
    operation: str
    key: bytes
    value: bytes


@dataclass(slots=True)
class BatchProgress:
    """How far a batch is."""

    total: int
    published: int = 0
    known: int = 0  # of those that are done: they were so before this batch began
    done: Counter[str] = field(default_factory=Counter)  # by status

    @property
    def finished(self) -> int:
        """Requests with a final result."""
        return sum(self.done.values())

    @property
    def all_succeeded(self) -> bool:
        """Whether every request has succeeded."""
        return self.done[Status.SUCCEEDED] == self.total


def read_batch(path: Path, operation: str | None) -> list[Item]:
    """The requests of a JSON Lines or CSV file (by its ending), all valid.

    A line of JSON is a request, or, with ``operation``, only its input. For CSV see ``client.table``. Without a
    ``request_id`` the same line always gets the same one, so that a batch that is run again makes no second call.

    Raises:
        RequestsFileError: with every fault, by line.
        OSError: if it cannot be read.
    """
    faults: list[str] = []
    items: list[Item] = []
    lines: dict[str, int] = {}
    for number, value in _rows(path, operation):
        if isinstance(value, TableError):
            faults.append(f"line {number}: {value}")
            continue
        found = decode(Record(Source(path.name, 0, number), None, value))
        if not isinstance(found, Accepted):
            faults.append(line_fault(number, found.error))
            continue
        request = found.request
        if request.request_id in lines:
            faults.append(f"line {number}: has the request_id of line {lines[request.request_id]}; one request_id stands for one request")
        lines.setdefault(request.request_id, number)
        items.append(Item(request.request_id, content_digest(request), request.operation, record_key(request), value))
    if faults:
        raise RequestsFileError(faults)
    return items


def time_left_s(operations: Mapping[str, int], limits: Mapping[str, tuple[int, float]]) -> float:
    """How long the calls of so many requests take at the full budget, if nobody else uses it.

    Args:
        operations: how many requests are left, by operation.
        limits: scope -> calls, window in seconds.
    """
    calls: Counter[str] = Counter()
    for name, count in operations.items():
        for scope in first_call(name).scopes:
            calls[scope] += count
    return max((count * limits[scope][1] / limits[scope][0] for scope, count in calls.items()), default=0.0)


class Batch:
    """One run of a file: publishes its requests and writes their final results to ``target``, one a line, as they come.

    Beside the target, ``<target>.state`` says how far the run is, for the next one; it is removed at the end. A target that ends in
    ``.csv`` becomes a table at the end, with a row for each request; until then the results are in ``<target>.jsonl``.
    """

    def __init__(self, settings: Settings, source: Path, target: Path, items: Sequence[Item]) -> None:
        self._settings = settings
        self._table = target if target.suffix.lower() == _TABLE else None
        self._target = target if self._table is None else target.with_name(target.name + ".jsonl")
        self._items = items
        self._on_progress: Callable[[BatchProgress], None] = lambda _: None
        self._topic = topic_names(settings).results
        self._state_path = target.with_name(target.name + ".state")
        self._digest = hashlib.sha256(source.read_bytes()).hexdigest()
        self._left = {item.request_id: item.operation for item in items}
        self.progress = BatchProgress(len(items))

    @property
    def left(self) -> Mapping[str, int]:
        """Requests without a final result, by operation."""
        return Counter(self._left.values())

    async def run(self, on_progress: Callable[[BatchProgress], None]) -> BatchProgress:
        """Publish what is not published, and write results until all are there; ``on_progress`` is called at every step.

        Raises:
            BatchError: if the target belongs to another file.
            KafkaFailedError: run it again when Kafka is back.
        """
        self._on_progress, state = on_progress, self._resume()
        async with topic_reader(self._settings, [self._topic], from_end=True) as reader:
            if state is None:
                positions = {tp.partition: reader.position(tp) for tp in reader.assigned}
                state = {"input_sha256": self._digest, "published": 0, "positions": {str(p): at for p, at in positions.items()}}
                self._save(state)
            for partition, offset in state["positions"].items():
                reader.seek(TopicPartition(self._topic, int(partition)), offset)
            self.progress.published = state["published"]
            self._on_progress(self.progress)
            with open_private(self._target, "ab") as out:
                if not state["published"]:
                    await self._take_known(out)
                publishing = asyncio.get_running_loop().create_task(self._publish(state))
                try:
                    await self._collect(reader, publishing, out)
                finally:
                    publishing.cancel()
                    await asyncio.wait({publishing})
        if self._table is not None:
            self._write_table(self._table)
        self._state_path.unlink(missing_ok=True)
        return self.progress

    def _write_table(self, table: Path) -> None:
        results = {result["request_id"]: result for result in map(orjson.loads, self._target.read_bytes().splitlines())}
        rows = [table_row(loads(item.value)) | result_row(results[item.request_id]) for item in self._items]
        columns = dict.fromkeys(name for row in rows for name in row if name not in RESULT_COLUMNS)
        with open_private(table, "wb") as file:
            file.write(written_table(rows, [*columns, *RESULT_COLUMNS]).encode("utf-8-sig"))  # Excel takes UTF-8 without a mark for another
        self._target.unlink()

    def _resume(self) -> dict[str, Any] | None:
        if not self._state_path.parent.is_dir():
            raise BatchError(f"the folder {self._state_path.parent} does not exist")
        if self._table is not None and self._table.exists() and self._table.stat().st_size:
            raise BatchError(f"{self._table} is there already; name another file, or remove it")
        if self._target.exists() and self._target.stat().st_size and not self._state_path.exists():
            raise BatchError(f"{self._target} is there and was not left by an unfinished batch; name another file, or remove it")
        if not self._state_path.exists():
            return None
        state: dict[str, Any] = json.loads(self._state_path.read_text())
        if state["input_sha256"] != self._digest:
            raise BatchError(f"{self._target} was begun with another input; name another file, or remove it and {self._state_path}")
        whole = self._target.read_bytes() if self._target.exists() else b""
        kept = whole[: whole.rfind(b"\n") + 1]  # a line that was cut by the end of the process is written again
        with open_private(self._target, "wb") as file:
            file.write(kept)
        for line in kept.splitlines():
            self._note(orjson.loads(line))
        return state

    async def _take_known(self, out: BinaryIO) -> None:
        """What was asked before, in an earlier batch or otherwise, is not asked again: its result stands in the topic."""
        wanted = {item.request_id: item.content for item in self._items if item.request_id in self._left}
        async with aclosing(read_known_results(self._settings, wanted)) as results:
            async for result, value in results:
                out.write(value + b"\n")
                self.progress.known += 1
                self._note({"request_id": result.request_id, "status": result.status})
        out.flush()
        self._on_progress(self.progress)

    async def _publish(self, state: dict[str, Any]) -> None:
        while state["published"] < len(self._items):
            chunk = self._items[state["published"] : state["published"] + _CHUNK]
            await publish_requests(self._settings, [(item.key, item.value) for item in chunk if item.request_id in self._left])
            state["published"] += len(chunk)
            self._save(state)
            self.progress.published = state["published"]
            self._on_progress(self.progress)

    async def _collect(self, reader: PartitionReader, publishing: asyncio.Task[None], out: BinaryIO) -> None:
        while self._left:
            if publishing.done():
                publishing.result()  # an error ends the batch; it goes on when it is run again
            for record in await read_topics(reader, wait_s=0.5):
                result = orjson.loads(record.value or b"null")
                if isinstance(result, dict) and result.get("kind") == ResultKind.FINAL and result.get("request_id") in self._left:
                    out.write((record.value or b"") + b"\n")
                    self._note(result)
            out.flush()
            self._on_progress(self.progress)

    def _note(self, result: Mapping[str, Any]) -> None:
        if self._left.pop(result["request_id"], None) is not None:
            self.progress.done[result["status"]] += 1

    def _save(self, state: Mapping[str, Any]) -> None:
        fresh = self._state_path.with_name(self._state_path.name + ".new")
        with open_private(fresh, "wb") as file:
            file.write(orjson.dumps(state))
        fresh.replace(self._state_path)


def open_private(path: Path, mode: Literal["wb", "ab"]) -> BinaryIO:
    """Open for writing what nobody but its owner may read (mode 600): a new file from its first byte on, one that is there from now on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if mode == "wb" else os.O_APPEND) | os.O_CLOEXEC, 0o600)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, mode)


def _rows(path: Path, operation: str | None) -> Iterator[tuple[int, bytes | TableError]]:
    """Line number and request of each line, or what is wrong with it."""
    if path.suffix.lower() == _TABLE:
        for number, found in table_rows(decoded(path.read_bytes()), operation):
            yield number, found if isinstance(found, TableError) else _completed(found, operation)
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _line_request(line.strip(), operation)


def _line_request(line: bytes, operation: str | None) -> bytes:
    if operation is None:
        return line
    try:
        found = loads(line)
    except JsonError:
        return line  # the decoder says what is wrong with it
    return _completed({"input": found}, operation)


def _completed(request: dict[str, Any], operation: str | None) -> bytes:
    if operation is not None:
        request.setdefault("operation", operation)
    if "request_id" not in request:
        content = dumps(ordered(request))
        request = {"request_id": str(uuid.uuid5(ID_NAMESPACE, "batch\n" + hashlib.sha256(content).hexdigest())), **request}
    return dumps(request)
