"""The group coordinator: the classic protocol (https://kafka.apache.org/documentation/#design_consumerposition), static members included.

A member joins, the leader among them assigns, everybody syncs; whoever is silent for its session time-out is taken out. A static member
that comes back under its instance id gets its place, and its former self is fenced (KIP-345).
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from simulation.kafka.cluster import Cluster
from simulation.kafka.codes import Code

_FIRST_WAIT_S = 3.0  # group.initial.rebalance.delay.ms
_LOOK_S = 0.5
GROUP = 0  # a coordinator type

Offset = tuple[int, str]  # and its metadata


@dataclass(slots=True)
class Member:
    """A member. ``seen_s``: its last sign of life."""

    id: str
    instance: str | None
    session_s: float
    rebalance_s: float
    protocols: list[tuple[str, bytes]]
    protocol_type: str
    seen_s: float
    joining: asyncio.Future[Code] | None = None
    assignment: bytes = b""

    @property
    def waits(self) -> bool:
        """Its JoinGroup is not answered yet."""
        return self.joining is not None and not self.joining.done()


class Joined(NamedTuple):
    """The answer to JoinGroup."""

    code: Code
    generation: int = -1
    protocol: str = ""
    leader: str = ""
    member: str = ""
    members: tuple[tuple[str, str | None, bytes], ...] = ()


class JoinRequest(NamedTuple):
    """What JoinGroup says."""

    member: str
    instance: str | None
    session_s: float
    rebalance_s: float
    protocol_type: str
    protocols: list[tuple[str, bytes]]


@dataclass(slots=True)
class Group:
    """A group. ``state`` is Kafka's name for it."""

    state: str = "Empty"
    generation: int = 0
    leader: str = ""
    protocol: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    static: dict[str, str] = field(default_factory=dict)  # instance -> member id
    offsets: dict[tuple[str, int], Offset] = field(default_factory=dict)
    pending: dict[str, float] = field(default_factory=dict)  # ids that were given and have not joined yet -> until when they may
    protocol_type: str = ""
    syncing: dict[str, asyncio.Future[Code]] = field(default_factory=dict)
    round: int = 0  # of rebalances: a deadline of a former one does nothing
    extended: bool = False


