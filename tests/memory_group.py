"""A group's broker in memory, for ``GroupMember``: a consumer, lane writers and a call journal that note what is asked of them.

What a member must never do fails at once: a poll without partitions or of one that is not resumed, a position that is read before the
fence, a commit without a fence or after the close.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from aiokafka import ConsumerRebalanceListener, TopicPartition, errors

from processor.budget.permits import LaneCalls, LogPosition, ParkedWait
from processor.contract.records import Output, OutputKind, Record
from processor.stream.errors import KafkaUnavailableError
from processor.stream.handler import NothingToPublish, Outcome, Outputs, Work
from processor.stream.partitions import lane_name
from processor.stream.ports import MemberPorts
from processor.stream.start_offset import FoundStart, Start


class MemoryGroup:
    """The broker's side. Every step is noted in ``did``; steps by their first word can be held up or made to fail."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}  # a step of this name waits for it
        self.fails: dict[str, Exception] = {}
        self.starts: dict[TopicPartition, FoundStart] = {}
        self.records: dict[TopicPartition, list[Record]] = {}
        self.ownerless: set[TopicPartition] = set()
        self.positions: dict[TopicPartition, int] = {}
        self.ends: dict[TopicPartition, int] = {}
        self.leaderless: set[TopicPartition] = set()
        self.loses_leader: set[TopicPartition] = set()  # at the next question for where to begin
        self.unready: set[TopicPartition] = set()  # their leaders do not know yet where they end
        self.unfenced: dict[TopicPartition, list[TopicPartition]] = {}  # what their former owners have open cannot be ended
        self.silent: set[TopicPartition] = set()  # of those: the brokers do not even say so
        self.lost: dict[TopicPartition, list[TopicPartition]] = {}  # what a lane publishes to has no leader: its commits with outputs fail
        self.away: str = ""  # no broker answers: commits ("commit"), looks for what they lack ("looks"), or nothing at all ("all")
        self.lands: set[TopicPartition] = set()  # of those: the commit was made all the same
        self.refused: dict[TopicPartition, Exception] = {}  # with this a topic refuses what a lane publishes
        self.saved: dict[TopicPartition, tuple[int, str]] = {}  # the group's offsets
        self.member = (1, "member")
        self.calls = LaneCalls()
        self.done: dict[str, tuple[int, bytes]] = {}
        self.committed: list[tuple[TopicPartition, list[bytes | None], int]] = []
        self.listener: ConsumerRebalanceListener | None = None
        self.fenced: set[TopicPartition] = set()
        self.resumed: set[TopicPartition] = set()
        self.polls_ms: list[int] = []  # how long each was to wait

    def ports(self) -> MemberPorts:
        return MemberPorts(lambda _: MemoryConsumer(self), lambda _, tp, __: MemoryWriter(self, tp), asyncio.get_running_loop().time)

    def hold(self, name: str) -> asyncio.Event:
        self.gates[name] = asyncio.Event()
        return self.gates[name]

    async def step(self, name: str, about: object = "") -> None:
        self.did.append(f"{name} {about}".strip())
        if (gate := self.gates.get(name)) is not None:
            await gate.wait()
        if (error := self.fails.get(name)) is not None:
            raise error

    def check_brokers(self, *away: str) -> None:
        if self.away in away:
            raise KafkaUnavailableError("no broker answers")

    def steps(self, *names: str) -> list[str]:
        return [step for step in self.did if step.split()[0] in names]

    async def assign(self, *partitions: TopicPartition) -> None:
        assert self.listener is not None
        await self.listener.on_partitions_assigned(list(partitions))

    async def revoke(self) -> None:
        assert self.listener is not None
        await self.listener.on_partitions_revoked(list(self.fenced))


class MemoryConsumer:
    """See ``ports.GroupConsumer``."""

    def __init__(self, group: MemoryGroup) -> None:
        self._group = group

    def subscribe(self, topics: Sequence[str], listener: ConsumerRebalanceListener) -> None:
        assert topics
        self._group.listener = listener

    async def start(self) -> None:
        assert self._group.listener is not None, "started before it is subscribed"
        await self._group.step("start")

    async def stop(self, deadline_s: float) -> None:
        assert deadline_s > 0
        self._group.did.append("stop")

    def leave_on_stop(self) -> None:
        self._group.did.append("leave")

    def membership(self) -> tuple[int, str]:
        return self._group.member

    def check_membership(self) -> None:
        if error := self._group.fails.get("membership"):
            raise error

    async def check_rights(self) -> None:
        await self._group.step("rights")

    async def ownerless(self) -> frozenset[TopicPartition]:
        return frozenset(self._group.ownerless)

    def rejoin(self) -> None:
        self._group.did.append("rejoin")

    async def is_led(self, partition: TopicPartition) -> bool:
        await asyncio.sleep(0)
        return partition not in self._group.leaderless

    async def find_start(self, partition: TopicPartition) -> FoundStart:
        assert partition in self._group.fenced, "the offset is read before the former owner is fenced"
        await self._group.step("find_start", lane_name(partition))
        if partition in self._group.loses_leader:
            self._group.loses_leader.discard(partition)
            self._group.leaderless.add(partition)
            raise errors.KafkaTimeoutError("no leader")
        if partition in self._group.unready:
            raise errors.LeaderNotAvailableError(partition)
        if (saved := self._group.saved.get(partition)) is not None:
            return FoundStart(Start(*saved), saved[0], saved[0])
        return self._group.starts.get(partition, FoundStart(Start(0, ""), None, 0))

    async def offset_at(self, partition: TopicPartition, stamp_ms: int) -> int | None:
        await self._group.step("offset_at", lane_name(partition))
        if partition in self._group.loses_leader:
            self._group.loses_leader.discard(partition)
            self._group.leaderless.add(partition)
            raise errors.KafkaTimeoutError("no leader")
        return next((r.source.offset for r in self._group.records.get(partition, ()) if r.timestamp_ms >= stamp_ms), None)

    async def poll(self, partitions: Sequence[TopicPartition], wait_ms: int, count_max: int) -> Mapping[TopicPartition, Sequence[Record]]:
        group = self._group
        group.polls_ms.append(wait_ms)
        assert partitions, "a poll without partitions means all of them"
        assert set(partitions) <= group.resumed, "a poll of what is not resumed"
        if gate := group.gates.get("poll"):  # what comes back then may be of partitions that were revoked meanwhile
            group.did.append("poll")
            await gate.wait()
        if error := group.fails.get("poll"):
            raise error
        taken = {tp: [group.records[tp].pop(0) for _ in group.records[tp][:count_max]] for tp in partitions if group.records.get(tp)}
        if not taken:
            await asyncio.sleep(wait_ms / 1000)
        return taken

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self._group.did.append(f"pause {lane_name(partition)}")
            self._group.resumed.discard(partition)

    def resume_at(self, partition: TopicPartition, offset: int) -> None:
        self._group.did.append(f"resume {lane_name(partition)} at {offset}")
        self._group.resumed.add(partition)

    def read_position(self, partition: TopicPartition) -> int | None:
        return self._group.positions.get(partition)

    def known_end(self, partition: TopicPartition) -> int:
        return self._group.ends.get(partition, 0)


