"""What one replica concludes from the log: windows, pauses, effective limits, breakers, who is there."""

from __future__ import annotations

import dataclasses
import itertools

import orjson
import pytest

from processor.budget.alerts import AlertTracker
from processor.budget.log_records import Alive, Asked, Begun, Ended, Failed, LogRecord, Paused, decode_entry, encode
from processor.budget.permits import CallIdentity, HealthSignal
from processor.budget.state import BudgetState, Rules
from processor.budget.view import budget_view
from processor.contract.codes import ErrorCode

RULES = Rules({"a": (4, 60.0), "b": (2, 30.0)}, 30.0, 60.0, 30.0, 0.1, 10.0, 3600.0, 600.0, 3, 15.0, 30.0)
PROMISE_S = 90.0


class Scene:
    """Applies records one after the other, at the times that a test names."""

    def __init__(self, rules: Rules = RULES, spread: float = 0.0) -> None:
        self.state = BudgetState(rules, spread)
        self.offset = -1

    def apply(self, record: LogRecord, at: float, *, mine: bool = False) -> bool:
        self.offset += 1
        return self.state.apply(record, self.offset, at, int(at * 1000), mine=mine)

    def ask(
        self, name: str, at: float, *, scopes: tuple[str, ...] = ("a",), mine: bool = False, weight: int = 1, probe: bool = False
    ) -> Asked:
        asked = Asked(name, scopes, PROMISE_S, "op", weight, probe=probe)
        self.apply(asked, at, mine=mine)
        return asked

    def may_start(self, asked: Asked, now: float) -> bool:
        return self.state.start_at(asked, now) <= now

    def fill(self, count: int, at: float, scope: str = "a") -> None:
        for n in range(count):
            self.ask(f"other-{scope}-{self.offset}-{n}", at, scopes=(scope,))


def test_an_ask_starts_when_less_than_the_limit_is_live_before_it() -> None:
    scene = Scene()
    scene.fill(3, 0.0)
    mine, late = scene.ask("m", 20.0, mine=True), scene.ask("n", 20.0, mine=True)
    assert scene.may_start(mine, 100.0)
    assert not scene.may_start(late, 100.0)
    first_over_s = PROMISE_S + 60.1
    assert scene.state.start_at(late, 100.0) == pytest.approx(first_over_s)
    assert scene.may_start(late, first_over_s)


def test_an_end_frees_its_weight_a_window_later_or_at_once_if_nothing_was_sent() -> None:
    for used, free_at in ((True, 70.1), (False, 10.0)):
        scene = Scene()
        scene.fill(4, 0.0)
        mine = scene.ask("m", 0.0, mine=True)
        scene.apply(Ended("other-a--1-0", used=used), 10.0)
        assert not scene.may_start(mine, free_at - 1)
        assert scene.may_start(mine, max(free_at, 60.0)), used


def test_no_record_holds_weight_for_ever() -> None:
    scene = Scene(dataclasses.replace(RULES, limits={"a": (1, 60.0)}))
    scene.apply(Asked("foreign", ("a",), 31_536_000.0, "op"), 0.0)
    mine = scene.ask("m", 200.0, mine=True)
    assert not scene.may_start(mine, 2 * PROMISE_S)
    assert scene.may_start(mine, 2 * PROMISE_S + 60.2)


def test_only_the_first_end_counts_and_unknown_ones_are_passed_over() -> None:
    scene = Scene()
    scene.fill(4, 0.0)
    mine = scene.ask("m", 0.0, mine=True)
    scene.apply(Ended("other-a--1-0", used=True), 10.0)
    scene.apply(Ended("other-a--1-0", used=False), 11.0)
    scene.apply(Ended("never-seen", used=False), 11.0)
    assert not scene.may_start(mine, 65.0)
    assert scene.may_start(mine, 70.2)


