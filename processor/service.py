"""The life of the process: start, lives of the core one after the other, signals, drain, exit status."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable

import structlog
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError

from processor.budget.observer import observe
from processor.budget.shared import Place, SharedBudget
from processor.budget.state import Rules
from processor.budget.view import BudgetView, budget_view
from processor.didit.catalog import OPERATIONS
from processor.didit.client import DiditClient
from processor.didit.follow import is_settled
from processor.engine import Engine
from processor.images.fetch import FileReader
from processor.observe.trace_export import start_traces
from processor.settings import Settings
from processor.stopping import stop_on_signals
from processor.stream.budget_log import KafkaBudgetLog
from processor.stream.core import Core
from processor.stream.event_feed import EventFeed
from processor.stream.faults import describe, is_fatal
from processor.stream.hints import Hints
from processor.stream.topics_admin import TopicsError, check_topics
from processor.webhooks.secret_source import SecretSource
from processor.webhooks.service import serve as receive_webhooks

log = structlog.get_logger(__name__)

EXIT_STOPPED = 0  # asked to stop, everything at hand is published
EXIT_GAVE_UP = 1  # an error that a restart of the core cannot cure
EXIT_UNUSABLE = 2  # configuration or topics must be mended first

_BARREN_LIVES_MAX = 5
_BACKOFF_S = 1.0
_BACKOFF_S_MAX = 10.0
_UNREACHABLE = (KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, TimeoutError)


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


def clock_ms() -> int:
    """Wall clock, epoch milliseconds."""
    return time.time_ns() // 1_000_000


async def serve(settings: Settings, term: asyncio.Event) -> int:
    """Work until ``term`` is set; the exit status.

    Raises:
        ConfigurationError: if webhooks are to be received and there is no secret.
    """
    unusable = await _wait_topics(settings, term)
    if unusable is not None or term.is_set():
        return unusable or EXIT_STOPPED
    secrets = SecretSource(settings.webhooks) if settings.webhooks.in_run else None
    place = Place(settings.kafka.instance_id, settings.didit.calls_max, settings.budget.queue_max, settings.budget.pause_park_s)
    budget = SharedBudget(KafkaBudgetLog(settings), budget_rules(settings), place, draw=random.random)
    following = asyncio.get_running_loop().create_task(budget.run(), name="budget")
    hints = Hints(lambda hint: is_settled(hint.event.get("status")))
    feeding = asyncio.get_running_loop().create_task(EventFeed(settings, hints).run(), name="events")
    receiving = asyncio.get_running_loop().create_task(_receive(settings, secrets, term), name="webhooks")
    try:
        async with DiditClient(settings.didit) as client:
            engine = Engine(settings, client, FileReader(settings.images), budget, clock_ms=clock_ms, draw=random.random)
            status = await supervise(lambda: Core(settings, engine, budget, hints, clock_ms), term, following)
            return (await receiving if term.is_set() else 0) or status
    finally:
        tasks = {following, feeding, receiving}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await budget.close()


def budget_rules(settings: Settings) -> Rules:
    """What the replicas of an API key agree on."""
    s = settings.budget
    return Rules(
        limits={scope: (limit.limit, limit.window_s) for scope, limit in s.all_limits.items()},
        wait_s=s.ask_wait_s,
        call_s=settings.didit.timeout_s + s.call_margin_s,
        margin_s=s.call_margin_s,
        slack_s=s.slack_s,
        skew_s=s.skew_s,
        memory_s=s.memory_s,
        pause_max_s=settings.retry.retry_after_max_s,
        breaker_failures=s.breaker_failures,
        breaker_hold_s=s.breaker_hold_s,
        account_probe_s=s.account_probe_s,
    )


async def look_at_budget(settings: Settings) -> BudgetView:
    """The shared budget as its log shows it now.

    Raises:
        LogUnavailableError, LogBrokenError: if the log cannot be read.
    """
    budget_log = KafkaBudgetLog(settings)
    try:
        state, now = await observe(budget_log, budget_rules(settings), now_ms=clock_ms)
    finally:
        await budget_log.close()
    return budget_view(state, {name: operation.scopes for name, operation in OPERATIONS.items()}, now)


async def supervise(make: Callable[[], Core], term: asyncio.Event, budget: asyncio.Task[None]) -> int:
    """Lives of the core, one after the other, until ``term``, the end of the budget's task, or until another one cannot help."""
    barren = 0
    while not term.is_set():
        if budget.done():
            error = None if budget.cancelled() else budget.exception()
            log.critical("gave_up", error=describe(error) if error else "the budget ended")
            return EXIT_GAVE_UP
        core = make()
        watch = asyncio.get_running_loop().create_task(_forward(term, core.stop))
        try:
            await core.run()
        except Exception as exc:  # noqa: BLE001 - whatever ended a life, the next one decides
            if is_fatal(exc):
                log.critical("gave_up", error=describe(exc))
                return EXIT_GAVE_UP
            barren = 0 if core.published or isinstance(exc, _UNREACHABLE) else barren + 1
            log.error("life_ended", error=describe(exc), barren_lives=barren)
            if barren >= _BARREN_LIVES_MAX:
                log.critical("gave_up", error=describe(exc), barren_lives=barren)
                return EXIT_GAVE_UP
            await _pause(term, min(_BACKOFF_S * (1 + barren), _BACKOFF_S_MAX))
        finally:
            watch.cancel()
    return EXIT_STOPPED


async def _receive(settings: Settings, secrets: SecretSource | None, term: asyncio.Event) -> int:
    """Receive webhooks where that is wished for; if it cannot be done, the process stops and says so."""
    if secrets is None:
        return EXIT_STOPPED
    status = await receive_webhooks(settings, secrets, term)
    term.set()
    return status


async def _wait_topics(settings: Settings, term: asyncio.Event) -> int | None:
    """None when the topics will do. Waits for brokers that cannot be reached, and says so."""
    while not term.is_set():
        try:
            checked = await check_topics(settings)
        except TopicsError as exc:
            log.error("kafka_unreachable", detail=str(exc), hint="waiting; is VP_KAFKA__BOOTSTRAP right?")
            await _pause(term, 2.0)
            continue
        for warning in checked.warnings:
            log.error("memory_too_short", detail=warning)
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


async def _pause(term: asyncio.Event, wait_s: float) -> None:
    try:
        async with asyncio.timeout(wait_s):
            await term.wait()
    except TimeoutError:
        return


async def _forward(source: asyncio.Event, target: asyncio.Event) -> None:
    await source.wait()
    target.set()


def _runner() -> Callable[..., int]:
    try:
        import uvloop  # noqa: PLC0415 - absent on Windows
    except ImportError:
        return asyncio.run
    return uvloop.run
