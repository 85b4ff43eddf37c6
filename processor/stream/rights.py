"""The rights that a processor needs in a cluster with ACLs, and which of them are missing. Pure; ``aiokafka_rights`` asks the brokers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from processor.settings import Settings
from processor.stream.topics import topic_names


class AclOperation(IntEnum):
    """Kafka's operations, by their number: also the bit that stands for them in "authorized operations" (KIP-430)."""

    READ = 3
    WRITE = 4
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10

    @property
    def title(self) -> str:
        """As ``kafka-acls`` writes it, e.g. ``DescribeConfigs``."""
        return self.name.title().replace("_", "")


@dataclass(frozen=True, slots=True)
class MissingRight:
    """One right to be granted."""

    operation: str  # as ``kafka-acls`` writes it
    resource: str  # e.g. ``topic verification.results``

    def __str__(self) -> str:
        return f"{self.operation} on {self.resource}"


def needed_on_topics(settings: Settings) -> dict[str, frozenset[AclOperation]]:
    """What a processor does with each topic, as docs/deploy.md lists it."""
    names = topic_names(settings)
    read = {*names.inputs, names.events, names.repairs, names.controls, names.budget}
    written = {names.results, names.dead_letters, names.budget, *(names.retry(delay_s) for delay_s in names.delays_s)}
    written |= {names.events} if settings.webhooks.in_run else set()
    seen = {AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS}
    return {
        name: frozenset(seen | ({AclOperation.READ} if name in read else set()) | ({AclOperation.WRITE} if name in written else set()))
        for name in sorted(read | written)
    }


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
