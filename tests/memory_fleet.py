"""A fleet in virtual time: real lanes, engines and budgets on topics in memory and a Didit that answers after a moment.

A partition is an appended list, a transaction takes 30 ms, a poll sees what was committed. Replica n of N owns every Nth partition of
every topic, so what one sends away another may read back.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import TopicPartition
from memory_log import MemoryLog, MemoryTopic

from processor.bounds.byte_budget import ByteBudget, ByteReservation
from processor.bounds.loop_turns import LoopTurns
from processor.budget.replica_limits import ReplicaLimits
from processor.budget.rules import budget_rules
from processor.budget.shared import SharedBudget
from processor.clock import boot_clock
from processor.contract.records import Output, OutputKind, Record, Source
from processor.didit.answers import Answer, Reply
from processor.didit.calls import FileContent, FilePart, HttpCall
from processor.engine.engine import Engine
from processor.settings import load_settings
from processor.stream.lane import Lane
from processor.stream.offsets import OffsetTracker
from processor.stream.publish_pace import PublishPace
from processor.stream.publisher import publish
from processor.stream.topics import topic_names
from processor.stream.wakeups import Wakeups

EPOCH_MS = 1_764_000_000_000
PARTITIONS = 4
_TRANSACTION_S = 0.03
_POLL_S = 0.1
_POLL_RECORDS = 500
ANSWER_S = 0.15
_SESSION = "11111111-2222-4333-8444-{:012d}"
_WORKFLOW = "9f9b1234-0000-4000-8000-1234567890ab"


class MemoryDidit:
    """Answers every call, and notes when each came."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, str, str]] = []  # seconds, operation, reference

    async def send(self, call: HttpCall, files: Sequence[FileContent] = ()) -> Answer:
        assert not files
        self.calls.append((asyncio.get_running_loop().time(), call.operation.name, call.reference))
        session = _SESSION.format(len(self.calls))
        await asyncio.sleep(ANSWER_S)
        if call.operation.method == "GET":
            return _reply(200, {"session_id": session, "status": "Approved"})
        if call.operation.name == "session.create":
            return _reply(201, {"session_id": session, "url": f"https://verify.didit.me/session/{session}", "status": "Not Started"})
        return _reply(200, {"request_id": session, "aml": {"status": "Approved"}})

    def refresh_key(self) -> bool:
        raise AssertionError("the key is good")


class NoFiles:
    longest_s = 15.0

    def reservation(self) -> Any:
        return ByteBudget(1).reservation()

    async def fetch(self, parts: Sequence[FilePart], held: ByteReservation) -> list[FileContent]:
        raise AssertionError((parts, held))


def _reply(status: int, body: Any) -> Reply:
    return Reply(status, {"content-type": "application/json"}, orjson.dumps(body))


@dataclass
class MemoryTopics:
    """What the brokers hold, and what was written to it."""

    names: Any
    records: dict[TopicPartition, list[Record]] = field(default_factory=dict)
    finals: dict[str, float] = field(default_factory=dict)  # by request id: when its result came
    statuses: Counter[str] = field(default_factory=Counter)
    rewrites: Counter[str] = field(default_factory=Counter)  # records written to delay topics, by reason
    sent_away: Counter[str] = field(default_factory=Counter)  # of these, because a line was full, by request id
    done: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: int = 0

    def put(self, topic: str, key: bytes | None, value: bytes | None, headers: Any = ()) -> None:
        partition = TopicPartition(topic, zlib.crc32(key or b"") % PARTITIONS)
        held = self.records.setdefault(partition, [])
        at_ms = EPOCH_MS + int(1000 * asyncio.get_running_loop().time())
        held.append(Record(Source(topic, partition.partition, len(held)), key, value, tuple(headers), at_ms))

    def publish(self, output: Output) -> None:
        if output.kind is OutputKind.RETRY:
            assert output.delay_s is not None
            reason = (dict(output.headers).get("vp-last-error") or b"following").decode()
            self.rewrites[reason] += 1
            if reason == "queue_full":
                self.sent_away[orjson.loads(output.value or b"")["request_id"]] += 1
            self.put(self.names.retry(output.delay_s), output.key, output.value, output.headers)
        elif output.kind is OutputKind.RESULT:
            result = orjson.loads(output.value or b"")
            if result["kind"] == "final":
                assert result["request_id"] not in self.finals, "a second final result"
                self.finals[result["request_id"]] = asyncio.get_running_loop().time()
                self.statuses[result["status"]] += 1
                if len(self.finals) >= self.wanted:
                    self.done.set()


