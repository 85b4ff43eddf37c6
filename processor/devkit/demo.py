"""`processor demo`: a mixed load through three processors on a real Kafka, one of them killed half-way, and the proof."""

from __future__ import annotations

import asyncio
import math
import shlex
import signal
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import orjson

from processor.client.topics import request_producer
from processor.contract.amounts import count
from processor.contract.records import Status
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import API_KEY, ProcessorProcess, SimulatorProcess, processor_environment, settings_of
from processor.devkit.topic_watch import TopicWatch
from processor.devkit.workload import Planned, Workload, decision_of, plan_load
from processor.settings import Settings, load_settings
from processor.stream.aiokafka_stop import end_task
from processor.stream.topics_admin import apply_topics
from processor.verify import report as audit_report
from processor.verify.audit import AuditOptions, audit
from processor.verify.bills import bills_of_ledger
from processor.verify.findings import BrokenPromise

_PREFIX = "demo"
_WINDOW_S = 10.0
_CALLING_S = 40.0  # the budgets are scaled so that the calls take about this long
_PUBLISHING_S = 25.0
_END_S = 240.0  # the run is judged as it is then
_RESTART_S = 0.5
_REPLICAS = ("processor-1", "processor-2", "processor-3")
_DELAYS_S = (1, 5, 10)
_SHOWN = (Status.SUCCEEDED, Status.REJECTED, Status.FAILED, Status.EXPIRED, Status.IN_DOUBT)
_FAULTS = {
    "latency_s": {"median": 0.08, "sigma": 0.6, "max": 1.0},
    "rates": {"lost_reply": 0.02, "reset": 0.01, "error_500_html": 0.02, "error_503": 0.02, "throttle_429": 0.01},
}


@dataclass(slots=True)
class DemoProgress:
    """What the display shows; the demo writes, the display reads."""

    phase: str = "starting"
    total: int = 0
    published: int = 0
    events: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def report(self, text: str) -> None:
        """Note an event, with the seconds since the start."""
        self.events.append(f"{time.monotonic() - self.began:5.1f} s  {text}")


