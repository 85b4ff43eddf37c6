"""Several applications in one process: each is started and restarted by itself, and the failure of one does not affect the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog

from processor.contract.times import duration
from processor.observe.application import working_for
from processor.runtime.application_status import ApplicationStatus
from processor.runtime.monitoring_server import CannotListenError
from processor.runtime.process_tasks import EXIT_UNUSABLE, ProcessTasks, restart_wait_s
from processor.settings import Settings
from processor.stream.aiokafka_stop import run_until
from processor.stream.errors import KafkaFailedError
from processor.stream.topics import topic_names
from processor.stream.topics_admin import check_topics
from processor.worker.supervisor import pause

_STEADY_S = 300.0  # an application that worked for so long begins again with the shortest wait
_LOOK_S = 5.0
_CANCEL_S = 5.0

log = structlog.get_logger(__name__)


class ApplicationLives:
    """Starts an application again that has given up, after a wait that grows to a minute. When all have given up, the process ends.

    Args:
        tasks: of the process.
        names: of all applications.
        start: starts the parts of one; it may end the tasks that it is given, and returns when all are started.
    """

    def __init__(
        self, tasks: ProcessTasks, names: Iterable[str], start: Callable[[ProcessTasks, Settings, ApplicationStatus], Awaitable[None]]
    ) -> None:
        self._process, self._start = tasks, start
        self._up = set(names)

    def begin(self, settings: Settings, status: ApplicationStatus) -> None:
        """Work for this application until the process stops; its tasks, logs and counts carry its name."""
        with working_for(settings.application):
            self._process.start(f"application {settings.application}", self._run(settings, status), drain_s=settings.lanes.shutdown_s)

    async def _run(self, settings: Settings, status: ApplicationStatus) -> None:
        term, failures, loop = self._process.term, 0, asyncio.get_running_loop()
        while not term.is_set():
            began = loop.time()
            self._up.add(settings.application)
            await self._live(settings, status)
            if term.is_set():
                return
            failures = 1 if loop.time() - began > _STEADY_S else failures + 1
            wait_s = restart_wait_s(failures)
            detail = f"it gave up, its log says why, and is started again in {duration(wait_s)}"
            log.critical("application_gave_up", of=settings.application, hint=f"{detail}; the others go on")
            status.begin_again(detail)
            await pause(term, wait_s)

    async def _live(self, settings: Settings, status: ApplicationStatus) -> None:
        own = asyncio.Event()
        async with ProcessTasks(own, status) as tasks:
            tasks.start("stop", _pass_on(self._process.term, own))
            try:
                await run_until(own, self._start(tasks, settings, status), _CANCEL_S)  # silent brokers are asked for a minute
            except CannotListenError:
                tasks.end(EXIT_UNUSABLE)
            await own.wait()
            self._up.discard(settings.application)
            if not self._up:
                self._process.end(tasks.exit_status)
        if self._process.term.is_set() and tasks.exit_status:
            self._process.end(tasks.exit_status)


async def _pass_on(term: asyncio.Event, own: asyncio.Event) -> None:
    await term.wait()
    own.set()


class ApplicationTopics:
    """Which applications can be handed requests: those whose topic was seen to be as it must be."""

    def __init__(self, settings: Settings) -> None:
        self._all = {name: settings.for_application(name) for name in settings.applications}
        self._unseen, self._told, self._begun = dict(self._all), set[str](), False

    def takes(self, application: str) -> bool:
        """Whether requests can be handed on to it."""
        return application not in self._unseen

    def begin_life(self) -> None:
        """The lanes begin. Those of before may have ended because one of the topics refuses what is handed on: all are looked at again."""
        if self._begun:
            self._unseen = dict(self._all)
        self._begun = True

    async def look(self) -> None:
        """Check the topics that were not found usable yet."""
        for name, settings in list(self._unseen.items()):
            try:
                faults = (await check_topics(settings, only=topic_names(settings).requests)).faults
            except KafkaFailedError as exc:
                faults = [str(exc)]
            if not faults:
                self._unseen.pop(name, None)
                self._told.discard(name)
            elif name not in self._told:
                self._told.add(name)
                log.error("application_topic_unusable", of=name, detail=faults[0], hint="requests that name it wait; others go on")

    async def run(self) -> None:
        """Check repeatedly what was not found usable."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)
