"""Asks the brokers how far the group is, who owns what, and what is asked for in the backlog. Joins no group, changes nothing."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError

from processor.monitoring.model import PartitionView, Survey
from processor.settings import Settings
from processor.stream.clients import build_onlooker, committed_offsets, partitions_of, stop_client
from processor.stream.errors import describe
from processor.stream.offsets import Finished, finished_of
from processor.stream.topics import topic_names

_ANSWER_S = 15.0
_CLOSE_S = 3.0
_SAMPLE_MAX = 200  # records of a partition, from the oldest unfinished one on
_SAMPLE_S = 3.0
_STATIC_MEMBER = re.compile(r"(.+)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # instance id and a UUID, as the broker makes it
_OPERATION = re.compile(rb'"operation"\s*:\s*"([a-z_.]{1,64})"')


class InspectionError(Exception):
    """The brokers do not answer, or a topic is missing. The text says which."""


class GroupInspector:
    """Connected between two surveys. ``operations``: the names that a request may ask for."""

    def __init__(self, settings: Settings, operations: Iterable[str], *, now_ms: Callable[[], int]) -> None:
        self._settings, self._operations, self._now_ms = settings, frozenset(operations), now_ms
        self._names = topic_names(settings)
        self._consumer: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._alone = asyncio.Lock()

    async def survey(self) -> Survey:
        """How things stand now.

        Raises:
            SurveyError: if it cannot be known.
        """
        async with self._alone:
            try:
                return await self._survey()
            except (KafkaError, TimeoutError, OSError) as exc:
                await self.close()
                raise InspectionError(f"{self._settings.kafka.bootstrap}: {describe(exc)}. Are the brokers up?") from exc
            except BaseException:
                await self.close()  # a client whose question was cut off is not used again
                raise

    async def close(self) -> None:
        """Let go of the brokers; ``survey`` connects again."""
        consumer, admin, self._consumer, self._admin = self._consumer, self._admin, None, None
        if consumer is not None:
            await stop_client(consumer, _CLOSE_S)
        if admin is not None:
            await asyncio.wait({asyncio.ensure_future(admin.close())}, timeout=_CLOSE_S)

    async def _survey(self) -> Survey:
        consumer, admin = await self._connected()
        async with asyncio.timeout(_ANSWER_S):
            partitions = [tp for topic in self._names.inputs for tp in await partitions_of(consumer, topic)]
            if {tp.topic for tp in partitions} != set(self._names.inputs):
                raise InspectionError("not all topics exist; `processor topics check` says which, `processor topics apply` creates them")
            ends = await consumer.end_offsets(partitions)
            begins = await consumer.beginning_offsets(partitions)
            commits = await committed_offsets(consumer, partitions)
            state, owners, members = _group(await admin.describe_consumer_groups([self._settings.kafka.group]))
        done = {tp: finished_of(commits[tp].offset, commits[tp].metadata) if tp in commits else Finished(begins[tp]) for tp in partitions}
        left = {tp: done[tp].left_before(ends[tp]) for tp in partitions}
        asked_for = await self._sample(consumer, {tp: n for tp, n in left.items() if n and tp.topic == self._names.requests}, done)
        views = tuple(PartitionView(tp.topic, tp.partition, done[tp].floor, ends[tp], left[tp], owners.get(tp)) for tp in partitions)
        return Survey(self._now_ms(), views, state, members, asked_for)

    async def _connected(self) -> tuple[AIOKafkaConsumer, AIOKafkaAdminClient]:
        if self._consumer is None or self._admin is None:
            self._consumer = build_onlooker(self._settings)
            self._admin = AIOKafkaAdminClient(**self._settings.kafka.client_options(), request_timeout_ms=int(_ANSWER_S * 1000))
            async with asyncio.timeout(_ANSWER_S):
                await self._consumer.start()
                await self._admin.start()
        return self._consumer, self._admin

    async def _sample(
        self, consumer: AIOKafkaConsumer, left: Mapping[TopicPartition, int], done: Mapping[TopicPartition, Finished]
    ) -> Mapping[str, float]:
        """What the unfinished requests ask for: the oldest of each partition are read, and stand for the rest of it."""
        if not left:
            return {}
        consumer.assign(list(left))
        for tp in left:
            consumer.seek(tp, done[tp].floor)
        seen: dict[TopicPartition, Counter[str]] = {tp: Counter() for tp in left}
        until = time.monotonic() + _SAMPLE_S
        while time.monotonic() < until and (more := [tp for tp in left if seen[tp].total() < min(_SAMPLE_MAX, left[tp])]):
            batches = await consumer.getmany(*more, timeout_ms=300, max_records=_SAMPLE_MAX)
            if not batches:
                break  # the rest is markers
            for tp, batch in batches.items():
                seen[tp].update(self._operation(r.value) for r in batch if not done[tp].holds(r.offset))
        consumer.pause(*left)  # between two surveys nothing is fetched; unsubscribe() would end aiokafka's coordinator
        found: dict[str, float] = {}
        for tp, counts in seen.items():
            for operation, count in counts.items():
                found[operation] = found.get(operation, 0.0) + count * left[tp] / counts.total()
        return found

    def _operation(self, value: bytes | None) -> str:
        match = _OPERATION.search(value or b"")
        name = match[1].decode() if match else ""
        return name if name in self._operations else "unread"


def _group(described: list[Any]) -> tuple[str, dict[TopicPartition, str], tuple[str, ...]]:
    """State, owners and members of the group."""
    owners: dict[TopicPartition, str] = {}
    names = []
    _error, _group_id, state, _type, _protocol, members, *_ = described[0].groups[0]
    for member_id, _client, _host, _metadata, assignment, *_ in members:
        match = _STATIC_MEMBER.fullmatch(member_id)
        name = match[1] if match else member_id
        names.append(name)
        if assignment:
            for topic, partitions in ConsumerProtocolMemberAssignment.decode(assignment).assignment:
                owners |= {TopicPartition(topic, partition): name for partition in partitions}
    return state or "Dead", owners, tuple(sorted(names))
