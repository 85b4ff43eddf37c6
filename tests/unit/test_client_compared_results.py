"""What another record under the id of a waiter was answered: the waiter's if that record had its content."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from memory_topics import MemoryTopics

from processor.client import compared_results
from processor.client.compared_results import ComparedResults
from processor.client.requests import OutgoingRequest, build_request
from processor.client.result_router import ResultRouter, Waiter
from processor.client.results import VerificationResult
from processor.contract.encode import result_output
from processor.contract.records import Result, ResultKind, Source, Status
from processor.settings import load_settings
from processor.stream.errors import KafkaUnavailableError, NotAuthorizedError

REQUESTS = "verification.requests"


def aml(name: str) -> OutgoingRequest:
    return build_request("aml", {"full_name": name}, request_id="r-1")


def answer(offset: int, status: Status = Status.SUCCEEDED, topic: str = REQUESTS) -> VerificationResult:
    kind = ResultKind.PROGRESS if status is Status.WAITING else ResultKind.FINAL
    made = Result("r-1", "aml", status, Source(topic, 0, offset), attempts=1, kind=kind, received_ms=1_000, finished_ms=2_000)
    return VerificationResult.parse(result_output(made).value)


class Scene:
    """Bob's record, Ann's, and Ann's once more, who waits at 2; what is handed out, and what she has had."""

    def __init__(self, topics: MemoryTopics) -> None:
        self.topics, self.compared = topics, ComparedResults(load_settings(kafka={"bootstrap": "unused:1"}), lambda *_: None)
        self.router, self.had = ResultRouter(self.compared.ask), list[VerificationResult]()
        for name in ("Bob", "Ann", "Ann"):
            topics.write(REQUESTS, aml(name).value)

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[Waiter]:
        tasks = [asyncio.create_task(self.compared.run())]
        try:
            with self.router.waiting(aml("Ann")) as waiter:
                waiter.published(Source(REQUESTS, 0, 2))
                tasks.append(asyncio.create_task(self._collect(waiter)))
                yield waiter
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _collect(self, waiter: Waiter) -> None:
        while True:
            self.had.append(await waiter.next())

    async def hand_out(self, *results: VerificationResult) -> None:
        for result in results:
            await self.router.hand_out(result)
        for _ in range(30):  # everything is in memory: turns of the loop are all that it takes
            await asyncio.sleep(0)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(MemoryTopics().instead_of_kafka(monkeypatch))


async def test_only_answers_to_the_same_content_are_given(scene: Scene) -> None:
    async with scene.waiting():
        await scene.hand_out(answer(0, Status.WAITING), answer(0), answer(1, Status.WAITING))
        assert scene.had == [answer(1, Status.WAITING)], "the link of another person is nobody's"
        await scene.hand_out(answer(1))
        assert scene.had == [answer(1, Status.WAITING), answer(1)]
        await scene.hand_out(answer(9), answer(0, topic="other.requests"))
        assert scene.had[2:] == [answer(9), answer(0, topic="other.requests")], "what cannot be compared is taken, as by a batch"
    assert scene.topics.clients == ["started", "closed"], "one client, kept"


async def test_an_answer_to_the_own_record_reads_nothing(scene: Scene) -> None:
    async with scene.waiting():
        await scene.hand_out(answer(2))
        assert scene.had == [answer(2)]
    assert scene.topics.clients == []


async def test_who_may_not_read_requests_is_told_and_gets_all(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.topics.failures[REQUESTS] = (0, NotAuthorizedError("not allowed", f"topic {REQUESTS}"))
    async with scene.waiting():
        await scene.hand_out(answer(0), answer(1))
        assert scene.had == [answer(0), answer(1)]
        await scene.hand_out(answer(0))
        assert len(scene.had) == 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"no right to read topic {REQUESTS}" in caplog.text


async def test_it_is_compared_again_when_kafka_is_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compared_results, "_AGAIN_S", 0)
    scene.topics.fails_to_start = KafkaUnavailableError("gone")
    async with scene.waiting():
        await scene.hand_out(answer(0), answer(1))
        assert scene.had == []
        scene.topics.fails_to_start = None
        await scene.hand_out()
        assert scene.had == [answer(1)]


async def test_who_waits_no_more_is_forgotten(scene: Scene) -> None:
    scene.topics.fails_to_start = KafkaUnavailableError("gone")
    async with scene.waiting() as waiter:
        await scene.hand_out(answer(1))
        scene.compared.forget(waiter)
        assert scene.compared._pending == {}  # noqa: SLF001 - what it holds while Kafka is away for long
