"""The processor as a process: its parts, the order in which they start, signals, exit status."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import structlog
import uvloop

from processor.budget.replica_limits import ReplicaLimits
from processor.budget.rules import budget_rules
from processor.budget.shared import SharedBudget
from processor.contract.pauses import UNREAD
from processor.didit.client import DiditClient
from processor.didit.follow import is_settled
from processor.engine.balance import BalanceReader
from processor.engine.engine import Engine
from processor.files.fetch import FileReader
from processor.files.media_store import MediaStore
from processor.monitoring.factories import monitor_in_process
from processor.monitoring.sampler import OverviewSampler
from processor.observe.health import Phase
from processor.observe.trace_export import start_traces
from processor.runtime.application_status import ApplicationStatus
from processor.runtime.monitoring_server import CannotListenError, start_monitoring
from processor.runtime.own_facts import OwnFacts
from processor.runtime.process_status import ProcessStatus
from processor.runtime.process_tasks import EXIT_UNUSABLE, ProcessTasks
from processor.runtime.shutdown import limit_stop, stop_on_signals, then_leave
from processor.settings import Settings
from processor.stream.broker_clock import BrokerClock
from processor.stream.budget_log import KafkaBudgetLog
from processor.stream.errors import AuthenticationError, KafkaFailedError, RightsMissingError
from processor.stream.group_member import GroupMember
from processor.stream.kept_outcomes import KeptOutcomes
from processor.stream.known_results import KnownResultReader
from processor.stream.login import login_of
from processor.stream.topics_admin import check_rights, check_topics
from processor.stream.wakeup_feed import WakeupFeed
from processor.stream.wakeups import Wakeups
from processor.webhooks.secrets import SecretSource
from processor.webhooks.service import start_receiver
from processor.worker.applications import ApplicationLives, ApplicationTopics
from processor.worker.operations import KafkaOperations
from processor.worker.supervisor import Supervisor, log_missing_rights, pause
from processor.worker.topic_checks import TopicChecks

_AFTER_DRAIN_S = 3.0  # of the hard limit, for what is closed after the lanes
_CLOSE_S = 5.0

log = structlog.get_logger(__name__)


def run(settings: Settings) -> int:
    """Run a processor until SIGTERM or SIGINT; the exit status for the process.

    Raises:
        ConfigurationError: if what the settings ask for is not installed, or webhooks are to be received and there is no secret.
    """
    # every record makes some hundred short-lived objects and none of them is part of a cycle: collecting each 700
    # allocations costs a fifth of the processing time and frees nothing
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    secrets = SecretSource(settings.webhooks) if settings.webhooks.in_run else None
    stop_traces = start_traces(settings)
    try:
        return uvloop.run(then_leave(_run_until_signal(settings, secrets)))
    finally:
        stop_traces()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """What works on requests, in the order of its start. Without the budget, the receiver and the lanes the process is of no use.

    The others only watch or speed up: a request that the wake-up feed does not wake starts when it is due, and the survey, the
    history, the count of dead letters, the balance and the topic checks are for people. They are started again.
    """

    budget: Callable[[], Coroutine[Any, Any, None]]
    close_budget: Callable[[], Awaitable[None]]
    close_known_results: Callable[[], Awaitable[None]]
    close_monitor: Callable[[], Awaitable[None]]
    survey: Callable[[], Coroutine[Any, Any, None]]
    history: Callable[[], Coroutine[Any, Any, None]]
    dead_letters: Callable[[], Coroutine[Any, Any, None]]
    feed: Callable[[], Coroutine[Any, Any, None]]
    topic_checks: Callable[[], Coroutine[Any, Any, None]]
    receiver: Callable[[ProcessTasks], Awaitable[None]] | None
    client: AbstractAsyncContextManager[DiditClient]
    balance: Callable[[DiditClient], Coroutine[Any, Any, None]] | None
    lanes: Callable[[DiditClient, asyncio.Event], Coroutine[Any, Any, int]]
    application_topics: Callable[[], Coroutine[Any, Any, None]] | None = None


async def start_worker(tasks: ProcessTasks, parts: WorkerParts, *, drain_s: float) -> None:
    """Start every part; the stop goes backwards, the lanes first.

    Raises:
        CannotListenError: if the receiver cannot have its address.
    """
    tasks.close_later("budget log", parts.close_budget, within_s=_CLOSE_S)
    tasks.start("budget", parts.budget())
    tasks.close_later("known results", parts.close_known_results, within_s=_CLOSE_S)
    tasks.close_later("monitor", parts.close_monitor, within_s=_CLOSE_S)
    tasks.start_restarting("survey", parts.survey)
    tasks.start_restarting("budget history", parts.history)
    tasks.start_restarting("dead-letter count", parts.dead_letters)
    tasks.start_restarting("wake-up feed", parts.feed)
    tasks.start_restarting("topic checks", parts.topic_checks)
    if parts.application_topics is not None:
        tasks.start_restarting("application topics", parts.application_topics)
    if parts.receiver is not None:
        await parts.receiver(tasks)
    client = await tasks.open("Didit client", parts.client, close_s=_CLOSE_S)
    if (balance := parts.balance) is not None:
        tasks.start_restarting("balance", lambda: balance(client))
    tasks.start("lanes", parts.lanes(client, tasks.term), drain_s=drain_s)


async def _run_until_signal(settings: Settings, secrets: SecretSource | None) -> int:
    installations = list(settings.installations)
    names = [each.application for each in installations]
    term, status = asyncio.Event(), ProcessStatus.of(settings, names=names)
    operations = {each.application: KafkaOperations(each) for each in installations}
    stop_on_signals(term)
    log.info("started", group=settings.kafka.group, instance=settings.kafka.instance_id, prefix=settings.kafka.topic_prefix)
    async with ProcessTasks(term, status) as tasks:
        tasks.start("stop limit", limit_stop(term, settings.lanes.shutdown_s))

        async def start(own: ProcessTasks, each: Settings, one: ApplicationStatus) -> None:
            await _start(own, each, one, secrets if each is settings else None, operations[each.application])

        try:
            await start_monitoring(tasks, settings, status, operations)
            lives = ApplicationLives(tasks, names, start)
            for each in installations:
                lives.begin(each, status.applications[each.application])
        except CannotListenError:
            tasks.end(EXIT_UNUSABLE)
        await term.wait()
    log.info("stopped", status=tasks.exit_status)
    return tasks.exit_status


async def _start(
    tasks: ProcessTasks, settings: Settings, status: ApplicationStatus, secrets: SecretSource | None, operations: KafkaOperations
) -> None:
    status.login = login_of(settings.kafka)
    if not await _topics_will_do(settings, tasks.term, status):
        tasks.end(EXIT_UNUSABLE)
    if not tasks.term.is_set():
        topics = ApplicationTopics(settings)
        await topics.look()  # else the first requests for others would wait
        parts = _worker_parts(settings, status, secrets, operations, topics)
        await start_worker(tasks, parts, drain_s=settings.lanes.shutdown_s - _AFTER_DRAIN_S)


def _worker_parts(
    settings: Settings, status: ApplicationStatus, secrets: SecretSource | None, operations: KafkaOperations, topics: ApplicationTopics
) -> WorkerParts:
    k, d, b = settings.kafka, settings.didit, settings.budget
    replica_limits = ReplicaLimits(k.instance_id, d.calls_max, b.queue_max, b.pause_park_s, k.group)
    clock = status.clock = BrokerClock(b.clock_skew_max_s)
    facts = OwnFacts(lambda: budget.state.pauses.read_to)
    budget = status.budget = SharedBudget(
        KafkaBudgetLog(settings, clock), budget_rules(settings), replica_limits, draw=random.random, facts=facts
    )
    budget.obey(UNREAD)  # until the feed has read the topic
    monitor = monitor_in_process(settings, budget)
    sampler = OverviewSampler(monitor, budget, settings.observe.survey_s)
    operations.begin(monitor, sampler.history, sampler.backlog_history, sampler.latencies)
    status.on_refresh.append(sampler.refresh)
    known_results = KnownResultReader(settings)
    wakeups = Wakeups(lambda hint: is_settled(hint.event.get("status")))

    def lanes(client: DiditClient, term: asyncio.Event) -> Coroutine[Any, Any, int]:
        engine, kept = _engine(settings, client, budget, clock, known_results, topics), KeptOutcomes()

        def make() -> GroupMember:
            topics.begin_life()
            return GroupMember(settings, engine, budget.history, wakeups, clock.now_ms, kept)

        return Supervisor(make, budget, status, k.instance_id).run(term)

    def balance(client: DiditClient) -> Coroutine[Any, Any, None]:
        return BalanceReader(client, budget, d.balance_s, clock.now_ms, pause_s_max=settings.retry.retry_after_max_s).run()

    return WorkerParts(
        budget=budget.run,
        close_budget=budget.close,
        close_known_results=known_results.close,
        close_monitor=monitor.close,
        survey=sampler.survey,
        history=sampler.sample,
        dead_letters=sampler.count_dead_letters,
        feed=WakeupFeed(settings, wakeups, clock.now_ms, budget.obey).run,
        topic_checks=TopicChecks(settings).run,
        receiver=None if secrets is None else lambda tasks: start_receiver(tasks, settings, secrets),
        client=DiditClient(d),
        balance=balance if d.balance_s else None,
        application_topics=topics.run if settings.applications else None,
        lanes=lanes,
    )


def _engine(
    settings: Settings,
    client: DiditClient,
    budget: SharedBudget,
    clock: BrokerClock,
    known_results: KnownResultReader,
    topics: ApplicationTopics,
) -> Engine:
    return Engine(
        settings,
        client,
        FileReader(settings.files),
        budget,
        clock_ms=clock.now_ms,
        draw=random.random,
        media=MediaStore(settings.files, settings.didit.base_url) if settings.files.media_folder is not None else None,
        known_results=known_results if settings.lanes.answer_again else None,
        takes=topics.takes,
    )


async def _topics_will_do(settings: Settings, term: asyncio.Event, status: ApplicationStatus) -> bool:
    """Whether we are let in, with all rights, and the topics are as they must be; true if asked to stop before. Waits for brokers."""
    status.enter(Phase.WAITING_FOR_KAFKA, "asking for the topics")
    while not term.is_set():
        try:
            await check_rights(settings)
            checked = await check_topics(settings)
        except RightsMissingError as exc:
            log_missing_rights(exc)
            return False
        except AuthenticationError as exc:
            log.critical("kafka_login_refused", code=exc.code, detail=str(exc))
            return False
        except KafkaFailedError as exc:
            status.enter(Phase.WAITING_FOR_KAFKA, str(exc))
            log.error("kafka_unreachable", detail=str(exc), hint="waiting, and asking again every two seconds")
            await pause(term, 2.0)
            continue
        for warning in checked.warnings:
            log.error("memory_too_short", detail=warning)
        for detail in checked.unread:
            log.error("topic_unread", detail=detail)
        for fault in checked.faults:
            log.critical("topic_unusable", detail=fault)
        return not checked.faults
    return True
