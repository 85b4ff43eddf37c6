"""A fleet under load on a real Kafka, with the simulator as its judge. For the budget and billing benchmarks."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from processor.client.topics import publish_requests
from processor.devkit.broker import Broker
from processor.devkit.child_process import ChildProcess
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import ProcessorProcess, SimulatorProcess, processor_environment, settings_of
from processor.settings import Settings
from processor.stream.topics import topic_names
from processor.stream.topics_admin import apply_topics

Limits = Mapping[str, tuple[int, float]]
_STRICT = '{"v3_decision_counts_in_decision_scope":true}'  # so that a limit of decisions is judged too
LATENCY = {"latency_s": {"median": 0.12, "sigma": 0.6, "max": 2.0}}
# waits scaled with the window, so that a dead replica's weight returns within the run
SCALED = {
    "DIDIT__TIMEOUT_S": "4",
    "BUDGET__ASK_WAIT_S": "5",
    "BUDGET__CALL_MARGIN_S": "2",
    "BUDGET__SKEW_S": "2",
    "DIDIT__READ_LAG_S": "1",
    "LANES__SESSION_TIMEOUT_S": "6",
    "LANES__HEARTBEAT_S": "1",
    "LANES__DRAIN_S": "3",
}


class LocalProcess(ProcessorProcess):
    """A replica with a limiter of its own."""

    def __init__(self, name: str, environment: Mapping[str, str], folder: Path, part: float) -> None:
        super().__init__(name, environment, folder)
        env = {"VP_KAFKA__INSTANCE_ID": name, "LOCAL_PART": str(part), **environment}
        self.child = ChildProcess(name, [sys.executable, "-m", "bench.local_limiter"], env, self.log_path)


class Scene:
    """Handles of one run."""

    def __init__(
        self, kafka: LocalKafka, folder: Path, simulator: SimulatorProcess, settings: Settings, environment: dict[str, str]
    ) -> None:
        self.kafka, self.folder, self.simulator = kafka, folder, simulator
        self.settings, self.environment = settings, environment
        self.replicas: list[ProcessorProcess] = []

    async def start(self, count: int, *, local_part: float | None = None) -> list[ProcessorProcess]:
        """More replicas, each with partitions of its own."""
        made: list[ProcessorProcess] = []
        for n in range(len(self.replicas), len(self.replicas) + count):
            name = f"replica-{n}"
            if local_part is None:
                made.append(ProcessorProcess(name, self.environment, self.folder))
            else:
                made.append(LocalProcess(name, self.environment, self.folder, local_part))
            made[-1].start()
        await asyncio.gather(*(asyncio.to_thread(r.wait_event, "partitions_assigned", within_s=60) for r in made))
        self.replicas += made
        return made

    async def publish(self, requests: Sequence[tuple[bytes | None, bytes | None]]) -> None:
        await publish_requests(self.settings, requests)

    async def until_calls(self, count: int, within_s: float = 60.0) -> float:
        """Wait until Didit has seen so many calls; the time of the last of them, epoch seconds."""
        end = time.monotonic() + within_s
        while True:
            calls = (await self.ledger())["calls"]
            if len(calls) >= count:
                return float(calls[count - 1]["at"])
            if time.monotonic() > end:
                tails = "\n".join(r.child.log_tail()[-1500:] for r in self.replicas)
                raise RuntimeError(f"{len(calls)} of {count} calls after {within_s} s\n{tails}")
            await asyncio.sleep(0.2)

    async def ledger(self) -> dict[str, Any]:
        return await asyncio.to_thread(self.simulator.ledger)

    async def recreate_budget(self) -> None:
        """Delete the budget topic and apply the topics again."""
        name = topic_names(self.settings).budget
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
        await admin.start()
        try:
            await admin.delete_topics([name])
            async with asyncio.timeout(30):
                while name in await admin.list_topics():
                    await asyncio.sleep(0.1)
        finally:
            await admin.close()
        await apply_topics(self.settings, partitions=1, replication=1)

    async def until_budget_leader_other_than(self, broker: Broker, within_s: float = 60.0) -> float:
        """Wait until the other brokers name another leader; when they did, monotonic seconds."""
        others = ",".join(other.address for other in self.kafka.brokers if other is not broker)
        async with asyncio.timeout(within_s):
            while True:
                with suppress(KafkaError):  # they name one that does not answer
                    if await self.budget_leader(others) not in (broker.number, -1):
                        return time.monotonic()
                await asyncio.sleep(0.1)

    async def budget_leader(self, bootstrap: str = "") -> int:
        """The number of the broker that leads the budget log, as brokers say it; -1 if there is none."""
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap or self.kafka.bootstrap, request_timeout_ms=1000 if bootstrap else 40_000)
        try:
            await admin.start()
            (topic,) = await admin.describe_topics([topic_names(self.settings).budget])
            return int(topic["partitions"][0]["leader"])
        finally:
            await admin.close()

    def stop(self) -> None:
        for replica in self.replicas:
            replica.child.thaw()
            replica.child.terminate()
        for replica in self.replicas:
            replica.child.stop(20)


@asynccontextmanager
async def scene(
    kafka: LocalKafka,
    limits: Limits,
    *,
    partitions: int = 12,
    variables: Mapping[str, str],
    faults: Mapping[str, Any] = LATENCY,
    replication: int = 1,
) -> AsyncIterator[Scene]:
    """Topics and a simulator; the replicas are the caller's to start."""
    prefix = f"b-{uuid.uuid4().hex[:8]}"
    told = json.dumps({scope: {"limit": limit, "window_s": window_s} for scope, (limit, window_s) in limits.items()})
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="processor-bench-")))
        options = ("--limits", told, "--switches", _STRICT, "--faults", json.dumps(faults), "--ledger", str(folder / "ledger.jsonl"))
        simulator = await asyncio.to_thread(stack.enter_context, SimulatorProcess(folder, *options))
        environment = processor_environment(kafka.bootstrap, simulator.url, prefix, BUDGET__LIMITS=told, **variables)
        settings = settings_of(environment)
        await apply_topics(settings, partitions=partitions, replication=replication)
        made = Scene(kafka, folder, simulator, settings, environment)
        try:
            yield made
        finally:
            await asyncio.to_thread(made.stop)