class MemoryWriter:
    """See ``ports.OutcomeWriter``."""

    def __init__(self, topics: MemoryTopics) -> None:
        self._topics = topics

    async def start(self, on_held_up: Callable[[Sequence[TopicPartition]], None]) -> None:
        raise AssertionError(on_held_up)

    async def commit(self, outputs: Iterable[Output], floor: int, metadata: str) -> None:
        del floor, metadata
        await asyncio.sleep(_TRANSACTION_S)
        for output in outputs:
            self._topics.publish(output)

    async def stop(self, deadline_s: float) -> None:
        del deadline_s


class Replica:
    """One process: a budget, an engine, a lane for each partition that it owns."""

    def __init__(self, number: int, fleet: Fleet) -> None:
        loop, settings = asyncio.get_running_loop(), fleet.settings
        offset_s = boot_clock() - loop.time()

        def clock() -> float:  # as the engine's own, but in virtual time
            return loop.time() + offset_s

        def clock_ms() -> int:
            return EPOCH_MS + int(1000 * loop.time())

        limits = ReplicaLimits(f"r{number}", settings.didit.calls_max, settings.budget.queue_max, settings.budget.pause_park_s)
        self.fleet, self.clock = fleet, clock
        self.budget = SharedBudget(MemoryLog(fleet.log), budget_rules(settings), limits, draw=lambda: 0.5, clock=clock)
        engine = Engine(settings, fleet.didit, NoFiles(), self.budget, clock_ms=clock_ms, draw=lambda: 0.5)
        hints, turns = Wakeups(lambda _: False), LoopTurns(lambda: 0.0)
        mine = [TopicPartition(t, p) for t in fleet.topics.names.inputs for p in range(PARTITIONS) if p % fleet.replicas == number]
        self.lanes = [
            Lane(
                partition,
                OffsetTracker(0),
                engine,
                settings.lanes,
                clock_ms=clock_ms,
                on_room=lambda: None,
                on_failed=self.failed,
                on_skip=lambda _: None,
                holds_undue=partition.topic != fleet.topics.names.requests,
                journal=self.budget.history,
                hints=hints,
                turns=turns,
            )
            for partition in mine
        ]
        self.failures: list[BaseException] = []
        self.read = dict.fromkeys(mine, 0)
        self.tasks = [asyncio.create_task(self.budget.run()), asyncio.create_task(self.poll())]
        writer, pause_s, count_max = MemoryWriter(fleet.topics), settings.lanes.publish_pause_s, settings.lanes.publish_max
        self.tasks += [
            asyncio.create_task(publish(lane, writer.commit, count_max, PublishPace(pause_s), 0, lambda _: None)) for lane in self.lanes
        ]

    def failed(self, error: BaseException) -> None:
        self.failures.append(error)

    async def poll(self) -> None:
        while True:
            for lane in self.lanes:
                found = self.fleet.topics.records.get(lane.partition, [])
                at = self.read[lane.partition]
                if at < len(found) and lane.wants_records:
                    self.read[lane.partition] = min(len(found), at + _POLL_RECORDS)
                    lane.deliver(found[at : at + _POLL_RECORDS])
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        for lane in self.lanes:
            lane.stop_dispatch()
            lane.abandon()
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)
        await self.budget.close()


class Fleet:
    """Replicas that share a log, topics and a Didit."""

    def __init__(self, replicas: int, **groups: Mapping[str, Any]) -> None:
        self.replicas, self.settings, self.didit = replicas, load_settings(**groups), MemoryDidit()
        self.log = MemoryTopic(delay_s=lambda: 0.004)
        self.topics = MemoryTopics(topic_names(self.settings))
        self.members: list[Replica] = []

    def request(self, request_id: str, operation: str, *, key: str = "", **members: Any) -> None:
        """Publish a request; ``key`` chooses its partition, or else its id does."""
        given = {"full_name": request_id, "vendor_data": "u"} if operation == "aml" else {"workflow_id": _WORKFLOW, "vendor_data": "u"}
        value = {"request_id": request_id, "operation": operation, "input": given} | members
        self.topics.wanted += 1
        self.topics.done.clear()
        self.topics.put(self.topics.names.requests, (key or request_id).encode(), orjson.dumps(value))

    async def start(self) -> None:
        self.members = [Replica(n, self) for n in range(self.replicas)]
        await asyncio.sleep(1.0)

    async def stop(self) -> None:
        for member in self.members:
            await member.stop()
            assert not member.failures, member.failures