def test_a_failure_of_unknown_fate_keeps_the_weight() -> None:
    scene = Scene()
    scene.fill(4, 0.0)
    mine = scene.ask("m", 0.0, mine=True)
    scene.apply(Failed("other-a--1-0"), 10.0)
    assert not scene.may_start(mine, 140.0)


def test_a_repeated_ask_is_one_ask() -> None:
    scene = Scene()
    assert scene.apply(Asked("x", ("a",), PROMISE_S, "op"), 0.0)
    assert not scene.apply(Asked("x", ("a",), PROMISE_S, "op"), 1.0)
    assert scene.state.windows["a"].weight == 1


def test_what_ends_behind_an_ask_changes_nothing_before_it() -> None:
    scene = Scene()
    scene.fill(4, 0.0)
    mine = scene.ask("m", 0.0, mine=True)
    behind = scene.ask("behind", 0.0)
    scene.apply(Ended(behind.id, used=False), 1.0)
    assert not scene.may_start(mine, 70.0)
    assert scene.state.windows["a"].own["m"].ahead == 4


def test_several_scopes_are_asked_for_at_one_offset_and_all_must_allow_it() -> None:
    scene = Scene()
    scene.fill(2, 0.0, "b")
    both, only_a = scene.ask("both", 20.0, scopes=("a", "b"), mine=True), scene.ask("only-a", 20.0, mine=True)
    assert not scene.may_start(both, 60.0)
    assert scene.may_start(only_a, 60.0), "nobody waits for a scope that it does not need"
    assert scene.may_start(both, PROMISE_S + 30.2)


def test_a_call_weighs_for_a_window_and_the_drift_of_two_clocks_after_its_end() -> None:
    scene = Scene()
    scene.fill(4, 0.0)
    mine = scene.ask("m", 0.0, mine=True)
    scene.apply(Ended("other-a--1-0", used=True), 10.0)
    assert scene.state.start_at(mine, 69.0) == pytest.approx(10.0 + 60.0 + RULES.slack_s)


def test_a_record_that_comes_again_after_its_end_weighs_once() -> None:
    scene = Scene()
    scene.ask("x", 0.0)
    scene.apply(Ended("x", used=True), 1.0)
    assert not scene.apply(Asked("x", ("a",), PROMISE_S, "op"), 2.0)
    assert scene.state.windows["a"].weight == 1


def test_a_promise_is_the_wait_the_timeout_and_the_margin_and_never_longer_than_the_longest() -> None:
    assert RULES.promise_of(20.0) == RULES.wait_s + 20.0 + RULES.margin_s
    assert RULES.promise_of(1e6) == RULES.promise_s


def test_weights_count_as_they_say() -> None:
    scene = Scene()
    scene.fill(2, 0.0)
    heavy, light = scene.ask("heavy", 20.0, mine=True, weight=3), scene.ask("light", 20.0, mine=True)
    assert not scene.may_start(heavy, 80.0)
    assert not scene.may_start(light, 80.0), "a heavy ask is not starved by light ones behind it"
    assert scene.may_start(heavy, PROMISE_S + 60.2)


def starts(scene: Scene, count: int, at: float) -> list[float]:
    return [round(scene.state.start_at(scene.ask(f"m{at}-{n}", at, mine=True), at), 3) for n in range(count)]


def test_half_of_an_idle_window_leaves_at_once_and_the_rest_is_spread_over_all_of_it() -> None:
    scene = Scene(dataclasses.replace(RULES, limits={"a": (100, 60.0)}))
    begun = starts(scene, 100, 0.0)
    assert begun[:50] == [0.0] * 50
    gaps = [later - earlier for earlier, later in itertools.pairwise(begun[50:])]
    assert min(gaps) == pytest.approx(max(gaps), abs=0.01), "evenly"
    assert 58 < begun[-1] <= 60, "so that no later ask meets a hole before the burst is over"


def test_a_window_that_is_half_full_spreads_its_starts() -> None:
    scene = Scene(dataclasses.replace(RULES, limits={"a": (100, 60.0)}))
    scene.fill(50, 0.0)
    assert starts(scene, 3, 65.0) == [65.0, 65.6, 66.2]


