"""The rights that a processor needs in a cluster with ACLs, and which of them are missing. Pure; ``aiokafka_rights`` asks the brokers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from processor.settings import Settings
from processor.stream.acl_table import AclOperation, AclResource, AclRole, grants_of
from processor.stream.topics import topic_names


@dataclass(frozen=True, slots=True)
class MissingRight:
    """One right to be granted."""

    operation: str  # as ``kafka-acls`` writes it
    resource: str  # e.g. ``topic verification.results``

    def __str__(self) -> str:
        return f"{self.operation} on {self.resource}"


def needed_on_topics(settings: Settings) -> dict[str, frozenset[AclOperation]]:
    """What a processor does with each topic, as docs/deploy.md lists it; but for Read on the results, without which it gives no copies."""
    names = topic_names(settings)
    grants = grants_of(AclRole.PROCESSORS, settings)
    topics = {*names.inputs, *names.outputs, names.events, names.repairs, names.controls, names.budget}
    topics |= {names.requests_of(application) for application in names.applications}
    needed = {
        name: frozenset(o for grant in grants if grant.covers(AclResource.TOPIC, name) for o in grant.operations) for name in sorted(topics)
    }
    return {name: operations - {AclOperation.READ} if name == names.results else operations for name, operations in needed.items()}


def missing_on_topics(needed: Mapping[str, frozenset[AclOperation]], told: Mapping[str, int | None]) -> list[MissingRight]:
    """What must be granted, by topic.

    Args:
        needed: as ``needed_on_topics``.
        told: the operations that the brokers allow, one bit each; None for a topic that may not even be described. A topic that is
            absent is not judged: it does not exist, or the broker does not say.
    """
    return [
        MissingRight(operation.title, f"topic {name}")
        for name, operations in needed.items()
        if name in told
        for operation in sorted(operations)
        if (allowed := told[name]) is None or not allowed >> operation & 1
    ]
