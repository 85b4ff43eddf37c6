"""Requests without a final result that wait where somebody can see them. Pure."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from processor.verify.facts import Fact, FactKind, Trait

OLDEST_MAX = 20


class WaitingPlace(StrEnum):
    """Where a request waits."""

    REQUESTS = "requests topic: behind the committed offset or in a gap of its map, in line or at work"
    NOT_DUE = "delay topic: not due yet"
    DUE = "delay topic: due, in line or at work"
    SESSION = "delay topic: waits for the person or for Didit's decision"
    IN_DOUBT = "delay topic: in doubt, an earlier call is looked up first"


class Waiting(NamedTuple):
    """A request, and the record that stands for it."""

    request: Fact
    alive: Fact


@dataclass(slots=True)
class WaitingRequests:
    """All are counted, the oldest ``OLDEST_MAX`` are kept."""

    by_place: Counter[WaitingPlace] = field(default_factory=Counter)
    old: int = 0  # older than the bound
    _oldest: list[tuple[int, int, WaitingPlace, Waiting]] = field(default_factory=list)

    def add(self, place: WaitingPlace, waiting: Waiting, *, old: bool) -> None:
        """Take one in."""
        self.by_place[place] += 1
        self.old += old
        entry = (-waiting.request.stamp_ms, self.by_place.total(), place, waiting)
        if len(self._oldest) < OLDEST_MAX:
            heapq.heappush(self._oldest, entry)
        else:
            heapq.heappushpop(self._oldest, entry)

    @property
    def oldest(self) -> list[tuple[WaitingPlace, Waiting]]:
        """The oldest first."""
        return [(place, waiting) for _, _, place, waiting in sorted(self._oldest, reverse=True)]


def place_of(alive: Fact, now_ms: int) -> WaitingPlace:
    """Where the record that stands for a request is."""
    if alive.kind == FactKind.REQUEST:
        return WaitingPlace.REQUESTS
    if alive.has(Trait.FOLLOWS):
        return WaitingPlace.SESSION
    if alive.has(Trait.DOUBT):
        return WaitingPlace.IN_DOUBT
    return WaitingPlace.NOT_DUE if alive.due_ms > now_ms else WaitingPlace.DUE
