"""Operators' pauses in the driver of the shared budget, in virtual time: what waits, what is withdrawn, what goes on."""

from __future__ import annotations

import asyncio

import pytest
from memory_log import MemoryTopic
from test_budget_shared import ANSWERED, MARK, ask, scene, virtual

from processor.budget.log_records import Alive, Asked, Ended, decode_entry, encode
from processor.budget.permits import CallClass, Parked, Permit, Place
from processor.budget.replica_facts import ReplicaFacts, read_facts, write_facts
from processor.contract.codes import ErrorCode
from processor.contract.pauses import UNREAD, PauseAct, PauseKind, Pauses

RUN = "11111111-2222-4333-8444-555555555555"
LATER_S = 3600.0


def act(operation: str | None, kind: PauseKind = PauseKind.PAUSED) -> PauseAct:
    return PauseAct(kind, operation, "ann", "Didit is being moved", 0, RUN)


ONE = Pauses().after(act("op"), 0)
ALL = Pauses().after(act(None), 0)


@virtual
async def test_a_paused_operation_makes_room_for_the_others_and_holds_nothing() -> None:
    async with scene() as s:
        await asyncio.sleep(1)
        s.budget.obey(ONE)
        assert await s.budget.acquire(ask()) == Parked(ErrorCode.OPERATION_PAUSED, LATER_S)
        s.budget.release(await s.permit(ask("other")), ANSWERED)
        await asyncio.sleep(1)
        assert [r.endpoint for r in s.records(Asked)] == ["other"], "nothing was asked for"
        s.budget.obey(ONE.after(act("op", PauseKind.RESUMED), 1))
        await s.permit(ask())


@virtual
async def test_those_who_wait_when_the_pause_comes_are_sent_away_and_give_their_places_back() -> None:
    async with scene(MemoryTopic(delay_s=lambda: 0.5), calls_max=1) as s:
        await asyncio.sleep(10)
        held = await s.permit(ask(identity=MARK))
        waiting = [await s.waiting(ask()) for _ in range(3)]
        s.budget.obey(ONE)
        assert {(await task).code for task in waiting} == {ErrorCode.OPERATION_PAUSED}  # type: ignore[union-attr]
        s.budget.release(held, ANSWERED)  # what is in flight ends as ever
        await asyncio.sleep(5)
        asked, ended = {r.id for r in s.records(Asked)}, {r.id: r.used for r in s.records(Ended)}
        assert asked == set(ended), "every ask has its end"
        assert sum(ended.values()) == 1
        assert s.budget.state.windows["a"].open_weight == 0


@virtual
async def test_while_all_is_paused_everybody_waits_in_line_and_goes_on_in_order() -> None:
    async with scene() as s:
        await asyncio.sleep(1)
        s.budget.obey(ALL)
        tasks = [await s.waiting(ask(since_ms=n)) for n in (2, 1)]
        await asyncio.sleep(3600)
        assert not any(task.done() for task in tasks)
        assert s.records(Asked) == []
        s.budget.obey(ALL.after(act(None, PauseKind.RESUMED), 1))
        assert [isinstance(answer, Permit) for answer in await asyncio.gather(*tasks)] == [True, True]
        assert s.records(Asked)[0].endpoint == "op"
        assert s.budget.is_paused("op") is False


@virtual
async def test_an_ask_that_has_its_place_is_withdrawn_when_all_is_paused_and_does_not_start_with_the_next_free_slot() -> None:
    async with scene(calls_max=1) as s:
        await asyncio.sleep(1)
        held = await s.permit(ask())
        waiting = await s.waiting(ask())
        await asyncio.sleep(1)
        placed = s.records(Asked)[-1].id
        s.budget.obey(ALL)
        await asyncio.sleep(1)
        assert placed in {r.id for r in s.records(Ended)}, "it holds nothing of the budget"
        s.budget.release(held, ANSWERED)
        await asyncio.sleep(60)
        assert not waiting.done()
        s.budget.obey(ALL.after(act(None, PauseKind.RESUMED), 1))
        assert isinstance(await waiting, Permit)


@virtual
async def test_nothing_starts_before_it_is_known_what_is_paused() -> None:
    async with scene() as s:
        s.budget.obey(UNREAD)
        task = await s.waiting(ask())
        await asyncio.sleep(60)
        assert not task.done()
        s.budget.obey(ONE)
        assert isinstance(await task, Parked)


@virtual
async def test_a_pause_outlives_a_log_that_is_read_again() -> None:
    async with scene() as s:
        await asyncio.sleep(1)
        s.budget.obey(ONE)
        s.budget.joining(lost=True)
        assert s.budget.state.pauses is ONE
        assert s.budget.is_paused("op")


@virtual
async def test_parked_requests_stay_while_paused_are_written_again_when_due_and_are_called_in_when_resumed() -> None:
    async with scene() as s:
        await asyncio.sleep(1)
        s.budget.obey(ONE)
        started: list[int] = []
        waits = [s.budget.park(Place("op", ("a",), CallClass.NORMAL, n), lambda n=n: started.append(n)) for n in (2, 1)]  # type: ignore[misc]
        await asyncio.sleep(600)
        assert started == []
        assert waits[0].may_start(), "its time has come: it is written once more, or retention would delete it"
        waits[0].leave()
        s.budget.obey(ONE.after(act("op", PauseKind.RESUMED), 1))
        await asyncio.sleep(2)
        assert started == [1]


@virtual
async def test_a_replica_tells_at_once_what_it_obeys() -> None:
    async with scene() as s:
        await asyncio.sleep(1)
        before = len(s.records(Alive))
        s.budget.obey(ONE)
        await asyncio.sleep(0.5)
        assert len(s.records(Alive)) == before + 1


FACTS = ReplicaFacts("0.1.0", 61, 123_456_789, 4, "life_ended", 1_700_000_000_000)


def test_facts_of_a_replica_travel_with_its_sign_of_life_and_an_earlier_version_reads_that_without_them() -> None:
    alive = Alive("c", "vp-0", {"a": 1}, facts=FACTS)
    (read,) = decode_entry(encode(alive))
    assert read == alive
    (plain,) = decode_entry(encode(Alive("c", "vp-0", {"a": 1})))
    assert isinstance(plain, Alive)
    assert plain.facts is None
    assert b'"f"' not in encode(Alive("c", "vp-0", {"a": 1}))


@pytest.mark.parametrize(
    "raw",
    [None, [], {}, ["0.1.0", 1, 2, 3, "e"], ["0.1.0\n", 1, 2, 3, "", 0], ["0.1.0", -1, 2, 3, "", 0], ["0.1.0", True, 2, 3, "", 0],
     ["0.1.0", 1, 2, 3, "Max Muster", 0], ["0.1.0", 1, 2.5, 3, "", 0], [7, 1, 2, 3, "", 0]],
)  # fmt: skip
def test_facts_that_are_malformed_are_left_out_and_the_sign_of_life_counts(raw: object) -> None:
    assert read_facts(raw) is None


def test_a_later_version_may_add_facts() -> None:
    assert read_facts([*write_facts(FACTS), "more"]) == FACTS
