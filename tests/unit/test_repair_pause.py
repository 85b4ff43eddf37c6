"""What can be paused, under which name, and what is paused."""

from __future__ import annotations

import pytest
from memory_topics import MemoryTopics

from processor.contract.pauses import PauseAct, PauseKind, encode_pause
from processor.contract.schemas import operations
from processor.didit.catalog import COMPOSITES, OPERATIONS, WITHOUT_CALL
from processor.repair.pause import PauseIndex, call_of, pausable
from processor.settings import load_settings
from processor.stream.errors import KafkaUnavailableError


def test_every_operation_that_can_be_asked_for_can_be_paused() -> None:
    assert set(operations()) - WITHOUT_CALL <= set(pausable())
    assert {call_of(name) for name in pausable()} <= set(OPERATIONS)


def test_what_makes_several_calls_is_paused_at_its_first() -> None:
    assert call_of("verification") == "session.create"
    assert all(call_of(name) not in COMPOSITES for name in pausable())
    assert call_of("aml") == "aml"


def test_no_name_is_that_of_every_call() -> None:
    assert call_of("all") is None
    assert call_of("AML") is None


def test_each_name_can_be_written() -> None:
    for name in {call_of(name) for name in pausable()}:
        encode_pause(PauseAct(PauseKind.PAUSED, name, "ann@host", "moved", 0, "11111111-2222-4333-8444-555555555555"))


async def test_a_look_that_failed_is_made_again_with_another_client(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = MemoryTopics(batch=1).instead_of_kafka(monkeypatch)
    for kind, name in ((PauseKind.PAUSED, "aml"), (PauseKind.PAUSED, "ip.risk"), (PauseKind.RESUMED, "aml")):
        act = PauseAct(kind, name, "ann@host", "moved", 0, "11111111-2222-4333-8444-555555555555")
        topics.write("verification.controls", encode_pause(act))
    topics.failures["verification.controls"] = 1, KafkaUnavailableError("no leader")
    async with PauseIndex(load_settings()) as index:
        with pytest.raises(KafkaUnavailableError):
            await index.refresh()
        assert topics.clients == ["started", "closed"]
        topics.failures.clear()
        assert [act.name for act in (await index.refresh()).in_force] == ["ip.risk"]
    assert topics.clients == ["started", "closed"] * 2
