"""Reads a run's topics as a caller would, while it goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from processor.client.topics import read_topics, topic_reader
from processor.contract.decode import Accepted, decode
from processor.contract.records import Record
from processor.contract.result_copies import copy_for
from processor.devkit.verifier import FinalSeen, RetrySeen
from processor.settings import Settings
from processor.stream.errors import KafkaFailedError
from processor.stream.partitions import TopicPartition, partition_of
from processor.stream.reader import PartitionReader
from processor.stream.topics import topic_names

_PATIENCE_S = 10.0  # a consumer that hears nothing for so long is replaced: it may have lost its broker for good


@dataclass(slots=True)
class TopicContents:
    """What has been read so far (read_committed)."""

    finals: list[FinalSeen] = field(default_factory=list)
    copies: list[tuple[str, str]] = field(default_factory=list)  # for whom, and of which result
    retries: list[RetrySeen] = field(default_factory=list)
    dead_letters: int = 0

    @property
    def final_ids(self) -> set[str]:
        """Requests that have a final result."""
        return {f.request_id for f in self.finals}


class TopicWatch:
    """Follows results, delay topics and dead letters; ``on_final`` sees every final result as it comes."""

    def __init__(self, settings: Settings, on_final: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.seen = TopicContents()
        self._settings, self._names = settings, topic_names(settings)
        self._on_final = on_final
        self._next: dict[TopicPartition, int] = {}

    async def follow(self, stop: asyncio.Event) -> None:
        """Read until ``stop`` is set and everything that was there then is read."""
        topics = [self._names.results, self._names.dead_letters, *self._names.inputs[1:]]
        while not stop.is_set():
            try:
                async with topic_reader(self._settings, topics) as reader:
                    await self._read(reader, stop)
            except (KafkaFailedError, TimeoutError):
                await asyncio.sleep(0.2)  # nothing is there to be read yet, or a broker is away

    async def _read(self, reader: PartitionReader, stop: asyncio.Event) -> None:
        self._seek(reader)
        heard_at = time.monotonic()
        while not stop.is_set() and time.monotonic() - heard_at < _PATIENCE_S:
            records = await read_topics(reader, wait_s=0.2)
            if records:
                heard_at = time.monotonic()
                self._take(records)
        if stop.is_set():
            await self._read_rest(reader)

    def _seek(self, reader: PartitionReader) -> None:
        for partition in reader.assigned:
            if partition in self._next:
                reader.seek(partition, self._next[partition])

    async def _read_rest(self, reader: PartitionReader) -> None:
        bounds = await reader.bounds(reader.assigned)
        async with asyncio.timeout(30):
            while not all((reader.position(tp) or 0) >= end for tp, (_, end) in bounds.items()):
                self._take(await read_topics(reader, wait_s=0.2))

    def _take(self, records: list[Record]) -> None:
        for r in records:
            partition = partition_of(r.source)
            if r.source.offset < self._next.get(partition, 0):
                continue  # read before: a consumer may go back when a broker was lost; the log holds it once
            self._next[partition] = r.source.offset + 1
            if partition.topic == self._names.results:
                if r.value is not None:  # else a tombstone of an erasure
                    self._take_result(orjson.loads(r.value), copy_for(r.headers))
            elif partition.topic == self._names.dead_letters:
                self.seen.dead_letters += 1
            else:
                self._take_retry(r)

    def _take_result(self, result: dict[str, Any], answers: str | None) -> None:
        if answers is not None:
            self.seen.copies.append((answers, result["result_id"]))
        elif result["kind"] == "final":
            source = result["source"]
            key = result["request_id"] or f"{source['topic']}[{source['partition']}]@{source['offset']}"
            self.seen.finals.append(FinalSeen(key, result["status"], result.get("replay", 0)))
            if self._on_final is not None:
                self._on_final(result)

    def _take_retry(self, r: Record) -> None:
        decoded = decode(r)
        hop = decoded.hop
        if isinstance(decoded, Accepted) and hop.due_ms is not None:
            self.seen.retries.append(RetrySeen(decoded.request.request_id, hop.hop, hop.due_ms, hop.may_start_early))
