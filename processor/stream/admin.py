"""Questions that only an admin client can ask: who is in the group, which brokers are there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError, NoError, for_code

from processor.settings import Settings
from processor.stream.aiokafka_clients import AdminClient
from processor.stream.aiokafka_stop import end_task
from processor.stream.clients import build_admin, settings_of
from processor.stream.errors import NO_COORDINATOR, kafka_deadline
from processor.stream.partitions import TopicPartition

_CLOSE_S = 3.0
_MIN_IN_SYNC = "min.insync.replicas"
_COORDINATOR_S, _AGAIN_S = 5.0, 0.2  # a new cluster makes the topic of the groups when it is first asked for one
_STATIC_MEMBER = re.compile(r"(.+)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # instance id and a UUID, as the broker makes it


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """How the consumer group stands."""

    state: str  # as Kafka names it, e.g. Stable; Dead if there is none
    owners: Mapping[TopicPartition, str]  # names of members
    members: tuple[str, ...]  # their instance ids, sorted


class GroupAdmin:
    """Asks about the settings' group; stays connected between two questions."""

    def __init__(self, settings: Settings, answer_s: float) -> None:
        self._settings, self._answer_s = settings, answer_s
        self._admin = build_admin(settings, answer_s)

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaFailedError: if the brokers cannot be reached, or do not let us in.
        """
        async with kafka_deadline(self._settings, self._answer_s):
            await self._admin.start()

    async def close(self) -> None:
        """End the client, within seconds."""
        await close_admin(self._admin)

    async def describe(self) -> GroupDescription:
        """The group now.

        Raises:
            KafkaFailedError: if the brokers do not say.
        """
        async with kafka_deadline(self._settings, self._answer_s):
            until = asyncio.get_running_loop().time() + _COORDINATOR_S
            while True:
                try:
                    return await self._described()
                except NO_COORDINATOR:
                    if asyncio.get_running_loop().time() > until:
                        raise
                await asyncio.sleep(_AGAIN_S)

    async def min_in_sync(self, topics: Collection[str]) -> dict[str, int]:
        """``min.insync.replicas`` by topic; those of which we may not see the settings are absent.

        Raises:
            KafkaFailedError: if the brokers do not say.
        """
        if not topics:
            return {}
        async with kafka_deadline(self._settings, self._answer_s):
            told = await settings_of(self._admin, ConfigResourceType.TOPIC, sorted(topics))
        return {topic: int(least) for topic, _error, values in told if (least := values.get(_MIN_IN_SYNC)) is not None}

    async def _described(self) -> GroupDescription:
        group = self._settings.kafka.group
        (described,) = await self._admin.describe_consumer_groups([group])
        error, _group, state, _type, _protocol, members, *_ = described.groups[0]
        if (kind := for_code(error)) is not NoError:
            raise kind(group)
        return description_of(state, members)


@asynccontextmanager
async def admin_client(settings: Settings, deadline_s: float) -> AsyncIterator[AdminClient]:
    """A started admin client for use within ``deadline_s``.

    Raises:
        KafkaFailedError: if the brokers cannot be asked.
    """
    admin = build_admin(settings, min(deadline_s, 15.0))
    try:
        async with kafka_deadline(settings, deadline_s):
            await admin.start()
            yield admin
    finally:
        await close_admin(admin)


async def broker_ids(options: Mapping[str, Any], within_s: float) -> set[int]:
    """The brokers that are members of a cluster, as one of them tells; none if none answers. ``options``: of an aiokafka client."""
    try:
        async with asyncio.timeout(within_s):
            admin = AdminClient(request_timeout_ms=int(within_s * 800), **options)
            try:
                await admin.start()
                described = await admin.describe_cluster()
                return {int(broker["node_id"]) for broker in described["brokers"]}
            finally:
                await admin.close()
    except (KafkaError, OSError):
        return set()


async def close_admin(admin: AdminClient) -> None:
    """End an admin client, within seconds."""
    closing = asyncio.ensure_future(admin.close())
    await asyncio.wait({closing}, timeout=_CLOSE_S)
    await end_task(closing, 1.0)


def description_of(state: str, members: list[Any]) -> GroupDescription:
    """A group as DescribeGroups tells it."""
    owners: dict[TopicPartition, str] = {}
    names = []
    for member_id, _client, _host, _metadata, assignment, *_ in members:
        match = _STATIC_MEMBER.fullmatch(member_id)
        name = match[1] if match else member_id
        names.append(name)
        if assignment:
            for topic, partitions in ConsumerProtocolMemberAssignment.decode(assignment).assignment:
                owners |= {TopicPartition(topic, partition): name for partition in partitions}
    return GroupDescription(state or "Dead", owners, tuple(sorted(names)))
