"""A running set-up for integration tests: real Kafka, simulator process, processor processes, and a reader of all topics.

Tests wait for named events (log records, final results), judge from the topics and the simulator's ledger, and print nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import orjson
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from processor.client.topics import publish_requests, read_topics, topic_reader
from processor.contract.records import Record
from processor.devkit.processes import ProcessorProcess, SimulatorProcess, processor_environment, settings_of
from processor.devkit.topic_watch import TopicWatch
from processor.devkit.verifier import Judgement, judge
from processor.settings import Settings
from processor.settings.budget import documented_limits
from processor.stream.topics_admin import apply_topics

WITHIN_S = 180.0  # for what takes some seconds where nothing else runs: how much a busy machine needs, it alone decides
WORKFLOW_ID = "9f9b1234-0000-4000-8000-1234567890ab"
SCOPES = tuple(documented_limits("v3"))
WIDE_LIMITS = {scope: {"limit": 1_000_000, "window_s": 60.0} for scope in SCOPES}
FAST = {  # short waits, so that a test of minutes takes seconds; the product's defaults are longer
    "LANES__SESSION_TIMEOUT_S": "6",
    "LANES__HEARTBEAT_S": "1",
    "LANES__DRAIN_S": "3",
    "LANES__FLUSH_S": "4",
    "RETRY__DELAYS_S": "[1,2,5]",
    "RETRY__PARTITIONS": "2",
    "RETRY__BACKOFF_BASE_S": "0.5",
    "RETRY__BACKOFF_MAX_S": "2",
    "DIDIT__TIMEOUT_S": "4",
    "DIDIT__READ_LAG_S": "0.001",  # the simulator shows what it has at once
    "BUDGET__ACCOUNT_PROBE_S": "1",
    "BUDGET__ASK_WAIT_S": "5",  # so that the weight of a dead replica, and a doubt, are over soon
    "BUDGET__CALL_MARGIN_S": "2",
    "BUDGET__SKEW_S": "1",
    "BUDGET__BREAKER_FAILURES": "10000",  # tests order failures one by one
    "LOG__LEVEL": "info",
}


def create_request(number: int, **extra: Any) -> tuple[bytes, bytes]:
    """Key and value of one valid session.create."""
    body = {
        "request_id": f"r-{number:06d}",
        "operation": "session.create",
        "input": {"workflow_id": WORKFLOW_ID, "vendor_data": f"user-{number:06d}"},
        **extra,
    }
    return f"user-{number:06d}".encode(), orjson.dumps(body)


class Rig:
    """Handles of one test's set-up."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path, simulator: SimulatorProcess, variables: dict[str, str]) -> None:
        self.bootstrap, self.prefix, self.folder, self.simulator = bootstrap, prefix, folder, simulator
        self.environment = processor_environment(bootstrap, simulator.url, prefix, **variables)
        self.settings = settings_of(self.environment)
        self.finals: list[dict[str, Any]] = []
        self.final_times: list[float] = []
        self.watch = TopicWatch(self.settings, self._take)
        self.processors: list[ProcessorProcess] = []
        self._stop = asyncio.Event()
        self._follow: asyncio.Task[None] | None = None

    def processor(self, name: str, **variables: str) -> ProcessorProcess:
        """A replica, not started yet."""
        environment = {**self.environment, **{f"VP_{k}": v for k, v in variables.items()}}
        replica = ProcessorProcess(name, environment, self.folder)
        self.processors.append(replica)
        return replica

    async def start(self, *names: str, **variables: str) -> list[ProcessorProcess]:
        """Start replicas and wait until each has partitions."""
        replicas = [self.processor(name, **variables) for name in names]
        for replica in replicas:
            replica.start()
        await asyncio.gather(*(asyncio.to_thread(r.wait_event, "partitions_assigned") for r in replicas))
        return replicas

    async def receive(self) -> ProcessorProcess:
        """Start a webhook receiver and wait until it listens."""
        receiver = ProcessorProcess("webhooks", self.environment, self.folder, "webhooks")
        self.processors.append(receiver)
        receiver.start()
        await asyncio.to_thread(receiver.wait_event, "webhooks_listening")
        return receiver

    async def publish(self, requests: Sequence[tuple[bytes | None, bytes | None]]) -> None:
        """Publish to the requests topic."""
        await publish_requests(self.settings, requests)

    async def wait_finals(self, count: int, within_s: float = WITHIN_S) -> None:
        """Wait until ``count`` requests have a final result."""
        await self.until(lambda: len(self.watch.seen.final_ids) >= count, f"{count} final results", within_s)

    async def until(self, true: Callable[[], bool], what: str, within_s: float = WITHIN_S) -> None:
        """Wait until something is true; else fail with the ends of all logs. To ask, which may cost a scrape, takes a fifth of the time."""
        end = (asked_at := time.monotonic()) + within_s
        while not true():
            if (answered_at := time.monotonic()) > end:
                tails = "\n".join(f"--- {p.name}\n{p.child.log_tail()}" for p in self.processors)
                found = f"{len(self.watch.seen.final_ids)} final results, {len(self.watch.seen.retries)} retries"
                raise AssertionError(f"no {what} within {within_s} s; {found}\n{tails}")
            if self._follow is not None and self._follow.done():
                self._follow.result()
            await asyncio.sleep(max(0.05, 4 * (answered_at - asked_at)))
            asked_at = time.monotonic()

    async def judge(self, requested: Sequence[str]) -> Judgement:
        """Read every topic to its end, then judge."""
        await self.read_rest()
        return judge(requested, self.watch.seen.finals, self.watch.seen.retries, self.simulator.ledger())

    async def read_rest(self) -> None:
        """Let the reader come to the end of all topics, and end."""
        self._stop.set()
        if self._follow is not None:
            await self._follow

    async def records(self, topic: str) -> list[Any]:
        """All records of a topic (read_committed)."""
        return await read_whole(self.settings, f"{self.prefix}.{topic}")

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """Somebody who may do everything to the broker."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    async def committed(self) -> dict[TopicPartition, int]:
        """The group's committed offsets."""
        async with self.admin() as admin:
            found = await admin.list_consumer_group_offsets(self.settings.kafka.group)
        return {tp: o.offset for tp, o in found.items() if o.offset >= 0}

    async def recreate_budget(self, away_s: float = 0.0) -> None:
        """Delete the budget topic, and create it again after some time."""
        name = f"{self.prefix}.budget"
        async with self.admin() as admin:
            await admin.delete_topics([name])
            async with asyncio.timeout(30):
                while name in await admin.list_topics():
                    await asyncio.sleep(0.1)
            await asyncio.sleep(away_s)
            await admin.create_topics([NewTopic(name, 1, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})])

    def _take(self, result: dict[str, Any]) -> None:
        self.finals.append(result)
        self.final_times.append(time.monotonic())

    async def __aenter__(self) -> Self:
        self._follow = asyncio.create_task(self.watch.follow(self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.read_rest()


async def read_whole(settings: Settings, topic: str) -> list[Record]:
    """All records of a topic (read_committed)."""
    found: list[Record] = []
    async with topic_reader(settings, [topic]) as reader, asyncio.timeout(60):
        bounds = await reader.bounds(reader.assigned)
        while not all((reader.position(tp) or 0) >= end for tp, (_, end) in bounds.items()):
            found += await read_topics(reader, wait_s=0.2)
    return found


@asynccontextmanager
async def running(
    kafka: Any,
    folder: Path,
    *,
    partitions: int = 4,
    simulator_options: Sequence[str] = (),
    apply: bool = True,
    more: Mapping[str, str] | None = None,
    **variables: str,
) -> AsyncIterator[Rig]:
    """Everything up, topics made; all children are stopped at the end."""
    prefix = f"t-{uuid.uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:
        options = list(simulator_options) if "--limits" in simulator_options else [*simulator_options, "--limits", json.dumps(WIDE_LIMITS)]
        simulator = await asyncio.to_thread(stack.enter_context, SimulatorProcess(folder, *options))
        merged = {**FAST, "BUDGET__LIMITS": json.dumps(WIDE_LIMITS), **variables, **(more or {})}
        rig = Rig(kafka.bootstrap, prefix, folder, simulator, merged)
        if apply:
            for settings in rig.settings.installations:
                applied = await apply_topics(settings, partitions=partitions, replication=1)
                assert not applied.report.faults, applied.report.faults
        await stack.enter_async_context(rig)
        try:
            yield rig
        finally:
            for replica in rig.processors:
                await asyncio.to_thread(replica.child.stop, 20.0)
