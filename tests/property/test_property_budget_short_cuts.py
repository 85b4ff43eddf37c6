"""What is left out because nothing would change, or taken in with fewer steps: the budget's state is the same after each record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf
from typing import Any

from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st
from test_property_budget_replay import RULES, histories, in_order

from processor.budget.call_journal import CallJournal
from processor.budget.circuit_breaker import ACCOUNT, CircuitBreaker
from processor.budget.log_records import (
    Asked,
    Begun,
    Claimed,
    Ended,
    Failed,
    LaneDone,
    LogRecord,
    encode,
    parse_entry,
    read_record,
    read_usual_ask,
    read_usual_end,
)
from processor.budget.permits import CallIdentity, HealthSignal
from processor.budget.state import BudgetState
from processor.budget.windows import BURST_PART, ExpiryQueue, Window
from processor.contract.digests import position_digest

REQUESTS = [f"c-{n}" for n in range(12)]  # of ``histories``
names = st.sampled_from([f"c-{n}" for n in range(40)])
asks_and_ends: st.SearchStrategy[LogRecord] = st.one_of(
    st.builds(Asked, names, st.sampled_from((("a",), ("b",), ("a", "b"))), st.just(90.0), st.just("op"), st.integers(1, 2)),
    st.builds(Ended, names, used=st.booleans()),
)
crowds: st.SearchStrategy[list[tuple[float, LogRecord]]] = st.lists(  # so much at once that windows burst, and make up for it
    st.tuples(st.integers(0, 30).map(lambda n: 3.0 * n), asks_and_ends),
    min_size=10,
    max_size=60,
).map(in_order)
DIGESTS = [position_digest(str(n)) for n in range(5)]
identities = st.builds(
    CallIdentity,
    st.sampled_from(DIGESTS),
    st.sampled_from(DIGESTS[:2]),
    st.sampled_from(DIGESTS),
    st.sampled_from(("t[0]", "t[1]")),
    st.integers(0, 3),
    st.sampled_from((0, 0, 0, 1)),
)
scopes = st.sampled_from((("a",), ("a", "b"), ("b", "unknown")))
promises = st.sampled_from((90.0, 90.0, 30.0, 500.0))
usual_asks = st.builds(Asked, names, scopes, promises, st.sampled_from(("op", "other")), identity=identities)
calls: st.SearchStrategy[LogRecord] = st.one_of(
    usual_asks,
    usual_asks,
    st.builds(replace, usual_asks, announced=st.booleans(), probe=st.booleans(), weight=st.integers(1, 2)),
    st.builds(Begun, names),
    st.builds(Ended, names, used=st.booleans(), acted=st.booleans(), health=st.sampled_from(HealthSignal)),
    st.builds(Failed, names),
    st.builds(Claimed, names, identities),
    st.builds(LaneDone, st.just("t[1]"), st.integers(0, 3)),
)
stories = st.lists(st.tuples(st.sampled_from((0.0, 0.0, 0.1, 5.0, 70.0, 200.0)), calls), max_size=60)


class ThoroughJournal(CallJournal):
    """Looks for the ask of each end."""

    def ended(self, ended: Ended, number: int = 0) -> None:  # noqa: ARG002 - whatever it says
        super().ended(ended)


class ThoroughBreaker(CircuitBreaker):
    """Takes in every end."""

    def is_undisturbed_by(self, health: HealthSignal) -> bool:  # noqa: ARG002 - whatever it says
        return False


class ThoroughWindow(Window):
    """Reckons the pace of each ask in full, whatever the window looks like, and looks at each record for what is over."""

    def ask(self, ask_id: str, offset: int, weight: int, promise_s: float, at: float, *, mine: bool) -> None:
        self._expires_at = -inf
        super().ask(ask_id, offset, weight, promise_s, at, mine=mine)

    def end(self, ask_id: str, *, used: bool, at: float) -> int:
        self._expires_at = -inf
        return super().end(ask_id, used=used, at=at)

    def _paced(self, weight: int, at: float) -> tuple[float, float]:
        paced_gap_s, start = self._paced_gap_s(at, self.gap_s), max(at, self._pace_at(at, self.gap_s))
        bursts = start > at and weight <= self.burst_room(at)
        if start > at and not bursts:
            self._waited_at = at
        start = at if bursts else start if start > at else self._behind_since(at)
        self._even = max(start, min(self._even, start + self.window_s * BURST_PART)) + weight * self.gap_s
        if bursts:
            self._burst = max(self._burst, (self._even - start) / self.gap_s)
            return start, 0.0
        self._pace = start + weight * paced_gap_s
        return max(at, start), weight * paced_gap_s


def played(history: list[tuple[float, LogRecord]], *, thorough: bool) -> Iterator[object]:
    """The state after each record."""
    state = BudgetState(RULES, 0.0)
    for name in (ACCOUNT, "op"):
        if thorough:
            state.breaker(name).__class__ = ThoroughBreaker
    state.journal.__class__ = ThoroughJournal if thorough else CallJournal
    for window in state.windows.values():
        if thorough:
            window.__class__ = ThoroughWindow
    for offset, (at, record) in enumerate(history):
        state.apply(record, offset, at, int(1000 * at))
        windows = {
            scope: (w.weight, w.open_weight, w.limit, {name: repr(hold) for name, hold in w.live.items()}, w.gap_after_burst_s(at))
            for scope, w in state.windows.items()
        }
        calls = {request: state.journal.memory.of(request) for request in REQUESTS}
        yield windows, {name: repr(vars(state.breaker(name))) for name in (ACCOUNT, "op")}, calls, state.asked_at, state.overrun.counts


@settings(max_examples=full(100), deadline=None, derandomize=True)
@given(history=st.one_of(histories, crowds))
def test_what_would_change_nothing_may_be_left_out(history: list[tuple[float, LogRecord]]) -> None:
    assert list(played(history, thorough=False)) == list(played(history, thorough=True))


SMALL = replace(RULES, memory_calls=12, memory_s=300.0)


def told(state: BudgetState, now: float) -> list[Any]:
    """All that matters of a state, and of what it answers."""
    identities = [
        CallIdentity(request, DIGESTS[0], first, lane, 1) for request in DIGESTS for first in DIGESTS[:2] for lane in ("t[0]", "t[1]")
    ]
    journal, parts = state.journal, vars(state)
    queues = [vars(queue) for w in state.windows.values() for queue in vars(w).values() if isinstance(queue, ExpiryQueue)]
    return [
        repr({scope: {k: v for k, v in vars(w).items() if not isinstance(v, ExpiryQueue)} for scope, w in state.windows.items()}),
        repr(queues),
        repr({name: vars(breaker) for name, breaker in state.breakers.items()}),
        repr([parts[name] for name in ("_open", "_open_until", "_open_names", "asked_at")]),
        repr([state.overrun.counts, vars(state.overrun)["_answers"]]),
        [journal.memory.of(request) for request in DIGESTS],
        [(name, journal.memory.get(name)) for name in (f"c-{n}" for n in range(40))],
        [list(journal.memory.of_lane(lane, 0, lambda _: True)) for lane in ("t[0]", "t[1]")],
        [list(replayed.index.calls()) for replayed in journal.replayed_calls.values()],
        (len(journal), journal.floor, journal.memory.reach_s(now), journal.memory.cut_at),
        [journal.prior_calls(identity, 10**9) for identity in identities],
    ]


@settings(max_examples=full(60), deadline=None, derandomize=True)
@given(story=stories, before=stories, counts_from=st.sampled_from((-inf, 200.0, inf)))
def test_an_ask_that_is_taken_in_as_usual_leaves_what_it_would_have_left_as_a_record(
    story: list[tuple[float, LogRecord]], before: list[tuple[float, LogRecord]], counts_from: float
) -> None:
    plain, quick = BudgetState(SMALL, 0.0), BudgetState(SMALL, 0.0)
    now = 0.0
    plain.counts_from = quick.counts_from = counts_from
    for place, (step_s, record) in enumerate(before + story):
        now += step_s
        if place == len(before):  # a lane comes over, whose calls were remembered until then
            for state in (plain, quick):
                state.journal.replay("t[0]", 0, lambda _: True)
        [raw] = parse_entry(encode(record))
        read, stamp_ms = read_record(raw), int(1000 * now)
        assert read is not None
        plain.apply(read, place, now, stamp_ms)
        usual = read_usual_ask(raw) if raw["t"] == "ask" else None
        end = read_usual_end(raw) if raw["t"] == "end" else None
        quickly = usual is not None and quick.apply_usual(usual, place, now, stamp_ms)
        if not quickly and not (end is not None and quick.apply_answered(end[0], now, stamp_ms, acted=end[1])):
            quick.apply(read, place, now, stamp_ms)
        assert told(quick, now) == told(plain, now)


ASK = Asked("0123456789-7", ("a", "b"), 90.0, "op", identity=CallIdentity(DIGESTS[0], DIGESTS[1], DIGESTS[2], "t[0]", 7))
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 2**63), st.floats(0, 1e6), st.sampled_from(("", "x", "x" * 20, "ä" * 20, "\0" * 20))
)
values = st.one_of(leaves, st.lists(leaves, max_size=6), st.dictionaries(st.sampled_from("im"), leaves, max_size=2))


@settings(max_examples=full(300), deadline=None, derandomize=True)
@given(name=st.sampled_from(("i", "s", "h", "e", "m", "n", "b", "p", "z")), at=st.integers(0, 5), value=values)
def test_what_is_read_as_a_usual_ask_is_that_very_record(name: str, at: int, value: Any) -> None:
    [raw] = parse_entry(encode(ASK))
    assert read_usual_ask(raw) is not None
    if name == "m" and not isinstance(value, list):
        raw["m"][at] = value
    else:
        raw[name] = value
    if (usual := read_usual_ask(raw)) is None:
        return
    ask_id, ask_scopes, promise_s, endpoint, request, lane, offset, replay, packed = usual
    texts = packed.decode()
    identity = CallIdentity(request, texts[20:40], texts[40:60], lane, offset, replay)
    assert texts[:20] == request
    assert texts[60:] == ask_id
    assert read_record(raw) == Asked(ask_id, ask_scopes, promise_s, endpoint, identity=identity)


@settings(max_examples=full(300), deadline=None, derandomize=True)
@given(name=st.sampled_from(("i", "u", "a", "x", "r", "z")), value=st.one_of(values, st.sampled_from(("good", "denied", 1, 1.0))))
def test_what_is_read_as_a_usual_end_is_that_very_record(name: str, value: Any) -> None:
    [raw] = parse_entry(encode(Ended("0123456789-7", used=True, acted=True, health=HealthSignal.GOOD)))
    assert read_usual_end(raw) == ("0123456789-7", True)
    raw[name] = value
    if (usual := read_usual_end(raw)) is not None:
        assert read_record(raw) == Ended(usual[0], used=True, acted=usual[1], health=HealthSignal.GOOD)
