"""Members of groups, request by request: rounds of JoinGroup and SyncGroup, and what is asked with an id or a generation that is over.

In a round nobody joins before the coordinator has seen those who must come first; so that it ends the same way whatever the network does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest

from simulation.differential.program import PARTITIONS
from simulation.differential.requests import Connection

_LOOK_S = 0.02
_REBALANCE_MS = 600_000
_READS = ConsumerProtocolMemberMetadata(0, ["a topic"], b"").encode()  # brokers look into it
_PROTOCOLS = [("first", _READS), ("second", _READS)]
_OF_STATIC = {"static": (0, 1, 2), "mixed": (0,), "dynamic": ()}


@dataclass(slots=True)
class OneMember:
    """A member as it sees itself. ``joined``: it takes itself for one."""

    name: str
    instance: str | None
    connection: Connection
    id: str = ""
    former_id: str = ""
    generation: int = -1
    joined: bool = False


class Members:
    """All members of the groups of a program."""

    def __init__(self, bootstrap: str, prefix: str, where: Callable[[int], tuple[str, int]], *, session_ms: int) -> None:
        self._bootstrap, self._prefix, self._where, self._session_ms = bootstrap, prefix, where, session_ms
        self._members: dict[str, OneMember] = {}
        self._leaders: dict[str, str] = {}  # group -> name
        self._asking: Connection | None = None
        self.deeds: dict[str, Callable[..., Awaitable[Any]]] = {
            "round": self._round, "heartbeat": self._heartbeat, "commit": self._commit, "leave": self._leave, "replace": self._replace,
            "describe": self._describe, "sync": self._sync_again, "silence": self._silence,
        }  # fmt: skip

    async def close(self) -> None:
        """End the connections."""
        for member in self._members.values():
            await member.connection.close()
        if self._asking is not None:
            await self._asking.close()

    async def _ask(self) -> Connection:
        if self._asking is None:
            self._asking = Connection(self._bootstrap)
            await self._asking.open()
        return self._asking

    async def _member(self, name: str) -> OneMember:
        if name not in self._members:
            group, _, number = name.partition("/")
            instance = f"instance-{number}" if int(number) in _OF_STATIC[group] else None
            member = self._members[name] = OneMember(name, instance, Connection(self._bootstrap))
            await member.connection.open()
        return self._members[name]

    def _group(self, member_or_group: str) -> str:
        return self._prefix + member_or_group.partition("/")[0]

    async def committed(self, group: str) -> Any:
        """Offset and text for each partition."""
        return [await (await self._ask()).committed(self._group(group), self._where(n)) for n in range(len(PARTITIONS))]

    async def offsets_gone(self, partition: int, within_s: float) -> None:
        """Wait until no group has an offset in a topic that was deleted, or for so long."""
        for group in _OF_STATIC:
            for _ in range(int(within_s / _LOOK_S)):
                if (await (await self._ask()).committed(self._group(group), self._where(partition)))[0] < 0:
                    break
                await asyncio.sleep(_LOOK_S)

    async def _describe(self, group: str) -> Any:
        return await (await self._ask()).describe(self._group(group))

    async def _state(self, group: str) -> str:
        return str((await self._describe(group))[1])

    async def _join(self, member: OneMember) -> Any:
        request = JoinGroupRequest(
            self._group(member.name), self._session_ms, _REBALANCE_MS, member.id, member.instance, "consumer", _PROTOCOLS
        )  # fmt: skip
        return await member.connection.ask(request)

    async def _round(self, group: str, *numbers: int) -> Any:
        """Those of these numbers that are no members yet become some, and all others join again."""
        asked = [await self._member(f"{group}/{number}") for number in numbers]
        present = [member for member in self._members.values() if member.joined and member.name.startswith(f"{group}/")]
        new = self._one_after_the_other([member for member in asked if not member.joined], present)
        seen: list[Any] = [await self._get_id(member) for member in new if member.instance is None]
        joins = await self._all_join(group, new, present)
        answers = {name: await join for name, join in sorted(joins.items())}
        seen.append(self._joined(group, answers))
        seen.append(await self._probe(group, answers))
        return [*seen, await self._synced(group, answers)]

    async def _all_join(self, group: str, new: list[OneMember], present: list[OneMember]) -> dict[str, asyncio.Future[Any]]:
        """Who must come first comes first: else the round would be over without it."""
        _, state, *_, count = await self._describe(group)
        first = [member for member in new if member.instance is not None] or new
        if not new and state == "Stable":
            first = [member for member in present if member.name == self._leaders.get(group)]
        others = [member for member in (*new, *present) if member not in first]
        count += sum(member.instance is not None for member in first if member in new)
        joins = {member.name: asyncio.ensure_future(self._join(member)) for member in first}
        while first and others and not all(join.done() for join in joins.values()):
            _, state, *_, now = await self._describe(group)
            if state == "PreparingRebalance" and now >= count:
                break
            await asyncio.sleep(_LOOK_S)
        return joins | {member.name: asyncio.ensure_future(self._join(member)) for member in others}

    def _one_after_the_other(self, new: list[OneMember], present: list[OneMember]) -> list[OneMember]:
        """Into an empty group only one goes at a time, and only one that has an instance id: the first would not wait for the second."""
        if not present:
            return new[:1]
        static = [member for member in new if member.instance is not None]
        return [member for member in new if member.instance is None] + static[:1]

    async def _get_id(self, member: OneMember) -> int:
        member.id = ""
        answer = await self._join(member)
        member.id = answer.member_id
        return int(answer.error_code)

    def _joined(self, group: str, answers: dict[str, Any]) -> Any:
        seen, leaders = [], []
        for name, answer in answers.items():
            member = self._members[name]
            if not answer.error_code:
                if member.id and answer.member_id != member.id:
                    member.former_id = member.id
                member.id, member.generation, member.joined = answer.member_id, answer.generation_id, True
            else:
                member.joined = False
            leads = not answer.error_code and answer.leader_id == answer.member_id
            leaders += [name] if leads else []
            seen.append([name, answer.error_code, answer.generation_id, answer.group_protocol, len(answer.members) if leads else 0])
        former = self._leaders.get(group)
        seen = [[*row[:4]] for row in seen] + [[len(leaders), former in leaders if former in answers else None]]
        if leaders:
            self._leaders[group] = leaders[0]
            seen.append(sorted(len(answers[name].members) for name in leaders))
        return seen

    async def _probe(self, group: str, answers: dict[str, Any]) -> Any:
        """What is answered while nobody has got an assignment yet."""
        member = next((self._members[name] for name in answers if self._members[name].joined), None)
        if member is None:
            return None
        beat = await self._heartbeat(member.name, "own")
        commit = await self._commit(member.name, "own", 0, 7)
        return [beat, commit, await self._describe(group)]

    async def _synced(self, group: str, answers: dict[str, Any]) -> Any:
        """The leader first, as only then anybody is answered."""
        names = sorted((name for name in answers if self._members[name].joined), key=lambda name: name != self._leaders.get(group))
        assignment = [(self._members[name].id, name.encode()) for name in names]
        seen = []
        for number, name in enumerate(names):
            member = self._members[name]
            seen.append([name, *await self._sync(member, (member.id, member.generation), assignment if not number else [])])
        return sorted(seen) if self._leaders.get(group) in names else None

    async def _sync(self, member: OneMember, who: tuple[str, int], assignment: list[tuple[str, bytes]]) -> Any:
        request = SyncGroupRequest(self._group(member.name), who[1], who[0], member.instance, assignment)
        answer = await member.connection.ask(request)
        return [answer.error_code, bytes(answer.member_assignment or b"").decode()]

    def _as(self, member: OneMember, whose: str) -> tuple[str, int]:
        if whose == "nobody":
            return "", -1
        if whose == "former id":
            return member.former_id or "never-there", member.generation
        return member.id or "never-there", member.generation - (1 if whose == "former generation" else 0)

    async def _sync_again(self, name: str, whose: str) -> Any:
        member = await self._member(name)
        return await self._sync(member, self._as(member, whose), [])

    async def _heartbeat(self, name: str, whose: str) -> Any:
        member = await self._member(name)
        who = self._as(member, whose)
        return (await member.connection.ask(HeartbeatRequest(self._group(name), who[1], who[0]))).error_code

    async def _commit(self, name: str, whose: str, partition: int, offset: int) -> Any:
        member = await self._member(name)
        return await member.connection.commit(self._group(name), self._as(member, whose), self._where(partition), offset, f"by {name}")

    async def _leave(self, name: str) -> Any:
        member = await self._member(name)
        answer = await member.connection.ask(LeaveGroupRequest(self._group(name), member.id or "never-there"))
        member.former_id, member.id, member.joined = member.id, "", False
        return [answer.error_code, await self._describe(name.partition("/")[0])]

    async def _replace(self, name: str) -> Any:
        """A static member starts again while its group is stable; then its former self asks."""
        member = await self._member(name)
        group = name.partition("/")[0]
        if member.instance is None or not member.joined or await self._state(group) != "Stable":
            return "nothing"
        former, member.id = member.id, ""
        answer = await self._join(member)
        seen: list[Any] = [answer.error_code, answer.generation_id, answer.group_protocol, answer.leader_id == former, len(answer.members)]
        member.former_id, member.id, member.generation = former, answer.member_id, answer.generation_id
        seen.append(await self._sync(member, (member.id, member.generation), []))
        for whose in ("former id", "own"):
            seen += [await self._heartbeat(name, whose), await self._commit(name, whose, 0, 9), await self._sync_again(name, whose)]
        member.id = former
        fenced = (await self._join(member)).error_code
        member.id = answer.member_id
        return [*seen, fenced, await self._describe(group)]

    async def _silence(self, group: str) -> Any:
        """All are silent until their sessions are over."""
        while (await self._describe(group))[4]:
            await asyncio.sleep(_LOOK_S)
        for member in self._members.values():
            if member.name.startswith(f"{group}/"):
                member.former_id, member.id, member.joined = member.id, "", False
        return await self._describe(group)