class Display(Protocol):
    """Shows a run while it goes on."""

    def update(self, progress: DemoProgress, watch: TopicWatch | None, ledger: dict[str, Any] | None) -> None:
        """Called about twice a second."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """How a demo ended."""

    audit: audit_report.AuditReport
    requested: int
    unanswered: int  # of those
    killed: int
    duration_s: float

    @property
    def missing(self) -> int:
        """Requests without a final result: of the demo's own all, for at its end none waits any more; of visitors' those that are lost."""
        return max(self.unanswered, self.audit.count(BrokenPromise.MISSING_RESULT, BrokenPromise.DELETED_UNFINISHED))

    @property
    def ok(self) -> bool:
        """No promise is broken, and every request has its final result."""
        return self.audit.clean and not self.missing

    def as_json(self) -> bytes:
        """One JSON object, for scripts."""
        found, figures = self.audit, self.audit.figures
        return orjson.dumps(
            {
                "requests": self.requested,
                "finals": figures.finals,
                "missing": self.missing,
                "duplicated": found.count(BrokenPromise.DOUBLE_FINAL),
                **{status.value: figures.by_status.get(status.value, 0) for status in _SHOWN},
                "retries": figures.retries,
                "early_retries": found.count(BrokenPromise.RETRY_STARTED_EARLY),
                "late_retry_p99_ms": figures.late_p99_ms,
                "billed_twice": found.count(BrokenPromise.BILLED_TWICE),
                "findings": {kind.value: count for kind, count in found.findings.counts.items()},
                "killed": self.killed,
                "scopes": found.scopes,
                "duration_s": round(self.duration_s, 1),
            }
        )


def demo_limits(load: Workload) -> dict[str, dict[str, float]]:
    """Budgets under which the load takes about ``_CALLING_S``: enough to be felt, little enough to end soon."""
    creates = sum(1 for p in load.first if p.request_id.startswith("demo-create"))
    gets = load.total - creates
    per_window = _WINDOW_S / _CALLING_S / 0.9  # retries

    def limit(calls: float) -> dict[str, float]:
        return {"limit": max(12, math.ceil(calls * per_window)), "window_s": _WINDOW_S}

    reads = limit(gets * 1.2 + creates * 0.2)
    return {
        "session-create": limit(creates * 1.1),
        "generic-write": limit(creates * 1.3),
        "session-decision": reads,  # a v3 decision is a GET like any other
        "generic-get": reads,
    }


class Demo:
    """One run."""

    def __init__(self, requests: int, seed: int, display: Display, *, stay: bool = False) -> None:
        self._load, self._seed, self._display, self._stay = plan_load(requests, seed), seed, display, stay
        self._environment: dict[str, str] = {}
        self._limits = demo_limits(self._load)
        self._progress = DemoProgress(total=self._load.total)
        self._sessions: asyncio.Queue[str] = asyncio.Queue()  # bounded by the number of creates
        self._requested: list[str] = []
        self._killed = 0

    async def run(self) -> Report:
        """Start everything, run the load, kill and restart a processor, judge."""
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="processor-demo-")))
            self._progress.report("starting a real Kafka (the first time its jars are fetched, about half a minute)")
            painter = asyncio.create_task(self._paint(None, None))
            try:
                kafka = await asyncio.to_thread(stack.enter_context, LocalKafka(brokers=1))
                simulator = await asyncio.to_thread(stack.enter_context, self._simulator(folder))
            finally:
                await end_task(painter, 1.0)
            settings = self._settings(kafka.bootstrap, simulator.url)
            await apply_topics(settings, partitions=8, replication=1)
            self._progress.report("topics are there")
            fleet = self._fleet(kafka.bootstrap, simulator.url, folder)
            for replica in fleet:
                stack.callback(replica.child.stop, 5.0)
                replica.start()
            return await self._drive(settings, simulator, fleet, folder)

    async def _drive(self, settings: Settings, simulator: SimulatorProcess, fleet: list[ProcessorProcess], folder: Path) -> Report:
        stop = asyncio.Event()
        watch = TopicWatch(settings, self._take_final)
        await asyncio.gather(*(asyncio.to_thread(r.wait_event, "partitions_assigned") for r in fleet))
        self._progress.report(f"all partitions belong to {count(len(fleet), 'processor')}")
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            follow = group.create_task(watch.follow(stop))
            painter = group.create_task(self._paint(watch, simulator))
            publish = group.create_task(self._publish(settings))
            kill = group.create_task(self._kill_half_way(fleet[0], watch))
            await self._wait_finals(watch)
            duration_s = time.monotonic() - began
            for task in (publish, kill):
                task.cancel()
            if self._stay:
                await self._stay_up(fleet, folder)
            await self._stop(fleet)
            stop.set()
            await follow
            painter.cancel()
        ledger = await asyncio.to_thread(simulator.ledger)
        found = await audit(settings_of(self._environment), AuditOptions(older_s=1.0, bills=bills_of_ledger(ledger)))
        own = set(self._requested)
        return Report(found, len(own), len(own - watch.seen.final_ids), self._killed, duration_s)

    def _take_final(self, result: dict[str, Any]) -> None:
        if result["operation"] == "session.create" and result["status"] == Status.SUCCEEDED:
            self._sessions.put_nowait(result["output"]["session_id"])

    async def _publish(self, settings: Settings) -> None:
        async with request_producer(settings) as producer:

            async def send(planned: Planned) -> None:
                self._requested.append(planned.request_id)
                await producer.send_and_wait(f"{_PREFIX}.requests", planned.value, planned.key)
                self._progress.published += 1

            pause_s = _PUBLISHING_S / len(self._load.first)
            decisions = 0
            for planned in self._load.first:
                await send(planned)
                await asyncio.sleep(pause_s)
                while decisions < self._load.decisions and not self._sessions.empty():
                    await send(decision_of(decisions, self._sessions.get_nowait()))
                    decisions += 1
            while decisions < self._load.decisions:
                await send(decision_of(decisions, await self._sessions.get()))
                decisions += 1

    async def _kill_half_way(self, victim: ProcessorProcess, watch: TopicWatch) -> None:
        while len(watch.seen.finals) < self._load.total // 2:  # noqa: ASYNC110 - a display's pace will do
            await asyncio.sleep(0.05)
        await asyncio.to_thread(victim.child.kill)
        self._killed += 1
        self._progress.report(f"killed {victim.name} with SIGKILL, calls in flight")
        await asyncio.sleep(_RESTART_S)
        victim.start()
        self._progress.report(f"started {victim.name} again")

    async def _wait_finals(self, watch: TopicWatch) -> None:
        end = time.monotonic() + _END_S
        while len(watch.seen.final_ids) < self._load.total and time.monotonic() < end:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.1)
        self._progress.report("every request has its final result" if time.monotonic() < end else "gave up waiting")

    async def _stay_up(self, fleet: list[ProcessorProcess], folder: Path) -> None:
        """Leave everything running for commands and the page, until SIGINT or SIGTERM."""
        file, enough, loop = folder / "environment", asyncio.Event(), asyncio.get_running_loop()
        file.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in self._environment.items()))
        *_, listening = fleet[0].events("observe_listening")
        self._progress.report(f"the operators' page: http://127.0.0.1:{listening['port']}/")
        self._progress.report("for commands such as `.venv/bin/processor status`, first in another terminal:")
        self._progress.report(f"source {file}")  # a line of its own: what is wrapped cannot be copied
        self._progress.report("everything stays until Ctrl-C")
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, enough.set)
        await enough.wait()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    async def _stop(self, fleet: list[ProcessorProcess]) -> None:
        self._progress.report("stopping the processors with SIGTERM")
        await asyncio.gather(*(asyncio.to_thread(r.child.stop, 40.0) for r in fleet))

    async def _paint(self, watch: TopicWatch | None, simulator: SimulatorProcess | None) -> None:
        while True:
            ledger = await asyncio.to_thread(simulator.ledger) if simulator is not None else None
            self._display.update(self._progress, watch, ledger)
            await asyncio.sleep(0.5)

    def _simulator(self, folder: Path) -> SimulatorProcess:
        seed = self._seed + 1_000_003  # not the load's own: its unknown sessions must not exist
        limits, faults = orjson.dumps(self._limits).decode(), orjson.dumps(_FAULTS).decode()
        return SimulatorProcess(folder, "--seed", str(seed), "--limits", limits, "--faults", faults)

    def _fleet(self, bootstrap: str, url: str, folder: Path) -> list[ProcessorProcess]:
        environment = self._environment = processor_environment(
            bootstrap,
            url,
            _PREFIX,
            BUDGET__LIMITS=orjson.dumps(self._limits).decode(),
            BUDGET__CALL_MARGIN_S="5",  # the simulator counts at once; so the weight of a killed processor returns within the demo
            BUDGET__ASK_WAIT_S="10",
            BUDGET__SKEW_S="1",  # one broker, whose clock does not step
            DIDIT__READ_LAG_S="1",  # the simulator shows what it has at once
            RETRY__DELAYS_S=orjson.dumps(_DELAYS_S).decode(),
            RETRY__PARTITIONS="2",
            RETRY__BACKOFF_BASE_S="1",
            RETRY__BACKOFF_MAX_S="8",
            DIDIT__TIMEOUT_S="5",
        )
        return [ProcessorProcess(name, environment, folder) for name in _REPLICAS]

    def _settings(self, bootstrap: str, url: str) -> Settings:
        return load_settings(
            kafka={"bootstrap": bootstrap, "topic_prefix": _PREFIX, "group": f"{_PREFIX}-group"},
            didit={"base_url": url, "api_key": API_KEY},
            retry={"delays_s": _DELAYS_S, "partitions": 2},
        )


async def run_demo(requests: int, seed: int, display: Display, *, stay: bool = False) -> Report:
    """Run the demo once. Raises what the parts raise when this machine lacks something; the texts say what to do."""
    return await Demo(requests, seed, display, stay=stay).run()
