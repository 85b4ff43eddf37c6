"""What was not read, as it is older than ``--since`` or retention has deleted it, is no fault of what was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Self

import pytest
from verify_world import NAMES, PARTITIONS, SHORT, World, judge_world

from processor.clock import clock_ms
from processor.contract.codes import ErrorCode
from processor.contract.records import Record, Status
from processor.settings import Settings, load_settings
from processor.stream.offsets import Finished
from processor.stream.partitions import PartitionEnds, TopicPartition, partition_of
from processor.verify import audit as audit_module
from processor.verify.audit import AuditOptions, audit

_DAY_S = 86_400


class WorldTopics:
    """The topics of a world, read as those of brokers."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def partitions(self, topic: str) -> list[TopicPartition]:
        count = PARTITIONS if topic in (*NAMES.inputs, *NAMES.outputs) else 1
        return [TopicPartition(topic, partition) for partition in range(count)]

    def _records(self, tp: TopicPartition) -> list[Record]:
        return self._world.topics.get((tp.topic, tp.partition), [])

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, PartitionEnds]:
        highs = {tp: 2 * len(self._records(tp)) for tp in partitions}
        return {tp: PartitionEnds(0, high, high) for tp, high in highs.items()}

    async def offsets_at(self, partitions: Collection[TopicPartition], at_ms: int) -> dict[TopicPartition, int | None]:
        return {tp: next((r.source.offset for r in self._records(tp) if r.timestamp_ms >= at_ms), None) for tp in partitions}

    @asynccontextmanager
    async def read(self, ranges: Mapping[TopicPartition, tuple[int, int]]) -> AsyncIterator[AsyncIterator[list[Record]]]:
        async def batches() -> AsyncIterator[list[Record]]:
            for tp, (begin, end) in ranges.items():
                yield [record for record in self._records(tp) if begin <= record.source.offset < end]

        yield batches()

    async def fetch(self, wanted: Iterable[tuple[TopicPartition, int]]) -> dict[tuple[TopicPartition, int], Record]:
        places, records = set(wanted), [record for records in self._world.topics.values() for record in records]
        return {place: record for record in records if (place := (partition_of(record.source), record.source.offset)) in places}


async def kinds_since(world: World, monkeypatch: pytest.MonkeyPatch, since_ms: int | None) -> set[str]:
    """The findings of an audit with ``--since``."""

    async def finished(_settings: Settings, _partitions: Collection[TopicPartition]) -> dict[TopicPartition, Finished]:
        return {TopicPartition(*place): done for place, done in world.finished().items()}

    monkeypatch.setattr(audit_module, "TopicReader", lambda _settings: WorldTopics(world))
    monkeypatch.setattr(audit_module, "read_finished", finished)
    settings = load_settings(kafka={"topic_prefix": NAMES.prefix}, retry={"delays_s": NAMES.delays_s})
    report = await audit(settings, AuditOptions(since_ms=since_ms))
    return {kind.value for kind, many in report.findings.counts.items() if many}


def two_days_ago() -> World:
    return World(now_ms=clock_ms() - 2 * _DAY_S * 1000)


def waiting_for_hours() -> tuple[World, Record]:
    """A request that is to wait for seven hours more."""
    world = two_days_ago()
    waiting = world.retry(world.request("ended"), 12 * 3600)
    world.wait(5 * 3600)
    return world, waiting


async def test_a_round_that_was_begun_hours_before_its_result_is_no_fault_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    world = two_days_ago()
    _, letter = world.fail(failing := world.request("paced"))
    second = world.redrive(letter, failing)
    assert second is not None
    world.wait(5 * 3600)
    since_ms = world.now_ms
    world.succeed(second)
    assert await kinds_since(world, monkeypatch, since_ms) == set()


async def test_what_had_waited_for_long_and_was_ended_by_hand_is_no_fault_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    world, waiting = waiting_for_hours()
    since_ms = world.now_ms
    world.release(waiting, end=True)
    world.fail(waiting, Status.FAILED, ErrorCode.ENDED_BY_HAND)
    assert await kinds_since(world, monkeypatch, since_ms) == set()
    assert await kinds_since(world, monkeypatch, None) == set()


async def test_an_end_by_hand_that_nobody_has_asked_for_is_found_in_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    world, waiting = waiting_for_hours()
    since_ms = world.now_ms
    world.fail(waiting, Status.FAILED, ErrorCode.ENDED_BY_HAND)
    assert await kinds_since(world, monkeypatch, since_ms) == {"ended_without_audit"}


def test_a_round_whose_record_retention_has_deleted_is_known_by_its_audit() -> None:
    world = World()
    world.succeed_in_a_second_round("failing")
    world.topics[SHORT, 0].clear()
    kept = judge_world(world, retries_from_ms=world.now_ms)
    assert kept.findings == []
    assert {kind for kind, _ in judge_world(world).named} == {"audit_without_redrive"}, "nothing was deleted"


def test_a_request_that_waits_longer_than_its_first_waits_are_kept_is_not_lost() -> None:
    world = World()
    request = world.request("patient")
    first = world.retry(request, 10)
    world.retry(first, 86_400)
    world.topics[SHORT, 0].remove(first)
    judged = judge_world(world)
    assert judged.findings == []
    assert judged.judge.waiting.by_place.total() == 1
