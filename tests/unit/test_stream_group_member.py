"""A group member without Kafka, in virtual time: takeover, polling, giving back, and how a life ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import TopicPartition, errors
from memory_group import HeldHandler, MemoryGroup, MemoryHistory
from structlog.testing import capture_logs
from virtual_time import run_virtual

from processor.budget.permits import LaneCalls
from processor.contract.codes import ErrorCode
from processor.contract.headers import hop_headers
from processor.contract.records import Hop, OutputKind, Record, Source, Unread
from processor.settings import load_settings
from processor.stream.errors import (
    KafkaRequestError,
    KafkaUnavailableError,
    NotAuthorizedError,
    ProducerExpiredError,
    ProducerFencedError,
    RecordsRefusedError,
    RightsMissingError,
    StallError,
    TopicMissingError,
)
from processor.stream.group_member import GroupMember
from processor.stream.kept_outcomes import KeptOutcomes
from processor.stream.partitions import lane_name
from processor.stream.releases import Release
from processor.stream.start_offset import FoundStart, MissingOffsetsError, Start
from processor.stream.takeover import TakeoverWait
from processor.stream.wakeups import Wakeups

A = TopicPartition("verification.requests", 0)
B = TopicPartition("verification.requests", 1)
DELAYED = TopicPartition("verification.retry.10s", 0)
NAME = "verification.requests[0]"
TAKEOVER = [f"pause {NAME}", "rights", f"fence {NAME}", f"find_start {NAME}", f"replay {NAME}", f"commit {NAME} 0", f"resume {NAME} at 0"]


class Scene:
    """One life that has joined the group and owns nothing yet."""

    def __init__(self, *, leave_on_stop: bool = False, kept: KeptOutcomes | None = None, **lanes: Any) -> None:
        self.group, self.handler = MemoryGroup(), HeldHandler()
        self.sent: dict[tuple[TopicPartition, int], Record] = {}
        settings = load_settings(lanes=lanes, kafka={"leave_on_stop": leave_on_stop})
        self.lanes, self.loop = settings.lanes, asyncio.get_running_loop()
        self.wakeups, self.kept = Wakeups(lambda _: False), kept or KeptOutcomes()
        self.member = GroupMember(
            settings,
            self.handler,
            MemoryHistory(self.group),
            self.wakeups,
            lambda: int(self.loop.time() * 1000),
            self.kept,
            self.group.ports(),
        )
        self.life = asyncio.ensure_future(self.member.run())

    def send(self, *offsets: int, partition: TopicPartition = A, due_in_s: float | None = None) -> None:
        for offset in offsets:
            source, now_ms = Source(partition.topic, partition.partition, offset), int(self.loop.time() * 1000)
            headers = () if due_in_s is None else hop_headers(Hop(source, now_ms, due_ms=now_ms + int(due_in_s * 1000)))
            self.sent[partition, offset] = Record(source, b"k", b"v", headers, now_ms)
            self.group.records.setdefault(partition, []).append(self.sent[partition, offset])

    async def own(self, *partitions: TopicPartition) -> None:
        await self.group.assign(*partitions)
        await asyncio.sleep(0.5)
        assert set(partitions) <= self.group.resumed

    async def ends(self) -> BaseException | None:
        """Wait for the end of the life; its error."""
        await asyncio.wait({self.life})
        return self.life.exception()

    async def elapsed(self, waiting: Coroutine[Any, Any, object]) -> float:
        began = self.loop.time()
        await waiting
        return self.loop.time() - began


@asynccontextmanager
async def joined(**settings: Any) -> AsyncIterator[Scene]:
    """A life that is expected to go on until it is stopped, and to leave nothing behind whatever happened."""
    scene = Scene(**settings)
    await asyncio.sleep(0.1)
    yield scene
    scene.member.stop.set()
    error = await scene.ends()
    assert error is None, error
    _assert_left_nothing(scene)


def _assert_left_nothing(scene: Scene) -> None:
    assert scene.group.did[-1] == "stop"
    assert len(scene.group.steps("close")) == max(len(scene.group.steps("forget")), len(scene.group.steps("fence"))), "one for each writer"
    assert {s.split()[1] for s in scene.group.steps("fence")} <= {s.split()[1] for s in scene.group.steps("close")}
    assert asyncio.all_tasks() == {asyncio.current_task()}
    hints = scene.wakeups
    assert hints.listeners | hints.releases.listeners | hints.cancels.listeners == set(), "a lane that nobody can end would stay for ever"


# ---- takeover


def test_group_member_pauses_at_once_and_resumes_after_fence_restore_and_first_commit() -> None:
    async def main() -> None:
        async with joined() as scene:
            await scene.group.assign(A)
            assert scene.group.did == ["start", TAKEOVER[0]], "more than a pause inside the callback: there are no heartbeats meanwhile"
            await asyncio.sleep(0.5)
            assert scene.group.did[1:] == TAKEOVER

    run_virtual(main())


@pytest.mark.parametrize("step", ["fence", "find_start", "replay", "commit"])
def test_group_member_resumes_nothing_while_a_step_of_the_takeover_waits(step: str) -> None:
    async def main() -> None:
        async with joined() as scene:
            gate = scene.group.hold(step)
            scene.group.ends[A] = 9
            scene.send(0)
            await scene.group.assign(A)
            await asyncio.sleep(5)
            assert scene.group.did[1:] == TAKEOVER[: 1 + next(n for n, did in enumerate(TAKEOVER) if did.startswith(step))]
            assert scene.member.snapshot() == {A: None}
            assert scene.handler.at_work == {}
            gate.set()
            await asyncio.sleep(0.5)
            assert list(scene.handler.at_work) == [0]
            assert (scene.member.snapshot()[A] or {}).items() >= {"floor": 0, "work": 1, "unread": 8}.items()

    run_virtual(main())


def test_group_member_goes_on_at_the_committed_offset_and_its_gap_map() -> None:
    async def main() -> None:
        async with joined() as scene:
            scene.group.starts[A] = FoundStart(Start(5, "2:01234567@3:Ag=="), 5, 8)  # 6 is done
            scene.send(5, 6, 7)
            await scene.own(A)
            assert scene.group.steps("commit") == [], "the commit that is there says all that a first one would"
            assert scene.group.steps("resume") == [f"resume {NAME} at 5"]
            assert sorted(scene.handler.at_work) == [5, 7]

    run_virtual(main())


@pytest.mark.parametrize("reaches", [True, False])
def test_group_member_says_which_records_a_truncated_call_history_is_missing_for(reaches: bool) -> None:
    async def main() -> None:
        async with joined() as scene:
            scene.group.calls = LaneCalls() if reaches else LaneCalls(since_ms=2**60)
            scene.group.starts[A] = FoundStart(Start(0, ""), None, 1)
            scene.send(0, 1)
            await scene.own(A)
            truncated = {offset: work.history_truncated for offset, work in scene.handler.works.items()}
            assert truncated == {0: not reaches, 1: False}, "the second record came after the takeover"

    run_virtual(main())


def test_group_member_says_which_records_the_journal_knows_as_finished() -> None:
    async def main() -> None:
        async with joined() as scene:
            scene.group.calls = LaneCalls(finished=frozenset({1}))
            scene.group.starts[A] = FoundStart(Start(0, "by hand"), 0, 2)
            scene.send(0, 1)
            await scene.own(A)
            assert {offset: work.finished_before for offset, work in scene.handler.works.items()} == {0: False, 1: True}

    run_virtual(main())


def test_group_member_polls_less_often_while_it_reads_all_it_owns_or_nothing_comes() -> None:
    async def main() -> None:
        async with joined(work_max=1) as scene:
            await scene.own(A, B)
            assert set(scene.group.polls_ms) == {500}
            scene.send(0)
            await asyncio.sleep(1)
            scene.group.polls_ms.clear()
            await asyncio.sleep(1)
            assert set(scene.group.polls_ms) == {100}, "one has no room, and when it has, it does not wait for a long poll"
            await asyncio.sleep(5)
            assert scene.group.polls_ms[-1] == 500
            scene.handler.finish(0)
            scene.send(1, partition=B)
            await asyncio.sleep(1)
            assert (scene.group.polls_ms[-1], list(scene.handler.at_work)) == (100, [1])

    run_virtual(main())


def test_group_member_lets_only_delay_topics_hold_records_back() -> None:
    async def main() -> None:
        async with joined() as scene:
            scene.send(1, due_in_s=60)
            scene.send(2, partition=DELAYED, due_in_s=60)
            await scene.own(A, DELAYED)
            assert list(scene.handler.at_work) == [1]
            await asyncio.sleep(60)
            assert list(scene.handler.at_work) == [1, 2]

    run_virtual(main())


def test_group_member_joins_again_where_partitions_have_no_owner_for_long() -> None:
    """Simulated seed 10006452: partitions were added while the group's leader was away, and what was written to them waited for ever."""

    async def main() -> None:
        async with joined() as scene:
            await scene.own(A)
            scene.group.ownerless.add(B)
            await asyncio.sleep(46)
            assert scene.group.steps("rejoin") == [], "a leader that knows that it leads has not seen them yet"
            with capture_logs() as logs:
                await asyncio.sleep(45)
            assert scene.group.steps("rejoin") == ["rejoin"]
            (told,) = [entry for entry in logs if entry["event"] == "partitions_ownerless"]
            assert (told["count"], told["partitions"]) == (1, [lane_name(B)])
            await asyncio.sleep(60)
            assert scene.group.steps("rejoin") == ["rejoin"], "it takes a while"
            scene.group.ownerless.clear()
            await asyncio.sleep(600)
            assert scene.group.steps("rejoin") == ["rejoin"]

    run_virtual(main())


