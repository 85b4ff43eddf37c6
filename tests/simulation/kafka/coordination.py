"""What a broker answers as the coordinator of groups and transactional ids."""

from __future__ import annotations

from typing import Any

from simulation.kafka.cluster import Cluster
from simulation.kafka.codes import Code
from simulation.kafka.groups import GROUP, GroupCoordinator, JoinRequest, coordinator_key, described
from simulation.kafka.transactions import TransactionCoordinator


class Coordination:
    """Groups and transactions of the whole cluster; each request says which broker was asked."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.groups = GroupCoordinator(cluster)
        self.transactions = TransactionCoordinator(cluster, self.groups.apply_offset)
        cluster.on_election.append(self.groups.moved)
        self._handlers = {
            8: self._commit, 9: self._committed, 10: self._find, 11: self._join, 12: self._heartbeat, 13: self._leave, 14: self._sync,
            15: self._describe, 22: self._init, 24: self._add_partitions, 25: self._add_group, 26: self._end, 28: self._add_offsets,
            65: self._open,
        }  # fmt: skip

    async def answer(self, broker: int, request: Any) -> Any:
        """The response to a request."""
        return await self._handlers[request.API_KEY](broker, request)

    def _mine(self, broker: int, key: str) -> Code:
        return Code.NONE if self._cluster.coordinator(key) == broker else Code.NOT_COORDINATOR

    async def _find(self, _broker: int, request: Any) -> Any:
        kind = request.coordinator_type if request.API_VERSION else GROUP
        key = request.coordinator_key if request.API_VERSION else request.consumer_group
        found = self._cluster.coordinator(coordinator_key(kind, key))
        code = Code.NONE if found >= 0 else Code.COORDINATOR_NOT_AVAILABLE
        name = self._cluster.names[found] if found >= 0 else ""
        text: list[Any] = [None] if request.API_VERSION else []
        return request.RESPONSE_TYPE(*([0] if request.API_VERSION else []), int(code), *text, found, name, 9092 if found >= 0 else -1)

    async def _join(self, broker: int, request: Any) -> Any:
        version = request.API_VERSION
        throttle, code = [0] if version >= 2 else [], self._mine(broker, coordinator_key(GROUP, request.group))
        if code:
            return request.RESPONSE_TYPE(*throttle, int(code), -1, "", "", request.member_id, [])
        rebalance_ms = request.rebalance_timeout if version >= 1 else request.session_timeout
        instance = request.group_instance_id if version >= 5 else None
        protocols = [(name, bytes(metadata)) for name, metadata in request.group_protocols]
        asked = JoinRequest(
            request.member_id, instance, request.session_timeout / 1000, rebalance_ms / 1000, request.protocol_type, protocols
        )
        done = await self.groups.join(request.group, asked)
        members = [(member, *([owner] if version >= 5 else []), metadata) for member, owner, metadata in done.members]
        return request.RESPONSE_TYPE(*throttle, int(done.code), done.generation, done.protocol, done.leader, done.member, members)

    async def _sync(self, broker: int, request: Any) -> Any:
        code, assignment = self._mine(broker, coordinator_key(GROUP, request.group)), b""
        if not code:
            instance = request.group_instance_id if request.API_VERSION >= 3 else None
            who = (request.member_id, request.generation_id, instance)
            code, assignment = await self.groups.sync(request.group, who, dict(request.group_assignment))
        return request.RESPONSE_TYPE(*([0] if request.API_VERSION else []), int(code), assignment)

    async def _heartbeat(self, broker: int, request: Any) -> Any:
        code = self._mine(broker, coordinator_key(GROUP, request.group)) or self.groups.heartbeat(
            request.group, request.member_id, request.generation_id
        )
        return request.RESPONSE_TYPE(*([0] if request.API_VERSION else []), int(code))

    async def _leave(self, broker: int, request: Any) -> Any:
        code = self._mine(broker, coordinator_key(GROUP, request.group)) or self.groups.leave(request.group, request.member_id)
        return request.RESPONSE_TYPE(*([0] if request.API_VERSION else []), int(code))

    async def _describe(self, broker: int, request: Any) -> Any:
        rows: list[Any] = []
        for name in request.groups:
            code = self._mine(broker, coordinator_key(GROUP, name))
            found = described(self.groups.groups[name]) if not code and name in self.groups.groups else ("Dead", "", "", [])
            operations = [-(2**31)] if request.RESPONSE_TYPE.API_VERSION >= 3 else []  # aiokafka reads version 3 as version 2
            rows.append((int(code), name, *found, *operations))
        return request.RESPONSE_TYPE(*([0] if request.API_VERSION else []), rows)

    async def _commit(self, broker: int, request: Any) -> Any:
        group = request.consumer_group
        code = self._mine(broker, coordinator_key(GROUP, group))
        if not code:
            offsets = self._offsets(request)
            code = self.groups.commit(group, (request.consumer_id, request.consumer_group_generation_id), offsets)
        rows = self._coded(request, code)
        return request.RESPONSE_TYPE(*([0] if request.API_VERSION >= 3 else []), rows)

    async def _committed(self, broker: int, request: Any) -> Any:
        code = self._mine(broker, coordinator_key(GROUP, request.consumer_group))
        found = self.groups.known(request.consumer_group).offsets
        asked = request.topics
        if asked is None:
            asked = [(name, sorted(n for topic, n in found if topic == name)) for name in sorted({topic for topic, _ in found})]
        rows = [(name, [(n, *found.get((name, n), (-1, "")), int(code)) for n in numbers]) for name, numbers in asked]
        version = request.API_VERSION
        return request.RESPONSE_TYPE(*([0] if version >= 3 else []), rows, *([int(code)] if version >= 2 else []))

    async def _init(self, broker: int, request: Any) -> Any:
        name, timeout_ms = request.transactional_id, request.transaction_timeout_ms
        if name is None:
            return request.RESPONSE_TYPE(0, 0, self._cluster.new_producer_id(), 0)
        code = self._mine(broker, coordinator_key(1, name))
        done = (code, -1, -1) if code else self.transactions.init(name, timeout_ms)
        return request.RESPONSE_TYPE(0, int(done[0]), done[1], done[2])

    async def _add_partitions(self, broker: int, request: Any) -> Any:
        partitions = [(name, n) for name, numbers in request.topics for n in numbers]
        code = self._mine(broker, coordinator_key(1, request.transactional_id))
        unknown = {tp for tp in partitions if self._cluster.log(*tp) is None}
        if not code:
            code = Code.OPERATION_NOT_ATTEMPTED if unknown else self.transactions.add_partitions(_producer(request), partitions)
        rows = [(name, [(n, int(_unless_unknown(code, (name, n) in unknown))) for n in numbers]) for name, numbers in request.topics]
        return request.RESPONSE_TYPE(0, rows)

    async def _add_group(self, broker: int, request: Any) -> Any:
        code = self._mine(broker, coordinator_key(1, request.transactional_id)) or self.transactions.add_group(
            _producer(request), request.group_id
        )
        return request.RESPONSE_TYPE(0, int(code))

    async def _add_offsets(self, broker: int, request: Any) -> Any:
        code = self._mine(broker, coordinator_key(GROUP, request.group_id)) or self.transactions.add_offsets(
            _producer(request), request.group_id, self._offsets(request)
        )
        if not code:
            self.groups.group(request.group_id)  # it is there from now on, even if the transaction is aborted
        return request.RESPONSE_TYPE(0, self._coded(request, code))

    def _offsets(self, request: Any) -> dict[tuple[str, int], tuple[int, str]]:
        named = ((name, row) for name, rows in request.topics for row in rows)
        return {(name, n): (offset, text or "") for name, (n, offset, text) in named if self._cluster.log(name, n) is not None}

    def _coded(self, request: Any, code: Code) -> list[Any]:
        known = self._cluster.log
        return [(name, [(n, int(_unless_unknown(code, known(name, n) is None))) for n, _, _ in rows]) for name, rows in request.topics]

    async def _end(self, broker: int, request: Any) -> Any:
        code = self._mine(broker, coordinator_key(1, request.transactional_id)) or self.transactions.end(
            _producer(request), commit=bool(request.transaction_result)
        )
        return request.RESPONSE_TYPE(0, int(code))

    async def _open(self, broker: int, request: Any) -> Any:
        rows: list[Any] = []
        for name in request.transactional_ids:
            code, found = self._mine(broker, coordinator_key(1, name)), self.transactions.transactions.get(name)
            if code or found is None:
                rows.append((int(code or Code.TRANSACTIONAL_ID_NOT_FOUND), name, "", 0, -1, -1, -1, [], {}))
                continue
            topics: dict[str, list[int]] = {}
            for topic, n in found.partitions:
                topics.setdefault(topic, []).append(n)
            listed: list[Any] = [(topic, numbers, {}) for topic, numbers in topics.items()]
            rows.append((0, name, found.phase.value, found.timeout_ms, found.began_ms, found.producer_id, found.epoch, listed, {}))
        return request.RESPONSE_TYPE(0, rows, {})


def _unless_unknown(code: Code, unknown: bool) -> Code:
    return Code.UNKNOWN_TOPIC_OR_PARTITION if unknown else code


def _producer(request: Any) -> tuple[str, int, int]:
    return request.transactional_id, request.producer_id, request.producer_epoch