class MemoryWriter:
    """See ``ports.OutcomeWriter``."""

    def __init__(self, group: MemoryGroup, partition: TopicPartition) -> None:
        self._group, self._partition = group, partition
        self._open = False

    async def start(self, on_held_up: Callable[[Sequence[TopicPartition]], None]) -> None:
        await self._group.step("fence", lane_name(self._partition))
        self._group.check_brokers("all")
        while (leaderless := self._group.unfenced.get(self._partition)) is not None:
            if self._partition not in self._group.silent:
                on_held_up(leaderless)
            await asyncio.sleep(1)
        self._group.fenced.add(self._partition)
        self._open = True

    async def commit(self, outputs: Iterable[Output], floor: int, metadata: str) -> None:
        assert self._open, "a commit without a fence, or after the close"
        assert metadata.startswith("2:")
        await self._group.step("commit", f"{lane_name(self._partition)} {floor}")
        values = [output.value for output in outputs]
        if values and self._group.away in ("commit", "all"):
            self._group.fenced.discard(self._partition)
            self._open = False
            self._group.check_brokers("commit", "all")
        if values and (refusal := self._group.refused.get(self._partition)):
            self._open = False
            raise refusal
        lost = bool(values) and self._partition in self._group.lost
        if not lost or self._partition in self._group.lands:
            self._group.committed.append((self._partition, values, floor))
            self._group.saved[self._partition] = floor, metadata
        if lost:
            self._group.fenced.discard(self._partition)  # of no use any more
            self._open = False
            raise KafkaUnavailableError("no leader")

    async def unwritable(self) -> Sequence[TopicPartition]:
        await asyncio.sleep(0)
        self._group.check_brokers("looks", "all")
        return self._group.lost.get(self._partition, [])

    async def stop(self, deadline_s: float) -> None:
        assert deadline_s > 0
        self._open = False
        await self._group.step("close", lane_name(self._partition))


class MemoryHistory:
    """See ``handler.CallHistory``."""

    def __init__(self, group: MemoryGroup) -> None:
        self._group = group

    def position(self) -> LogPosition:
        return LogPosition("01234567", 7)

    async def replay_lane(self, lane: str, since: LogPosition | None, unfinished: Callable[[int], bool]) -> LaneCalls:
        del since, unfinished
        await self._group.step("replay", lane)
        return self._group.calls

    def done(self, lane: str, floor: int, gap_map: bytes) -> None:
        self._group.done[lane] = (floor, gap_map)

    def forget(self, lane: str) -> None:
        self._group.did.append(f"forget {lane}")

    async def flush(self, within_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._group.step("flush")


class HeldHandler:
    """Ends a record when the test says so; ``calling``: offsets whose work must not be interrupted."""

    def __init__(self) -> None:
        self.at_work: dict[int, asyncio.Future[Sequence[Output] | NothingToPublish]] = {}
        self.works: dict[int, Work] = {}
        self.calling: set[int] = set()
        self.cancelled: list[int] = []

    async def handle(self, record: Record, work: Work) -> Outcome:
        offset = record.source.offset
        assert offset not in self.at_work, "handled twice at once"
        self.at_work[offset] = asyncio.get_running_loop().create_future()
        self.works[offset] = work
        work.calling = offset in self.calling
        try:
            ended = await self.at_work[offset]
            return ended if isinstance(ended, NothingToPublish) else Outputs(ended)
        except asyncio.CancelledError:
            self.cancelled.append(offset)
            raise
        finally:
            work.calling = False
            del self.at_work[offset]

    def finish(self, offset: int, kind: OutputKind = OutputKind.RESULT) -> None:
        self.at_work[offset].set_result([Output(kind, b"k", f"done {offset}".encode())])

    def park(self, record: Record, start: Callable[[], None]) -> ParkedWait | None:
        raise AssertionError((record, start))

    def broken(self, record: Record, reason: str) -> Outputs:
        raise AssertionError((record.source, reason))