@pytest.mark.parametrize("seen", ["before", "during", "new"])
def test_group_member_takes_over_the_others_while_one_has_no_leader_and_this_one_when_it_is_back(seen: str) -> None:
    async def main() -> None:
        async with joined() as scene:
            if seen == "before":
                scene.group.leaderless.add(A)
            elif seen == "new":  # there is one, which does not know yet where the partition ends
                scene.group.unready.add(A)
            else:  # it goes while it is asked for the partition's ends
                scene.group.loses_leader.add(A)
            scene.send(0)
            scene.send(10, partition=B)
            with capture_logs() as logs:
                await scene.group.assign(A, B)
                await asyncio.sleep(3_600)
                assert (scene.member.waiting_count(TakeoverWait.LEADERLESS), scene.member.snapshot()[A]) == (1, None)
                assert list(scene.handler.at_work) == [10]
                assert not [step for step in scene.group.steps("commit", "resume") if NAME in step]
                scene.group.leaderless.clear()
                scene.group.unready.clear()
                await asyncio.sleep(2)
            assert (list(scene.handler.at_work), scene.member.waiting_count(TakeoverWait.LEADERLESS)) == ([10, 0], 0)
            steps = [step for step in scene.group.did if NAME in step]
            assert (steps[1], steps[-4:]) == (TAKEOVER[2], TAKEOVER[3:]), "fenced once and first; the offset is read behind it"
            told = [(entry["event"], entry["partition"]) for entry in logs if entry["event"].startswith("takeover_")]
            assert told == [("takeover_waits", NAME), ("takeover_goes_on", NAME)]

    run_virtual(main())


@pytest.mark.parametrize("back", [True, False])
def test_group_member_waits_for_a_leader_that_goes_while_it_asks_what_is_forgotten(back: bool) -> None:
    """The life ended, and all its lanes with it; so did the next ones, for as long as nobody led the partition."""

    async def main() -> None:
        async with joined() as scene:
            scene.group.calls = LaneCalls(since_ms=1)
            gate = scene.group.hold("offset_at")
            scene.send(10, partition=B)
            with capture_logs() as logs:
                await scene.group.assign(A, B)
                await asyncio.sleep(1)
                scene.group.loses_leader.add(A)
                gate.set()
                await asyncio.sleep(3_600)
                assert (scene.member.waiting_count(TakeoverWait.LEADERLESS), scene.member.snapshot()[A]) == (1, None)
                assert list(scene.handler.at_work) == [10], "the others go on"
                if back:
                    scene.group.leaderless.clear()
                    await asyncio.sleep(2)
                    assert f"resume {NAME} at 0" in scene.group.did
                else:
                    scene.handler.finish(10)
                    assert await scene.elapsed(scene.group.revoke()) < 0.1
            told = [(entry["event"], entry["partition"]) for entry in logs if entry["event"].startswith("takeover_")]
            assert told == [("takeover_waits", NAME), ("takeover_goes_on", NAME)][: 1 + back]

    run_virtual(main())


def test_group_member_gives_a_partition_without_a_leader_back_at_once() -> None:
    async def main() -> None:
        async with joined() as scene:
            scene.group.leaderless.add(A)
            await scene.group.assign(A)
            await asyncio.sleep(60)
            assert await scene.elapsed(scene.group.revoke()) < 0.1
            assert (scene.member.waiting_count(TakeoverWait.LEADERLESS), scene.group.steps("close")) == (0, [f"close {NAME}"])

    run_virtual(main())