def test_the_window_after_a_burst_is_smooth_at_the_full_rate() -> None:
    scene = Scene(dataclasses.replace(RULES, limits={"a": (100, 60.0)}))
    for n, at in enumerate(starts(scene, 100, 0.0)):  # each takes no time
        scene.apply(Ended(f"m0.0-{n}", used=True), at)
    begun = starts(scene, 50, 60.2)
    assert begun == pytest.approx([60.2 + 0.6 * n for n in range(50)], abs=0.01)


def call_ready(scene: Scene, waiting: dict[str, Asked], now: float) -> list[str]:
    """Start those that wait and may, and have them answered at once."""
    ready = [name for name, asked in waiting.items() if scene.state.start_at(asked, now) <= now]
    for name in ready:
        scene.state.forget(waiting.pop(name))
        scene.apply(Ended(name, used=True), now)
    return ready


@pytest.mark.parametrize("together", [1, 2, 3])
@pytest.mark.parametrize("gap_s", [0.7, 1.0, 1.3, 3.0])
def test_after_a_time_of_few_calls_a_backlog_is_called_at_the_full_rate(gap_s: float, together: int) -> None:
    """Some leave in a burst, now and then: what is to be made up for must not add up."""
    scene = Scene(dataclasses.replace(RULES, limits={"a": (100, 60.0)}))
    begun: list[float] = []
    waiting: dict[str, Asked] = {}
    numbers = itertools.count()
    for tick in range(4200):
        now = tick / 10
        wanted = 5 - len(waiting) if now >= 180 else together if tick % round(10 * gap_s * together) == 0 else 0
        waiting |= {name: scene.ask(name, now, mine=True) for name in (f"m{next(numbers)}" for _ in range(wanted))}
        begun += [now] * len(call_ready(scene, waiting, now))
    for first in (180, 240, 300, 360):
        assert sum(first <= at < first + 60 for at in begun) >= 96, first


@pytest.mark.parametrize("ahead", [1, 2, 8, 20])
def test_a_backlog_loses_nothing_after_its_burst_and_bursts_once(ahead: int) -> None:
    """However many asks the replicas keep ahead: those that wait at the end of the window were given places of the next one."""
    scene = Scene(dataclasses.replace(RULES, limits={"a": (100, 60.0)}))
    begun: list[float] = []
    waiting: dict[str, Asked] = {}
    numbers = itertools.count()
    for tick in range(2500):
        now = tick / 10
        while True:
            waiting |= {name: scene.ask(name, now, mine=True) for name in (f"m{next(numbers)}" for _ in range(ahead - len(waiting)))}
            ready = call_ready(scene, waiting, now)
            begun += [now] * len(ready)
            if not ready:
                break
    assert begun[49] == 0.0 < begun[50]
    for first in (0, 60, 120, 180):
        assert sum(first <= at < first + 60 for at in begun) >= 98, first
    if ahead > 1:  # who has one ask at a time is never seen to wait
        assert max(sum(first <= at < first + 6 for at in begun) for first in range(60, 240, 6)) <= 15


def calls_of_a_backlog(scene: Scene, until_s: float, *, stands_still: tuple[float, float]) -> list[float]:
    """When they begin, if one is asked for ahead, and nobody can ask for a time."""
    begun: list[float] = []
    waiting: dict[str, Asked] = {}
    numbers = itertools.count()
    for tick in range(round(10 * until_s)):
        now = tick / 10
        while not stands_still[0] <= now < stands_still[1]:
            waiting |= {name: scene.ask(name, now, mine=True) for name in (f"m{next(numbers)}" for _ in range(1 - len(waiting)))}
            ready = call_ready(scene, waiting, now)
            begun += [now] * len(ready)
            if not ready:
                break
    return begun


