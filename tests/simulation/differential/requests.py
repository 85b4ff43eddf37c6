"""Kafka's requests one by one, over a connection of aiokafka's client: answers as numbers and words, the same in each run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeGroupsRequest
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from processor.stream.aiokafka_fence import DescribeTransactionsRequest

LATEST, EARLIEST = -1, -2
_LOOK_S = 0.02
_NOT_READY = (14, 15, 16, 51)  # its log is being read, it is not there, it is another one; a transaction ends
_TIMEOUT_MS = 10_000
_REAL_TIME_MS = 10**11  # stamps above are a clock's and not ours
Producer = tuple[str | None, int, int]  # transactional id, producer id, epoch


class Connection:
    """To a cluster of one broker."""

    def __init__(self, bootstrap: str) -> None:
        self._client = AIOKafkaClient(bootstrap_servers=bootstrap)

    async def open(self) -> None:
        """Connect."""
        await self._client.bootstrap()

    async def close(self) -> None:
        """End the connection."""
        await self._client.close()

    async def ask(self, request: Any) -> Any:
        """The response to a request."""
        return await self._client.send(self._client.get_random_node(), request)

    async def ready(self, group: str, transactional_id: str) -> None:
        """Wait until the coordinators of both work: their topics are made when they are first looked for."""
        for kind, name in enumerate((group, transactional_id)):
            while (await self.ask(FindCoordinatorRequest(name, kind))).error_code:
                await asyncio.sleep(_LOOK_S)
        while (await self.ask(OffsetFetchRequest(group, None))).error_code:
            await asyncio.sleep(_LOOK_S)
        while (await self.init(transactional_id))[0] in _NOT_READY:
            await asyncio.sleep(_LOOK_S)

    async def create(self, topic: str, partitions: int, configs: Mapping[str, str]) -> int:
        """CreateTopics: the error code."""
        new: list[Any] = [(topic, partitions, 1, [], sorted(configs.items()))]
        answer = await self.ask(CreateTopicsRequest(new, _TIMEOUT_MS, validate_only=False))
        code: int = answer.topic_errors[0][1]
        for partition in range(partitions if not code else 0):
            while (await self.offsets(topic, partition, EARLIEST, 0))[0]:
                await asyncio.sleep(_LOOK_S)
        return code

    async def delete(self, topic: str) -> int:
        """DeleteTopics: the error code; the topic is gone then."""
        answer = await self.ask(DeleteTopicsRequest([topic], _TIMEOUT_MS))
        while not (await self.ask(MetadataRequest([topic], allow_auto_topic_creation=False))).topics[0][0]:
            await asyncio.sleep(_LOOK_S)
        return int(answer.topic_error_codes[0][1])

    async def init(self, transactional_id: str | None, timeout_ms: int = 60_000) -> tuple[int, int, int]:
        """InitProducerId: error code, producer id, epoch."""
        answer = await self.ask(InitProducerIdRequest(transactional_id, timeout_ms))
        return answer.error_code, answer.producer_id, answer.producer_epoch

    async def append(self, producer: Producer, where: tuple[str, int], batch: bytes) -> tuple[int, int, bool]:
        """Produce: error code, base offset, whether the stamp is the broker's."""
        topics = [(where[0], [(where[1], batch)])]
        request = ProduceRequest(transactional_id=producer[0], required_acks=-1, timeout=_TIMEOUT_MS, topics=topics)
        row = (await self.ask(request)).topics[0][1][0]
        return row[1], row[2], row[3] > 0

    async def enlist(self, producer: Producer, where: Sequence[tuple[str, int]]) -> list[int]:
        """AddPartitionsToTxn: error codes in the order of the names."""
        answer = await self.ask(AddPartitionsToTxnRequest(*producer, [(topic, [number]) for topic, number in where]))
        return [code for _, _, code in sorted((topic, number, code) for topic, rows in answer.errors for number, code in rows)]

    async def enlist_group(self, producer: Producer, group: str) -> int:
        """AddOffsetsToTxn: the error code."""
        return int((await self.ask(AddOffsetsToTxnRequest(*producer, group))).error_code)

    async def offsets_in_transaction(self, producer: Producer, group: str, where: tuple[str, int], offset: int) -> int:
        """TxnOffsetCommit: the error code."""
        transactional_id, producer_id, epoch = producer
        rows = [(where[0], [(where[1], offset, "in a transaction")])]
        answer = await self.ask(TxnOffsetCommitRequest(transactional_id or "", group, producer_id, epoch, rows))
        return int(answer.errors[0][1][0][1])

    async def end(self, producer: Producer, *, commit: bool) -> int:
        """EndTxn: the error code."""
        return int((await self.ask(EndTxnRequest(*producer, commit))).error_code)

    async def settled(self, transactional_id: str) -> str:
        """The state of a transaction, once it is not ending any more: markers follow the answer to EndTxn."""
        while True:
            row = (await self.ask(DescribeTransactionsRequest(transactional_id))).transaction_states[0]
            if row[0] or not str(row[2]).startswith("Prepare"):
                return f"error {row[0]}" if row[0] else str(row[2])
            await asyncio.sleep(_LOOK_S)

    async def offsets(self, topic: str, partition: int, stamp_ms: int, isolation: int) -> tuple[int, int, int]:
        """ListOffsets: error code, offset, stamp (0 for a clock's)."""
        row = (await self.ask(OffsetRequest(-1, isolation, [(topic, [(partition, stamp_ms)])]))).topics[0][1][0]
        return row[1], row[3], 0 if row[2] > _REAL_TIME_MS else row[2]

    async def fetch(self, where: tuple[str, int], offset: int, isolation: int) -> dict[str, Any]:
        """Fetch without waiting: error code, ends, aborted transactions by producer id, batches."""
        row = (await self.ask(FetchRequest(0, 0, 10**7, isolation, [(where[0], [(where[1], offset, 10**7)])]))).topics[0][1][0]
        aborted = sorted(row[5] or [])
        return {"code": row[1], "ends": list(row[2:5]), "aborted": aborted, "batches": read_batches(row[-1] or b"")}

    async def delete_records(self, where: tuple[str, int], offset: int) -> tuple[int, int]:
        """DeleteRecords: error code, start of the log."""
        answer = await self.ask(DeleteRecordsRequest([(where[0], [(where[1], offset)])], _TIMEOUT_MS))
        row = answer.topics[0][1][0]
        return row[2], row[1]

    async def commit(self, group: str, who: tuple[str, int], where: tuple[str, int], offset: int, text: str = "") -> int:
        """OffsetCommit: the error code. ``who``: member id and generation."""
        answer = await self.ask(OffsetCommitRequest(group, who[1], who[0], -1, [(where[0], [(where[1], offset, text)])]))
        return int(answer.topics[0][1][0][1])

    async def committed(self, group: str, where: tuple[str, int]) -> tuple[int, str, int]:
        """OffsetFetch: offset, its text, error code."""
        row = (await self.ask(OffsetFetchRequest(group, [(where[0], [where[1]])]))).topics[0][1][0]
        return row[1], row[2], row[3]

    async def describe(self, group: str) -> tuple[int, str, str, str, int]:
        """DescribeGroups: error code, state, protocol type, protocol, count of members."""
        row = (await self.ask(DescribeGroupsRequest([group]))).groups[0]
        return row[0], row[2], row[3], row[4], len(row[5])


def batch(producer: Producer, sequence: int, values: Sequence[bytes], stamp_ms: int) -> bytes:
    """A record batch; the stamps of its records are 10 ms apart."""
    transactional_id, producer_id, epoch = producer
    kind: dict[str, int] = {"magic": 2, "compression_type": 0, "is_transactional": int(transactional_id is not None)}
    builder = DefaultRecordBatchBuilder(**kind, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence, batch_size=10_000)
    for number, value in enumerate(values):
        builder.append(number, stamp_ms + 10 * number, None, value, [])
    return bytes(builder.build())


def read_batches(data: bytes) -> list[list[Any]]:
    """First and last offset, producer id, kind, whether the stamps are the broker's, values."""
    found, records = [], MemoryRecords(data)
    while records.has_next():
        one = records.next_batch()
        kind = "marker" if one.is_control_batch else "transactional" if one.is_transactional else "plain"
        rows = [(r.offset, (r.key or b"") if one.is_control_batch else r.value or b"", r.timestamp_type) for r in one]
        text = [value.hex() if one.is_control_batch else value.decode() for _, value, _ in rows]
        found.append([rows[0][0], rows[-1][0], one.producer_id, kind, bool(rows[0][2]) or one.is_control_batch, text])
    return found
