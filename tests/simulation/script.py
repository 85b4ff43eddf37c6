"""A program for Kafka's clients, to be run against the model and against the real broker: what it observes must be the same.

``python -m simulation.script`` runs it against the model and prints what it saw, one JSON array; the integration test of the model runs
it against a real broker. No times, no member ids: nothing that may differ from run to run.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

_TOPIC = "script"
_WAIT_S = 30.0


class Script:
    """One run. ``seen``: what was observed, in order."""

    def __init__(self, bootstrap: str, prefix: str = "") -> None:
        self.seen: list[Any] = []
        self._at = {"bootstrap_servers": bootstrap}
        self._topic = f"{prefix}{_TOPIC}"
        self._one, self._two = TopicPartition(self._topic, 0), TopicPartition(self._topic, 1)
        self._group = f"{prefix}group"
        self._id = f"{prefix}producer"

    async def run(self) -> list[Any]:
        """All of it."""
        admin = AIOKafkaAdminClient(**self._at)
        await admin.start()
        new = NewTopic(self._topic, 2, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})
        for _ in range(2):  # the second time it is there
            answer = await admin.create_topics([new])
            self.seen.append(["create", [row[1] for row in answer.topic_errors]])
        await admin.close()
        for part in (self._transactions, self._fencing, self._offsets, self._sequences, self._group_of_static_members, self._topics):
            async with asyncio.timeout(_WAIT_S):
                await part()
        return self.seen

    def _note(self, what: str, *found: Any) -> None:
        self.seen.append([what, *found])

    async def _errors(self, what: str, deed: Awaitable[Any]) -> None:
        try:
            await deed
        except Exception as exc:  # noqa: BLE001 - its kind is what is compared
            self._note(what, type(exc).__name__)
        else:
            self._note(what, "done")

    async def _ends(self) -> None:
        found = []
        for level in ("read_uncommitted", "read_committed"):
            consumer = AIOKafkaConsumer(**self._at, isolation_level=level)
            await consumer.start()
            consumer.assign([self._one, self._two])
            ends = await consumer.end_offsets([self._one, self._two])
            found.append([ends[self._one], ends[self._two]])
            await consumer.stop()
        self._note("ends", *found)

    async def _records(self) -> None:
        for level in ("read_uncommitted", "read_committed"):
            consumer = AIOKafkaConsumer(**self._at, isolation_level=level, auto_offset_reset="earliest")
            await consumer.start()
            consumer.assign([self._one, self._two])
            found: list[Any] = []
            for _ in range(3):
                for tp, records in (await consumer.getmany(timeout_ms=400)).items():
                    found += [[tp.partition, r.offset, r.value.decode(), r.timestamp_type] for r in records]
            self._note(level, sorted(found))
            await consumer.stop()

    async def _producer(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(**self._at, transactional_id=self._id, transaction_timeout_ms=60_000)
        await producer.start()
        return producer

    async def _transactions(self) -> None:
        producer = await self._producer()
        for number, ends in enumerate(("commit", "abort", "commit")):
            await producer.begin_transaction()
            sent = await producer.send_and_wait(self._topic, b"%s-%d" % (ends.encode(), number), partition=0)
            self._note("sent", sent.offset, sent.timestamp_type)
            await (producer.commit_transaction() if ends == "commit" else producer.abort_transaction())
        await producer.stop()
        await asyncio.sleep(0.3)  # markers follow the answer
        await self._ends()
        await self._records()

    async def _fencing(self) -> None:
        former = await self._producer()
        await former.begin_transaction()
        await former.send_and_wait(self._topic, b"never committed", partition=1)
        await self._ends()  # the last stable offset stands before it
        heir = await self._producer()
        await self._ends()  # it was aborted
        self._note("epochs", heir._txn_manager.producer_epoch - former._txn_manager.producer_epoch)  # noqa: SLF001 - no public way
        await self._errors("commit of the former", former.commit_transaction())
        await heir.begin_transaction()
        await heir.send_and_wait(self._topic, b"of the heir", partition=1)
        await heir.commit_transaction()
        for producer in (former, heir):
            await self._errors("stop", producer.stop())
        await asyncio.sleep(0.3)
        await self._records()

    async def _offsets(self) -> None:
        producer = await self._producer()
        reader = AIOKafkaConsumer(**self._at, group_id=self._group, enable_auto_commit=False)
        await reader.start()
        reader.assign([self._one])
        self._note("committed", await reader.committed(self._one))
        for offset, commit in ((3, True), (5, False)):
            await producer.begin_transaction()
            await producer.send_offsets_to_transaction({self._one: offset}, self._group)
            await (producer.commit_transaction() if commit else producer.abort_transaction())
            await asyncio.sleep(0.3)
            self._note("committed", await reader.committed(self._one))
        await reader.commit({self._one: (1, "a text")})
        self._note("committed", await reader.committed(self._one))
        await reader.stop()
        await producer.stop()

    async def _sequences(self) -> None:
        producer = AIOKafkaProducer(**self._at)
        await producer.start()
        client = producer.client
        await client.add_topic(self._topic)
        told = await client.send(client.get_random_node(), InitProducerIdRequest(None, 60_000))
        for epoch, sequence in ((0, 0), (0, 0), (0, 1), (0, 5), (0, 1), (1, 3), (1, 0), (0, 2)):
            raw = _batch(told.producer_id, epoch, sequence)
            node = client.cluster.leader_for_partition(self._one)
            request = ProduceRequest(required_acks=-1, timeout=5000, topics=[(self._topic, [(0, raw)])], transactional_id=None)
            answer = await client.send(node, request)
            self._note("sequence", epoch, sequence, *answer.topics[0][1][0][1:3])
        await producer.stop()

    async def _topics(self) -> None:
        """A compacted topic takes no record without a key; topics get more partitions, never fewer; one that is deleted is not known."""
        name, admin = f"{self._topic}-compacted", AIOKafkaAdminClient(**self._at)
        await admin.start()
        await admin.create_topics([NewTopic(name, 1, 1, topic_configs={"cleanup.policy": "compact"})])
        client, partition = admin._client, TopicPartition(name, 0)  # noqa: SLF001 - requests of our own
        await client.set_topics([name])
        while client.cluster.leader_for_partition(partition) in (None, -1):
            await client.force_metadata_update()
        for key in (b"key", None):
            batch = _batch(-1, -1, -1, key)
            request = ProduceRequest(required_acks=-1, timeout=5000, topics=[(name, [(0, batch)])], transactional_id=None)
            answer = await client.send(client.cluster.leader_for_partition(partition), request)
            self._note("compacted", key is not None, *answer.topics[0][1][0][1:3])
        for count in (3, 3, 2):
            await self._errors(f"{count} partitions", admin.create_partitions({name: NewPartitions(count)}))
        await admin.delete_topics([name])
        for topic in (name, f"{self._topic}-never"):
            await self._errors("partitions of none", admin.create_partitions({topic: NewPartitions(5)}))
        await admin.close()

    async def _group_of_static_members(self) -> None:
        members = [self._member("one"), self._member("two")]
        for member in members:
            await member.start()
            await self._settled(members[: members.index(member) + 1])
        again = self._member("one")  # the first one as a new process: its place stays, nobody else moves
        await again.start()
        await self._settled([again, members[1]])
        for member in (again, *members):
            member._coordinator._group_instance_id = None  # noqa: SLF001 - so that stop() leaves
            await self._errors("member stops", member.stop())

    def _member(self, instance: str) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            self._topic, **self._at, group_id=f"{self._group}-static", group_instance_id=instance, enable_auto_commit=False,
            session_timeout_ms=10_000, heartbeat_interval_ms=200,
        )  # fmt: skip

    async def _settled(self, members: list[AIOKafkaConsumer]) -> None:
        while sum(len(member.assignment()) for member in members) != 2 or not all(member.assignment() for member in members):
            await asyncio.sleep(0.05)
        coordinators = [member._coordinator for member in members]  # noqa: SLF001 - no public way
        self._note("generation", [c.generation for c in coordinators], [len(member.assignment()) for member in members])


def _batch(producer_id: int, epoch: int, sequence: int, key: bytes | None = None) -> bytes:
    kind: dict[str, int] = {"magic": 2, "compression_type": 0, "is_transactional": 0}
    builder = DefaultRecordBatchBuilder(**kind, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence, batch_size=1000)
    builder.append(0, 1_000, key, b"sequence %d" % sequence, [])
    return bytes(builder.build())


def _on_the_model() -> list[Any]:
    from simulation.plan import Plan  # noqa: PLC0415 - the machine is to be prepared first
    from simulation.world import build  # noqa: PLC0415 - the machine is to be prepared first

    world = build(1, Plan(brokers=1, replicas=0))
    world.start_broker(0)
    run = world.network.hosts["caller"].spawn(Script("kafka-0:9092").run(), "script")

    async def wait() -> list[Any]:
        return await run

    return world.loop.run_until_complete(wait())


if __name__ == "__main__":
    import os

    from simulation import machine

    machine.prepare()
    sys.stdout.write(json.dumps(_on_the_model()) + "\n")
    sys.stdout.flush()
    os._exit(0)