@pytest.mark.parametrize("began", [90.0, 133.0])
def test_a_backlog_loses_nothing_by_a_short_standstill(began: float) -> None:
    scene = Scene(dataclasses.replace(RULES, limits={"a": (100, 60.0)}))
    begun = calls_of_a_backlog(scene, 240, stands_still=(began, began + 2.9))
    for first in (60, 120, 180):
        assert sum(first <= at < first + 60 for at in begun) >= 98, first


def test_a_long_standstill_is_not_made_up_for_in_one_burst() -> None:
    scene = Scene(dataclasses.replace(RULES, limits={"a": (100, 60.0)}))
    begun = calls_of_a_backlog(scene, 240, stands_still=(133.0, 153.0))
    assert 5 <= sum(153 <= at < 154 for at in begun) <= 1 + 5 + 2, "one that was asked for ahead, a twentieth of the limit, and the pace"


def test_nothing_is_caught_up_with_while_somebody_else_was_seen_to_use_the_key() -> None:
    scene = Scene(dataclasses.replace(RULES, limits={"a": (100, 60.0)}))
    scene.fill(60, 0.0)
    scene.apply(Paused("a", 1.0), 0.0)
    assert starts(scene, 2, 20.0) == [20.0, 21.2]


def test_nothing_leaves_ahead_of_the_pace_while_somebody_else_was_seen_to_use_the_key() -> None:
    scene = Scene(dataclasses.replace(RULES, limits={"a": (100, 60.0)}))
    scene.apply(Paused("a", 5.0), 0.0)
    assert starts(scene, 2, 64.0) == [64.0, 64.6]
    assert scene.state.windows["a"].may_burst(1, 65.0), "a window without a 429 is over"


def test_a_backlog_read_in_one_gulp_does_not_push_the_pace_away() -> None:
    scene = Scene(dataclasses.replace(RULES, limits={"a": (100, 60.0)}))
    for n in range(100):
        scene.ask(f"x{n}", 5.0)
        scene.apply(Ended(f"x{n}", used=True), 5.0)
    mine = scene.ask("m", 5.0, mine=True)
    assert scene.state.start_at(mine, 5.0) <= 5.0 + 60.1


def test_an_own_ask_that_has_expired_never_starts() -> None:
    scene = Scene()
    mine = scene.ask("m", 0.0, mine=True)
    assert scene.state.start_at(mine, PROMISE_S + 61.0) == float("inf")


def test_a_pause_is_a_floor_for_all_and_those_who_wait_resume_one_by_one() -> None:
    scene = Scene()
    asks = [scene.ask(f"m{n}", 0.0, mine=True) for n in range(2)]
    scene.apply(Paused("a", 50.0), 1.0)
    scene.apply(Paused("a", 5.0), 2.0)
    late = scene.ask("m9", 3.0, mine=True)
    assert [round(scene.state.start_at(a, 3.0), 3) for a in (*asks, late)] == [51.0, 66.0, 81.0]
    assert scene.state.paused_for_s(("a", "b"), 3.0) == pytest.approx(48.0)
    assert scene.state.paused_for_s(("b",), 3.0) == 0.0


def test_an_own_pause_holds_before_the_log_says_it() -> None:
    scene = Scene()
    mine = scene.ask("m", 0.0, mine=True)
    scene.state.windows["a"].hold_back(20.0, 1.0)
    scene.state.windows["a"].hold_back(5.0, 2.0)
    assert scene.state.start_at(mine, 2.0) == 21.0


def test_a_pause_that_is_said_again_lowers_no_limit() -> None:
    scene = Scene()
    for at in (0.0, 100.0, 200.0):
        scene.apply(Paused("a", 1.0, counts=False), at)
    assert (scene.state.windows["a"].limit, scene.state.windows["a"].throttled_lately(200.0)) == (4, 0)


def test_replicas_do_not_come_back_from_a_pause_in_one_moment() -> None:
    ends = set()
    for spread in (0.0, 0.5, 0.9):
        scene = Scene(spread=spread)
        scene.apply(Paused("a", 5.0), 0.0)
        ends.add(round(scene.state.paused_for_s(("a",), 0.0), 3))
    assert ends == {5.0, 5.5, 5.9}


