"""What the brokers' stamps say of the time: never later than theirs, whatever this machine's wall clock says; and how wrong that one is."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.stream.broker_clock import BrokerClock, ClockReading

EPOCH_MS = 1_800_000_000_000
DELAYS = st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3), st.floats(0, 20)), min_size=1, max_size=8)


@dataclass
class Machine:
    """A wall clock that is off by ``wrong_s``, a steady one of some origin, and brokers whose clock is ``broker_s`` off the true time."""

    wrong_s: float = 0.0
    origin_s: float = 777.25
    broker_s: float = 0.0
    now_s: float = 0.0
    clock: BrokerClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = BrokerClock(60.0, self.read)

    def read(self) -> ClockReading:
        return ClockReading(int(EPOCH_MS + (self.now_s + self.wrong_s) * 1000), self.now_s + self.origin_s)

    @property
    def broker_ms(self) -> float:
        return EPOCH_MS + (self.now_s + self.broker_s) * 1000

    def append(self, there_s: float = 0.01, back_s: float = 0.01) -> None:
        sent = self.read()
        self.now_s += there_s
        stamp_ms = int(self.broker_ms)
        self.now_s += back_s
        self.clock.note(sent, stamp_ms, self.read())


@given(DELAYS, st.floats(-100_000, 100_000), st.floats(-100_000, 100_000), st.floats(0, 10_000))
def test_the_time_is_never_later_than_the_brokers_and_as_late_as_the_quickest_append(
    delays: list[tuple[float, float, float]], wrong_s: float, broker_s: float, origin_s: float
) -> None:
    machine = Machine(wrong_s, origin_s, broker_s)
    for there_s, back_s, later_s in delays:
        machine.append(there_s, back_s)
        machine.now_s += later_s
    assert machine.clock.now_ms() <= machine.broker_ms + 1
    assert machine.broker_ms - machine.clock.now_ms() <= min(back_s for _, back_s, _ in delays) * 1000 + 3


@given(DELAYS, st.floats(-1000, 1000))
def test_the_error_of_the_wall_clock_is_never_exaggerated(delays: list[tuple[float, float, float]], wrong_s: float) -> None:
    machine = Machine(wrong_s)
    for there_s, back_s, later_s in delays:
        machine.append(there_s, back_s)
        machine.now_s += later_s
    found = machine.clock.skew_s
    assert abs(found) <= abs(wrong_s) + 0.003
    assert found * wrong_s >= 0 or abs(found) < 0.003
    assert abs(found - wrong_s) <= min(there_s + back_s for there_s, back_s, _ in delays) + 0.005


@given(st.floats(-600, 600), st.floats(-600, 600), st.floats(0, 0.5), st.floats(1, 3600))
def test_a_wait_is_whole_although_two_machines_disagree_by_minutes(one_s: float, two_s: float, back_s: float, wait_s: float) -> None:
    """The due time is dated by one replica and compared by another one; it is early by the time of an append at most."""
    writer, reader = Machine(one_s, 5.0), Machine(two_s, 99_000.0)
    writer.append(0.0, back_s)
    reader.append(0.0, 0.0)
    reader.now_s = writer.now_s
    due_ms = writer.clock.now_ms() + wait_s * 1000
    reader.now_s += wait_s - back_s - 0.01
    assert reader.clock.now_ms() < due_ms


def test_before_the_first_stamp_the_wall_clock_counts() -> None:
    machine = Machine(wrong_s=3.0)
    assert machine.clock.now_ms() == EPOCH_MS + 3000
    assert machine.clock.fault == ""


def test_a_wall_clock_that_is_set_moves_nothing_and_is_told_by_the_next_record() -> None:
    machine = Machine()
    machine.append()
    machine.wrong_s = 3600.0
    assert abs(machine.broker_ms - machine.clock.now_ms()) < 15
    machine.append()
    assert machine.clock.skew_s == pytest.approx(3600, abs=0.05)


def test_a_step_between_sending_and_acknowledgement_says_nothing_yet() -> None:
    machine = Machine()
    sent = machine.read()
    machine.now_s, machine.wrong_s = 0.02, -500.0
    machine.clock.note(sent, int(machine.broker_ms), machine.read())
    assert machine.clock.skew_s == 0


def test_brokers_that_set_their_clock_back_are_followed() -> None:
    machine = Machine()
    machine.append()
    machine.broker_s = -40.0
    machine.append()
    assert abs(machine.broker_ms - machine.clock.now_ms()) < 15


@pytest.mark.parametrize(("wrong_s", "side"), [(90.0, "ahead of"), (-90.0, "behind")])
def test_beyond_the_bound_the_clock_is_wrong_until_it_is_set_right(wrong_s: float, side: str) -> None:
    machine = Machine(wrong_s)
    machine.append()
    assert machine.clock.fault.startswith("this machine's clock differs from the brokers' by ")
    assert side in machine.clock.fault
    machine.append(there_s=100.0, back_s=100.0)
    assert machine.clock.fault, "an append that took so long tells nothing"
    machine.wrong_s = 0.0
    machine.append()
    assert machine.clock.fault == ""


def test_within_the_bound_it_is_only_shown() -> None:
    machine = Machine(wrong_s=59.0)
    machine.append()
    assert machine.clock.fault == ""
    assert machine.clock.skew_s == pytest.approx(59, abs=0.05)
