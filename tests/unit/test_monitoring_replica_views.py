"""The replicas, as the group and the budget log tell of them."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from processor.budget.log_records import Alive
from processor.budget.replica_facts import ReplicaFacts
from processor.budget.replicas import CHECK_INSTANCE
from processor.budget.state import BudgetState, Rules
from processor.budget.view import BudgetView, budget_view
from processor.monitoring.model import PartitionView, Survey
from processor.monitoring.replica_views import replica_views

FACTS = ReplicaFacts("0.2.0", 60, 90_000_000, 3, "life_ended", 5)
RULES = Rules({"a": (600, 60.0)}, 30.0, 60.0, 30.0, 0.1, 10.0, 3600.0, 86_400.0, 3, 15.0, 30.0)


def survey(*members: str) -> Survey:
    partitions = tuple(PartitionView("v.requests", n, 0, 9, 9, name) for n, name in enumerate(members))
    return Survey(0, partitions, "Stable", members, {})


def heard(at: float, *replicas: tuple[float, Alive], group: str = "") -> BudgetView:
    state = BudgetState(RULES, 0.0)
    for offset, (said_at, alive) in enumerate(replicas):
        state.apply(alive, offset, said_at, 0)
    return budget_view(state, {}, at, group)


def alive(name: str, facts: ReplicaFacts | None = FACTS) -> Alive:
    return Alive(f"{name}-client", name, {"a": 600}, facts=facts)


def test_a_replica_tells_what_it_said_last() -> None:
    (one,) = replica_views(survey("one"), heard(20.0, (0.0, alive("one")), (10.0, alive("one", replace(FACTS, uptime_s=70)))))
    assert (one.heard, one.in_group, one.silent_s, one.partitions) == (True, True, 10.0, 1)
    assert (one.version, one.uptime_s, one.memory_bytes, one.pauses_to) == ("0.2.0", 70, 90_000_000, 3)
    assert (one.last_error, one.last_error_ms) == ("life_ended", 5)


def test_a_namesake_of_another_installation_of_the_key_is_told_apart() -> None:
    ours, theirs = (
        replace(alive("pod-0", replace(FACTS, pauses_to=to)), client=group, group=group) for group, to in (("we", 3), ("they", 9))
    )
    seen = heard(6.0, (0.0, ours), (5.0, theirs), group="we")
    assert seen.replicas == ("pod-0", "they/pod-0")
    assert [(v.instance, v.pauses_to, v.silent_s) for v in replica_views(survey("pod-0"), seen)] == [
        ("pod-0", 3, 6.0),
        ("they/pod-0", 9, 1.0),
    ]


def test_one_that_is_gone_is_told_of_for_ten_minutes_and_then_vanishes() -> None:
    both = ((0.0, alive("gone")), (5.0, alive("one")))
    views = replica_views(survey("one"), heard(100.0, *both, (95.0, alive("one"))))
    assert [(v.instance, v.heard, v.in_group, v.silent_s) for v in views] == [("gone", False, False, 100.0), ("one", True, True, 5.0)]
    views = replica_views(survey("one"), heard(601.0, *both, (600.0, alive("one"))))
    assert [v.instance for v in views] == ["one"]


def test_one_of_an_earlier_version_and_one_that_was_never_heard_are_listed_without_facts() -> None:
    views = replica_views(survey("mute", "old"), heard(10.0, (0.0, alive("old", None))))
    assert [(v.instance, v.heard, v.silent_s, v.version) for v in views] == [("mute", False, inf, ""), ("old", True, 10.0, "")]


def test_a_check_is_no_replica_neither_while_it_runs_nor_when_it_has_ended() -> None:
    check = alive(CHECK_INSTANCE, None)
    for now in (6.0, 100.0):
        seen = heard(now, (0.0, alive("one")), (5.0, check), (now, alive("one")))
        assert (seen.replicas, list(seen.heard)) == (("one",), ["one"])
        assert [view.instance for view in replica_views(survey("one"), seen)] == ["one"]
    named_so = replica_views(survey(CHECK_INSTANCE), heard(6.0, (5.0, check)))
    assert [view.instance for view in named_so] == [CHECK_INSTANCE], "a member of the group is one"


def test_many_that_come_and_go_take_no_more_than_their_share_of_memory() -> None:
    state = BudgetState(RULES, 0.0)
    for number in range(1500):
        state.apply(alive(f"pod-{number}"), number, number / 10, 0)
    assert len(state.replicas.heard_lately(150.0)) == 1000