def test_no_record_stops_a_scope_for_ever_and_an_unknown_scope_is_passed_over() -> None:
    scene = Scene()
    scene.apply(Paused("a", 10_000_000.0), 0.0)
    scene.apply(Paused("zzz", 10.0), 0.0)
    scene.ask("x", 0.0, scopes=("zzz",))
    assert scene.state.paused_for_s(("a",), 0.0) == 600.0


def test_three_429s_in_ten_minutes_lower_the_limit_and_quiet_windows_raise_it() -> None:
    scene = Scene(dataclasses.replace(RULES, limits={"a": (100, 60.0)}))
    window = scene.state.windows["a"]
    scene.apply(Paused("a", 1.0), 0.0)
    scene.apply(Paused("a", 1.0), 0.5)  # on its way when the first pause began: the same incident
    scene.apply(Paused("a", 1.0, counts=False), 100.0)
    scene.apply(Paused("a", 1.0), 200.0)
    assert window.limit == 100
    scene.apply(Paused("a", 1.0), 599.0)
    assert window.limit == 90
    window.expire(599.0 + 60)
    assert window.limit == 91
    window.expire(599.0 + 600)
    assert window.limit == 100


def test_a_limit_that_a_429_names_is_obeyed_at_once_and_raised_after_an_hour() -> None:
    scene = Scene(dataclasses.replace(RULES, limits={"a": (600, 60.0)}))
    window = scene.state.windows["a"]
    scene.apply(Paused("a", 1.0, limit=700), 0.0)
    assert window.limit == 600, "more than is configured is not for us to take"
    scene.apply(Paused("a", 1.0, limit=100), 100.0)
    assert window.limit == 100
    assert window.throttled_lately(100.0) == 1, "the limit was wrong: nobody else has to use the key"
    scene.apply(Paused("a", 1.0), 3000.0)
    window.expire(3700.0)
    assert window.limit == 100
    window.expire(3700.0 + 60)
    assert window.limit == 106


def test_429s_far_apart_lower_nothing() -> None:
    scene = Scene()
    for at in (0.0, 400.0, 800.0, 1200.0):
        scene.apply(Paused("a", 1.0), at)
    assert scene.state.windows["a"].limit == 4


def test_a_lowered_limit_holds_asks_back() -> None:
    scene = Scene()
    for at in (0.0, 10.0, 20.0):
        scene.apply(Paused("a", 1.0), at)
    scene.fill(3, 30.0)
    mine = scene.ask("m", 30.0, mine=True)
    assert scene.state.windows["a"].limit == 3
    assert not scene.may_start(mine, 80.0)


def test_the_lowest_limit_that_a_living_replica_obeys_governs() -> None:
    scene = Scene()
    window = scene.state.windows["a"]

    def alive(client: str, limit: int) -> Alive:
        return Alive(client, f"pod-{client}", {"a": limit, "zzz": 1})

    scene.apply(alive("old", 2), 0.0)
    assert window.limit == 2, "lowered while we still run with more"
    scene.apply(alive("new", 9), 40.0)
    assert window.limit == 2, "raised only once nobody obeys less"
    scene.apply(alive("new", 9), 50.0)
    assert window.limit == 4, "and never above our own"
    assert [a.instance for a in scene.state.replicas.alive(50.0).values()] == ["pod-new"]


def test_a_replica_tells_the_others_that_its_clock_is_wrong() -> None:
    scene = Scene()
    scene.apply(Alive("c", "pod-1", {}, clock_off_s=90.5), 0.0)
    scene.apply(Alive("d", "pod-2", {}), 0.0)
    assert budget_view(scene.state, {}, 1.0).clocks_off_s == {"pod-1": 90.5}


