"""Who waits in a delay topic for room in a line: called in when the line gets short, in order, and never to be sent away again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from processor.budget.endpoint_queue import EndpointQueue
from processor.budget.fair_queue import FairQueue
from processor.budget.parked_requests import ParkedRequests, Room
from processor.budget.permits import Ask, CallClass, ParkedWait, Place

PLACES = 20


class Line:
    """A line of 20 places, and the requests that were called in."""

    def __init__(self, room: Room = Room.PLACES) -> None:
        self.room, self.started = room, list[str]()
        self.waiters: FairQueue[Any] = FairQueue()
        self.parked = ParkedRequests(self.waiters, PLACES, lambda: self.room)
        self.waits: dict[str, ParkedWait] = {}

    def park(self, name: str, since_ms: int = 0, call_class: CallClass = CallClass.NORMAL) -> ParkedWait:
        self.waits[name] = self.parked.park(Place("op", ("a",), call_class, since_ms), self._start(name))
        return self.waits[name]

    def _start(self, name: str) -> Callable[[], None]:
        return lambda: self.started.append(name)

    def fill(self, count: int, call_class: CallClass = CallClass.NORMAL) -> None:
        for _ in range(count):
            self.waiters.push(call_class, 0, None)

    def arrive(self) -> None:
        """All who were called in stand in the line."""
        for name in self.started:
            self.waits[name].leave()
            self.waiters.push(self.waits[name].place.call_class, 0, None)
        self.started.clear()


def test_a_line_is_refilled_to_half_of_its_places_with_the_oldest() -> None:
    line = Line()
    line.fill(6)
    for number in range(30):
        line.park(str(number), since_ms=-number)
    line.parked.call_in()
    assert line.started == ["29", "28", "27", "26"], "those who come count, although they are not there yet"
    line.parked.call_in()
    assert len(line.started) == 4
    line.arrive()
    line.parked.call_in()
    assert line.started == []
    line.waiters.pop()
    line.parked.call_in()
    assert line.started == ["25"]
    assert len(line.parked) == 25


def test_whoever_leaves_frees_the_place_that_was_meant_for_it() -> None:
    line = Line()
    line.fill(9)
    first, second, third = (line.park(name, since_ms) for since_ms, name in enumerate("abc"))
    line.parked.call_in()
    assert line.started == ["a"]
    second.leave()
    second.leave()
    assert not second.may_start()
    first.leave()
    first.leave()
    line.parked.call_in()
    assert line.started == ["a", "c"]
    third.leave()
    assert (len(line.parked), line.parked.coming.total()) == (0, 0)


def test_a_flood_of_others_keeps_no_class_out_and_nobody_is_called_in_to_be_sent_away_again() -> None:
    line = Line()
    line.fill(PLACES, CallClass.URGENT)
    for number in range(20):
        line.park(str(number), number)
    line.parked.call_in()
    assert line.started == ["0", "1", "2", "3"], "four of seventeen places are theirs"
    line.arrive()
    assert len(line.waiters) > PLACES
    assert line.waiters.pop_last((CallClass.URGENT, 1)) is None, "the line has too many urgent ones, and none of these"
    line.parked.call_in()
    assert line.started == []


@pytest.mark.parametrize(
    ("room", "in_line", "started", "when_due"),
    [
        (Room.NOBODY, 0, 0, False),
        (Room.ONE, 0, 1, True),
        (Room.ONE, 1, 0, False),
        (Room.PLACES, 9, 1, True),
        (Room.PLACES, 10, 0, False),
        (Room.EVERYBODY, 9, 1, True),
        (Room.EVERYBODY, 500, 0, True),
    ],
)
def test_what_a_line_takes(room: Room, in_line: int, started: int, *, when_due: bool) -> None:
    line = Line(room)
    line.fill(in_line)
    assert line.park("due").may_start() is when_due
    line = Line(room)
    line.fill(in_line)
    for name in "abc":
        line.park(name)
    line.parked.call_in()
    assert len(line.started) == started


def test_one_that_starts_because_it_is_due_takes_a_place_too() -> None:
    line = Line()
    line.fill(9)
    due, _ = line.park("due"), line.park("other")
    assert due.may_start()
    line.parked.call_in()
    assert line.started == [], "whoever asks starts it"
    due.leave()
    line.parked.call_in()
    assert line.started == ["other"]


def test_a_newcomer_goes_behind_those_who_wait_as_long_as_the_line_has_enough() -> None:
    line = Line()
    line.park("waits")
    assert not line.parked.goes_before(CallClass.NORMAL), "the line is short"
    line.fill(10)
    assert line.parked.goes_before(CallClass.NORMAL)
    assert line.parked.goes_before(CallClass.BULK)
    assert not line.parked.goes_before(CallClass.URGENT)
    line.waits["waits"].leave()
    assert not line.parked.goes_before(CallClass.NORMAL)


def test_who_came_back_to_another_replica_is_expected_no_more() -> None:
    """Or the due times that people see would grow for ever."""
    line = EndpointQueue("op", ("a",), [], 1.0, places=2, room=lambda _: Room.PLACES)

    def full() -> None:
        for number in range(2):
            line.waiters.push(CallClass.NORMAL, number, asyncio.Future(loop=loop))

    def sent_away() -> float:
        parked = line.admit(newcomer, 1)
        assert parked is not None
        return parked.wait_s

    newcomer = Ask("op", ("a",), CallClass.NORMAL, 9, None, 30.0)
    with closing(asyncio.new_event_loop()) as loop:
        full()
        assert [sent_away() for _ in range(5)] == [3.0, 4.0, 5.0, 6.0, 7.0]
        line.waiters.clear()
        assert line.admit(newcomer, 1) is None
        full()
        assert sent_away() == 3.0
