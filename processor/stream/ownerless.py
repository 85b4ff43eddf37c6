"""Partitions of a settled group that no member has been given.

The leader of a group divides the partitions again when it sees that a topic has got more. A leader that comes back under its static name
is not told that it leads (KIP-814 told that to newer protocols than aiokafka speaks): it is given what it had, and as it knows the new
partitions from the beginning, it sees no change. Nobody reads them until the group divides its partitions for another reason.
"""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.admin import DescribeGroupsRequest

from processor.stream.admin import description_of
from processor.stream.partitions import TopicPartition


async def ownerless_partitions(consumer: AIOKafkaConsumer, group: str) -> frozenset[TopicPartition]:
    """Partitions of the topics that a member is subscribed to, and that no member has; none while the group settles.

    Raises:
        KafkaError: of aiokafka, if the coordinator does not answer.
    """
    node_id = consumer._coordinator.coordinator_id  # noqa: SLF001 - no public way
    if node_id is None:
        return frozenset()
    answer = await consumer._client.send(node_id, DescribeGroupsRequest([group]))  # noqa: SLF001 - over the consumer's own connections
    error, _group, state, _type, _protocol, members, *_ = answer.groups[0]
    if error or state != "Stable":
        return frozenset()
    known = {TopicPartition(topic, n) for topic in consumer.subscription() for n in consumer.partitions_for_topic(topic) or ()}
    return frozenset(known - description_of(state, members).owners.keys())


def rejoin(consumer: AIOKafkaConsumer) -> None:
    """Join the group again. The brokers have it divide its partitions again if this is its leader; others are given what they had."""
    consumer._coordinator.request_rejoin()  # noqa: SLF001 - no public way