def test_a_lost_log_holds_everybody_for_a_horizon() -> None:
    scene = Scene()
    scene.apply(Alive("c", "pod", {}, lost=True), 0.0)
    mine = scene.ask("m", 1.0, mine=True)
    assert scene.state.start_at(mine, 1.0) == pytest.approx(RULES.horizon_s)


def fail(scene: Scene, count: int, at: float, health: HealthSignal = HealthSignal.BAD) -> None:
    for n in range(count):
        name = f"f{scene.offset}-{n}"
        scene.ask(name, at)
        scene.apply(Ended(name, used=True, health=health), at)


def test_failures_in_a_row_open_the_breaker_and_a_good_probe_closes_it() -> None:
    scene = Scene(dataclasses.replace(RULES, limits={"a": (100, 60.0)}))
    state = scene.state
    fail(scene, 2, 0.0)
    fail(scene, 1, 0.0, HealthSignal.GOOD)
    fail(scene, 2, 1.0)
    assert state.passable("op", 1.0)
    before = scene.ask("before", 1.5, mine=True)
    fail(scene, 1, 2.0)
    assert not state.passable("op", 2.0)
    assert state.passable("other", 2.0), "each endpoint has its own"
    assert state.is_obsolete(before)
    scene.apply(Ended("before", used=True, health=HealthSignal.GOOD), 2.5)
    assert not state.passable("op", 2.5), "it was asked for before the opening"
    assert state.passable("op", 17.0)
    first, second = (scene.ask(f"probe{n}", 17.0, probe=True) for n in range(2))
    assert not state.is_obsolete(first)
    assert state.is_obsolete(second), "one probe only, the first in the log"
    assert not state.passable("op", 17.0)
    scene.apply(Ended(first.id, used=True, health=HealthSignal.GOOD), 18.0)
    assert state.passable("op", 18.0)
    assert not state.shut("op")


def test_what_changes_between_two_looks_of_the_alerts_is_told_by_the_next() -> None:
    scene, alerts = Scene(), AlertTracker()
    assert alerts.changes(scene.state, 10.0) == []
    fail(scene, 3, 10.0)
    assert alerts.changes(scene.state, 10.0 + 0.09) == [], "a moment ago"
    assert [told.event for told in alerts.changes(scene.state, 10.0 + 0.11)] == ["breaker_opened"]
    assert alerts.changes(scene.state, 10.0 + 0.3) == []


def test_a_window_that_differs_is_told_once_and_forgotten_with_its_replica() -> None:
    scene, alerts = Scene(), AlertTracker()
    told = []
    for at, pod in ((0.0, "x"), (20.0, "x"), (21.0, "y"), (22.0, "x"), (100.0, "y"), (101.0, "x")):
        scene.apply(Alive(pod, f"pod-{pod}", {}, {"a": 3600.0}), at)
        told += [(at, event.fields["instance"]) for event in alerts.changes(scene.state, at)]
    assert told == [(0.0, "pod-x"), (21.0, "pod-y"), (101.0, "pod-x")], "once, until a look has found it gone"


def test_a_failed_probe_doubles_the_wait_up_to_four_times() -> None:
    scene = Scene(dataclasses.replace(RULES, limits={"a": (100, 60.0)}))
    fail(scene, 3, 0.0)
    at = 0.0
    for wait_s in (15.0, 30.0, 60.0, 60.0):
        assert not scene.state.passable("op", at + wait_s - 0.1)
        at += wait_s
        assert scene.state.passable("op", at)
        scene.ask(f"p{at}", at, probe=True)
        scene.apply(Failed(f"p{at}"), at)


def test_a_probe_whose_holder_died_makes_room_for_the_next() -> None:
    scene = Scene(dataclasses.replace(RULES, limits={"a": (100, 60.0)}))
    fail(scene, 3, 0.0)
    scene.ask("p", 20.0, probe=True)
    assert not scene.state.passable("op", 20.0 + PROMISE_S - 1)
    assert scene.state.passable("op", 20.0 + PROMISE_S)


