"""The replicas, as the group and the budget log tell of them. Pure."""

from __future__ import annotations

from math import inf

from processor.budget.view import BudgetView
from processor.monitoring.model import ReplicaView, Survey


def replica_views(survey: Survey, budget: BudgetView) -> tuple[ReplicaView, ...]:
    """Members of the group, whoever is heard, and for ten minutes who was."""
    partitions = {name: sum(1 for p in survey.partitions if p.owner == name) for name in survey.members}
    names = sorted({*survey.members, *budget.replicas, *budget.heard})
    return tuple(_view(name, partitions, budget) for name in names)


def _view(name: str, partitions: dict[str, int], budget: BudgetView) -> ReplicaView:
    heard, is_heard = budget.heard.get(name), name in budget.replicas
    silent_s = heard.silent_s if heard is not None else 0.0 if is_heard else inf
    facts = heard.facts if heard is not None else None
    in_group, off_s = name in partitions or is_heard, budget.clocks_off_s.get(name, 0.0)
    if facts is None:
        return ReplicaView(name, partitions.get(name, 0), is_heard, off_s, in_group, silent_s)
    return ReplicaView(
        name,
        partitions.get(name, 0),
        is_heard,
        off_s,
        in_group,
        silent_s,
        facts.version,
        facts.uptime_s,
        facts.memory_bytes,
        facts.pauses_to,
        facts.error,
        facts.error_ms,
    )
