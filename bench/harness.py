"""What the benchmarks share: a real Kafka, a stub, topics full of requests, and contenders as child processes."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from processor.client.topics import publish_requests, read_topics, topic_reader
from processor.devkit.child_process import ChildProcess
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import processor_environment, wait_until
from processor.settings import Settings, load_settings
from processor.stream.topics import topic_names
from processor.stream.topics_admin import apply_topics

WORKFLOW_ID = "9f9b1234-0000-4000-8000-1234567890ab"
OPEN_LIMITS = {s: {"limit": 1_000_000_000, "window_s": 60} for s in ("session-create", "session-decision", "generic-write", "generic-get")}


@dataclass(frozen=True)
class Bench:
    bootstrap: str
    folder: Path
    url: str
    times: Path
    kafka: ChildProcess | None = None  # the broker; None if it is an external one
    stub: ChildProcess | None = None
    answers: Path | None = None

    def fresh(self) -> tuple[Settings, dict[str, str]]:
        """Settings of a new set of topics, and the environment of a contender on it."""
        prefix = f"b-{uuid.uuid4().hex[:8]}"
        environment = processor_environment(
            self.bootstrap, self.url, prefix, BUDGET__LIMITS=json.dumps(OPEN_LIMITS), KAFKA__INSTANCE_ID=prefix, LOG__LEVEL="warning"
        )
        settings = load_settings(kafka={"bootstrap": self.bootstrap, "topic_prefix": prefix, "group": f"{prefix}-group"})
        return settings, environment


@asynccontextmanager
async def bench(latency_s: float = 0.0, *, note_answers: bool = False) -> AsyncIterator[Bench]:
    """``note_answers``: the stub writes each answer's reference and time into ``Bench.answers``."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="processor-bench-")))
        kafka = await asyncio.to_thread(stack.enter_context, LocalKafka())
        port_file, times, answers = folder / "port", folder / "first", folder / "answers"
        options = [str(port_file), str(latency_s), str(times), *([str(answers)] if note_answers else [])]
        stub = ChildProcess("stub", [sys.executable, "-m", "bench.stub", *options], {}, folder / "stub.log")
        stub.start()
        stack.callback(stub.kill)
        wait_until(lambda: port_file.exists() and bool(port_file.read_text()), "the stub", child=stub)
        broker = None if kafka.external else kafka.brokers[0].process
        yield Bench(kafka.bootstrap, folder, f"http://127.0.0.1:{port_file.read_text()}", times, broker, stub, answers)


def requests(count: int, start: int = 0) -> list[tuple[bytes | None, bytes | None]]:
    found: list[tuple[bytes | None, bytes | None]] = []
    for n in range(start, start + count):
        body = {
            "request_id": f"b-{n:07d}",
            "operation": "session.create",
            "input": {"workflow_id": WORKFLOW_ID, "vendor_data": f"user-{n}"},
        }
        found.append((f"user-{n}".encode(), orjson.dumps(body)))
    return found


async def prepare(settings: Settings, count: int, partitions: int = 8) -> None:
    await apply_topics(settings, partitions=partitions, replication=1)
    await publish_requests(settings, requests(count))


def contender(which: str, environment: dict[str, str], folder: Path, concurrency: int, name: str = "") -> ChildProcess:
    module = ["-m", "processor", "run"] if which == "processor" else ["-m", "bench.bare"]
    name = name or f"{which}-{environment['VP_KAFKA__TOPIC_PREFIX']}"
    env = {**environment, "BENCH_CONCURRENCY": str(concurrency), "VP_DIDIT__CALLS_MAX": str(concurrency)}
    return ChildProcess(name, [sys.executable, *module], env, folder / f"{name}.log")


async def wait_results(
    settings: Settings, count: int, child: ChildProcess, within_s: float = 120, on_half: Callable[[int], None] = lambda _: None
) -> list[float]:
    """Epoch seconds at which each of ``count`` results was made (its record's timestamp); ``on_half`` is told how many there are."""
    found: list[float] = []
    end = time.monotonic() + within_s
    async with topic_reader(settings, [topic_names(settings).results]) as consumer:
        while len(found) < count:
            if time.monotonic() > end or not child.alive:
                raise RuntimeError(f"{len(found)} of {count} results\n{child.log_tail()}")
            before = len(found)
            found += [r.timestamp_ms / 1000 for r in await read_topics(consumer, wait_s=0.2)]
            if before < count / 2 <= len(found):
                on_half(len(found))
    return found


def cpu_s(child: ChildProcess) -> float:
    fields = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def rss_mb(child: ChildProcess) -> float:
    line = next(x for x in Path(f"/proc/{child.pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def log_lines(child: ChildProcess) -> int:
    """What it has logged: warnings and worse, at the level that ``fresh`` sets."""
    return sum(line.startswith("{") for line in child.log_path.read_text().splitlines())


def emit(figures: dict[str, object]) -> None:
    print(json.dumps(figures), flush=True)