def test_one_account_fault_shuts_every_endpoint() -> None:
    scene = Scene()
    fail(scene, 1, 0.0, HealthSignal.ACCOUNT)
    assert not scene.state.passable("op", 1.0)
    assert not scene.state.passable("other", 1.0)
    assert not scene.state.breaker("op").open, "the endpoint itself works"
    scene.ask("p", 31.0, probe=True)
    scene.apply(Ended("p", used=True, health=HealthSignal.BAD), 32.0)
    assert scene.state.shut("op"), "a 5xx says nothing about the account"
    scene.ask("q", 33.0, probe=True)
    scene.apply(Ended("q", used=True, health=HealthSignal.GOOD), 34.0)
    assert not scene.state.shut("op")


RECORDS: list[LogRecord] = [
    Asked("i-1", ("a", "b"), 90.0, "session.create", 2, probe=True, identity=CallIdentity("r", "c", "f", "t[0]", 2**62, 1)),
    Asked("i-2", ("a",), 90.0, "session.list"),
    Ended("i-1", used=True, acted=True, health=HealthSignal.ACCOUNT),
    Failed("i-1", HealthSignal.BAD),
    Paused("a", 1.5, counts=False),
    Paused("a", 1.5, limit=100),
    Asked("x-2", ("a",), 90.0, "op", identity=CallIdentity("r", "c", "f", "t[0]", 5, 1), announced=True),
    Begun("x-2"),
    Alive("c", "pod", {"a": 600}, {"a": 60.0}, {"session.create": 3}, lost=True),
    Alive("c", "pod", {"a": 600}, {"a": 60.0}, {}, log_name="01234567"),
    Alive("c", "pod", {"a": 600}, {"a": 60.0}, {}, clock_off_s=90.5),
]


@pytest.mark.parametrize("record", RECORDS)
def test_records_survive_the_log(record: LogRecord) -> None:
    assert decode_entry(encode(record)) == [record]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"x",
        b"[]",
        b"1",
        b'{"t":"new"}',
        b'{"t":"ask","i":"x","s":[],"h":1,"e":"e"}',
        b'{"t":"ask","i":"x","s":["a","a"],"h":1,"e":"e"}',
        b'{"t":"ask","i":"x","s":["a"],"h":-1,"e":"e"}',
        b'{"t":"ask","i":"x","s":["a"],"h":1,"e":"e","n":0}',
        b'{"t":"ask","i":"x","s":["a"],"h":1,"e":"e","m":[1]}',
        b'{"t":"ask","i":7,"s":["a"],"h":1,"e":"e"}',
        b'{"t":"end","i":"x","u":1,"a":false,"x":"good"}',
        b'{"t":"end","i":"x","u":true,"a":false,"x":"splendid"}',
        b'{"t":"pause","s":"a","d":1e400,"r":true}',
        b'{"t":"pause","s":"a","d":"1","r":true}',
        b'{"t":"alive","c":"c","n":"n","l":{"a":0},"w":{},"q":{},"z":false}',
        b'{"t":"alive","c":"c","n":"n","l":[],"w":{},"q":{},"z":false}',
    ],
)
def test_what_is_no_record_is_passed_over(value: bytes | None) -> None:
    assert decode_entry(value) == [None]


def test_a_flag_is_no_time_although_it_equals_one_that_was_read_before() -> None:
    value = b'{"t":"ask","i":"x","s":["a"],"h":1,"e":"e"}'
    assert decode_entry(value) == [Asked("x", ("a",), 1.0, "e")]
    assert decode_entry(value.replace(b'"h":1', b'"h":true')) == [None]


WIDE = dataclasses.replace(RULES, limits={"a": (100, 60.0)})


def refuse(scene: Scene, *requests: str, at: float, health: HealthSignal = HealthSignal.FORBIDDEN, probe: bool = False) -> None:
    """One call of each request, refused."""
    for request in requests:
        name = f"f{scene.offset}-{request}"
        scene.apply(Asked(name, ("a",), PROMISE_S, "op", probe=probe, identity=CallIdentity(request, "c", "f", "t[0]", scene.offset)), at)
        scene.apply(Ended(name, used=True, health=health), at)