@pytest.mark.parametrize("named", [True, False])
def test_group_member_takes_over_the_others_while_a_former_owner_cannot_be_fenced(named: bool) -> None:
    async def main() -> None:
        async with joined(restore_s=7) as scene:
            scene.group.unfenced[A] = [TopicPartition("verification.results", 3)] if named else []
            scene.send(0)
            scene.send(10, partition=B)
            with capture_logs() as logs:
                await scene.group.assign(A, B)
                await asyncio.sleep(4)
                assert scene.member.waiting_count(TakeoverWait.UNFENCED) == int(named), "an honest transaction may take a moment"
                await asyncio.sleep(3_600)
                assert scene.member.waiting_count(TakeoverWait.UNFENCED) == 1
                assert (scene.member.snapshot()[A], list(scene.handler.at_work)) == (None, [10])
                assert not [step for step in scene.group.steps("find_start", "commit", "resume") if NAME in step]
                scene.group.unfenced.clear()
                await asyncio.sleep(2)
            assert (list(scene.handler.at_work), scene.member.waiting_count(TakeoverWait.UNFENCED)) == ([10, 0], 0)
            told = [entry for entry in logs if entry["event"].startswith("takeover_")]
            assert [(entry["event"], entry["partition"]) for entry in told] == [("takeover_waits", NAME), ("takeover_goes_on", NAME)]
            assert ("verification.results[3]" in told[0]["hint"]) == named

    run_virtual(main())


def test_group_member_gives_a_partition_back_at_once_whose_former_owner_cannot_be_fenced() -> None:
    async def main() -> None:
        async with joined() as scene:
            scene.group.unfenced[A] = []
            await scene.group.assign(A)
            await asyncio.sleep(60)
            assert await scene.elapsed(scene.group.revoke()) < 0.1
            assert (scene.member.waiting_count(TakeoverWait.UNFENCED), scene.group.steps("close")) == (0, [f"close {NAME}"])

    run_virtual(main())


def test_group_member_ends_when_brokers_that_could_not_end_a_transaction_fall_silent() -> None:
    async def main() -> None:
        scene = Scene(restore_s=7)
        await asyncio.sleep(0.1)
        scene.group.unfenced[A] = []
        await scene.group.assign(A)
        await asyncio.sleep(60)
        scene.group.silent.add(A)
        assert 6 <= await scene.elapsed(scene.ends()) <= 8
        assert isinstance(await scene.ends(), KafkaUnavailableError)
        _assert_left_nothing(scene)

    run_virtual(main())


TAKEOVER_FAULTS: list[tuple[str, Exception, type[Exception]]] = [
    ("fence", ProducerFencedError("fenced"), ProducerFencedError),
    ("find_start", errors.GroupAuthorizationFailedError("g"), NotAuthorizedError),
    ("find_start", errors.KafkaTimeoutError("led, and silent"), KafkaUnavailableError),
    ("find_start", MissingOffsetsError("decide", 0, 9), MissingOffsetsError),
    ("replay", TimeoutError(), TimeoutError),
    ("commit", KafkaUnavailableError("late"), KafkaUnavailableError),
]


@pytest.mark.parametrize(("step", "error", "raised"), TAKEOVER_FAULTS)
def test_group_member_ends_with_the_error_of_a_failing_takeover(step: str, error: Exception, raised: type[Exception]) -> None:
    async def main() -> None:
        scene = Scene(leave_on_stop=True)
        await asyncio.sleep(0.1)
        scene.group.fails[step] = error
        with capture_logs() as logs:
            await scene.group.assign(A)
            assert isinstance(await scene.ends(), raised)
        assert [entry["task"] for entry in logs if entry["event"] == "life_failed"] == [f"lane {NAME}"]
        assert scene.group.steps("resume", "leave") == []
        _assert_left_nothing(scene)

    run_virtual(main())


def test_group_member_says_once_why_its_life_ends_of_however_many_takeovers_that_fail() -> None:
    async def main() -> None:
        scene = Scene()
        await asyncio.sleep(0.1)
        scene.group.fails["fence"] = KafkaUnavailableError("no broker answers")
        with capture_logs() as logs:
            await scene.group.assign(*(TopicPartition("verification.requests", number) for number in range(100)))
            assert isinstance(await scene.ends(), KafkaUnavailableError)
        assert [entry["task"] for entry in logs if entry["event"] == "life_failed"] == [f"lane {NAME}"]
        _assert_left_nothing(scene)

    run_virtual(main())


def test_group_member_fences_nobody_while_a_right_is_missing() -> None:
    async def main() -> None:
        scene = Scene(leave_on_stop=True)
        await asyncio.sleep(0.1)
        scene.group.fails["rights"] = missing = RightsMissingError(["Write on topic verification.results"], load_settings())
        with capture_logs() as logs:
            await scene.group.assign(A, B)
            assert await scene.ends() is missing
        assert [entry["task"] for entry in logs if entry["event"] == "life_failed"] == ["rights"]
        assert scene.group.steps("rights") == ["rights"], "once for all partitions"
        assert scene.group.steps("fence", "find_start", "resume") == []
        _assert_left_nothing(scene)

    run_virtual(main())


@pytest.mark.parametrize("step", ["rights", "fence", "find_start"])
def test_group_member_ends_a_takeover_that_hangs_at_its_deadline(step: str) -> None:
    async def main() -> None:
        scene = Scene(restore_s=7)
        await asyncio.sleep(0.1)
        scene.group.hold(step)
        await scene.group.assign(A)
        assert 7 <= await scene.elapsed(scene.ends()) < 8
        assert isinstance(await scene.ends(), KafkaUnavailableError)
        _assert_left_nothing(scene)

    run_virtual(main())


def test_group_member_ends_a_start_that_hangs_at_its_deadline() -> None:
    async def main() -> None:
        scene = Scene(start_s=9)
        scene.group.hold("start")
        assert 9 <= await scene.elapsed(scene.ends()) < 10
        assert isinstance(await scene.ends(), KafkaUnavailableError)
        _assert_left_nothing(scene)

    run_virtual(main())


def test_group_member_that_is_stopped_while_it_joins_does_not_wait_for_the_group() -> None:
    async def main() -> None:
        async with joined() as scene:
            pass
        assert scene.group.steps("start") == ["start"]
        hanging = Scene()
        hanging.group.hold("start")
        await asyncio.sleep(0.1)
        hanging.member.stop.set()
        assert await hanging.elapsed(hanging.ends()) < 1
        assert await hanging.ends() is None

    run_virtual(main())


