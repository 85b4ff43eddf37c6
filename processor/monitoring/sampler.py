"""What a replica finds out about the whole set-up beside its work: the backlog for metrics, and the last minutes of the budget."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import structlog

from processor.budget.shared import SharedBudget
from processor.clock import clock_ms
from processor.contract.codes import ErrorType
from processor.monitoring.drain import drains
from processor.monitoring.factories import view_of
from processor.monitoring.history import EVERY_MS, BacklogHistory, BacklogSample, History
from processor.monitoring.latency import LatencyHistory
from processor.monitoring.model import Survey
from processor.monitoring.monitor import Backlog, GroupMonitor
from processor.observe import metrics
from processor.repair.model import DeadLetterCounts
from processor.stream.errors import KafkaFailedError

ALL_PARTITIONS = "all"  # of a topic, as a label
_COUNT_HINT = "work goes on; vp_dead_letters_open and its age are not of now; a page and its alert need Read on that topic (docs/deploy.md)"
_HINT = "work goes on; vp_survey_age_seconds tells how old the figures are"

log = structlog.get_logger(__name__)


class OverviewSampler:
    """Runs until cancelled. A backlog that cannot be read is tried again; any other error is for those who run it."""

    def __init__(self, monitor: GroupMonitor, budget: SharedBudget, every_s: float) -> None:
        self.history, self.backlog_history = History(), BacklogHistory()
        self.latencies = LatencyHistory(metrics.CALL_BOUNDS_S)
        self._open_dead_letters: int | None = None
        self._monitor, self._budget, self._every_s = monitor, budget, every_s
        self._done_at: float | None = None

    async def survey(self) -> None:
        """Look at the backlog again and again."""
        while True:
            try:
                found = await self._monitor.backlog()
            except KafkaFailedError as exc:
                log.warning("survey_failed", detail=str(exc), hint=_HINT)
            else:
                _set_partitions(found.survey)
                self._keep(found)
                for drain in drains(found.owed, found.budget):
                    metrics.BACKLOG.labels(drain.scope).set(drain.calls)
                    metrics.DRAIN.labels(drain.scope).set(drain.drain_s)
                self._done_at = time.monotonic()
            await asyncio.sleep(self._every_s)

    async def count_dead_letters(self) -> None:
        """Count the open dead letters again and again. A processor without the right to read them works all the same."""
        told = False
        while True:
            try:
                counts = await self._monitor.count_dead_letters()
            except KafkaFailedError as exc:
                self._open_dead_letters = None
                if not told:
                    log.warning("dead_letters_unread", detail=str(exc), hint=_COUNT_HINT)
                told = True
            else:
                told = False
                self._open_dead_letters = counts.open
                _set_dead_letters(counts, clock_ms())
            await asyncio.sleep(self._every_s)

    async def sample(self) -> None:
        """Keep the last minutes of the budget."""
        while True:
            if self._budget.is_joined:  # else nothing would seem to be used; it is a gap
                self.history.add(view_of(self._budget), clock_ms())
            await asyncio.sleep(EVERY_MS / 1000)

    def _keep(self, found: Backlog) -> None:
        unfinished = sum(p.unfinished for p in found.survey.partitions)
        self.backlog_history.add(BacklogSample(found.survey.at_ms, unfinished, found.waiting.count, self._open_dead_letters))
        self.latencies.add(found.survey.at_ms, _call_counts())

    def refresh(self) -> None:
        """Set the gauge of the survey's age."""
        metrics.SURVEY_AGE.set(float("inf") if self._done_at is None else time.monotonic() - self._done_at)


def _call_counts() -> dict[str, list[int]]:
    """Calls of this application by operation and bucket since the start."""
    up_to: dict[str, list[int]] = {}
    for sample in metrics.CALL_TIME.samples():
        if sample.name.endswith("_bucket"):
            up_to.setdefault(sample.labels["operation"], []).append(round(sample.value))
    return {name: [count - below for count, below in zip(counts, [0, *counts], strict=False)] for name, counts in up_to.items()}


def _set_dead_letters(counts: DeadLetterCounts, now_ms: int) -> None:
    for reason in ErrorType:
        metrics.DEAD_LETTERS_OPEN.labels(reason).set(counts.by_reason.get(reason, 0))
    metrics.DEAD_LETTERS_OPEN.labels(metrics.OTHER).set(sum(n for reason, n in counts.by_reason.items() if reason not in set(ErrorType)))
    age_ms = 0 if counts.oldest_open_ms is None else max(0, now_ms - counts.oldest_open_ms)
    metrics.DEAD_LETTERS_AGE.set(age_ms / 1000)


def _set_partitions(survey: Survey) -> None:
    lag = Counter[str]()
    for p in survey.partitions:
        lag[p.topic] += p.unfinished
    for topic, count in lag.items():
        metrics.GROUP_LAG.labels(topic).set(count)
    metrics.BLOCKED.clear()  # one that moves again has no value
    for b in survey.blocked:
        partition = ALL_PARTITIONS if b.partition is None else str(b.partition)
        metrics.BLOCKED.labels(b.topic, partition, b.cause).set(b.blocked_s)
        log.error("partition_blocked", partition=b.name, cause=b.cause, offset=b.offset, hidden=b.hidden, blocked_s=round(b.blocked_s))
