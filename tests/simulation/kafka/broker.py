"""A broker: what it answers to each request, from the cluster's state. One object for each life of a broker's process."""

from __future__ import annotations

import struct
from typing import Any

from simulation.kafka.cluster import Cluster, Topic
from simulation.kafka.codes import Code
from simulation.kafka.coordination import Coordination
from simulation.kafka.partition_log import Appended, PartitionLog, lacks_keys
from simulation.kafka.wire import VERSIONS, BrokerConnection

PORT = 9092
_PRODUCER_AT = 43  # of producer id and epoch in a batch
_COMMITTED = 1
_LATEST, _EARLIEST = -1, -2
_TO_THE_END = -1  # of DeleteRecords
_TOPIC = 2  # a resource type of DescribeConfigs
_RACK = "rack"  # clients keep sets of brokers, and before Python 3.12 the hash of None is an address: each run walked them in another order
_DEFAULTS = {"cleanup.policy": "delete", "retention.ms": "604800000", "max.message.bytes": "1048588", "min.insync.replicas": "1"}


class Broker:
    """Answers. ``id`` is its place in the cluster."""

    def __init__(self, broker_id: int, cluster: Cluster, coordination: Coordination) -> None:
        self.id, self._cluster, self._coordination = broker_id, cluster, coordination
        self._loop = cluster.loop
        self._handlers = {
            0: self._produce, 1: self._fetch, 2: self._offsets, 3: self._metadata, 18: self._versions,
            19: self._create, 20: self._delete, 21: self._delete_records, 32: self._configs, 37: self._extend,
        }  # fmt: skip

    async def serve(self) -> None:
        """Listen for as long as the process lives."""
        slow = self._cluster.slow_reads_s, self._cluster.throttled_s
        server = await self._loop.create_server(lambda: BrokerConnection(self.answer, self._loop.fail, *slow), None, PORT)
        await server.serve_forever()

    async def answer(self, request: Any) -> Any:
        """The response to a request."""
        handler = self._handlers.get(request.API_KEY)
        if handler is not None:
            return await handler(request)
        return await self._coordination.answer(self.id, request)

    async def _versions(self, request: Any) -> Any:
        rows = [(key, least, most) for key, (least, most) in sorted(VERSIONS.items())]
        return request.RESPONSE_TYPE(0, rows, *([0] if request.API_VERSION else []))

    async def _metadata(self, request: Any) -> Any:
        version, cluster = request.API_VERSION, self._cluster
        nodes = [(broker, cluster.names[broker], PORT, _RACK) for broker in cluster.brokers]
        if version == 0:
            nodes = [node[:3] for node in nodes]  # type: ignore[misc]
        asked = request.topics
        names = sorted(cluster.topics) if asked is None or (version == 0 and not asked) else asked
        topics = [self._topic(name, version) for name in names]
        if version == 0:
            return request.RESPONSE_TYPE(nodes, topics)
        head = [0] if version >= 3 else []
        identity = ["simulated"] if version >= 2 else []
        tail = [-(2**31)] if version >= 8 else []
        return request.RESPONSE_TYPE(*head, nodes, *identity, min(cluster.brokers, default=-1), topics, *tail)

    def _topic(self, name: str, version: int) -> tuple[Any, ...]:
        found = self._cluster.topics.get(name)
        code = Code.NONE if found is not None else Code.UNKNOWN_TOPIC_OR_PARTITION
        parts = [self._partition(found, n, version) for n in range(len(found.logs))] if found is not None else []
        return (int(code), name, *([False] if version else []), parts, *([-(2**31)] if version >= 8 else []))

    def _partition(self, topic: Topic, number: int, version: int) -> tuple[Any, ...]:
        count = len(self._cluster.names)
        replicas = [(topic.leads[number] + n) % count for n in range(topic.replication)]
        alive = [broker for broker in replicas if broker in self._cluster.brokers]
        leader = self._cluster.leader(topic, number)
        code = Code.NONE if leader >= 0 else Code.LEADER_NOT_AVAILABLE
        offline = [broker for broker in replicas if broker not in alive]
        epoch = [topic.epochs[number]] if version >= 7 else []
        return (int(code), number, leader, *epoch, replicas, alive, *([offline] if version >= 5 else []))

    def _led(self, topic: str, partition: int) -> tuple[PartitionLog | None, Code]:
        log = self._cluster.log(topic, partition)
        if log is None:
            return None, Code.UNKNOWN_TOPIC_OR_PARTITION
        leads = self._cluster.leader(self._cluster.topics[topic], partition) == self.id
        return log, Code.NONE if leads else Code.NOT_LEADER_OR_FOLLOWER

    async def _produce(self, request: Any) -> Any:
        start = [0] if request.API_VERSION >= 5 else []
        topics = []
        for topic, partitions in request.topics:
            rows = []
            for number, raw in partitions:
                done = self._append(request.transactional_id, topic, number, raw)
                rows.append((number, int(done.code), done.base, done.stamp_ms, *start))
            topics.append((topic, rows))
        return request.RESPONSE_TYPE(topics, 0) if request.required_acks else None

    def _append(self, transactional_id: str | None, topic: str, number: int, raw: bytes) -> Appended:
        log, code = self._led(topic, number)
        if log is None or code:
            return Appended(code)
        if not self._cluster.enough_replicas(self._cluster.topics[topic]):
            return Appended(Code.NOT_ENOUGH_REPLICAS)
        if "compact" in self._cluster.topics[topic].configs.get("cleanup.policy", "") and lacks_keys(raw):
            return Appended(Code.INVALID_RECORD)
        if transactional_id is not None and log.must_ask(raw):
            producer_id, epoch = struct.unpack_from(">qh", raw, _PRODUCER_AT)
            code = self._coordination.transactions.may_write((transactional_id, producer_id, epoch), (topic, number))
            if code:
                return Appended(code)
        return log.append(raw, self._cluster.stamp_ms(self.id))

    async def _fetch(self, request: Any) -> Any:
        until = self._loop.time() + request.max_wait_time / 1000
        while True:
            topics, size, logs = self._read(request)
            left_s = until - self._loop.time()
            if size >= max(1, request.min_bytes) or left_s <= 0:
                return request.RESPONSE_TYPE(0, *([0, 0] if request.API_VERSION >= 7 else []), topics)
            await self._news(logs, left_s)

    async def _news(self, logs: list[PartitionLog], within_s: float) -> None:
        news = self._loop.create_future()

        def tell() -> None:
            if not news.done():
                news.set_result(None)

        for log in logs:
            log.on_change.append(tell)
        self._cluster.on_election.append(tell)
        timer = self._loop.call_later(within_s, tell)
        try:
            await news
        finally:
            timer.cancel()
            self._cluster.on_election.remove(tell)
            for log in logs:
                if tell in log.on_change:
                    log.on_change.remove(tell)

    def _read(self, request: Any) -> tuple[list[Any], int, list[PartitionLog]]:
        topics, size, logs = [], 0, []
        for topic, partitions in request.topics:
            rows = []
            for part in partitions:
                number, offset, limit = part[0], part[2] if request.API_VERSION >= 9 else part[1], part[-1]
                log, code = self._led(topic, number)
                if log is not None and not code and not log.start <= offset <= log.end:
                    code = Code.OFFSET_OUT_OF_RANGE
                if log is None or code:
                    rows.append(_fetched(request.API_VERSION, number, code, (-1, -1, -1), None, b""))
                    size += 1  # an error is told at once
                    continue
                data, aborted = log.read(offset, limit, committed=request.isolation_level == _COMMITTED)
                logs.append(log)
                size += len(data)
                rows.append(_fetched(request.API_VERSION, number, code, (log.end, log.stable_end, log.start), aborted, data))
            topics.append((topic, rows))
        return topics, size, logs

    async def _offsets(self, request: Any) -> Any:
        committed = getattr(request, "isolation_level", 0) == _COMMITTED
        topics = []
        for topic, partitions in request.topics:
            rows = []
            for number, stamp_ms, *_ in partitions:
                log, code = self._led(topic, number)
                found = (-1, -1) if log is None or code else _looked_up(log, stamp_ms, committed=committed)
                beyond = stamp_ms == _LATEST or (stamp_ms != _EARLIEST and found == (-1, -1))
                if not code and beyond and not self._cluster.knows_end(topic, number):
                    found, code = (-1, -1), Code.LEADER_NOT_AVAILABLE  # OFFSET_NOT_AVAILABLE from version 5 on, which no client here speaks
                rows.append((number, int(code), found[1], found[0]))
            topics.append((topic, rows))
        return request.RESPONSE_TYPE(*([0] if request.API_VERSION >= 2 else []), topics)

    async def _create(self, request: Any) -> Any:
        rows = []
        for name, partitions, replication, _assignment, configs in request.create_topic_requests:
            exists = name in self._cluster.topics
            if not exists and not request.validate_only:
                self._cluster.create(name, partitions, replication, dict(configs))
            rows.append((name, int(Code.TOPIC_ALREADY_EXISTS if exists else Code.NONE), None))
        return request.RESPONSE_TYPE(0, rows)

    async def _delete(self, request: Any) -> Any:
        gone = {name: self._cluster.topics.pop(name, None) for name in request.topics}
        rows = [(name, int(Code.NONE if topic is not None else Code.UNKNOWN_TOPIC_OR_PARTITION)) for name, topic in gone.items()]
        self._coordination.groups.forget(set(gone))
        return request.RESPONSE_TYPE(0, rows)

    async def _delete_records(self, request: Any) -> Any:
        topics = []
        for topic, partitions in request.topics:
            rows = []
            for number, offset in partitions:
                log, code = self._led(topic, number)
                if log is not None and not code and not log.delete_before(log.end if offset == _TO_THE_END else offset):
                    code = Code.OFFSET_OUT_OF_RANGE
                rows.append((number, log.start if log is not None and not code else -1, int(code)))
            topics.append((topic, rows))
        return request.RESPONSE_TYPE(0, topics)

    async def _extend(self, request: Any) -> Any:
        rows = []
        for name, (count, _assignment) in request.topic_partitions:
            topic = self._cluster.topics.get(name)
            code = Code.NONE if topic is not None else Code.UNKNOWN_TOPIC_OR_PARTITION
            if topic is not None and count <= len(topic.logs):
                code = Code.INVALID_PARTITIONS
            elif topic is not None:
                self._cluster.extend(topic, count)
            rows.append((name, int(code), None))
        return request.RESPONSE_TYPE(0, rows)

    async def _configs(self, request: Any) -> Any:
        rows = []
        for kind, name, _keys in request.resources:
            topic = self._cluster.topics.get(name) if kind == _TOPIC else None
            entries: list[Any] = (
                [(key, text, False, 1, False, []) for key, text in sorted((_DEFAULTS | topic.configs).items())] if topic else []
            )
            code = Code.NONE if topic is not None or kind != _TOPIC else Code.UNKNOWN_TOPIC_OR_PARTITION
            rows.append((int(code), None, kind, name, entries))
        return request.RESPONSE_TYPE(0, rows)


def _fetched(
    version: int, number: int, code: Code, ends: tuple[int, int, int], aborted: list[tuple[int, int]] | None, data: bytes
) -> tuple[Any, ...]:
    end, stable, start = ends
    return (number, int(code), end, stable, *([start] if version >= 5 else []), aborted, *([-1] if version >= 11 else []), data)


def _looked_up(log: PartitionLog, stamp_ms: int, *, committed: bool) -> tuple[int, int]:
    if stamp_ms == _LATEST:
        return (log.stable_end if committed else log.end), -1
    if stamp_ms == _EARLIEST:
        return log.start, -1
    found = log.offset_at(stamp_ms)
    return (-1, -1) if committed and found[0] >= log.stable_end else found
