"""Tenants share what their class gets by their weights, on one replica and over all of them; none starves, whatever others have waiting."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.budget.endpoint_queue import EndpointQueue, Turn
from processor.budget.fair_queue import FairQueue
from processor.budget.parked_requests import Room
from processor.budget.permits import Ask, CallClass, Parked, Place
from processor.budget.tenant_queue import BUCKETS, NAMES_MAX, TenantQueue, alike
from processor.budget.tenant_shares import Tenants, TenantShares, TenantsWaiting, read_tenants, told_of, write_tenants

NAMES = ["", "a", "b", "c", "d"]
weights_of = st.fixed_dictionaries({name: st.sampled_from([0.1, 0.5, 1.0, 2.0, 3.0, 100.0]) for name in NAMES})
steps = st.lists(
    st.tuples(st.just("push"), st.sampled_from(NAMES))
    | st.tuples(st.just("pop"), st.none())
    | st.tuples(st.just("remove"), st.integers(0)),
    max_size=300,
)


@given(weights_of, steps)
def test_no_tenant_starves_and_each_is_served_in_its_order(weights: dict[str, float], steps: list[tuple[str, str | int | None]]) -> None:
    queue: FairQueue[int] = FairQueue(weights.__getitem__)
    waiting: dict[str, list[tuple[int, int]]] = {name: [] for name in NAMES}  # waiter, ticket
    passed_over: dict[str, Counter[str]] = {name: Counter() for name in NAMES}
    for number, (what, argument) in enumerate(steps):
        if what == "push":
            assert isinstance(argument, str)
            if not waiting[argument]:
                passed_over[argument].clear()
            waiting[argument].append((number, queue.push(CallClass.NORMAL, number // 3, number, argument)))
        elif what == "remove":
            everybody = [(name, waiter) for name in NAMES for waiter in waiting[name]]
            if everybody:
                name, waiter = everybody[int(argument or 0) % len(everybody)]
                queue.remove(CallClass.NORMAL, waiter[1])
                waiting[name].remove(waiter)
        else:
            served = queue.pop()
            assert (served is None) == (not any(waiting.values())), "it serves somebody while anybody waits"
            found = [name for name in NAMES if waiting[name] and waiting[name][0][0] == served]
            if served is None:
                continue
            assert found, "not the oldest of its tenant"
            waiting[found[0]].pop(0)
            passed_over[found[0]].clear()
            for name in NAMES:
                if waiting[name] and name != found[0]:
                    passed_over[name][found[0]] += 1
                    assert passed_over[name][found[0]] <= weights[found[0]] / weights[name] + 2, "its turn is due"
        assert queue.waiting_of == Counter({name: len(waiters) for name, waiters in waiting.items() if waiters})


@given(weights_of)
def test_the_shares_are_the_weights_while_all_wait(weights: dict[str, float]) -> None:
    queue: FairQueue[str] = FairQueue(weights.__getitem__)
    for name in NAMES:
        for _ in range(500):
            queue.push(CallClass.NORMAL, 0, name, name)
    served = Counter(queue.pop() for _ in range(400))
    for name in NAMES:
        assert abs(served[name] - 400 * weights[name] / sum(weights.values())) <= len(NAMES), "each begins with one"


def test_a_flood_of_a_tenant_in_one_class_takes_nothing_from_other_classes_and_tenants() -> None:
    queue: FairQueue[tuple[CallClass, str]] = FairQueue()
    for call_class in (CallClass.NORMAL, CallClass.BULK):
        for name in ("flood", "small"):
            for _ in range(1000):
                queue.push(call_class, 0, (call_class, name), name)
    served = Counter(queue.pop() for _ in range(1000))
    assert {key: served[key] for key in served} == {
        (CallClass.NORMAL, "flood"): 400,
        (CallClass.NORMAL, "small"): 400,
        (CallClass.BULK, "flood"): 100,
        (CallClass.BULK, "small"): 100,
    }


def test_a_tenant_that_comes_with_one_at_a_time_has_no_more_than_its_share() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(1000):
        queue.push(CallClass.NORMAL, 0, "flood", "flood")
    served: Counter[str] = Counter()
    for _ in range(200):
        if not queue.waiting_of["one"]:
            queue.push(CallClass.NORMAL, 1, "one", "one")
        served[queue.pop() or ""] += 1
    assert served == {"flood": 100, "one": 100}


def test_any_number_of_names_is_kept_in_a_bounded_state() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(20_000):
        queue.push(CallClass.NORMAL, number, number, f"t{number}")
    assert len(queue.waiting_of) <= NAMES_MAX + BUCKETS
    served = [queue.pop() for _ in range(20_000)]
    assert sorted(n for n in served if n is not None) == list(range(20_000))
    turns = TenantQueue(range(20_000), alike)
    for number in range(20_000):
        turns.removed(turns.push(f"u{number}", number, number))
    assert len(turns.next_turns) <= NAMES_MAX + BUCKETS


classes = st.sampled_from([CallClass.URGENT, CallClass.NORMAL, CallClass.BULK])
comers = st.tuples(classes, st.integers(0, 5), st.sampled_from(NAMES))


@given(weights_of, st.lists(comers, min_size=1, max_size=30), comers)
def test_who_would_be_sent_away_from_a_full_line_is_known_before_it_comes(
    weights: dict[str, float], waiting: list[tuple[CallClass, int, str]], newcomer: tuple[CallClass, int, str]
) -> None:
    queue: FairQueue[int] = FairQueue(weights.__getitem__)
    for number, (call_class, since_ms, tenant) in enumerate(waiting):
        queue.push(call_class, since_ms, number, tenant)
    told = queue.is_last(newcomer[:2], newcomer[2])
    assert len(queue) == len(waiting), "to ask changes nothing"
    assert told == (queue.pop_last(newcomer[:2], newcomer[2]) is None)


steps_of_lines = st.lists(st.tuples(st.sampled_from(["come", "come", "come", "park", "turn"]), comers), max_size=60)


@given(weights_of, st.integers(1, 8), steps_of_lines)
def test_a_request_is_turned_away_as_it_would_be_parked_and_else_nothing_has_changed(
    weights: dict[str, float], places: int, steps: list[tuple[str, tuple[CallClass, int, str]]]
) -> None:
    """Two lines, one that asks first and one that does not."""

    async def run() -> None:
        made = [
            EndpointQueue("op", ("a",), (), 5.0, places=places, room=lambda _: Room.PLACES, weight_of=weights.__getitem__) for _ in range(2)
        ]
        tasks = []
        for what, (call_class, since_ms, tenant) in steps:
            place, ask = Place("op", ("a",), call_class, since_ms, None, tenant), Ask("op", ("a",), call_class, since_ms, tenant=tenant)
            if what == "park":
                for line in made:
                    line.parked.park(place, lambda: None)
            elif what == "turn":
                for line in made:
                    line.give_turn(Turn())
            else:
                turned_away = made[0].turn_away(place, 2)
                parked = made[0].admit(ask, 2) if turned_away is None else turned_away
                assert turned_away is None or turned_away == made[1].admit(ask, 2)
                if turned_away is None:
                    assert parked is None, "who is not turned away may stay"
                    assert made[1].admit(ask, 2) is None
                    tasks += [asyncio.create_task(line.wait_turn(ask)) for line in made]
            await asyncio.sleep(0)
            assert made[0].waiters.waiting_of == made[1].waiters.waiting_of
        assert isinstance(made[0].turn_away(Place("op", ("a",), CallClass.NORMAL, 0), 1, aside=True), Parked), "however short the line"
        for line in made:
            line.end_waits(None)
        await asyncio.gather(*tasks)

    asyncio.run(run())


@given(st.integers(2, 40), st.lists(st.sampled_from(["flood", "a", "b", "c"]), max_size=100))
def test_a_flood_keeps_no_tenant_out_of_a_full_line(size: int, newcomers: list[str]) -> None:
    queue: FairQueue[str] = FairQueue()
    for number, name in enumerate(["flood"] * size + newcomers):
        if len(queue) == size:
            counts = queue.waiting_of + Counter([name])
            found = queue.pop_last((CallClass.NORMAL, number), name)
            leaves = name if found is None else found[0]
            assert counts[leaves] == max(counts.values()), "who has most goes"
            if found is None:
                continue
        queue.push(CallClass.NORMAL, number, name, name)


# ---- over all replicas


def serve(where: dict[str, set[str]], weights: dict[str, float], turns: int, gap_s: float = 0.2) -> Counter[str]:
    """Calls by tenant, where replicas with these tenants waiting ask whenever they may, one after the other, two ahead."""
    tenants = Tenants(weights)
    tenants.tell({client: ({}, {"op": TenantsWaiting(dict.fromkeys(names, 9))}) for client, names in where.items()}, 0.0)
    lines: dict[str, FairQueue[str]] = {c: FairQueue(lambda t: tenants.weight_here("op", t)) for c in where}
    for client, names in where.items():
        for name in names:
            for _ in range(turns):
                lines[client].push(CallClass.NORMAL, 0, name, name)
    now, log, called, numbers = 0.0, list[tuple[str, str]](), Counter[str](), itertools.count()
    for _ in range(turns):
        for client in where:
            while [c for c, _ in log].count(client) < 2 and not tenants.held_s("op", client, gap_s, now):
                log.append((client, f"{client}-{next(numbers)}"))
                tenants.asked("op", log[-1][1], now)
        started, ask_id = log.pop(0)
        tenants.ended("op", ask_id)
        called[lines[started].pop() or ""] += 1
        now += gap_s
    return called


@pytest.mark.parametrize(
    ("where", "weights"),
    [
        ({"r0": {"flood"}, "r1": {"flood", "small"}}, {}),
        ({"r0": {"flood"}, "r1": {"flood"}, "r2": {"flood"}, "r3": {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}}, {}),
        ({"r0": {"a"}, "r1": {"b", "c", "d"}}, {}),
        ({"r0": {"a", "b"}, "r1": {"b"}, "r2": {"c"}}, {"a": 3.0, "c": 0.5}),
        ({"r0": {"a"}, "r1": {"b"}}, {"a": 10.0}),
        ({"r0": {"", "a"}, "r1": {""}}, {}),
    ],
)
def test_tenants_have_their_shares_wherever_they_wait(where: dict[str, set[str]], weights: dict[str, float]) -> None:
    called = serve(where, weights, 1200)
    names = set.union(*where.values())
    total = sum(weights.get(name, 1.0) for name in names)
    assert called.total() == 1200, "nothing is idle while anybody waits"
    for name in names:
        assert abs(called[name] / 1200 - weights.get(name, 1.0) / total) < 0.02, (called, name)


def test_a_replica_that_asks_no_more_holds_nobody_up() -> None:
    shares = TenantShares()
    shares.tell({"r0": TenantsWaiting({"a": 1}), "r1": TenantsWaiting({"b": 1})}, alike)
    for number in range(20):
        shares.asked(f"r0-{number}", 0.0)
    assert shares.held_s("r0", 0.2, 0.0) == 0.0, "r1 has not asked of late"
    shares.ended("r1-0")  # it was asked before anybody knew who waits there
    shares.asked("r1-1", 1.0)
    assert shares.held_s("r0", 0.2, 1.0) == pytest.approx(1.1)
    assert shares.held_s("r1", 0.2, 1.0) == 0.0
    assert shares.held_s("unknown", 0.2, 1.0) == 0.0
    assert shares.held_s("r0", 0.2, 2.11) == 0.0, "it is dead, or frozen"
    shares.ended("r1-1")
    assert shares.held_s("r0", 0.2, 1.0) == 0.0, "it has nothing more"


def test_what_a_replica_tells_is_bounded_and_reads_back() -> None:
    waiting = {f"op{n}": Counter({f"t{m}": m + 1 for m in range(50)}) for n in range(30)} | {"nameless": Counter({"": 5})}
    told = told_of(waiting)
    assert len(told) == 10
    assert told["op0"].requests["t49"] == 50
    assert (told["op0"].others, told["op0"].other_requests) == (30, 465)
    assert read_tenants(write_tenants(told)) == told
    assert told_of({"nameless": Counter({"": 5})}) == {}


@pytest.mark.parametrize(
    "raw", [None, [], {"op": None}, {"op": [{"a": "1"}, 0, 0]}, {"op": [{"a\n": 1}, 0, 0]}, {"op": [{"a": 1}, -1, 0]}, {"op": [{"a": 1}]}]
)
def test_what_is_not_as_we_write_it_is_left_out(raw: object) -> None:
    assert read_tenants(raw) == {}
