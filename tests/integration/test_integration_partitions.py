"""Partitions that are added to a topic: whoever reads all of it reads those too, from their first record on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import NewPartitions
from rig import Rig, running

from processor.client import VerificationClient
from processor.client.batch import Batch
from processor.client.batch_source import read_batch
from processor.clock import clock_ms
from processor.contract.encode import result_output
from processor.contract.records import Hint, Result, Source, Status
from processor.devkit.kafka_cluster import LocalKafka
from processor.settings import Settings
from processor.stream import clients
from processor.stream.ports import KafkaGroupConsumer
from processor.stream.topics import topic_names
from processor.stream.wakeup_feed import WakeupFeed
from processor.stream.wakeups import Wakeups
from processor.stream.writer import RecordWriter

pytestmark = pytest.mark.broker

BEFORE, AFTER = 2, 4


@pytest.fixture(autouse=True)
def new_partitions_are_seen_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "METADATA_AGE_MS", 300)


async def grow(rig: Rig, topic: str) -> None:
    async with rig.admin() as admin:
        await admin.create_partitions({topic: NewPartitions(AFTER)})
        async with asyncio.timeout(30):  # a producer that begins before the brokers tell of them writes to none of them
            while len((await admin.describe_topics([topic]))[0]["partitions"]) < AFTER:
                await asyncio.sleep(0.05)


async def answer(settings: Settings, request_id: str, partition: int) -> None:
    """A final result, as a processor writes it, in a partition."""
    now_ms = round(time.time() * 1000)
    source = Source(topic_names(settings).requests, partition, 0)
    out = result_output(Result(request_id, "aml", Status.SUCCEEDED, source, 1, now_ms, now_ms, {"status": "Approved"}))
    async with RecordWriter.of_one_act(settings) as writer:
        await writer.send_all(topic_names(settings).results, [(out.key, out.value)], 30.0, partitions=[partition])


@asynccontextmanager
async def background(work: Awaitable[object]) -> AsyncIterator[asyncio.Future[object]]:
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


def batch_of(rig: Rig, folder: Path) -> Batch:
    source = folder / "people.jsonl"
    rows = [{"request_id": f"b-{n}", "operation": "aml", "input": {"full_name": "Ann"}} for n in range(2)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Batch(rig.settings, folder / "done.jsonl", read_batch(source, None))


async def written(rig: Rig, topic: str, count: int) -> None:
    async with asyncio.timeout(60):
        while len(await rig.records(topic)) < count:
            await asyncio.sleep(0.05)


async def test_an_open_client_reads_partitions_that_are_added_to_the_results(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=BEFORE) as rig, VerificationClient(kafka=rig.settings.kafka) as client:
        asked = client.request("aml", {"full_name": "Ann"}, timeout_s=60, request_id="a")
        async with background(asked) as waiting:
            await written(rig, "requests", 1)
            await grow(rig, topic_names(rig.settings).results)
            await answer(rig.settings, "a", AFTER - 1)
            result = await asyncio.wait_for(waiting, 30)
        assert result.source.partition == AFTER - 1  # type: ignore[attr-defined]


async def test_a_batch_that_runs_and_one_that_goes_on_read_them_too(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=BEFORE) as rig:
        async with background(batch_of(rig, tmp_path).run(lambda _: None)) as waiting:
            await written(rig, "requests", 2)
            await grow(rig, topic_names(rig.settings).results)
            await answer(rig.settings, "b-0", AFTER - 1)
            async with asyncio.timeout(30):
                while not (tmp_path / "done.jsonl").read_bytes():
                    await asyncio.sleep(0.05)
            assert not waiting.done()
        await answer(rig.settings, "b-1", AFTER - 2)  # while nobody reads
        progress = await asyncio.wait_for(batch_of(rig, tmp_path).run(lambda _: None), 30)
        assert progress.all_succeeded
        assert [orjson.loads(line)["request_id"] for line in (tmp_path / "done.jsonl").read_bytes().splitlines()] == ["b-0", "b-1"]


async def test_events_in_partitions_that_are_added_wake_who_waits(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=BEFORE) as rig:
        heard: list[str] = []
        ready = asyncio.Event()

        def hear(hint: Hint) -> bool:
            heard.append(hint.session_id)
            return False

        names = topic_names(rig.settings)
        async with background(WakeupFeed(rig.settings, Wakeups(hear), clock_ms, lambda _pauses: ready.set()).run()):
            await asyncio.wait_for(ready.wait(), 60)
            await grow(rig, names.events)
            async with RecordWriter.of_one_act(rig.settings) as writer:
                for partition in range(AFTER):
                    value = orjson.dumps({"session_id": f"s-{partition}"})
                    await writer.send_all(names.events, [(b"k", value)], 30.0, partitions=[partition])
            await rig.until(lambda: len(heard) >= AFTER, "events of all partitions")
        assert sorted(heard) == [f"s-{partition}" for partition in range(AFTER)]


class Given(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self) -> None:
        self.partitions: list[TopicPartition] = []

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.partitions = sorted(assigned)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        pass


async def test_a_leader_that_comes_back_finds_what_was_added_while_it_was_away_when_it_looks(kafka: LocalKafka, tmp_path: Path) -> None:
    """Under its static name it is given what it had, and is not told that it leads: nobody read what was added."""
    async with running(kafka, tmp_path, partitions=BEFORE, KAFKA__INSTANCE_ID="p0") as rig:
        topic, given = f"{rig.prefix}.requests", Given()
        every = [TopicPartition(topic, number) for number in range(AFTER)]

        async def look(member: KafkaGroupConsumer) -> frozenset[TopicPartition]:
            await clients.refresh_metadata(member._consumer)  # noqa: SLF001 - as it does by itself
            return await member.ownerless()

        for back in (False, True):
            member = KafkaGroupConsumer(rig.settings)
            member.subscribe([topic], given)
            await member.start()
            try:
                assert given.partitions == every[:BEFORE]
                assert await look(member) == (set(every[BEFORE:]) if back else set())
                if back:
                    member.rejoin()
                    await rig.until(lambda: given.partitions == every, "all are divided")
                    assert await look(member) == set()
            finally:
                await member.stop(5.0)
            if not back:
                await grow(rig, topic)