# ---- polling


def test_group_member_never_polls_without_partitions() -> None:
    async def main() -> None:
        async with joined(work_max=1) as scene:  # the consumer in memory refuses such a poll
            await asyncio.sleep(10)
            await scene.group.assign()
            await asyncio.sleep(10)
            scene.send(0)
            await scene.own(A)
            assert list(scene.handler.at_work) == [0]
            scene.send(1)
            await asyncio.sleep(10)
            assert list(scene.handler.at_work) == [0], "the lane has no room"
            scene.handler.finish(0)
            await asyncio.sleep(0.15)
            assert list(scene.handler.at_work) == [1], "room ends the wait for it"

    run_virtual(main())


def test_group_member_is_alive_while_no_lane_has_room() -> None:
    async def main() -> None:
        async with joined(work_max=1, stall_s=5) as scene:
            scene.send(0)
            await scene.own(A)
            await asyncio.sleep(60)
            assert scene.loop.time() - scene.member.last_poll < 2

    run_virtual(main())


def test_group_member_whose_poll_does_not_come_back_ends_as_stalled() -> None:
    async def main() -> None:
        scene = Scene(stall_s=30)
        await asyncio.sleep(0.1)
        await scene.own(A)
        scene.group.hold("poll")
        assert 29 <= await scene.elapsed(scene.ends()) < 33
        assert isinstance(await scene.ends(), StallError)
        _assert_left_nothing(scene)

    run_virtual(main())


def test_group_member_that_stalls_lets_its_calls_end_and_keeps_what_they_come_to() -> None:
    """A process that was frozen for minutes seems stalled when it goes on, and the answers of its calls lie in their sockets."""

    async def main() -> None:
        scene = Scene(stall_s=30)
        await asyncio.sleep(0.1)
        scene.handler.calling = {0}
        scene.send(0)
        await scene.own(A)
        scene.group.hold("poll")
        scene.group.member = (-1, "")
        await asyncio.sleep(32)
        scene.handler.finish(0)
        assert isinstance(await scene.ends(), StallError)
        assert (scene.handler.cancelled, sorted(scene.kept.hand_over(A, lambda _offset: True))) == ([], [0])
        _assert_left_nothing(scene)

    run_virtual(main())


def test_group_member_ends_with_the_error_of_a_poll_and_names_the_task() -> None:
    async def main() -> None:
        scene = Scene()
        await asyncio.sleep(0.1)
        scene.group.fails["poll"] = errors.TopicAuthorizationFailedError(A.topic)
        with capture_logs() as logs:
            await scene.group.assign(A)
            error = await scene.ends()
        assert isinstance(error, NotAuthorizedError)
        assert A.topic in error.resource
        assert [entry["task"] for entry in logs if entry["event"] == "life_failed"] == ["poll"]
        _assert_left_nothing(scene)

    run_virtual(main())


def test_group_member_that_owns_nothing_hears_that_it_could_not_join_again() -> None:
    """The simulation's seed 21053: who had lost all to a namesake and could not join waited for good, and said that all is well."""

    async def main() -> None:
        scene = Scene()
        await asyncio.sleep(0.1)
        await scene.own(A)
        await scene.group.revoke()
        scene.group.fails["membership"] = errors.KafkaError("fenced")
        async with asyncio.timeout(5.0):
            error = await scene.ends()
        assert isinstance(error, KafkaRequestError)
        _assert_left_nothing(scene)

    run_virtual(main())


@pytest.mark.parametrize("again", [True, False])
def test_group_member_drops_records_of_revoked_partitions(again: bool) -> None:
    async def main() -> None:
        async with joined() as scene:
            await scene.own(A)
            gate = scene.group.hold("poll")
            scene.send(0)
            await asyncio.sleep(1)
            assert "poll" in scene.group.did
            await scene.group.revoke()
            scene.group.hold("fence")
            if again:
                await scene.group.assign(A)  # ours again, and not restored yet
            del scene.group.gates["poll"]
            gate.set()
            await asyncio.sleep(1)
            assert scene.group.records[A] == [], "it was delivered by the poll"
            assert scene.handler.works == {}

    run_virtual(main())


def test_group_member_delivers_nothing_to_a_lane_that_drains() -> None:
    async def main() -> None:
        async with joined() as scene:
            scene.handler.calling = {0}
            scene.send(0)
            await scene.own(A)
            gate = scene.group.hold("poll")
            scene.send(1)
            await asyncio.sleep(1)
            revoking = asyncio.ensure_future(scene.group.revoke())
            await asyncio.sleep(1)
            del scene.group.gates["poll"]
            gate.set()
            await asyncio.sleep(1)
            assert scene.group.records[A] == [], "it was delivered by the poll"
            assert (scene.member.snapshot()[A] or {})["next"] == 1
            scene.handler.finish(0)
            await revoking
            assert list(scene.handler.works) == [0]
            assert scene.group.committed[-1] == (A, [b"done 0"], 1), "the second record is not finished"

    run_virtual(main())


def test_group_member_skips_transaction_markers_only_on_idle_lanes() -> None:
    async def main() -> None:
        async with joined() as scene:
            scene.send(0)
            await scene.own(A)
            scene.group.positions[A] = 10
            await asyncio.sleep(12)
            assert scene.member.snapshot()[A] is not None
            scene.group.ends[A] = 12
            lane = scene.member.snapshot()[A] or {}
            assert lane["next"] == 1, "a lane with work may have records on their way"
            assert lane["unread"] == 2, "markers that were read are nobody's lag"
            scene.handler.finish(0)
            await asyncio.sleep(12)
            assert [floor for _, _, floor in scene.group.committed] == [0, 1, 10]

    run_virtual(main())


def test_group_member_renews_the_commit_of_an_idle_lane() -> None:
    """Else its position in the log falls behind what every replica remembers, and its transactional id is forgotten in a week."""

    async def main() -> None:
        async with joined() as scene:
            await scene.own(A)
            await asyncio.sleep(3601)
            assert [floor for _, _, floor in scene.group.committed] == [0] * 4

    run_virtual(main())


def test_group_member_tells_nobody_what_is_not_committed() -> None:
    async def main() -> None:
        scene = Scene()
        await asyncio.sleep(0.1)
        scene.send(0)
        await scene.own(A)
        told = dict(scene.group.done)
        scene.group.fails["commit"] = ProducerFencedError("another owner")
        scene.handler.finish(0)
        assert isinstance(await scene.ends(), ProducerFencedError)
        assert scene.group.done == told

    run_virtual(main())


