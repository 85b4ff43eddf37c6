"""The receiver as a process: listens at once, looks at its topic, ends on SIGTERM within bounds."""

from __future__ import annotations

import asyncio

import structlog

from processor.observe.application import working_for
from processor.observe.health import Phase
from processor.runtime.event_loop import run_loop
from processor.runtime.http_server import CLOSE_S, listening
from processor.runtime.monitoring_server import CannotListenError, start_monitoring
from processor.runtime.process_status import ProcessStatus
from processor.runtime.process_tasks import EXIT_UNUSABLE, ProcessTasks
from processor.runtime.shutdown import limit_stop, stop_on_signals, then_leave
from processor.settings import Settings
from processor.stream.errors import AuthenticationError, KafkaFailedError
from processor.stream.login import login_of
from processor.stream.topics import topic_names
from processor.stream.topics_admin import check_topics
from processor.webhooks.producer import EventProducer
from processor.webhooks.receiver import ReceiverLimits, build_receiver
from processor.webhooks.secrets import SecretSource

_STOP_S_MAX = 20.0
_PRODUCER_CLOSE_S = 5.0
_PAUSE_S = 2.0

log = structlog.get_logger(__name__)


def run(settings: Settings) -> int:
    """Receive webhooks until SIGTERM or SIGINT; the exit status for the process.

    Raises:
        ConfigurationError: if there is no secret.
    """
    with working_for(settings.application):
        return run_loop(then_leave(_run_until_signal(settings, SecretSource(settings.webhooks))))


async def start_receiver(tasks: ProcessTasks, settings: Settings, source: SecretSource, status: ProcessStatus | None = None) -> None:
    """Receive from now on, until the process stops.

    Args:
        tasks: what the receiver becomes a part of.
        settings: address, path, limits and the topic.
        source: the secrets that deliveries may be signed with.
        status: of a process that does nothing else.

    Raises:
        CannotListenError: if the address cannot be had.
    """
    s, producer = settings.webhooks, EventProducer(settings)
    tasks.close_later("webhook producer", producer.close, within_s=_PRODUCER_CLOSE_S)
    tasks.start("webhook topic", _watch_topic(settings, producer, status))
    app = build_receiver(
        producer.publish, source.current, path=s.path, limits=ReceiverLimits(body_bytes_max=s.body_bytes_max, tolerance_s=s.tolerance_s)
    )
    try:
        port = await tasks.open("webhook server", listening(app, s.host, s.port), close_s=CLOSE_S)
    except OSError as exc:
        log.critical("webhooks_cannot_listen", host=s.host, port=s.port, error=type(exc).__name__, errno=exc.errno)
        raise CannotListenError from exc
    log.info("webhooks_listening", host=s.host, port=port, path=s.path, topic=topic_names(settings).events)


async def _watch_topic(settings: Settings, producer: EventProducer, status: ProcessStatus | None) -> int:
    """Returns only if the topic is unusable, or Kafka does not let us in.

    Deliveries are taken meanwhile: a broker that is away costs them a 503, not a refusal.
    """
    while True:
        try:
            checked = await check_topics(settings, only=topic_names(settings).events)
            if checked.faults:
                for fault in checked.faults:
                    log.critical("topic_unusable", detail=fault)
                return EXIT_UNUSABLE
            await producer.connect()
            if status is not None:
                status.enter(Phase.WORKING)
            await asyncio.Event().wait()  # all is well, for as long as we run
        except AuthenticationError as exc:
            log.critical("kafka_login_refused", code=exc.code, detail=str(exc))
            return EXIT_UNUSABLE
        except KafkaFailedError as exc:
            if status is not None:
                status.enter(Phase.WAITING_FOR_KAFKA, str(exc))
            log.error("kafka_unreachable", detail=str(exc), hint="waiting, and asking again every two seconds")
            await asyncio.sleep(_PAUSE_S)


async def _run_until_signal(settings: Settings, source: SecretSource) -> int:
    term, status = asyncio.Event(), ProcessStatus.of(settings, worker=False, names=[settings.application])
    status.applications[settings.application].login = login_of(settings.kafka)
    stop_on_signals(term)
    async with ProcessTasks(term, status) as tasks:
        tasks.start("stop limit", limit_stop(term, _STOP_S_MAX))
        try:
            await start_monitoring(tasks, settings, status)
            await start_receiver(tasks, settings, source, status)
        except CannotListenError:
            tasks.end(EXIT_UNUSABLE)
        await term.wait()
    log.info("stopped", status=tasks.exit_status)
    return tasks.exit_status
