"""The receiver as a process: listens at once, looks at its topic, ends on SIGTERM within bounds."""

from __future__ import annotations

import asyncio

import structlog

from processor.observe.health import Phase
from processor.runtime.http_server import listening
from processor.runtime.monitoring_server import CannotListenError, watched
from processor.runtime.process_status import ProcessStatus
from processor.runtime.shutdown import stop_on_signals
from processor.settings import Settings
from processor.stream.errors import KafkaFailedError
from processor.stream.topics import topic_names
from processor.stream.topics_admin import check_topics
from processor.webhooks.producer import EventProducer
from processor.webhooks.receiver import ReceiverLimits, build_receiver
from processor.webhooks.secrets import SecretSource

EXIT_STOPPED = 0
EXIT_UNUSABLE = 2  # configuration, address or topic must be mended first

_STOP_S_MAX = 20.0
_PAUSE_S = 2.0

log = structlog.get_logger(__name__)


def run(settings: Settings) -> int:
    """Receive webhooks until SIGTERM or SIGINT; the exit status for the process.

    Raises:
        ConfigurationError: if there is no secret.
    """
    return asyncio.run(_serve_until_signal(settings, SecretSource(settings.webhooks)))


async def serve(settings: Settings, source: SecretSource, term: asyncio.Event, pulse: ProcessStatus | None = None) -> int:
    """Receive until ``term`` is set; the exit status. ``pulse``: of a process that does nothing else."""
    s, producer = settings.webhooks, EventProducer(settings)
    app = build_receiver(
        producer.publish, source.current, path=s.path, limits=ReceiverLimits(body_bytes_max=s.body_bytes_max, tolerance_s=s.tolerance_s)
    )
    watch = asyncio.get_running_loop().create_task(_watch_topic(settings, producer, pulse), name="webhook-topic")
    stop = asyncio.get_running_loop().create_task(term.wait(), name="webhook-stop")
    try:
        async with listening(app, s.host, s.port) as port:
            log.info("webhooks_listening", host=s.host, port=port, path=s.path, topic=topic_names(settings).events)
            await asyncio.wait({watch, stop}, return_when=asyncio.FIRST_COMPLETED)
            return EXIT_STOPPED if term.is_set() else watch.result()
    except OSError as exc:
        log.critical("webhooks_cannot_listen", host=s.host, port=s.port, error=type(exc).__name__, errno=exc.errno)
        return EXIT_UNUSABLE
    finally:
        for task in (watch, stop):
            task.cancel()
        await asyncio.wait({watch, stop}, timeout=_PAUSE_S)
        await producer.close()


async def _watch_topic(settings: Settings, producer: EventProducer, pulse: ProcessStatus | None) -> int:
    """Returns only if the topic is unusable. Deliveries are taken meanwhile: a broker that is away costs them a 503, not a refusal."""
    while True:
        try:
            checked = await check_topics(settings, only=topic_names(settings).events)
            if checked.faults:
                for fault in checked.faults:
                    log.critical("topic_unusable", detail=fault)
                return EXIT_UNUSABLE
            await producer.connect()
            if pulse is not None:
                pulse.enter(Phase.WORKING)
            await asyncio.Event().wait()  # all is well, for as long as we run
        except KafkaFailedError as exc:
            if pulse is not None:
                pulse.enter(Phase.WAITING_FOR_KAFKA, str(exc))
            log.error("kafka_unreachable", detail=str(exc), hint="waiting, and asking again every two seconds")
            await asyncio.sleep(_PAUSE_S)


async def _serve_until_signal(settings: Settings, source: SecretSource) -> int:
    term = asyncio.Event()
    stop_on_signals(term, _STOP_S_MAX)
    pulse = ProcessStatus.of(settings, worker=False)
    try:
        async with watched(settings, pulse, term):
            status = await serve(settings, source, term, pulse)
    except CannotListenError:
        status = EXIT_UNUSABLE
    log.info("stopped", status=status)
    return status