def test_group_member_does_not_wait_for_the_topic_of_another_application() -> None:
    async def main() -> None:
        scene = Scene()
        await asyncio.sleep(0.1)
        scene.send(0)
        await scene.own(A)
        scene.group.refused[A] = RecordsRefusedError("as it is set", "MessageSizeTooLargeError")
        scene.handler.finish(0, OutputKind.FORWARD)
        assert isinstance(await scene.ends(), RecordsRefusedError), "the next life leaves what is for it in a delay topic"
        async with joined(kept=scene.kept) as following:
            following.sent, following.group.refused = scene.sent, scene.group.refused
            _again(following, 0)
            await following.own(A)
            assert list(following.handler.at_work) == [0], "and asks once more whose it is: it would only be refused again"

    run_virtual(main())


# ---- giving back


def test_group_member_drains_flushes_closes_and_forgets_at_a_revoke() -> None:
    async def main() -> None:
        async with joined() as scene:
            scene.handler.calling = {0}
            scene.send(0, 1)
            await scene.own(A)
            before = len(scene.group.did)
            revoking = asyncio.ensure_future(scene.group.revoke())
            await asyncio.sleep(2)
            assert not scene.member.assigned
            assert scene.handler.cancelled == [1], "waiting work ends at once"
            assert not revoking.done(), "a call in flight is given time"
            scene.handler.finish(0)
            await revoking
            assert scene.group.did[before:] == [f"commit {NAME} 1", f"close {NAME}", f"forget {NAME}", "flush"]
            assert scene.group.committed[-1] == (A, [b"done 0"], 1)
            assert scene.member.snapshot() == {}
            assert scene.member.published == 1

    run_virtual(main())


def test_group_member_lets_what_it_has_told_of_its_calls_be_noted_before_it_gives_back_and_waits_a_second_at_most() -> None:
    """The next owner took calls that were withdrawn for calls that were perhaps made, and looked them up at Didit."""

    async def main() -> None:
        async with joined() as scene:
            gate = scene.group.hold("flush")
            await scene.own(A)
            revoking = asyncio.ensure_future(scene.group.revoke())
            await asyncio.sleep(0.5)
            assert not revoking.done()
            gate.set()
            await revoking
            await scene.own(A)
            scene.group.hold("flush")
            assert 0.9 < await scene.elapsed(scene.group.revoke()) < 1.1, "the log takes nothing: a rebalance is not to wait for it"
            await scene.own(A)
            scene.group.member = (2, "member")  # expelled: the next owner is at work already
            assert await scene.elapsed(scene.group.revoke()) < 0.1

    run_virtual(main())


def test_group_member_gives_a_call_that_does_not_end_only_the_drain_time() -> None:
    async def main() -> None:
        async with joined(drain_s=4, flush_s=3) as scene:
            scene.handler.calling = {0}
            scene.send(0)
            await scene.own(A)
            assert 4 <= await scene.elapsed(scene.group.revoke()) < 5
            assert scene.handler.cancelled == [0]
            assert [floor for _, _, floor in scene.group.committed] == [0]

    run_virtual(main())


def test_group_member_gives_a_last_transaction_only_the_flush_time() -> None:
    async def main() -> None:
        async with joined(drain_s=4, flush_s=3) as scene:
            scene.send(0)
            await scene.own(A)
            scene.group.hold("commit")
            scene.handler.finish(0)
            await asyncio.sleep(1)
            assert 3 <= await scene.elapsed(scene.group.revoke()) < 4
            assert scene.group.did[-3:] == [f"close {NAME}", f"forget {NAME}", "flush"]
            assert [floor for _, _, floor in scene.group.committed] == [0]

    run_virtual(main())


def test_group_member_gives_back_a_partition_whose_takeover_has_not_ended() -> None:
    async def main() -> None:
        async with joined(flush_s=3) as scene:
            gate = scene.group.hold("fence")
            await scene.group.assign(A)
            await asyncio.sleep(1)
            revoking = asyncio.ensure_future(scene.group.revoke())
            await asyncio.sleep(1)
            gate.set()
            await revoking
            assert scene.group.did[1:] == [*TAKEOVER[:4], f"close {NAME}", f"forget {NAME}", "flush"]

    run_virtual(main())


@pytest.mark.parametrize("member", [(2, "member"), (1, "another"), (-1, "")])
def test_group_member_that_was_expelled_ends_its_calls_and_publishes_nothing(member: tuple[int, str]) -> None:
    async def main() -> None:
        async with joined(drain_s=10) as scene:
            scene.handler.calling = {0, 1}
            scene.send(0, 1, 2)
            await scene.own(A)
            scene.group.member = member
            revoking = asyncio.ensure_future(scene.elapsed(scene.group.revoke()))
            await asyncio.sleep(2)
            scene.handler.finish(0)
            assert await revoking == pytest.approx(10, abs=0.1)
            assert sorted(scene.handler.cancelled) == [1, 2]
            assert [floor for _, _, floor in scene.group.committed] == [0], "the partition may be another's"
            _again(scene, 0, 1, 2)
            await scene.own(A)
            assert sorted(scene.handler.at_work) == [1, 2], "what came of the call is known"

    run_virtual(main())


async def _expelled_with_one_finished(scene: Scene) -> None:
    """Record 1 of A is finished while no broker answers, 0 is never; then the group has forgotten us."""
    scene.send(0, 1)
    await scene.own(A)
    scene.group.away = "all"
    scene.handler.finish(1)
    await asyncio.sleep(60)
    scene.group.member, scene.group.away = (-1, ""), ""
    await scene.group.revoke()
    assert [values for _, values, _ in scene.group.committed if values] == []
    scene.group.member = (3, "another")


def _again(scene: Scene, *offsets: int) -> None:
    """The same records, as a broker gives them again."""
    for offset in offsets:
        scene.group.records.setdefault(A, []).append(scene.sent[A, offset])


def test_group_member_publishes_what_it_had_finished_when_it_gets_the_partition_back() -> None:
    """After an outage that a broker's clock took for a dead member, paid calls were in doubt that had been answered."""

    async def main() -> None:
        async with joined() as scene:
            await _expelled_with_one_finished(scene)
            _again(scene, 0, 1)
            await scene.own(A)
            await asyncio.sleep(1)
            assert list(scene.handler.at_work) == [0], "what is finished is not done again"
            assert (A, [b"done 1"], 0) in scene.group.committed

    run_virtual(main())


