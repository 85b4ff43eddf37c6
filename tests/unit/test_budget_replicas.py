"""Who is there: told from signs of life alone, and bounded."""

from __future__ import annotations

from processor.budget.log_records import Alive
from processor.budget.replicas import Replicas


def test_who_is_silent_for_long_is_gone_and_told_of_for_ten_minutes() -> None:
    replicas = Replicas()
    assert replicas.hear(Alive("c-1", "pod-1", {}), 0, 0.0)
    assert replicas.hear(Alive("c-2", "pod-2", {}, waiting={"op": 3}), 1, 30.0)
    assert not replicas.hear(Alive("c-2", "pod-2", {}, waiting={"op": 2}), 2, 40.0)
    assert set(replicas.alive(45.0)) == {"c-1", "c-2"}
    assert set(replicas.alive(46.0)) == {"c-2"}
    assert replicas.wanting("op", 46.0) == 1
    assert replicas.wanting("other", 46.0) == 0
    assert [alive.instance for _, alive in replicas.heard_lately(600.0)] == ["pod-1", "pod-2"]
    assert [alive.instance for _, alive in replicas.heard_lately(601.0)] == ["pod-2"]


def test_those_who_are_gone_are_forgotten() -> None:
    replicas = Replicas()
    for number in range(1500):
        replicas.hear(Alive(f"c-{number}", f"pod-{number}", {}), number, number / 10)
    assert len(replicas.heard_lately(150.0)) == 1000
    assert len(replicas.alive(150.0)) < 460


def test_only_a_namesake_of_the_same_group_is_senior() -> None:
    """Two installations that share a key: their pods have the same names, as their manifests are the same."""
    replicas = Replicas()
    groups = {"first": "one", "twin": "one", "second": "two", "early": ""}
    for offset, (client, group) in enumerate(groups.items()):
        replicas.hear(Alive(client, "processor-0", {}, group=group), offset, 0.0)
    for offset, client in enumerate(("first", "early"), 10):
        replicas.hear(Alive(client, "processor-0", {}, group=groups[client]), offset, 5.0)
    assert [client for client in groups if replicas.has_senior(client, 6.0)] == ["twin"]
    assert [(alive.client, alive.group) for _, alive in replicas.heard_lately(6.0)] == [("second", "two"), ("first", "one"), ("early", "")]
