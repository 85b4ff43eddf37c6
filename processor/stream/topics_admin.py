"""Creates and checks the topics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from processor.settings import Settings
from processor.stream.clients import stop_client
from processor.stream.topics import TopicFound, TopicSpec, all_faults, memory_warnings, repair_warnings, topic_specs, unread_topics

_DEADLINE_S = 60.0


class TopicsError(Exception):
    """The topics are not usable. The text lists every fault, one a line."""


@dataclass(frozen=True, slots=True)
class TopicsApplied:
    """What ``apply_topics`` did and what it could not mend."""

    created: tuple[str, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TopicsReport:
    """What is wrong with the topics: the processor may run without ``faults``, and says the ``warnings`` and what is ``unread``."""

    faults: list[str]
    warnings: list[str]
    unread: list[str]


async def check_topics(settings: Settings, *, only: str | None = None) -> TopicsReport:
    """What the topics are like, all of them or one.

    Raises:
        TopicsError: if the brokers cannot be asked.
    """
    specs = tuple(spec for spec in topic_specs(settings, partitions=1, replication=1) if only is None or spec.name == only)
    async with _admin(settings) as admin:
        found = await _find(admin, specs)
        if only is not None:
            return TopicsReport(all_faults(specs, found), [], [])
        existing = await admin.list_topics()
    return TopicsReport(all_faults(specs, found), _warnings(settings, found), unread_topics(settings, existing))


async def apply_topics(settings: Settings, *, partitions: int, replication: int) -> TopicsApplied:
    """Create what is missing, then check everything. Never changes or deletes a topic that exists.

    The group's offsets on a created topic are set to its beginning, so that the first start has nothing to guess.

    Raises:
        TopicsError: if the brokers cannot be asked, or refuse.
    """
    specs = topic_specs(settings, partitions=partitions, replication=replication)
    async with _admin(settings) as admin:
        missing = [spec for spec in specs if spec.name not in await _find(admin, specs)]
        await _create(admin, missing, replication)
        found = await _wait_found(admin, specs)
    await _commit_beginnings(settings, [spec for spec in missing if not spec.is_log])
    return TopicsApplied(tuple(spec.name for spec in missing), (*all_faults(specs, found), *_warnings(settings, found)))


def _warnings(settings: Settings, found: dict[str, TopicFound]) -> list[str]:
    return [*memory_warnings(settings, found), *repair_warnings(settings, found)]


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**settings.kafka.client_options(), request_timeout_ms=15_000)
    try:
        async with asyncio.timeout(_DEADLINE_S):
            await admin.start()
            yield admin
    except TimeoutError:
        raise TopicsError(f"no answer from {settings.kafka.bootstrap} within {_DEADLINE_S:.0f} s") from None
    except KafkaError as exc:
        raise TopicsError(f"{settings.kafka.bootstrap}: {exc}") from exc
    finally:
        await asyncio.wait({asyncio.ensure_future(admin.close())}, timeout=5.0)


async def _find(admin: AIOKafkaAdminClient, specs: tuple[TopicSpec, ...]) -> dict[str, TopicFound]:
    names = [spec.name for spec in specs]
    topics = {t["topic"]: t["partitions"] for t in await admin.describe_topics(names) if t["error_code"] == 0}
    counts = {name: (len(partitions), min((len(p["replicas"]) for p in partitions), default=0)) for name, partitions in topics.items()}
    if not counts:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in counts]
    configs: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for error_code, _message, _type, name, entries in response.resources:
            if error_code == 0:
                configs[name] = {entry[0]: entry[1] for entry in entries}
    return {name: TopicFound(count, configs.get(name, {}), replication) for name, (count, replication) in counts.items()}


async def _create(admin: AIOKafkaAdminClient, specs: list[TopicSpec], replication: int) -> None:
    if not specs:
        return
    new = [NewTopic(s.name, s.partitions, replication, topic_configs=dict(s.configs)) for s in specs]
    response: Any = await admin.create_topics(new)
    refused = []
    for name, code, *message in response.topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:  # another apply may run beside us
            refused.append(f"{name}: {message[0] if message and message[0] else for_code(code).__name__}")
    if refused:
        raise TopicsError("the broker refused to create topics:\n  " + "\n  ".join(refused))


async def _wait_found(admin: AIOKafkaAdminClient, specs: tuple[TopicSpec, ...]) -> dict[str, TopicFound]:
    # a created topic is known to every broker only some moments later; bounded by the deadline of _admin
    while True:
        found = await _find(admin, specs)
        if all(spec.name in found and found[spec.name].partitions for spec in specs):
            return found
        await asyncio.sleep(0.1)


async def _commit_beginnings(settings: Settings, created: list[TopicSpec]) -> None:
    if not created:
        return
    consumer = AIOKafkaConsumer(**settings.kafka.client_options(), group_id=settings.kafka.group, enable_auto_commit=False)
    offsets = {TopicPartition(spec.name, p): 0 for spec in created for p in range(spec.partitions)}
    try:
        async with asyncio.timeout(_DEADLINE_S):
            await consumer.start()
            consumer.assign(list(offsets))
            await consumer.commit(offsets)
    except (KafkaError, TimeoutError):
        return  # an active group refuses it; its lanes begin an empty partition at its start anyway
    finally:
        await stop_client(consumer, 5.0)
