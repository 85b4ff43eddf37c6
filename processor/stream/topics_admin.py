"""Creates and checks the topics."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.errors import CommitFailedError, TopicAlreadyExistsError, for_code

from processor.settings import Settings
from processor.stream.admin import admin_client
from processor.stream.aiokafka_clients import AdminClient
from processor.stream.aiokafka_stop import stop_client
from processor.stream.clients import build_group_consumer, check_admin_rights, committed_offsets, settings_of
from processor.stream.errors import KafkaFailedError, KafkaRequestError, NotAuthorizedError, failure_of, kafka_deadline
from processor.stream.lifetimes import CHECK_INTERVAL_S, TopicLifetime, lifetime_warnings, lifetimes
from processor.stream.topics import (
    TopicFound,
    TopicSpec,
    all_faults,
    config_warnings,
    memory_warnings,
    repair_warnings,
    topic_names,
    topic_specs,
    unread_topics,
)

_DEADLINE_S = 60.0


class TopicsRefusedError(KafkaFailedError):
    """The brokers refuse to create topics. The text lists every one, one a line."""


class BeginningsRefusedError(KafkaFailedError):
    """The topics are there, and the group's offsets on them could not be written."""


@dataclass(frozen=True, slots=True)
class TopicsReport:
    """What is wrong with the topics: the processor may run without ``faults``, and says the ``warnings`` and what is ``unread``.

    Attributes:
        faults, warnings, unread: as above.
        lifetimes: how long records of persons are there.
        too_long: where that is longer than is stated.
        check_interval_s: how often the broker looks for what is to be deleted; ``assumed`` where it does not say.
        compacted: topics whose records replace each other by their key.
    """

    faults: list[str]
    warnings: list[str]
    unread: list[str]
    lifetimes: list[TopicLifetime] = field(default_factory=list)
    too_long: list[str] = field(default_factory=list)
    check_interval_s: float = CHECK_INTERVAL_S
    assumed: bool = True
    compacted: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TopicsApplied:
    """What ``apply_topics`` has created, and what all topics are like now."""

    created: tuple[str, ...]
    report: TopicsReport


async def check_rights(settings: Settings) -> None:
    """See that a processor with these settings may do all that it will have to do.

    Raises:
        RightsMissingError: if not; it names all that is missing.
        KafkaFailedError: if the brokers cannot be asked.
    """
    async with admin_client(settings, _DEADLINE_S) as admin:
        await check_admin_rights(admin, settings)


async def check_topics(settings: Settings, *, only: str | None = None, ask_broker: bool = False) -> TopicsReport:
    """What the topics are like, all of them or one.

    Args:
        settings: where, and what they must be like.
        only: this one alone.
        ask_broker: how often it looks for what is to be deleted; needs DescribeConfigs on the cluster, and is assumed without.

    Raises:
        KafkaFailedError: if the brokers cannot be asked.
    """
    specs = tuple(spec for spec in topic_specs(settings, partitions=1, replication=1) if only is None or spec.name == only)
    async with admin_client(settings, _DEADLINE_S) as admin:
        found = await _find(settings, admin, specs)
        if only is not None:
            return TopicsReport(all_faults(specs, found), [], [])
        return await _report(settings, admin, found, ask_broker=ask_broker)


async def apply_topics(settings: Settings, *, partitions: int, replication: int, ask_broker: bool = False) -> TopicsApplied:
    """Create what is missing, then check everything. Never changes or deletes a topic that exists.

    The group's offsets on input topics that never held a record are set to their beginning, so that the first start has nothing to guess.

    Args:
        settings: where, and what they must be like.
        partitions: of each topic that is created and has a free choice.
        replication: copies of each partition of those.
        ask_broker: as of ``check_topics``.

    Raises:
        BeginningsRefusedError: if the brokers refuse those offsets; what was created stays.
        KafkaFailedError: if the brokers cannot be asked, or refuse.
    """
    specs = topic_specs(settings, partitions=partitions, replication=replication)
    async with admin_client(settings, _DEADLINE_S) as admin:
        missing = [spec for spec in specs if spec.name not in await _find(settings, admin, specs)]
        await _create(settings, admin, missing, replication)
        found = await _wait_found(settings, admin, specs)
        report = await _report(settings, admin, found, ask_broker=ask_broker)
    await _commit_beginnings(settings, found, missing)
    return TopicsApplied(tuple(spec.name for spec in missing), report)