@pytest.mark.parametrize("health", [HealthSignal.FORBIDDEN, HealthSignal.DENIED])
def test_one_request_with_a_403_of_its_own_holds_nothing_however_often_it_is_tried(health: HealthSignal) -> None:
    scene = Scene(WIDE)
    refuse(scene, *["one"] * 20, at=0.0, health=health)
    assert not scene.state.shut("op")
    assert not scene.state.shut("other")


def test_an_operation_is_held_after_403s_of_different_requests_within_ten_minutes() -> None:
    scene = Scene(WIDE)
    refuse(scene, "a", "b", "c", "d", at=0.0)
    refuse(scene, "e", at=601.0)
    assert not scene.state.shut("op"), "the first four are too long ago"
    refuse(scene, "f", "g", "h", "i", at=602.0)
    assert scene.state.shut("op")
    assert not scene.state.shut("other"), "others go on"
    parked = scene.state.parked("op", ("a",), 60.0, 603.0)
    assert parked is not None
    assert (parked.code, parked.wait_s) == (ErrorCode.OPERATION_HELD, 59.0), "29 s until the probe, and behind it"
    assert scene.state.parked("other", ("a",), 60.0, 603.0) is None


def test_a_success_between_403s_shows_that_they_are_the_requests_own() -> None:
    scene = Scene(WIDE)
    for n in range(20):
        refuse(scene, f"foreign-{n}", at=float(n), health=HealthSignal.DENIED)
        if n % 4 == 3:
            scene.ask(f"good-{n}", float(n))
            scene.apply(Ended(f"good-{n}", used=True, acted=True, health=HealthSignal.GOOD), float(n))
    assert not scene.state.shut("op")


def test_a_held_operation_is_released_by_a_call_that_was_done_and_by_nothing_less() -> None:
    scene = Scene(WIDE)
    refuse(scene, *"abcde", at=0.0)
    refuse(scene, "a", at=30.0, probe=True)
    assert not scene.state.passable("op", 59.0), "as long again"
    scene.ask("unlike", 60.0, probe=True)
    scene.apply(Ended("unlike", used=True, health=HealthSignal.GOOD), 60.0)  # a 400 or 404
    assert scene.state.shut("op"), "who has no right may be told so after that"
    scene.ask("like", 61.0, probe=True)
    scene.apply(Ended("like", used=True, acted=True, health=HealthSignal.GOOD), 61.0)
    assert not scene.state.shut("op")
    refuse(scene, *"abcd", at=62.0)
    assert not scene.state.shut("op"), "counted from new"


def test_a_call_that_cannot_be_paid_holds_its_operation_alone() -> None:
    scene = Scene(WIDE)
    refuse(scene, "a", at=0.0, health=HealthSignal.UNPAID)
    assert scene.state.shut("op")
    assert not scene.state.shut("session.decision"), "reads go on"


def test_403s_that_may_be_the_keys_hold_the_account_once_nothing_else_succeeds() -> None:
    scene = Scene(WIDE)
    refuse(scene, *"abcde", at=0.0, health=HealthSignal.DENIED)
    assert scene.state.shut("other")
    known = Scene(WIDE)
    refuse(known, *"abcde", at=0.0, health=HealthSignal.FORBIDDEN)
    assert not known.state.shut("other"), "these say themselves that the key works"


@pytest.mark.parametrize("health", [HealthSignal.UNPAID, HealthSignal.FORBIDDEN, HealthSignal.DENIED])
def test_an_earlier_version_reads_a_refusal_as_an_end_that_says_nothing(health: HealthSignal) -> None:
    record = Ended("i-1", used=True, health=health)
    assert decode_entry(encode(record)) == [record]
    assert orjson.loads(encode(record))["x"] == "neutral"
