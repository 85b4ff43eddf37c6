"""Claims on a log in memory, in virtual time: the order of the log decides who was first, whatever happens to the log."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from memory_log import MemoryTopic
from test_budget_shared import MARK, ask, scene, virtual

from processor.budget.log_records import Claimed, decode_entry, encode
from processor.budget.permits import BudgetClosedError, Conflict, Duplicate, InDoubt

COPY = replace(MARK, first="copy", offset=6)


@virtual
async def test_of_copies_on_two_replicas_one_is_answered() -> None:
    topic = MemoryTopic(delay_s=lambda: 0.01)
    async with scene(topic, instance="a") as a, scene(topic, instance="b") as b:
        answers = await asyncio.gather(a.budget.claim(MARK), b.budget.claim(COPY), b.budget.claim(replace(COPY, first="third")))
        assert sorted(map(str, answers)) == ["Duplicate()", "Duplicate()", "None"]
        assert await a.budget.claim(replace(COPY, content="other")) == Conflict()


@virtual
async def test_a_claim_needs_no_budget_and_a_call_of_another_content_is_a_conflict() -> None:
    async with scene() as s:
        s.budget.pause("a", 3000.0)
        assert await s.budget.claim(MARK) is None
        assert len(s.budget.state.windows["a"].live) == 0
        s.budget.state.windows["a"].paused_until = 0.0
        assert await s.budget.acquire(ask(identity=replace(COPY, content="good"))) == Conflict()


@virtual
async def test_a_call_comes_before_a_claim_and_a_newcomer_reads_both_back() -> None:
    topic = MemoryTopic()
    async with scene(topic) as s:
        await s.permit(ask(identity=MARK))
        assert await s.budget.claim(COPY) == Duplicate()
        assert isinstance(await s.budget.claim(MARK), InDoubt), "the record itself, whose call may have been made"
        assert await s.budget.claim(replace(MARK, request="claimed")) is None
    async with scene(topic) as s:
        assert await s.budget.claim(COPY) == Duplicate()
        assert await s.budget.claim(replace(COPY, request="claimed")) == Duplicate()
        assert await s.budget.claim(replace(MARK, request="claimed")) is None, "the record itself, taken up again"


@virtual
async def test_a_claim_that_the_log_lost_is_made_again() -> None:
    async with scene() as s:
        await s.permit(ask())
        s.log.cut = True
        task = asyncio.create_task(s.budget.claim(MARK))
        await asyncio.sleep(100.0)
        assert not task.done()
        s.log.cut = False
        assert await task is None
        assert await s.budget.claim(COPY) == Duplicate()


@virtual
async def test_nobody_waits_for_a_budget_that_is_closed() -> None:
    async with scene() as s:
        await s.permit(ask())
        s.log.cut = True
        task = asyncio.create_task(s.budget.claim(MARK))
        await asyncio.sleep(1.0)
        await s.stop()
        with pytest.raises(BudgetClosedError):
            await task
        with pytest.raises(BudgetClosedError):
            await s.budget.claim(MARK)


def test_a_claim_survives_the_log() -> None:
    claimed = Claimed("c-1", MARK)
    assert decode_entry(encode(claimed)) == [claimed]
    assert decode_entry(b'{"t":"claim","i":"c-1","m":["r","c","f","t[0]",5]}') == [None]