async def _report(settings: Settings, admin: AdminClient, found: dict[str, TopicFound], *, ask_broker: bool) -> TopicsReport:
    """What is wrong with all topics: the one judgement of ``check_topics`` and ``apply_topics``."""
    specs = topic_specs(settings, partitions=1, replication=1)
    existing = await admin.list_topics()
    told_s = await _check_interval_s(admin) if ask_broker else None
    interval_s = CHECK_INTERVAL_S if told_s is None else told_s
    times = lifetimes(settings, found, interval_s)
    return TopicsReport(
        all_faults(specs, found),
        [*memory_warnings(settings, found), *repair_warnings(settings, found), *config_warnings(specs, found)],
        unread_topics(settings, existing),
        times,
        lifetime_warnings(settings, times),
        interval_s,
        assumed=told_s is None,
        compacted=[name for name, topic in found.items() if "compact" in topic.configs.get("cleanup.policy", "")],
    )


async def _find(settings: Settings, admin: AdminClient, specs: tuple[TopicSpec, ...]) -> dict[str, TopicFound]:
    described = await admin.describe_topics([spec.name for spec in specs])
    for t in described:
        _check_right(settings, t["error_code"], t["topic"])
    topics = {t["topic"]: t["partitions"] for t in described if t["error_code"] == 0}
    counts = {name: (len(partitions), min((len(p["replicas"]) for p in partitions), default=0)) for name, partitions in topics.items()}
    if not counts:
        return {}
    told = await settings_of(admin, ConfigResourceType.TOPIC, counts)
    for topic in told:
        _check_right(settings, topic.error_code, topic.name)
    configs = {topic.name: topic.values for topic in told if topic.error_code == 0}
    # a broker that has not heard of a new topic yet tells no settings: they are not Kafka's defaults for that
    return {name: TopicFound(count, configs[name], replication) for name, (count, replication) in counts.items() if name in configs}


async def _check_interval_s(admin: AdminClient) -> float | None:
    """The longest of all brokers; None if one does not say, e.g. because we may not ask."""
    brokers = [broker["node_id"] for broker in (await admin.describe_cluster())["brokers"]]
    intervals_s: list[float] = []
    for broker in await settings_of(admin, ConfigResourceType.BROKER, map(str, brokers)):
        interval_ms = broker.values.get("log.retention.check.interval.ms")
        if broker.error_code or not interval_ms:
            return None
        intervals_s.append(int(interval_ms) / 1000)
    return max(intervals_s, default=None)


def _check_right(settings: Settings, code: int, topic: str) -> None:
    """What we may not see must not seem to be missing, or to have Kafka's defaults."""
    failure = failure_of(for_code(code)(topic), settings)
    if isinstance(failure, NotAuthorizedError):
        raise failure


async def _create(settings: Settings, admin: AdminClient, specs: list[TopicSpec], replication: int) -> None:
    if not specs:
        return
    new = [NewTopic(s.name, s.partitions, replication, topic_configs=dict(s.configs)) for s in specs]
    response: Any = await admin.create_topics(new)
    refused = []
    for name, code, *message in response.topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:  # another apply may run beside us
            _check_right(settings, code, name)
            refused.append(f"{name}: {message[0] if message and message[0] else for_code(code).__name__}")
    if refused:
        raise TopicsRefusedError("the broker refused to create topics:\n  " + "\n  ".join(refused))


async def _wait_found(settings: Settings, admin: AdminClient, specs: tuple[TopicSpec, ...]) -> dict[str, TopicFound]:
    # a created topic is known to every broker only some moments later; bounded by the deadline of the client
    while True:
        found = await _find(settings, admin, specs)
        if all(spec.name in found and found[spec.name].partitions for spec in specs):
            return found
        await asyncio.sleep(0.1)


async def _commit_beginnings(settings: Settings, found: Mapping[str, TopicFound], created: Sequence[TopicSpec]) -> None:
    """Commit the beginning of every input partition that has never held a record, where the group has no offset."""
    partitions = [TopicPartition(name, p) for name in topic_names(settings).inputs if name in found for p in range(found[name].partitions)]
    consumer = build_group_consumer(settings)
    try:
        async with kafka_deadline(settings, _DEADLINE_S):
            await consumer.start()
            consumer.assign(partitions)
            committed = await committed_offsets(consumer, partitions)
            ends = await consumer.end_offsets([tp for tp in partitions if tp not in committed])
            if beginnings := {tp: 0 for tp, end in ends.items() if end == 0}:
                await consumer.commit(beginnings)
    except KafkaFailedError as exc:
        if isinstance(exc, KafkaRequestError) and exc.name == CommitFailedError.__name__:
            return  # an active group refuses it; its lanes begin an empty partition at its start anyway
        done = f"created {', '.join(spec.name for spec in created)}" if created else "all topics exist"
        raise BeginningsRefusedError(
            f"{done}; but where the group {settings.kafka.group} begins could not be written. {exc} Then run this command again, before "
            "anything is published: the first start would else refuse to guess where to begin."
        ) from exc
    finally:
        await stop_client(consumer, 5.0)