@pytest.mark.parametrize("meanwhile", ["published", "another owner", "another topic"])
def test_group_member_publishes_nothing_that_is_anothers_now(meanwhile: str) -> None:
    async def main() -> None:
        async with joined() as scene:
            await _expelled_with_one_finished(scene)
            if meanwhile == "published":
                scene.group.saved[A] = (0, "2:01234567@3:Ag==")  # 1 is done
            if meanwhile == "another owner":
                await scene.group.assign(B)
                await scene.group.revoke()
            if meanwhile == "another topic":
                scene.send(0, 1)
            else:
                _again(scene, 0, 1)
            await scene.own(A)
            await asyncio.sleep(1)
            assert list(scene.handler.at_work) == ([0] if meanwhile == "published" else [0, 1])
            assert [values for _, values, _ in scene.group.committed if values] == []
            await scene.group.revoke()
            assert scene.kept.hand_over(A, lambda _offset: True) == {}, "what nobody can publish any more would be kept for ever"

    run_virtual(main())


def test_the_next_life_publishes_what_the_one_before_had_finished() -> None:
    async def main() -> None:
        first = Scene()
        await asyncio.sleep(0.1)
        first.send(0)
        await first.own(A)
        first.group.refused[A] = ProducerFencedError("another one")
        first.handler.finish(0)
        assert isinstance(await first.ends(), ProducerFencedError)
        async with joined(kept=first.kept) as scene:
            scene.sent = first.sent
            _again(scene, 0)
            await scene.own(A)
            await asyncio.sleep(1)
            assert (scene.handler.at_work, (A, [b"done 0"], 1) in scene.group.committed) == ({}, True)

    run_virtual(main())


# ---- the end of a life


@pytest.mark.parametrize("leave", [True, False])
def test_group_member_leaves_the_group_at_a_stop_only_when_told(leave: bool) -> None:
    async def main() -> None:
        async with joined(leave_on_stop=leave) as scene:
            scene.handler.calling = {0}
            scene.send(0)
            await scene.own(A)
            scene.member.stop.set()
            await asyncio.sleep(1)
            scene.handler.finish(0)
            assert await scene.ends() is None
            assert scene.group.committed[-1] == (A, [b"done 0"], 1), "a stop drains as a revoke does"
            left = ["leave"] if leave else []
            assert scene.group.steps("forget", "flush", "leave", "stop") == [f"forget {NAME}", "flush", *left, "stop"]

    run_virtual(main())


@pytest.mark.parametrize("member", [True, False])
def test_group_member_that_fails_lets_calls_end_and_publishes_while_partitions_are_its_own(member: bool) -> None:
    """One partition's trouble ended the calls of all others in the middle, and what they were paid for was in doubt."""

    async def main() -> None:
        scene = Scene(leave_on_stop=True)
        await asyncio.sleep(0.1)
        scene.handler.calling = {1, 10, 11}
        scene.send(0, 1)
        scene.send(10, 11, partition=B)
        await scene.own(A, B)
        if not member:
            scene.group.member = (-1, "")
        scene.group.refused[A] = ProducerFencedError("another one")
        scene.handler.finish(0)
        ending = asyncio.ensure_future(scene.elapsed(scene.ends()))
        for offset in (1, 10, 11):
            await asyncio.sleep(1)
            scene.handler.finish(offset)
        assert await ending < 3.1
        assert isinstance(await scene.ends(), ProducerFencedError)
        assert scene.handler.cancelled == []
        assert scene.group.steps("leave") == []
        assert [values for _, values, _ in scene.group.committed if values] == ([[b"done 10"], [b"done 11"]] if member else [])
        assert sorted(scene.kept.hand_over(A, lambda _offset: True)) == [0, 1]
        assert sorted(scene.kept.hand_over(B, lambda _offset: True)) == ([] if member else [10, 11])
        _assert_left_nothing(scene)

    run_virtual(main())


def test_group_member_that_ends_takes_nothing_over_any_more() -> None:
    async def main() -> None:
        scene = Scene(stall_s=30)
        await asyncio.sleep(0.1)
        await scene.own(A)
        scene.group.hold("poll")
        closing = scene.group.hold("close")
        await asyncio.sleep(40)
        assert f"close {NAME}" in scene.group.did, "it has stalled, and ends"
        await scene.group.assign(B)
        closing.set()
        assert isinstance(await scene.ends(), StallError)
        assert scene.group.steps("pause")[-1] == "pause verification.requests[1]", "paused, so that nothing is delivered"
        assert len(scene.group.steps("fence")) == 1
        _assert_left_nothing(scene)

    run_virtual(main())


def test_group_member_goes_on_with_other_partitions_while_one_waits_before_a_broken_batch() -> None:
    async def main() -> None:
        async with joined() as scene:
            await scene.own(A, B)
            broken = Unread(ErrorCode.BATCH_UNREADABLE, 1, 3, 0, "is broken", blocks=True)
            scene.send(0)
            scene.group.records[A].append(Record(Source(A.topic, 0, 1), None, None, (), 0, broken))
            await asyncio.sleep(0.5)
            scene.send(10, 11, partition=B)
            scene.send(4)
            await asyncio.sleep(5)
            assert list(scene.handler.at_work) == [0, 10, 11]
            scene.wakeups.releases.note_release(Release(A.topic, 0, (1, 3), "run"), 0)
            await asyncio.sleep(0.5)
            assert scene.group.steps("resume")[2:] == [f"resume {NAME} at 4"]
            assert list(scene.handler.at_work) == [0, 10, 11, 3, 4]

    run_virtual(main())


# ---- a lane whose outputs lose their leader

RESULTS = TopicPartition("verification.results", 3)


async def _own_busy(scene: Scene) -> None:
    """Record 1 of A is in its call, 0 and 2 wait for their own; B has none."""
    scene.handler.calling = {1}
    scene.send(0, 1, 2)
    await scene.own(A, B)


async def _an_hour_beside(scene: Scene) -> None:
    """While A cannot publish, B has a record that ends, and A one more; the call of A's record 1 ends, too."""
    scene.send(3)
    scene.send(10, partition=B)
    await asyncio.sleep(1)
    scene.handler.finish(1)
    scene.handler.finish(10)
    await asyncio.sleep(3_600)


def _told(logs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(entry["event"], entry["partition"]) for entry in logs if entry["event"].endswith(("_waits", "_goes_on"))]


