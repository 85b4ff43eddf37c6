"""What a survey makes of brokers' answers that no broker of a test gives: here they are given by hand."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiokafka.errors import LeaderNotAvailableError
from aiokafka.protocol.metadata import MetadataResponse_v5

from processor.monitoring import group_inspector
from processor.monitoring.group_inspector import GroupInspector
from processor.monitoring.model import BlockCause
from processor.settings import Settings, load_settings
from processor.stream import reader as stream_reader
from processor.stream.admin import GroupDescription
from processor.stream.partitions import PartitionEnds, PartitionsFound, ReplicaCount, TopicPartition
from processor.stream.reader import PartitionReader
from processor.stream.topics import topic_names


class Answers:
    """A reader and an admin client whose brokers say the same each time: the requests topic has three partitions, one without a leader."""

    def __init__(self, settings: Settings) -> None:
        self.requests, *self.others = topic_names(settings).inputs
        self.outputs, self.kept = topic_names(settings).outputs, topic_names(settings).records_kept
        self.lacking: dict[TopicPartition, ReplicaCount] = {}
        self.least: dict[str, int] = {}  # min.insync.replicas of the topics whose settings may be seen
        self.asked: list[TopicPartition] = []
        self.stable = {0: 4, 1: 2}
        self.looks = 0

    async def find(self, *topics: str) -> PartitionsFound:
        await asyncio.sleep(0)
        self.looks += 1
        assert topics == (self.requests, *self.others, *self.outputs, *self.kept)
        led = [(self.requests, 0), (self.requests, 1), *((topic, 0) for topic in (*self.others, *self.outputs, *self.kept))]
        leaderless = (TopicPartition(self.requests, 2), TopicPartition(self.outputs[0], 1))
        return PartitionsFound(tuple(TopicPartition(*place) for place in led), leaderless, (), self.lacking)

    async def min_in_sync(self, topics: set[str]) -> dict[str, int]:
        await asyncio.sleep(0)
        return {topic: count for topic, count in self.least.items() if topic in topics}

    async def ends(self, partitions: Any) -> dict[TopicPartition, PartitionEnds]:
        await asyncio.sleep(0)
        self.asked += partitions
        return {tp: PartitionEnds(0, self.stable.get(tp.partition, 0), 4) for tp in partitions if tp.topic == self.requests} | {
            tp: PartitionEnds(0, 0, 0) for tp in partitions if tp.topic != self.requests
        }

    async def committed(self, _partitions: Any) -> dict[TopicPartition, Any]:
        await asyncio.sleep(0)
        return {}

    async def poll(self, *_partitions: TopicPartition, **_bounds: int) -> dict[TopicPartition, Any]:
        await asyncio.sleep(0)
        return {}

    def position(self, tp: TopicPartition) -> int:
        return self.stable[tp.partition]  # markers are all that is left

    def assign(self, positions: Any) -> None:
        del positions

    def pause(self, *partitions: TopicPartition) -> None:
        del partitions

    async def describe(self) -> GroupDescription:
        await asyncio.sleep(0)
        return GroupDescription("Stable", {}, ())


def inspector(monkeypatch: pytest.MonkeyPatch, *, patient: bool) -> tuple[GroupInspector, Answers]:
    settings = load_settings()
    made, answers = GroupInspector(settings, (), now_ms=lambda: 1_000, patient=patient), Answers(settings)
    made._reader = made._admin = cast("Any", answers)  # noqa: SLF001 - no brokers
    monkeypatch.setattr(group_inspector, "_AGAIN_S", 0.01)
    monkeypatch.setattr(group_inspector, "BLOCKED_S", 0.1)
    monkeypatch.setattr("processor.monitoring.blocked.BLOCKED_S", 0.1)
    return made, answers


async def test_a_command_looks_again_until_it_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    made, answers = inspector(monkeypatch, patient=True)
    survey = await made.survey()
    assert [(b.name, b.cause, b.offset, b.hidden) for b in survey.blocked] == [
        (f"{answers.requests}[2]", BlockCause.NO_LEADER, 0, 0),
        (f"{answers.outputs[0]}[1]", BlockCause.NO_LEADER, 0, 0),
        (f"{answers.requests}[1]", BlockCause.OPEN_TRANSACTION, 2, 2),
    ]
    assert TopicPartition(answers.requests, 2) not in answers.asked, "nobody answers for it"
    assert not {tp.topic for tp in answers.asked} & {*answers.outputs, *answers.kept}, "of those only the leaders matter"
    assert [(p.partition, p.end, p.unfinished) for p in survey.partitions if p.topic == answers.requests] == [
        (0, 4, 4),
        (1, 2, 2),
        (2, 0, 0),
    ]


async def test_a_replica_looks_once_and_tells_at_a_later_survey(monkeypatch: pytest.MonkeyPatch) -> None:
    made, answers = inspector(monkeypatch, patient=False)
    assert (await made.survey()).blocked == ()
    assert answers.looks == 1
    await asyncio.sleep(0.11)
    found = await made.survey()
    assert {b.partition for b in found.blocked} == {1, 2}
    assert all(b.blocked_s >= 0.1 for b in found.blocked)
    assert {p.partition: p.idle_s > 0 for p in found.partitions if p.topic == answers.requests} == {0: True, 1: True, 2: False}


async def test_a_command_does_not_wait_for_transactions_that_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    made, answers = inspector(monkeypatch, patient=True)
    find = answers.find

    async def find_moving(*topics: str) -> PartitionsFound:
        answers.stable[1] = answers.looks % 3
        found = await find(*topics)
        return PartitionsFound(found.led, (), ())

    monkeypatch.setattr(answers, "find", find_moving)
    assert (await made.survey()).blocked == ()
    assert answers.looks == 2


async def test_partitions_with_too_few_replicas_in_sync_are_named_and_those_of_which_that_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, answers = inspector(monkeypatch, patient=True)
    results, letters = answers.outputs
    budget, repairs, _ = answers.kept
    new = TopicPartition(answers.requests, 2)  # its leader does not know where it ends: it is among those without one
    answers.lacking = {
        new: ReplicaCount(1, 3),
        TopicPartition(answers.requests, 1): ReplicaCount(1, 3),
        TopicPartition(results, 0): ReplicaCount(2, 3),
        TopicPartition(letters, 0): ReplicaCount(1, 2),
        TopicPartition(budget, 0): ReplicaCount(1, 3),
        TopicPartition(repairs, 0): ReplicaCount(1, 3),
    }
    answers.least = {answers.requests: 2, results: 2, letters: 1, budget: 2}
    survey = await made.survey()
    assert [(b.name, b.cause) for b in survey.blocked] == [
        (f"{results}[1]", BlockCause.NO_LEADER),
        (f"{budget}[0]", BlockCause.UNDER_MIN_ISR),
        (f"{answers.requests}[1]", BlockCause.UNDER_MIN_ISR),
        (f"{answers.requests}[2]", BlockCause.UNDER_MIN_ISR),
    ]
    assert survey.unjudged == (f"{repairs}[0]",)
    answers.least = {}
    survey = await made.survey()
    assert [b.name for b in survey.blocked if b.cause is BlockCause.UNDER_MIN_ISR] == [f"{answers.requests}[2]"], "its leader has said so"
    assert len(survey.unjudged) == 5


async def test_who_lacks_replicas_is_told_and_a_new_leader_that_knows_no_end_leads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = PartitionReader(load_settings())
    cluster = reader._consumer._client.cluster  # noqa: SLF001 - what a broker would say
    rows: list[tuple[Any, ...]] = [(0, n, 1, [1, 2, 3], in_sync, []) for n, in_sync in enumerate(([1, 2, 3], [1, 3], [1]))]
    cluster.update_metadata(MetadataResponse_v5(0, [(1, "localhost", 9092, None)], "c", 1, [(0, "t", False, rows)]))
    asked: list[list[int]] = []

    async def nothing(_consumer: object) -> None:
        await asyncio.sleep(0)

    async def ends(_consumer: object, partitions: list[TopicPartition], _which: int) -> dict[TopicPartition, int]:
        await asyncio.sleep(0)
        asked.append([tp.partition for tp in partitions])
        if TopicPartition("t", 2) in partitions:
            raise LeaderNotAvailableError(TopicPartition("t", 2))
        return dict.fromkeys(partitions, 5)

    monkeypatch.setattr(stream_reader, "refresh_metadata", nothing)
    monkeypatch.setattr(stream_reader, "offsets_of", ends)
    found = await reader.find("t")
    assert ([tp.partition for tp in found.led], [tp.partition for tp in found.leaderless]) == ([0, 1], [2])
    assert {tp.partition: replicas for tp, replicas in found.lacking.items()} == {1: ReplicaCount(2, 3), 2: ReplicaCount(1, 3)}
    assert asked == [[1, 2], [1]], "whose replicas are all in sync knows its end, or will in a moment"
    await reader.close()


async def test_metadata_tells_who_has_no_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = PartitionReader(load_settings())
    cluster = reader._consumer._client.cluster  # noqa: SLF001 - what a broker would say
    led: tuple[Any, ...] = (0, 0, 1, [1], [1], [])
    alone: tuple[Any, ...] = (5, 1, -1, [2], [2], [])
    cluster.update_metadata(MetadataResponse_v5(0, [(1, "localhost", 9092, None)], "c", 1, [(0, "t", False, [led, alone])]))

    async def nothing(_consumer: object) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(stream_reader, "refresh_metadata", nothing)
    assert await reader.find("t") == PartitionsFound((TopicPartition("t", 0),), (TopicPartition("t", 1),), ())
    await reader.close()
