"""Runs a program against a cluster and notes what its clients observe, step by step.

Producer ids are told as the producers' names and member ids not at all, so that two runs can be compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka.errors import KafkaError

from simulation.differential.aiokafka_clients import UnmodifiedClients
from simulation.differential.members import Members
from simulation.differential.program import BEYOND, FROM_END, GROUPS, PARTITIONS, TRANSACTIONAL, Step
from simulation.differential.requests import EARLIEST, LATEST, Connection, Producer, batch

_CONCURRENT_TRANSACTIONS = 51
_LOOK_S = 0.02
_STEP_S = 30.0  # a step that takes longer will not end
_SHORT_MS = 1_000
_FORMER = {"again": 1, "third last": 3, "sixth last": 6}  # which of what was sent before, from the end
_CONFIGS: dict[str, dict[str, str]] = {
    "create": {"segment.ms": str(10**15), "retention.ms": "-1"},  # its stamps are old: nothing is to be rolled or deleted because of them
    "append": {"message.timestamp.type": "LogAppendTime"},
}
_OFFSETS_GONE_S = 5.0
_SHORT_SESSION_MS, _LONG_SESSION_MS = 6_000, 600_000  # the shortest that brokers allow, and one that no busy machine outlasts


class Runner:
    """One run of a program. ``prefix``: of all names, so that many programs can run against one cluster."""

    def __init__(self, bootstrap: str, prefix: str, *, slow: bool = False) -> None:
        self._prefix = prefix
        self._connection = Connection(bootstrap)
        self._members = Members(bootstrap, prefix, self._where, session_ms=_SHORT_SESSION_MS if slow else _LONG_SESSION_MS)
        self._clients = UnmodifiedClients(bootstrap, prefix, self._where, self._connection)
        self._producers: dict[str, Producer] = {"plain": (None, -1, -1)}
        self._names: dict[int, str] = {-1: "plain"}
        self._next: dict[tuple[str, int], int] = {}
        self._sent: dict[tuple[str, int], list[bytes]] = {}  # what was taken, in order
        self._texts = 0
        self._deeds: dict[str, Callable[..., Awaitable[Any]]] = {
            "init": self._init, "append": self._append, "enlist": self._enlist, "enlist group": self._enlist_group,
            "offsets in transaction": self._offsets_in_transaction, "end": self._end, "expire": self._expire, "look": self._look,
            "fetch": self._fetch, "by time": self._by_time, "delete records": self._delete_records, "recreate": self._recreate,
            "committed": self._committed, **self._members.deeds, **self._clients.deeds,
        }  # fmt: skip

    async def run(self, steps: Sequence[Step]) -> list[Any]:
        """What was observed: for each step its text and what came of it."""
        await self._connection.open()
        for group, name in zip(GROUPS, (*sorted(set(TRANSACTIONAL.values())), "three"), strict=True):
            await self._connection.ready(f"{self._prefix}{group}", f"{self._prefix}{name}")
        seen: list[Any] = []
        try:
            for topic in sorted(_CONFIGS):
                count = sum(1 for kind, _ in PARTITIONS if kind == topic)
                seen.append(["create", topic, await self._connection.create(self._topic(topic), count, _CONFIGS[topic])])
            for step in steps:
                async with asyncio.timeout(_STEP_S):
                    seen.append([str(step), await self._deeds[step.verb](step.who, *step.args)])
        except (TimeoutError, KafkaError) as exc:
            seen.append([str(step), f"ended by {type(exc).__name__}"])
        finally:
            await self._members.close()
            await self._clients.close()
            await self._connection.close()
        return seen

    def _topic(self, kind: str) -> str:
        return f"{self._prefix}{kind}"

    def _where(self, partition: int) -> tuple[str, int]:
        kind, number = PARTITIONS[partition]
        return self._topic(kind), number

    async def _init(self, who: str) -> Any:
        transactional_id = TRANSACTIONAL.get(who)
        name = f"{self._prefix}{transactional_id}" if transactional_id is not None else None
        return await self._begin(who, name, 60_000)

    async def _begin(self, who: str, name: str | None, timeout_ms: int) -> Any:
        answer = first = await self._connection.init(name, timeout_ms)
        while answer[0] == _CONCURRENT_TRANSACTIONS:
            await asyncio.sleep(_LOOK_S)
            answer = await self._connection.init(name, timeout_ms)
        self._producers[who] = (name, answer[1], answer[2])
        known = answer[1] in self._names
        self._names.setdefault(answer[1], f"producer of {who}")
        self._next = {key: sequence for key, sequence in self._next.items() if key[0] != who}
        return [first[0], answer[0], answer[2], known]

    async def _append(self, who: str, partition: int, how: str, count: int, stamp_ms: int) -> Any:
        if who == "plain":
            how = "next"
        name, producer_id, epoch = self._producers[who]
        key, former = (who, partition), self._sent.get((who, partition), [])
        epoch += {"former epoch": -1, "later epoch": 1}.get(how, 0)
        sequence = 0 if how.endswith("epoch") else self._next.get(key, 0) + (2 if how == "gap" else 0)
        if epoch < 0 and who != "plain":
            return "nothing"
        again = _FORMER.get(how, 0) if len(former) >= _FORMER.get(how, 0) else 0
        if again:
            raw = former[-again]
        else:
            values = [b"%d" % (self._texts + n) for n in range(count)]
            self._texts += count
            raw = batch((name, producer_id, epoch), -1 if who == "plain" else sequence, values, stamp_ms)
        done = await self._connection.append((name, producer_id, epoch), self._where(partition), raw)
        if not done[0] and not again:
            self._next[key], self._sent[key] = sequence + count, [*former, raw]
            if how == "later epoch":
                self._producers[who] = (name, producer_id, epoch)
                self._next = {other: n if other == key or other[0] != who else 0 for other, n in self._next.items()}
        return done

    async def _enlist(self, who: str, *partitions: int) -> Any:
        where = [(self._topic("unknown"), 0) if partition == BEYOND else self._where(partition) for partition in partitions]
        return await self._connection.enlist(self._producers[who], where)

    async def _enlist_group(self, who: str, group: str) -> Any:
        return await self._connection.enlist_group(self._producers[who], f"{self._prefix}{group}")

    async def _offsets_in_transaction(self, who: str, group: str, partition: int, offset: int) -> Any:
        return await self._connection.offsets_in_transaction(self._producers[who], f"{self._prefix}{group}", self._where(partition), offset)

    async def _end(self, who: str, how: str) -> Any:
        producer = self._producers[who]
        code = await self._connection.end(producer, commit=how == "commit")
        return [code, await self._connection.settled(producer[0] or "")]

    async def _expire(self, who: str, partition: int) -> Any:
        name = f"{self._prefix}{TRANSACTIONAL[who]}"
        seen = [await self._begin(who, name, _SHORT_MS)]
        producer, where = self._producers[who], self._where(partition)
        seen.append(await self._connection.enlist(producer, [where]))
        seen.append(await self._append(who, partition, "next", 1, 1_000))
        while await self._connection.settled(name) == "Ongoing":
            await asyncio.sleep(_LOOK_S)
        seen.append(await self._connection.settled(name))
        seen.append(await self._append(who, partition, "next", 1, 1_000))
        seen.append(await self._connection.end(producer, commit=True))
        seen.append(await self._begin(who, name, 60_000))
        return seen

    async def _look(self, _: str) -> Any:
        """Start, end and last stable offset of each partition."""
        seen = []
        for partition in range(len(PARTITIONS)):
            where = self._where(partition)
            seen.append([(await self._connection.offsets(*where, *which))[:2] for which in ((EARLIEST, 0), (LATEST, 0), (LATEST, 1))])
        return seen

    async def _offset(self, partition: int, offset: int) -> int:
        if offset >= FROM_END + 50 or offset < FROM_END - 50:
            return offset
        return max(0, (await self._connection.offsets(*self._where(partition), LATEST, 0))[1] + offset - FROM_END)

    async def _fetch(self, _: str, partition: int, offset: int, isolation: int) -> Any:
        seen = await self._connection.fetch(self._where(partition), await self._offset(partition, offset), isolation)
        seen["aborted"] = [[self._names.get(producer, "another"), first] for producer, first in seen["aborted"]]
        for one in seen["batches"]:
            one[2] = self._names.get(one[2], "another")
        return seen

    async def _by_time(self, _: str, partition: int, stamp_ms: int, isolation: int) -> Any:
        return await self._connection.offsets(*self._where(partition), stamp_ms, isolation)

    async def _delete_records(self, _: str, partition: int, offset: int) -> Any:
        return await self._connection.delete_records(self._where(partition), await self._offset(partition, offset) if offset != -1 else -1)

    async def _recreate(self, _: str, kind: str) -> Any:
        topic = self._topic(kind)
        count = sum(1 for other, _ in PARTITIONS if other == kind)
        deleted = await self._connection.delete(topic)
        for partition in range(len(PARTITIONS)):
            if self._where(partition)[0] == topic:
                await self._members.offsets_gone(partition, _OFFSETS_GONE_S)
        return [deleted, await self._connection.create(topic, count, _CONFIGS[kind])]

    async def _committed(self, group: str) -> Any:
        return await self._members.committed(group)