class GroupCoordinator:
    """All groups of the cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._loop = cluster, cluster.loop
        self.groups: dict[str, Group] = {}
        self.first_wait_s = _FIRST_WAIT_S
        cluster.later(_LOOK_S, self._look)

    def group(self, name: str) -> Group:
        """The group of a name; it is there from now on."""
        return self.groups.setdefault(name, Group())

    def known(self, name: str) -> Group:
        """The group of a name, or an empty one for an answer."""
        return self.groups.get(name) or Group()

    def forget(self, topics: set[str]) -> None:
        """Topics are deleted, and what was committed of them."""
        for group in self.groups.values():
            for tp in [tp for tp in group.offsets if tp[0] in topics]:
                del group.offsets[tp]

    def apply_offset(self, group: str, topic: str, partition: int, offset: Offset) -> None:
        """An offset that counts."""
        self.group(group).offsets[topic, partition] = offset

    async def join(self, name: str, asked: JoinRequest) -> Joined:
        """JoinGroup: answered when all have joined."""
        group = self.known(name) if asked.member else self.group(name)
        owner = group.static.get(asked.instance) if asked.instance is not None else None
        if asked.instance is not None and not asked.member:
            return await self._join_static(group, asked, owner)
        if owner is not None and owner != asked.member:
            return Joined(Code.FENCED_INSTANCE_ID, member=asked.member)
        if not asked.member:  # a dynamic member is told its id first, and joins under it (KIP-394)
            member_id = f"aiokafka-{self._new_id()}"
            group.pending[member_id] = self._loop.time() + asked.session_s
            return Joined(Code.MEMBER_ID_REQUIRED, member=member_id)
        if asked.member not in group.members and group.pending.pop(asked.member, None) is None:
            return Joined(Code.UNKNOWN_MEMBER_ID, member=asked.member)
        former = group.members.get(asked.member)
        settled = group.state == "CompletingRebalance" or (group.state == "Stable" and group.leader != asked.member)
        if settled and former is not None and former.protocols == asked.protocols:  # it has not heard the answer
            return _place_told(group, former)
        return await self._wait(group, self._place(group, asked.member, asked))

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._cluster.draw.getrandbits(128), version=4))

    async def _join_static(self, group: Group, asked: JoinRequest, owner: str | None) -> Joined:
        member_id = f"{asked.instance}-{self._new_id()}"
        former = group.members.pop(owner, None) if owner is not None else None
        assert asked.instance is not None
        group.static[asked.instance] = member_id
        member = self._place(group, member_id, asked)
        if former is None:
            return await self._wait(group, member)
        if former.joining is not None and not former.joining.done():
            former.joining.set_result(Code.FENCED_INSTANCE_ID)
        member.assignment = former.assignment
        led = group.leader == former.id
        group.leader = member_id if led else group.leader
        if group.state == "Stable" and former.protocols == asked.protocols:
            return Joined(Code.NONE, group.generation, group.protocol, former.id if led else group.leader, member_id)
        return await self._wait(group, member)

    def _place(self, group: Group, member_id: str, asked: JoinRequest) -> Member:
        former = group.members.get(member_id)
        member = Member(
            member_id, asked.instance, asked.session_s, asked.rebalance_s, asked.protocols, asked.protocol_type, self._loop.time()
        )
        if former is not None:
            member.assignment, member.joining = former.assignment, former.joining
        group.members[member_id] = member
        group.protocol_type = asked.protocol_type
        return member

    async def _wait(self, group: Group, member: Member) -> Joined:
        member.joining = joining = self._loop.create_future()
        if group.state != "PreparingRebalance":
            self._prepare(group, first=group.state == "Empty")
        elif group.extended and group.generation == 0:
            self._deadline(group, self.first_wait_s)
        self._complete_if_all(group)
        code = await asyncio.shield(joining)  # who has joined has joined, whatever becomes of the connection
        if code:
            return Joined(code, member=member.id)
        return _place_told(group, member)

    def _prepare(self, group: Group, *, first: bool = False) -> None:
        group.state = "PreparingRebalance"
        group.extended = first
        for waiting in group.syncing.values():
            if not waiting.done():
                waiting.set_result(Code.REBALANCE_IN_PROGRESS)
        group.syncing = {}
        longest = max((m.rebalance_s for m in group.members.values()), default=0.0)
        self._deadline(group, self.first_wait_s if first else longest)

    def _deadline(self, group: Group, wait_s: float) -> None:
        group.round += 1
        number = group.round
        self._cluster.later(wait_s, lambda: self._complete(group) if group.round == number else None)

    def _complete_if_all(self, group: Group) -> None:
        if group.state != "PreparingRebalance" or group.extended or group.pending:
            return
        if all(m.waits for m in group.members.values()):
            self._complete(group)

    def _complete(self, group: Group) -> None:
        if group.state != "PreparingRebalance":
            return
        for member in [m for m in group.members.values() if not m.waits and m.instance is None]:
            del group.members[member.id]
        group.round += 1
        group.extended = False
        joined = [m for m in group.members.values() if m.waits]
        if not joined:
            self._deadline(group, max((m.rebalance_s for m in group.members.values()), default=0.0))
            group.state = "PreparingRebalance" if group.members else "Empty"
            return
        group.generation, group.state = group.generation + 1, "CompletingRebalance"
        if group.leader not in group.members or not group.members[group.leader].waits:
            group.leader = joined[0].id
        group.protocol = group.members[group.leader].protocols[0][0]
        for member in joined:
            assert member.joining is not None
            member.joining.set_result(Code.NONE)
            member.seen_s = self._loop.time()

    def check(self, group: Group, member_id: str, generation: int, instance: str | None = None) -> Code:
        """Whether somebody is a member, and of this generation."""
        if instance is not None and group.static.get(instance) not in (None, member_id):
            return Code.FENCED_INSTANCE_ID
        member = group.members.get(member_id)
        if member is None:
            return Code.UNKNOWN_MEMBER_ID
        if generation != group.generation:
            return Code.ILLEGAL_GENERATION
        member.seen_s = self._loop.time()
        return Code.NONE

    async def sync(self, name: str, who: tuple[str, int, str | None], assignments: dict[str, bytes]) -> tuple[Code, bytes]:
        """SyncGroup. ``who``: member id, generation, instance."""
        group = self.known(name)
        member_id, generation, instance = who
        code = self.check(group, member_id, generation, instance)
        if not code and group.state == "PreparingRebalance":
            code = Code.REBALANCE_IN_PROGRESS
        if not code and group.state == "CompletingRebalance":
            if member_id == group.leader:
                self._assign(group, assignments)
            else:
                waiting = group.syncing[member_id] = self._loop.create_future()
                code = await waiting
        member = group.members.get(member_id)
        return (code, member.assignment) if member is not None and not code else (code or Code.UNKNOWN_MEMBER_ID, b"")

    def _assign(self, group: Group, assignments: dict[str, bytes]) -> None:
        for member in group.members.values():
            member.assignment = assignments.get(member.id, b"")
        group.state = "Stable"
        waiting, group.syncing = group.syncing, {}
        for future in waiting.values():
            if not future.done():
                future.set_result(Code.NONE)

    def heartbeat(self, name: str, member_id: str, generation: int) -> Code:
        """Heartbeat."""
        group = self.known(name)
        code = self.check(group, member_id, generation)
        return Code.REBALANCE_IN_PROGRESS if not code and group.state == "PreparingRebalance" else code

    def leave(self, name: str, member_id: str) -> Code:
        """LeaveGroup."""
        group = self.known(name)
        if group.pending.pop(member_id, None) is not None:
            self._complete_if_all(group)
            return Code.NONE
        if member_id not in group.members:
            return Code.UNKNOWN_MEMBER_ID
        self._remove(group, group.members[member_id])
        return Code.NONE

    def commit(self, name: str, who: tuple[str, int], offsets: dict[tuple[str, int], Offset]) -> Code:
        """OffsetCommit of a member, or of nobody while the group has no members."""
        member_id, generation = who
        if name not in self.groups and generation >= 0:
            return Code.ILLEGAL_GENERATION
        group = self.group(name)
        if generation >= 0 or group.members:
            code = self.check(group, member_id, generation)
            if not code and group.state == "CompletingRebalance":
                code = Code.REBALANCE_IN_PROGRESS
            if code:
                return code
        group.offsets.update(offsets)
        return Code.NONE

    def _look(self) -> None:
        self._cluster.later(_LOOK_S, self._look)
        now = self._loop.time()
        for group in [group for name, group in self.groups.items() if self._is_coordinated(name)]:
            for member_id in [member_id for member_id, until_s in group.pending.items() if now > until_s]:
                del group.pending[member_id]
                self._complete_if_all(group)
            for member in [m for m in group.members.values() if not m.waits and now - m.seen_s > m.session_s]:
                self._remove(group, member)

    def _is_coordinated(self, name: str) -> bool:
        return self._cluster.works(self._cluster.coordinator(coordinator_key(GROUP, name)))

    def _remove(self, group: Group, member: Member) -> None:
        del group.members[member.id]
        if member.instance is not None and group.static.get(member.instance) == member.id:
            del group.static[member.instance]
        waiting = group.syncing.pop(member.id, None)
        for future in (member.joining, waiting):
            if future is not None and not future.done():
                future.set_result(Code.UNKNOWN_MEMBER_ID)
        if group.state in ("Stable", "CompletingRebalance"):
            self._prepare(group)
        self._complete_if_all(group)
        if not group.members:
            group.state, group.leader, group.round = "Empty", "", group.round + 1
            group.generation += 1

    def moved(self) -> None:
        """Another broker coordinates: it has the groups as they were written, and nobody whose request was held by the former one."""
        for group in self.groups.values():
            for member in group.members.values():
                member.seen_s = self._loop.time()
                if member.joining is not None and not member.joining.done():
                    member.joining.set_result(Code.NOT_COORDINATOR)
            for future in group.syncing.values():
                if not future.done():
                    future.set_result(Code.NOT_COORDINATOR)
            group.syncing, group.pending = {}, {}


def coordinator_key(kind: int, name: str) -> str:
    """What decides which broker coordinates a group, or a transactional id."""
    return f"{kind}:{name}"


def _place_told(group: Group, member: Member) -> Joined:
    leads = group.leader == member.id
    chosen = [(m.id, m.instance, dict(m.protocols)[group.protocol]) for m in group.members.values() if leads]
    return Joined(Code.NONE, group.generation, group.protocol, group.leader, member.id, tuple(chosen))


def described(group: Group) -> tuple[Any, ...]:
    """State, protocol type, protocol and members, as DescribeGroups tells them."""
    members = list(group.members.values())
    rows = [(m.id, "aiokafka", "/10.0.0.1", dict(m.protocols).get(group.protocol, b""), m.assignment) for m in members]
    return group.state, group.protocol_type, group.protocol if group.state == "Stable" else "", rows
