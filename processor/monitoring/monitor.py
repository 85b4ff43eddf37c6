"""Puts an overview together: the budget from its log, the backlog from the brokers, what waits and what is dead from the topics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from processor.budget.view import BudgetView
from processor.contract.pauses import Pauses
from processor.didit.catalog import REQUESTABLE
from processor.monitoring.blocked import Standstill, unreadable
from processor.monitoring.delayed_view import delayed_view, without_markers
from processor.monitoring.drain import Owed, drains, owed_calls
from processor.monitoring.group_inspector import GroupInspector
from processor.monitoring.model import BlockCause, DelayedView, Overview, Survey
from processor.monitoring.replica_views import replica_views
from processor.repair.dead_letter_index import DeadLetterIndex
from processor.repair.delayed_index import DelayedIndex, HeldIndex
from processor.repair.model import DeadLetterCounts, DelayedRecord
from processor.repair.recent_result_index import RecentResultIndex
from processor.settings import Settings
from processor.stream.errors import KafkaFailedError, TopicMissingError
from processor.stream.partitions import TopicPartition
from processor.stream.topics import topic_names

ReadBudget = Callable[[], Awaitable[BudgetView]]
ReadPauses = Callable[[], Awaitable[Pauses]]
COUNTED_MAX = 10_000  # dead letters that a replica counts all the time


@dataclass(frozen=True, slots=True)
class Backlog:
    """What one look has found of the work that is left."""

    survey: Survey
    budget: BudgetView
    owed: Owed
    waiting: DelayedView
    pauses: Pauses


class GroupMonitor:
    """Looks as often as it is asked; what was read once is not read again. To be closed.

    ``patient``: it is asked once, and looks twice where one look cannot tell.
    """

    def __init__(self, settings: Settings, budget: ReadBudget, pauses: ReadPauses, *, now_ms: Callable[[], int], patient: bool) -> None:
        self.waiting, self.dead_letters = DelayedIndex(settings), DeadLetterIndex(settings)
        self.recent_results = RecentResultIndex(settings)
        self._counted = DeadLetterIndex(settings, kept_max=COUNTED_MAX)  # every replica counts; the long list is for who looks at it
        self._held = HeldIndex(settings)
        self._settings, self._budget, self._pauses, self._now_ms = settings, budget, pauses, now_ms
        self._unreadable: Standstill[TopicPartition, int] = Standstill()  # of the delay topics
        self._surveyor = GroupInspector(settings, REQUESTABLE, now_ms=now_ms, patient=patient)

    async def survey(self) -> Survey:
        """What the brokers say.

        Raises:
            KafkaFailedError: if they do not answer.
        """
        return await self._surveyor.survey()

    async def backlog(self) -> Backlog:
        """What is left to do.

        Raises:
            KafkaFailedError: if it cannot be known.
        """
        survey, budget, pauses = await self.survey(), await self._budget(), await self._pauses()
        await self._refresh_waiting(survey)
        survey = replace(survey, blocked=(*survey.blocked, *unreadable(self.waiting.blocks, self._unreadable, time.monotonic())))
        if self.waiting.complete:
            delay_topics = topic_names(self._settings).inputs[1:]
            survey = replace(survey, partitions=without_markers(survey.partitions, self.waiting.records, delay_topics))
        now_ms = self._now_ms()
        held = [breaker.name for breaker in budget.breakers]
        owed = owed_calls(survey.asked_for, self.waiting.records, now_ms, held_operations=held, pauses=pauses)
        return Backlog(survey, budget, owed, delayed_view(self.waiting.records, now_ms, complete=self.waiting.complete), pauses)

    async def overview(self) -> Overview:
        """Everything.

        Raises:
            KafkaFailedError: if it cannot be known.
        """
        found = await self.backlog()
        await self.refresh_dead_letters()
        survey = found.survey
        return Overview(
            survey.at_ms,
            self._settings.kafka.group,
            found.budget,
            survey.partitions,
            replica_views(survey, found.budget),
            drains(found.owed, found.budget),
            found.waiting,
            self.dead_letters.counts,
            survey.group_state,
            survey.blocked,
            found.pauses.in_force,
            found.owed.paused_calls,
            survey.unjudged,
        )

    async def pauses(self) -> Pauses:
        """What operators have paused now.

        Raises:
            KafkaFailedError: if it cannot be known.
        """
        return await self._pauses()

    async def obedience(self, offset: int) -> tuple[int, tuple[str, ...]]:
        """How many members of the group have taken in the record at an offset of the controls topic, and which have not said so.

        Raises:
            KafkaFailedError: if it cannot be known.
        """
        members, budget = await self._surveyor.members(), await self._budget()  # of topics nothing is asked: who pauses may not read them
        told = {name: heard.facts.pauses_to for name, heard in budget.heard.items() if heard.facts is not None}
        late = tuple(name for name in members if told.get(name, 0) <= offset)
        return len(members) - len(late), late

    async def held(self) -> list[DelayedRecord]:
        """Requests that wait in the processors, because the whole account is held; none while the budget cannot be read.

        Raises:
            KafkaFailedError: if they cannot be read.
        """
        try:
            budget = await self._budget()
        except KafkaFailedError:
            return []
        if not budget.is_account_held:
            return []
        await self._held.refresh()
        return list(self._held.records)

    async def _refresh_waiting(self, survey: Survey) -> None:
        try:
            await self.waiting.refresh()
        except TopicMissingError:
            if not any(b.cause is BlockCause.TOPIC_MISSING for b in survey.blocked):
                raise  # else that is told, and what was read before stands

    async def refresh_dead_letters(self) -> None:
        """Read what is new.

        Raises:
            KafkaFailedError: if it cannot be read.
        """
        await self.dead_letters.refresh()

    async def count_dead_letters(self) -> DeadLetterCounts:
        """How the newest ``COUNTED_MAX`` stand: some megabytes, and a second of CPU the first time.

        Raises:
            KafkaFailedError: if they cannot be read.
        """
        await self._counted.refresh()
        return self._counted.counts

    async def close(self) -> None:
        """Let go of the brokers."""
        parts = (self._surveyor, self.waiting, self._held, self.dead_letters, self._counted, self.recent_results)
        await asyncio.gather(*(part.close() for part in parts))
