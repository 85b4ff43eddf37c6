"""What the page needs of the rest. Whoever builds the page gives it one ``Operations``; times are epoch ms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from processor.contract.pauses import PauseKind
from processor.monitoring.history import BacklogSample, Sample
from processor.monitoring.latency import CallLatency
from processor.monitoring.model import Overview
from processor.repair.delayed import DelayedSelection
from processor.repair.model import DeadLetter, DelayedRecord, Plan, RepairSummary, RequestHistory, Selection
from processor.repair.recent_result import RecentResult

LETTERS_A_PAGE = RESULTS_A_PAGE = WAITING_A_PAGE = 50
_Row = TypeVar("_Row")


def page_of(rows: Sequence[_Row], page: int, rows_a_page: int) -> tuple[tuple[_Row, ...], int, int]:
    """The rows of one page; its number, from 1, the last one if a later one was asked for; and how many there are, at least 1."""
    pages = max(1, -(-len(rows) // rows_a_page))
    page = min(max(1, page), pages)
    return tuple(rows[(page - 1) * rows_a_page : page * rows_a_page]), page, pages


class UnavailableError(Exception):
    """Kafka cannot be asked now. The text is ours and is shown: who does not answer or allow it, and what to do; no personal data."""


class RefusedError(Exception):
    """An act is not possible as asked. The text is ours and is shown: what was wrong and what to do."""


@dataclass(frozen=True, slots=True)
class ListedDeadLetters:
    """One page of the open dead letters that a selection names, the newest first."""

    dead_letters: tuple[DeadLetter, ...]  # at most LETTERS_A_PAGE
    page: int  # from 1; the last one if a later one was asked for
    pages: int  # at least 1
    total: int  # that the selection names
    reasons: tuple[str, ...] = ()  # reason types and codes of all open ones: what the filter offers
    operations: tuple[str, ...] = ()  # and their operations
    complete: bool = True  # false: there are more than were read


@dataclass(frozen=True, slots=True)
class ListedWaiting:
    """One page of the records that wait, by their due time."""

    records: tuple[DelayedRecord, ...]  # at most WAITING_A_PAGE
    page: int  # from 1; the last one if a later one was asked for
    pages: int  # at least 1
    total: int  # that the filter names
    reasons: tuple[str, ...] = ()  # of all that wait: what the filter offers
    complete: bool = True  # false: there are more than were read


@dataclass(frozen=True, slots=True)
class FoundResults:
    """The newest final results."""

    results: tuple[RecentResult, ...]  # the newest first
    complete: bool = True  # false: the topic holds older ones


class Operations(Protocol):
    """Everything the page reads and does.

    Reads raise ``UnavailableError`` while Kafka cannot be asked. The page gives up waiting after its own deadline and cancels the call.
    """

    async def overview(self) -> Overview:
        """Everything as it is now. The page asks at most once in two seconds, never twice at a time."""

    def history(self) -> Mapping[str, Sequence[Sample]]:
        """The last 15 minutes by scope, one sample in two seconds, oldest first; empty for a scope that is not known."""

    def backlog_history(self) -> Sequence[BacklogSample]:
        """The last hour as this replica has seen it, the oldest first."""

    def call_latencies(self) -> Mapping[str, CallLatency]:
        """How long the calls of this replica took in the last 15 minutes, by operation."""

    async def recent_results(self) -> FoundResults:
        """The newest final results. The page asks at most once in two seconds, never twice at a time."""

    async def dead_letters(self, selection: Selection, *, page: int) -> ListedDeadLetters:
        """Open dead letters. ``page`` counts from 1; ``in_doubt`` and ``replays_max`` of the selection do not narrow here."""

    async def plan(self, selection: Selection) -> Plan:
        """What ``redrive`` would do; changes nothing. ``count_max`` counts those that are chosen, not those that are left out."""

    async def redrive(self, selection: Selection, by: str) -> RepairSummary:
        """Publish each of the selected open dead letters again, to a delay topic, so that it starts as the budget allows; once.

        The page asks for one act at a time. It cancels the call after five minutes, and when the process stops.

        Raises:
            RefusedError: if it is not possible as asked.
        """

    async def discard(self, selection: Selection, by: str, note: str) -> RepairSummary:
        """Mark the selected open dead letters as dealt with; their bytes stay where they are.

        ``in_doubt`` and ``replays_max`` of the selection do not narrow here.

        Raises:
            RefusedError: if it is not possible as asked.
        """

    def pausable(self) -> Sequence[str]:
        """Names of the operations that can be paused, sorted."""

    async def change_pause(self, kind: PauseKind, operation: str | None, by: str, reason: str) -> RepairSummary:
        """Pause an operation, or with None every call; or let it go on. Returns when it is written; replicas obey within seconds.

        Raises:
            RefusedError: if it is not possible as asked.
        """

    async def waiting(self, *, reason: str | None = None, page: int = 1) -> ListedWaiting:
        """Records of the delay topics by due time; of those with this reason only, where one is given. ``""`` is "without one"."""

    async def waiting_named(self, wanted: DelayedSelection, *, end: bool) -> Sequence[DelayedRecord]:
        """Those that ``release`` would take, by due time: with ``end`` also those that wait because the account is held."""

    async def release(self, wanted: DelayedSelection, by: str, *, end: bool) -> RepairSummary:
        """Start waiting requests now, or ``end`` them: each gets its final result, and a dead letter, without another call.

        What does not wait any more is left as it is. The page asks for one act at a time.

        Raises:
            RefusedError: if it is not possible as asked.
        """

    async def request_history(self, request_id: str) -> RequestHistory:
        """What is known of one request; without steps if nothing is."""
