"""The compact memory of calls says what a plain list of them would, whatever is noted, ended and forgotten in whatever order."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, replace

import pytest
from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.budget import call_memory
from processor.budget.alerts import AlertTracker
from processor.budget.call_index import CallState, JournaledCall, state_after
from processor.budget.call_memory import ASKED, OPEN, CallMemory
from processor.budget.log_records import Asked, Ended
from processor.budget.permits import CallIdentity
from processor.budget.state import BudgetState, Rules
from processor.contract.digests import position_digest

MEMORY_S, CALLS_MAX = 100.0, 40
DIGESTS = [position_digest(str(n)) for n in range(3)]
texts = st.sampled_from([*DIGESTS, "short", "ä" * 20, "\0" * 20, "x" * 20, "-" * 40])
identities = st.builds(
    CallIdentity,
    texts,
    texts,
    texts,
    st.sampled_from(("t[0]", "t[1]", "long.topic.name[12]")),
    st.integers(0, 2**63 - 1),
    st.integers(0, 9),
)
ask_ids = st.one_of(
    st.builds("{}-{}".format, st.sampled_from(("c", "d", "e-1", "")), st.one_of(st.integers(0, 30), st.just(10**19 - 1), st.just("007"))),
    st.sampled_from(("", "x" * 30, "x", "-", "c-", "c-x", "c-٣", str(10**19), f"c-{2**64 - 1}")),
)
calls = st.builds(
    JournaledCall,
    identity=identities,
    offset=st.just(0),
    at=st.just(0.0),
    stamp_ms=st.integers(0, 2**42),
    promise_s=st.floats(0, 1e6),
    state=st.sampled_from((CallState.ASKED, CallState.OPEN)),
    copy_of=st.sampled_from(("", "", DIGESTS[0])),
)
ends = st.builds(Ended, ask_ids, used=st.booleans(), acted=st.booleans())
steps = st.lists(st.one_of(st.tuples(ask_ids, calls), st.tuples(ends, st.booleans()), st.floats(0, 150)), max_size=150)


def append(memory: CallMemory, ask_id: str, call: JournaledCall) -> int:
    state = ASKED if call.state is CallState.ASKED else OPEN
    return memory.append(ask_id, call.identity, call.offset, call.at, call.stamp_ms, call.promise_s, state, call.copy_of)


@dataclass
class Plain:
    """The same, without a thought of memory."""

    kept: list[tuple[str, JournaledCall]]

    def note(self, ask_id: str, call: JournaledCall) -> None:
        self.kept = [*self.kept, (ask_id, replace(call))][-CALLS_MAX:]

    def end(self, ended: Ended) -> bool:
        call = next((c for ask_id, c in reversed(self.kept) if ask_id == ended.id), None)
        if call is None or call.state not in {CallState.ASKED, CallState.OPEN}:
            return False
        call.state = state_after(ended)
        call.copy_of = "" if ended.used else call.copy_of
        return True


@settings(max_examples=full(100), deadline=None, derandomize=True)
@given(steps=steps)
def test_it_says_what_a_list_of_calls_would(steps: list[tuple[str, JournaledCall] | tuple[Ended, bool] | float]) -> None:
    memory, plain, now, place = CallMemory(MEMORY_S, CALLS_MAX), Plain([]), 0.0, 0
    numbers: dict[str, int] = {}
    for step in steps:
        if isinstance(step, float):
            now += step
        elif isinstance(step[0], Ended):
            ended, by_number = step[0], step[1] and step[0].id in numbers
            assert plain.end(ended) == (memory.end_row(numbers[ended.id], ended) if by_number else memory.end(ended))
        else:
            place += 3
            call = replace(step[1], at=now, offset=place)
            numbers[step[0]] = append(memory, step[0], call)
            assert memory.number(step[0]) == numbers[step[0]]
            plain.note(step[0], call)
        memory.expire(now)
        plain.kept = [item for item in plain.kept if now - item[1].at <= MEMORY_S]
        assert len(memory) == len(plain.kept)
    assert memory.floor <= (plain.kept[0][1].offset if plain.kept else place + 1)
    assert memory.reach_s(now) == (now - plain.kept[0][1].at if plain.kept else 0.0)
    for request in {c.identity.request for _, c in plain.kept} | {"never", DIGESTS[0]}:
        assert memory.of(request) == [c for _, c in plain.kept if c.identity.request == request]
    for ask_id, _ in plain.kept:
        assert memory.get(ask_id) == next(c for known, c in reversed(plain.kept) if known == ask_id)
    for lane in ("t[0]", "t[1]", "nobody's"):
        expected = [(i, c) for i, c in plain.kept if c.identity.lane == lane and c.offset >= place // 2 and c.identity.offset % 2 == 0]
        assert list(memory.of_lane(lane, place // 2, lambda offset: offset % 2 == 0)) == expected[::-1]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a short story has several, and all hashes meet: what happens rarely then happens in every run."""
    monkeypatch.setattr(call_memory, "hash", lambda _: 5, raising=False)
    monkeypatch.setattr(call_memory, "_FIRST_ROWS", 4)
    monkeypatch.setattr(call_memory, "_BLOCK_ROWS", 16)
    monkeypatch.setattr(call_memory, "_PAGE_ROWS", 4)


def test_a_remembered_call_takes_two_hundred_bytes_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    identity = CallIdentity(DIGESTS[0], DIGESTS[1], DIGESTS[2], "t[0]", 5)
    count = 100_000
    tracemalloc.start()
    try:
        memory = CallMemory(3600.0, count)
        for n in range(count + 1000):
            append(memory, f"0123456789-{n}", JournaledCall(replace(identity, request=f"{n:020}"), n, n / 100, n, 90.0))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(memory) == count
    assert used / count <= 200
    assert memory.floor == 1000
    assert memory.of(f"{999:020}") == []
    assert [[c.offset for c in memory.of(f"{n:020}")] for n in range(1000, 20_000, 19)] == [[n] for n in range(1000, 20_000, 19)]
    assert not any(memory.of(f"{n:020}") for n in range(1000 + count, 2000 + count))


def test_a_full_memory_is_told_once_and_what_it_means_is_seen() -> None:
    rules = Rules({"a": (10, 60.0)}, 30.0, 60.0, 30.0, 0.1, 10.0, 3600.0, 86_400.0, 3, 15.0, 30.0, memory_calls=20)
    state, alerts = BudgetState(rules, 0.0), AlertTracker()
    identity = CallIdentity(DIGESTS[0], DIGESTS[1], DIGESTS[2], "t[0]", 5)
    told = []
    for n in range(50):
        asked = Asked(f"c-{n}", ("a",), 90.0, "op", identity=replace(identity, request=f"{n:020}", offset=n))
        state.apply(asked, n, float(n), n)
        told += alerts.changes(state, float(n))
    assert [(t.level, t.event, t.fields["calls"], t.fields["reach_s"]) for t in told] == [("warning", "call_memory_full", 20, 19)]
    copy = replace(identity, first=DIGESTS[0])
    assert state.journal.prior_calls(replace(copy, request=f"{29:020}"), 100).duplicate is False, "forgotten: it would be called again"
    assert state.journal.prior_calls(replace(copy, request=f"{30:020}"), 100).duplicate
    assert state.journal.memory.floor == 30, "whoever takes a lane over reads back what is older"
    assert alerts.changes(state, 640.0) == []
    assert [t.event for t in alerts.changes(state, 650.0)] == ["call_memory_whole"]