async def _lose(scene: Scene) -> None:
    """Record 0 of A is finished and cannot be published, 1 is in its call, 2 waits for its own; B is not concerned."""
    await _own_busy(scene)
    scene.group.lost[A] = [RESULTS]
    scene.handler.finish(0)
    await asyncio.sleep(1)


@pytest.mark.parametrize("lands", [False, True])
def test_group_member_publishes_when_a_leader_is_back_and_works_on_the_other_partitions_meanwhile(lands: bool) -> None:
    async def main() -> None:
        async with joined() as scene:
            scene.group.lands |= {A} if lands else set()
            with capture_logs() as logs:
                await _lose(scene)
                assert (scene.member.waiting_count(TakeoverWait.UNFENCED), scene.member.open_count) == (1, 1)
                assert list(scene.handler.at_work) == [1], "what waited for its call is stopped; a call in flight is not"
                await _an_hour_beside(scene)
                assert (scene.handler.at_work, len(scene.group.steps("fence"))) == ({}, 2), "nobody is fenced, and nothing starts"
                assert (B, [b"done 10"], 11) in scene.group.committed
                scene.group.lost.clear()
                await asyncio.sleep(2)
            assert sorted(scene.handler.at_work) == [2, 3]
            assert [values for tp, values, _ in scene.group.committed if tp == A and values] == [[b"done 0"], [b"done 1"]]
            assert (scene.member.waiting_count(TakeoverWait.UNFENCED), scene.member.open_count) == (0, 2)
            assert [step for step in scene.group.steps("fence", "close", "find_start", "resume") if NAME in step] == [
                *(f"{step} {NAME}" for step in ("fence", "find_start")),
                f"resume {NAME} at 0",
                *(f"{step} {NAME}" for step in ("close", "fence", "find_start")),
            ], "the same lane, with another writer"
            assert _told(logs) == [("publishing_waits", NAME), ("publishing_goes_on", NAME)]
            assert lane_name(RESULTS) in next(entry["hint"] for entry in logs if entry["event"] == "publishing_waits")

    run_virtual(main())


def test_group_member_keeps_what_is_finished_while_no_broker_answers_and_publishes_it_when_they_are_back() -> None:
    """The life ended after 25 s, and what was finished was lost with it: an outage of a minute left paid calls in doubt."""

    async def main() -> None:
        async with joined() as scene:
            await _own_busy(scene)
            scene.group.away = "all"
            with capture_logs() as logs:
                scene.handler.finish(0)
                await asyncio.sleep(10)
                scene.handler.finish(1)
                await asyncio.sleep(3_600)
                assert (scene.member.waiting_count(TakeoverWait.UNFENCED), scene.member.open_count) == (1, 1)
                assert (scene.handler.at_work, len(scene.group.steps("fence"))) == ({}, 2), "nothing starts"
                scene.group.away = ""
                await asyncio.sleep(3)
            assert sorted(scene.handler.at_work) == [2]
            assert [values for tp, values, _ in scene.group.committed if tp == A and values] == [[b"done 0"], [b"done 1"]]
            assert _told(logs) == [("publishing_waits", NAME), ("publishing_goes_on", NAME)], "once"
            assert "no broker answers" in next(entry["hint"] for entry in logs if entry["event"] == "publishing_waits")

    run_virtual(main())


def test_group_member_takes_a_topic_that_seems_missing_while_no_broker_answers_for_silence() -> None:
    async def main() -> None:
        async with joined() as scene:
            await _own_busy(scene)
            scene.group.refused[A], scene.group.away = TopicMissingError("v.results does not exist"), "looks"
            with capture_logs() as logs:
                scene.handler.finish(0)
                await asyncio.sleep(1)
                assert scene.member.waiting_count(TakeoverWait.UNFENCED) == 1
                scene.group.refused.clear()
                scene.group.away = ""
                await asyncio.sleep(3)
            assert "no broker answers" in next(entry["hint"] for entry in logs if entry["event"] == "publishing_waits")
            assert (A, [b"done 0"], 1) in scene.group.committed

    run_virtual(main())


def test_group_member_waits_on_when_brokers_that_were_back_fall_silent_again() -> None:
    async def main() -> None:
        async with joined() as scene:
            await _lose(scene)
            gate = scene.group.hold("fence")
            scene.group.lost.clear()
            await asyncio.sleep(2)
            scene.group.away = "all"
            gate.set()
            await asyncio.sleep(60)
            assert 30 < len(scene.group.steps("fence")) < 70, "it is tried again, once a second"
            scene.group.away = ""
            await asyncio.sleep(2)
            assert [values for tp, values, _ in scene.group.committed if tp == A and values] == [[b"done 0"]]

    run_virtual(main())


def test_group_member_ends_when_transactions_fail_again_and_again_and_brokers_say_that_nothing_is_amiss() -> None:
    async def main() -> None:
        scene = Scene()
        await asyncio.sleep(0.1)
        scene.send(0)
        await scene.own(A)
        scene.group.away = "commit"
        scene.handler.finish(0)
        assert isinstance(await scene.ends(), KafkaUnavailableError), "a life of new clients may cure it"
        assert len(scene.group.steps("commit")) == 1 + 3
        _assert_left_nothing(scene)

    run_virtual(main())


