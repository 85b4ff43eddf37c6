"""What unmodified producers and consumers of aiokafka observe: results, or the kinds of their errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from simulation.differential.program import FROM_END
from simulation.differential.requests import LATEST, Connection

_ID = "three"  # transactional
_LEVELS = ("read_uncommitted", "read_committed")
_READ_MS = 200
_READS_MAX = 25  # without anything new
_SHORT_MS = 8_000


class UnmodifiedClients:
    """Producers, one for each name, and consumers, one for each look."""

    def __init__(self, bootstrap: str, prefix: str, where: Callable[[int], tuple[str, int]], connection: Connection) -> None:
        self._at: dict[str, Any] = {"bootstrap_servers": bootstrap, "request_timeout_ms": _SHORT_MS}
        self._prefix, self._where, self._connection = prefix, where, connection
        self._producers: dict[str, AIOKafkaProducer] = {}
        self._texts = 0
        self.deeds: dict[str, Callable[..., Awaitable[Any]]] = {
            "send": self._send, "transact": self._transact, "fence": self._fence, "read": self._read,
        }  # fmt: skip

    async def close(self) -> None:
        """Stop all."""
        for producer in self._producers.values():
            await self._errors(producer.stop())

    async def _errors(self, deed: Awaitable[Any]) -> Any:
        try:
            return await deed
        except KafkaError as exc:
            return type(exc).__name__

    async def _producer(self, who: str) -> AIOKafkaProducer:
        if who not in self._producers:
            kind: dict[str, Any] = {"transactional_id": f"{self._prefix}{_ID}"} if who == "aiokafka" else {}
            producer = AIOKafkaProducer(**self._at, enable_idempotence=who != "aiokafka plain", **kind)
            await producer.start()
            self._producers[who] = producer
        return self._producers[who]

    def _text(self) -> bytes:
        self._texts += 1
        return b"aiokafka %d" % self._texts

    async def _sent(self, producer: AIOKafkaProducer, partition: int, stamp_ms: int) -> Any:
        topic, number = self._where(partition)
        sent = await producer.send_and_wait(topic, self._text(), partition=number, timestamp_ms=stamp_ms)
        return [sent.offset, sent.timestamp_type]

    async def _send(self, who: str, partition: int, stamp_ms: int) -> Any:
        return await self._errors(self._sent(await self._producer(who), partition, stamp_ms))

    async def _transact(self, who: str, partition: int, stamp_ms: int, how: str) -> Any:
        producer = await self._producer(who)
        seen = await self._errors(self._one_transaction(producer, partition, stamp_ms, how))
        if isinstance(seen, str):  # a transaction that failed must be ended
            seen = [seen, await self._errors(producer.abort_transaction())]
        return [seen, await self._settled()]

    async def _settled(self) -> str:
        return await self._connection.settled(f"{self._prefix}{_ID}")

    async def _one_transaction(self, producer: AIOKafkaProducer, partition: int, stamp_ms: int, how: str) -> Any:
        await producer.begin_transaction()
        seen = await self._sent(producer, partition, stamp_ms)
        if how == "offsets":
            at = TopicPartition(*self._where(partition))
            await producer.send_offsets_to_transaction({at: stamp_ms}, f"{self._prefix}dynamic")
        await (producer.abort_transaction() if how == "abort" else producer.commit_transaction())
        return [*seen, how]

    async def _fence(self, who: str, partition: int, stamp_ms: int) -> Any:
        """Another one begins under the same id, in the middle of a transaction."""
        former = await self._producer(who)
        await former.begin_transaction()
        seen = [await self._errors(self._sent(former, partition, stamp_ms))]
        del self._producers[who]
        heir = await self._producer(who)
        seen.append(await self._errors(former.commit_transaction()))
        seen.append(await self._errors(self._one_transaction(heir, partition, stamp_ms, "commit")))
        await self._errors(former.stop())
        return [*seen, await self._settled()]

    async def _read(self, _: str, partition: int, offset: int, reset: str, isolation: int) -> Any:
        consumer = AIOKafkaConsumer(**self._at, auto_offset_reset=reset, isolation_level=_LEVELS[isolation])
        await consumer.start()
        try:
            return await self._errors(self._to_the_end(consumer, TopicPartition(*self._where(partition)), offset))
        finally:
            await consumer.stop()

    async def _to_the_end(self, consumer: AIOKafkaConsumer, at: TopicPartition, offset: int) -> Any:
        consumer.assign([at])
        end = (await consumer.end_offsets([at]))[at]
        offset = max(0, end + offset - FROM_END) if FROM_END - 50 <= offset < FROM_END + 50 else offset
        beyond = offset > (await self._connection.offsets(at.topic, at.partition, LATEST, 0))[1]
        consumer.seek(at, offset)
        seen: list[Any] = []
        for _ in range(_READS_MAX):
            found = [r for rows in (await consumer.getmany(at, timeout_ms=_READ_MS)).values() for r in rows]
            seen += [[r.offset, r.timestamp_type, r.value.decode()] for r in found]
            async with asyncio.timeout(_SHORT_MS / 1000):
                position = await consumer.position(at)
            if position >= end and not (beyond and position == offset):  # a position that there is not is going to be another one
                break
        return [end, seen]
