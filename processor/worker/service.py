"""The life of the process: start, lives of the core one after the other, signals, drain, exit status."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable

import structlog

from processor.budget.replica_limits import ReplicaLimits
from processor.budget.rules import budget_rules
from processor.budget.shared import SharedBudget
from processor.clock import clock_ms
from processor.didit.client import DiditClient
from processor.didit.follow import is_settled
from processor.engine.engine import Engine
from processor.files.fetch import FileReader
from processor.monitoring.factories import monitor_in_process
from processor.monitoring.sampler import OverviewSampler
from processor.observe.health import Phase
from processor.observe.trace_export import start_traces
from processor.runtime.monitoring_server import CannotListenError, watched
from processor.runtime.process_status import ProcessStatus
from processor.runtime.shutdown import stop_on_signals
from processor.settings import Settings
from processor.stream.budget_log import KafkaBudgetLog
from processor.stream.errors import KafkaFailedError
from processor.stream.group_member import GroupMember
from processor.stream.topics_admin import check_topics
from processor.stream.wakeup_feed import WakeupFeed
from processor.stream.wakeups import Wakeups
from processor.webhooks.secrets import SecretSource
from processor.webhooks.service import serve as receive_webhooks
from processor.worker.operations import KafkaOperations
from processor.worker.supervisor import EXIT_STOPPED, Supervisor, pause

log = structlog.get_logger(__name__)

EXIT_UNUSABLE = 2  # configuration or topics must be mended first


def run(settings: Settings) -> int:
    """Run a processor until SIGTERM or SIGINT; the exit status for the process.

    Raises:
        ConfigurationError: if what the settings ask for is not installed.
    """
    # every record makes some hundred short-lived objects and none of them is part of a cycle: collecting each 700
    # allocations costs a fifth of the processing time and frees nothing
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    stop_traces = start_traces(settings)
    try:
        return _runner()(_serve_until_signal(settings))
    finally:
        stop_traces()


async def serve(settings: Settings, term: asyncio.Event) -> int:
    """Work until ``term`` is set; the exit status.

    Raises:
        ConfigurationError: if webhooks are to be received and there is no secret.
    """
    pulse = ProcessStatus.of(settings)
    secrets = SecretSource(settings.webhooks) if settings.webhooks.in_run else None
    try:
        operations = KafkaOperations(settings)
        async with watched(settings, pulse, term, operations):
            unusable = await _wait_topics(settings, term, pulse)
            if unusable is not None or term.is_set():
                return unusable or EXIT_STOPPED
            return await _work(settings, term, pulse, secrets, operations)
    except CannotListenError:
        return EXIT_UNUSABLE


async def _work(
    settings: Settings, term: asyncio.Event, pulse: ProcessStatus, secrets: SecretSource | None, operations: KafkaOperations
) -> int:
    place = ReplicaLimits(settings.kafka.instance_id, settings.didit.calls_max, settings.budget.queue_max, settings.budget.pause_park_s)
    budget = pulse.budget = SharedBudget(KafkaBudgetLog(settings), budget_rules(settings), place, draw=random.random)
    monitor = monitor_in_process(settings, budget)
    surveying = OverviewSampler(monitor, budget, settings.observe.survey_s)
    operations.begin(monitor, surveying.history)
    pulse.on_refresh.append(surveying.refresh)
    loop = asyncio.get_running_loop()
    polling = loop.create_task(budget.run(), name="budget")
    hints = Wakeups(lambda hint: is_settled(hint.event.get("status")))
    feeding = loop.create_task(WakeupFeed(settings, hints).run(), name="events")
    receiving = loop.create_task(_receive(settings, secrets, term), name="webhooks")
    looking = {loop.create_task(surveying.survey(), name="survey"), loop.create_task(surveying.sample(), name="samples")}
    try:
        async with DiditClient(settings.didit) as client:
            engine = Engine(settings, client, FileReader(settings.files), budget, clock_ms=clock_ms, draw=random.random)
            supervisor = Supervisor(lambda: GroupMember(settings, engine, budget, hints, clock_ms), budget, polling, pulse, place.instance)
            status = await supervisor.run(term)
            return (await receiving if term.is_set() else 0) or status
    finally:
        pulse.enter(Phase.STOPPING)
        tasks = {polling, feeding, receiving, *looking}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await budget.close()
        await monitor.close()


async def _receive(settings: Settings, secrets: SecretSource | None, term: asyncio.Event) -> int:
    """Receive webhooks where that is wished for; if it cannot be done, the process stops and says so."""
    if secrets is None:
        return EXIT_STOPPED
    status = await receive_webhooks(settings, secrets, term)
    term.set()
    return status


async def _wait_topics(settings: Settings, term: asyncio.Event, pulse: ProcessStatus) -> int | None:
    """None when the topics will do. Waits for brokers that cannot be reached, and says so."""
    pulse.enter(Phase.WAITING_FOR_KAFKA, "asking for the topics")
    while not term.is_set():
        try:
            checked = await check_topics(settings)
        except KafkaFailedError as exc:
            pulse.enter(Phase.WAITING_FOR_KAFKA, str(exc))
            log.error("kafka_unreachable", detail=str(exc), hint="waiting, and asking again every two seconds")
            await pause(term, 2.0)
            continue
        for warning in checked.warnings:
            log.error("memory_too_short", detail=warning)
        for detail in checked.unread:
            log.error("topic_unread", detail=detail)
        for fault in checked.faults:
            log.critical("topic_unusable", detail=fault)
        return EXIT_UNUSABLE if checked.faults else None
    return None


async def _serve_until_signal(settings: Settings) -> int:
    term = asyncio.Event()
    stop_on_signals(term, settings.lanes.shutdown_s)
    log.info("started", group=settings.kafka.group, instance=settings.kafka.instance_id, prefix=settings.kafka.topic_prefix)
    status = await serve(settings, term)
    log.info("stopped", status=status)
    return status


def _runner() -> Callable[..., int]:
    try:
        import uvloop  # noqa: PLC0415 - absent on Windows
    except ImportError:
        return asyncio.run
    return uvloop.run