REFUSALS = [
    RecordsRefusedError("as it is set", "MessageSizeTooLargeError"),
    NotAuthorizedError("no", "topic v"),
    TopicMissingError("v.results does not exist"),
    ProducerExpiredError("idle for long", "InvalidProducerIdMapping"),
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_group_member_keeps_what_a_topic_refuses_and_works_on_the_other_partitions_meanwhile(refusal: Exception) -> None:
    async def main() -> None:
        async with joined() as scene:
            await _own_busy(scene)
            scene.group.refused[A] = refusal
            with capture_logs() as logs:
                scene.handler.finish(0)
                await asyncio.sleep(1)
                assert (scene.member.waiting_count(TakeoverWait.REFUSED), scene.member.open_count) == (1, 1)
                assert list(scene.handler.at_work) == [1], "what waited for its call is stopped; a call in flight is not"
                await _an_hour_beside(scene)
                tries = len([step for step in scene.group.steps("commit") if NAME in step])
                assert (scene.handler.at_work, 60 < tries < 75) == ({}, True), "nothing starts; it is tried once a minute"
                assert scene.group.steps("fence")[-1:] == [f"fence {NAME}"], "no transaction stays open between two tries"
                assert (B, [b"done 10"], 11) in scene.group.committed
                scene.group.refused.clear()
                await asyncio.sleep(61)
            assert sorted(scene.handler.at_work) == [2, 3]
            assert [values for tp, values, _ in scene.group.committed if tp == A and values] == [[b"done 0"], [b"done 1"]]
            assert (scene.member.waiting_count(TakeoverWait.REFUSED), scene.member.open_count) == (0, 2)
            assert _told(logs) == [("publishing_waits", NAME), ("publishing_goes_on", NAME)], "once"

    run_virtual(main())


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("refusal", REFUSALS)
def test_group_member_tries_at_once_what_a_topic_refused_when_it_gives_the_partition_back(refusal: Exception, taken: bool) -> None:
    """Seed 11775044: an id that brokers had forgotten was waited for when the group divided its partitions again: calls were in doubt."""

    async def main() -> None:
        async with joined(flush_s=3) as scene:
            scene.handler.calling = {1}
            scene.send(0, 1)
            await scene.own(A)  # no other lane's end is waited for
            scene.group.refused[A] = refusal
            for offset in (0, 1):  # no call is in flight
                scene.handler.finish(offset)
            await asyncio.sleep(5)
            tries = len([step for step in scene.group.steps("commit") if NAME in step])
            if taken:
                scene.group.refused.clear()
            with capture_logs() as logs:
                took_s = await scene.elapsed(scene.group.revoke())
            assert took_s < 0.1, "one refusal more is enough to know"
            published = [values for tp, values, _ in scene.group.committed if tp == A and values]
            again = len([step for step in scene.group.steps("commit") if NAME in step]) - tries
            assert (published, again) == ([[b"done 0", b"done 1"]] if taken else [], 1)
            assert not [line for line in logs if line["event"] == "life_failed"]

    run_virtual(main())


def test_group_member_shows_what_it_waits_for_now_and_then_again_what_it_waited_for_before() -> None:
    async def main() -> None:
        async with joined() as scene:
            await _own_busy(scene)
            scene.group.refused[A] = RecordsRefusedError("as it is set", "MessageSizeTooLargeError")
            seen = []

            async def look() -> None:
                await asyncio.sleep(61)
                seen.append([wait for wait in TakeoverWait if scene.member.waiting_count(wait)])

            with capture_logs() as logs:
                scene.handler.finish(0)
                await look()
                scene.group.leaderless.add(A)
                await look()
                scene.group.leaderless.clear()
                await look()
                scene.group.refused.clear()
                await look()
            assert seen == [[TakeoverWait.REFUSED], [TakeoverWait.LEADERLESS], [TakeoverWait.REFUSED], []]
            assert _told(logs) == [("publishing_waits", NAME), ("publishing_goes_on", NAME)], "whoever publishes tells it, once"

    run_virtual(main())


def test_group_member_starts_nothing_while_a_topic_refuses_although_a_leader_that_was_away_meanwhile_is_back() -> None:
    async def main() -> None:
        async with joined() as scene:
            await scene.own(A)
            scene.send(0)
            await asyncio.sleep(1)
            scene.group.refused[A] = RecordsRefusedError("as it is set", "MessageSizeTooLargeError")
            scene.handler.finish(0)
            await asyncio.sleep(10)
            refusal = scene.group.refused.pop(A)
            scene.group.lost[A] = [RESULTS]
            await asyncio.sleep(120)
            lane = next(iter(scene.member._owned.values())).lane  # noqa: SLF001 - whether it is paused, at each moment
            assert lane is not None
            resumed = list[str]()
            lane.go_on = lambda: resumed.append("too early")  # type: ignore[method-assign]
            scene.group.refused[A] = refusal
            scene.group.lost.clear()
            await asyncio.sleep(120)
            assert resumed == []
            del lane.go_on
            scene.group.refused.clear()
            await asyncio.sleep(120)
            assert not lane.paused

    run_virtual(main())


def test_group_member_starts_nothing_that_falls_due_while_it_cannot_be_published() -> None:
    async def main() -> None:
        async with joined() as scene:
            scene.send(0, partition=DELAYED)
            scene.send(1, partition=DELAYED, due_in_s=30)
            await scene.own(DELAYED)
            scene.group.lost[DELAYED] = [RESULTS]
            scene.handler.finish(0)
            await asyncio.sleep(60)
            assert scene.handler.at_work == {}
            scene.group.lost.clear()
            await asyncio.sleep(2)
            assert list(scene.handler.at_work) == [1]

    run_virtual(main())


@pytest.mark.parametrize("back", [True, False])
def test_group_member_gives_what_waits_for_a_leader_to_be_published_the_flush_time_when_it_gives_back(back: bool) -> None:
    """Seed 10005949: the leader was back, and what was finished was left to the next owner, who found calls of which nothing is known."""

    async def main() -> None:
        async with joined(flush_s=3) as scene:
            await _lose(scene)
            scene.handler.finish(1)
            await asyncio.sleep(60)
            revoking = asyncio.ensure_future(scene.elapsed(scene.group.revoke()))
            await asyncio.sleep(1)
            assert not revoking.done()
            if back:
                scene.group.lost.clear()
            took_s = await revoking
            published = [values for tp, values, _ in scene.group.committed if tp == A and values]
            assert (took_s < 3, published) == ((True, [[b"done 0"], [b"done 1"]]) if back else (False, []))
            assert took_s < 3.1
            assert scene.group.steps("close")[-2:] == [f"close {NAME}", "close verification.requests[1]"]

    run_virtual(main())


def test_group_member_that_was_expelled_fences_nobody_when_the_leader_of_its_outputs_is_back() -> None:
    async def main() -> None:
        async with joined() as scene:
            await _lose(scene)
            scene.group.member = (-1, "")
            scene.group.lost.clear()
            await asyncio.sleep(60)
            assert len(scene.group.steps("fence")) == 2
            await scene.group.revoke()

    run_virtual(main())


@pytest.mark.parametrize(("other", "raised"), [(True, ProducerFencedError), (False, KafkaUnavailableError)])
def test_group_member_ends_when_somebody_else_has_committed_or_no_leader_is_missing(other: bool, raised: type[Exception]) -> None:
    async def main() -> None:
        scene = Scene()
        await asyncio.sleep(0.1)
        if other:
            await _lose(scene)
            scene.group.saved[A] = (2, "2:another")
            scene.group.lost.clear()
        else:
            scene.send(0)
            await scene.own(A)
            scene.group.fails["commit"] = KafkaUnavailableError("silent")
            scene.handler.finish(0)
        assert isinstance(await scene.ends(), raised)
        _assert_left_nothing(scene)

    run_virtual(main())
