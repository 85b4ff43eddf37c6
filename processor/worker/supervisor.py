"""Runs group members one after the other: each run is a *life* (docs/glossary.md), until the process stops or a new life cannot help."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from processor.budget.shared import SharedBudget
from processor.observe import metrics
from processor.observe.health import Phase
from processor.runtime.application_status import ApplicationStatus
from processor.runtime.process_tasks import EXIT_FAILED, EXIT_STOPPED
from processor.stream.errors import AuthenticationError, KafkaUnavailableError, RightsMissingError, describe, is_fatal
from processor.stream.group_member import GroupMember

log = structlog.get_logger(__name__)

_BARREN_LIVES_MAX = 5
_LONG_LIFE_S = 600.0  # whoever lived for so long was no start that fails, though nothing came to be published
_BACKOFF_S = 1.0
_BACKOFF_S_MAX = 10.0
_LOOK_S = 0.2  # how often a process that stands by checks whether the other one has ended
_UNREACHABLE = (KafkaUnavailableError, AuthenticationError, TimeoutError)  # the last: the journal does not answer
_REFUSED_S_MAX = 600.0  # a secret is replaced at the brokers and here, one after the other


class Supervisor:
    """Creates a group member, watches it, and creates the next one when it fails."""

    def __init__(self, make: Callable[[], GroupMember], budget: SharedBudget, status: ApplicationStatus, instance: str) -> None:
        self._make = make
        self._budget = budget
        self._status = status
        self._instance = instance
        self._barren = 0  # consecutive short lives that published nothing
        self._refused_since: float | None = None  # loop time s: since then Kafka refuses our logins

    async def run(self, term: asyncio.Event) -> int:
        """Run until ``term``, or until another life cannot help; returns the exit status."""
        while not term.is_set():
            if self._budget.has_senior:
                await self._stand_by(term)
                continue
            member = self._status.member = self._make()
            self._status.enter(Phase.WORKING)
            began = asyncio.get_running_loop().time()
            try:
                await self._live(term, member)
                metrics.LIVES.labels("stopped").inc()
            except Exception as exc:  # noqa: BLE001 - whatever ended a life, the next one decides
                metrics.LIVES.labels("failed").inc()
                if self._is_last(exc, member, asyncio.get_running_loop().time() - began):
                    return EXIT_FAILED
                await pause(term, min(_BACKOFF_S * (1 + self._barren), _BACKOFF_S_MAX))
            finally:
                self._status.member = None
        return EXIT_STOPPED

    def _is_last(self, exc: Exception, member: GroupMember, lived_s: float) -> bool:
        if isinstance(exc, RightsMissingError):
            log_missing_rights(exc)
        if is_fatal(exc) or self._is_refused_for_long(exc):
            log.critical("gave_up", error=describe(exc))
            return True
        fruitful = member.published or lived_s >= _LONG_LIFE_S or isinstance(exc, _UNREACHABLE)
        self._barren = 0 if fruitful else self._barren + 1
        log.error("life_ended", error=describe(exc), barren_lives=self._barren)
        if self._barren >= _BARREN_LIVES_MAX and not self._budget.has_senior:
            log.critical("gave_up", error=describe(exc), barren_lives=self._barren)
            return True
        return False

    def _is_refused_for_long(self, exc: Exception) -> bool:
        if not isinstance(exc, AuthenticationError):
            self._refused_since = None
            return False
        now = asyncio.get_running_loop().time()
        self._refused_since = self._refused_since if self._refused_since is not None else now
        return now - self._refused_since > _REFUSED_S_MAX

    async def _stand_by(self, term: asyncio.Event) -> None:
        """Wait while another process has our instance id: both would only fence each other, so the one that started later waits."""
        hint = "another process uses this VP_KAFKA__INSTANCE_ID; give each replica its own. This one works once the other is gone"
        log.critical("instance_id_taken", instance=self._instance, hint=hint)
        self._status.enter(Phase.STANDING_BY, hint)
        while self._budget.has_senior and not term.is_set():
            await pause(term, _LOOK_S)
        log.info("instance_id_free", instance=self._instance)
        self._barren = 0

    async def _live(self, term: asyncio.Event, member: GroupMember) -> None:
        watch = asyncio.get_running_loop().create_task(self._end_life(term, member), name="end of life")
        try:
            await member.run()
        finally:
            watch.cancel()
            await asyncio.wait({watch})
            if not watch.cancelled():
                watch.result()

    async def _end_life(self, term: asyncio.Event, member: GroupMember) -> None:
        try:
            while not term.is_set() and not self._budget.has_senior:
                await any_of(term, self._budget.namesake_heard)
                self._budget.namesake_heard.clear()
        finally:
            member.stop.set()


def log_missing_rights(error: RightsMissingError) -> None:
    """Log a line for each missing right, and one that says what to do."""
    for right in error.missing:
        log.critical("right_missing", detail=f"{right} is not granted to {error.user}")
    hint = "nothing is called before all of them are granted; `processor acls` prints what each role needs"
    log.critical("rights_missing", count=len(error.missing), hint=hint)


async def pause(term: asyncio.Event, wait_s: float) -> None:
    """Sleep for ``wait_s``, or until ``term``."""
    try:
        async with asyncio.timeout(wait_s):
            await term.wait()
    except TimeoutError:
        return


async def any_of(*events: asyncio.Event) -> None:
    """Wait for the first of some events."""
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
