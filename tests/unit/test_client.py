"""The client's parts that need no Kafka: what is published, how a result is read, and who gets which result."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest

import processor.client
from processor.client import (
    BrokersUnavailableError,
    ClientClosedError,
    ClientError,
    ErrorInfo,
    InvalidRequestError,
    InvalidSettingsError,
    KafkaSettings,
    OnDoubt,
    Priority,
    ResultKind,
    ResultTimeoutError,
    Source,
    Status,
    TooManyWaitingError,
    UnreadableResultError,
    VerificationClient,
    VerificationResult,
)
from processor.client import result_router as routing
from processor.client.requests import OutgoingRequest, build_request
from processor.client.result_router import ResultRouter, Waiter
from processor.contract.codes import ErrorCode, ErrorType, http_code
from processor.contract.encode import result_output
from processor.contract.records import Result
from processor.contract.result_copies import COPY_HEADER
from processor.didit.answers import Reply
from processor.didit.catalog import OPERATIONS
from processor.didit.verdicts import Success, classify
from processor.stream.reader import PartitionReader

HERE, ELSEWHERE = Source("verification.requests", 3, 42), Source("verification.requests", 3, 7)


def aml(request_id: str = "r-1", name: str = "Ann Example", **options: Any) -> OutgoingRequest:
    return build_request("aml", {"full_name": name}, request_id=request_id, **options)


def value_of(**changes: Any) -> bytes:
    """As a processor writes it."""
    members: dict[str, Any] = {"request_id": "r-1", "operation": "aml", "status": Status.SUCCEEDED, "source": HERE, "attempts": 1}
    return result_output(Result(**{**members, "received_ms": 1_700_000_000_000, "finished_ms": 1_700_000_001_500, **changes})).value or b""


def result(**changes: Any) -> VerificationResult:
    return VerificationResult.parse(value_of(**changes))


# --- requests


def test_a_request_is_published_as_it_was_asked_for() -> None:
    deadline = datetime(2027, 1, 31, 12, tzinfo=UTC)
    request = aml(key="user-17", priority=Priority.URGENT, deadline=deadline, on_doubt=OnDoubt.REPEAT, tenant="shop-7")
    assert orjson.loads(request.value) == {
        "request_id": "r-1",
        "operation": "aml",
        "input": {"full_name": "Ann Example"},
        "priority": "urgent",
        "deadline": "2027-01-31T12:00:00+00:00",
        "on_doubt": "repeat",
        "tenant": "shop-7",
    }
    assert (request.request_id, request.key) == ("r-1", b"user-17")
    assert orjson.loads(aml().value).keys() == {"request_id", "operation", "input"}, "what was not asked for is left out"


def test_the_key_is_the_person_or_else_the_request() -> None:
    assert aml().key == b"r-1"
    assert build_request("aml", {"full_name": "Ann", "vendor_data": "user-17"}, request_id="r-1").key == b"user-17"


@pytest.mark.parametrize(
    ("given", "options", "code", "field"),
    [
        ({}, {}, "missing_field", "input.full_name"),
        ({"full_name": "Ann", "x": 1}, {}, "unknown_field", "input.x"),
        ({"full_name": "Ann"}, {"deadline": datetime(2027, 1, 31, 12)}, "wrong_form", "deadline"),  # noqa: DTZ001 - no zone: the point
        ({"full_name": "Ann"}, {"key": "k" * 16_385}, "key_too_large", None),
        ({"full_name": object()}, {}, "not_json", None),
        ({"full_name": "Ann", "x": [{"y z": float("nan")}]}, {}, "not_finite", "input.x[0].(unprintable)"),
        ({"full_name": float("-inf")}, {}, "not_finite", "input.full_name"),
        (["Ann"], {}, "wrong_type", "input"),
        ({"full_name": "\ud800"}, {}, "not_json", None),
        ({"full_name": "Ann"}, {"key": "\ud800"}, "not_json", None),
        ({"full_name": "Ann"}, {"request_id": ""}, "too_short", "request_id"),
        ({"full_name": "Ann"}, {"tenant": ""}, "too_short", "tenant"),
    ],
)
def test_what_breaks_the_contract_is_told_before_it_is_published(
    given: Mapping[str, Any], options: dict[str, Any], code: str, field: str | None
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        build_request("aml", given, **{"request_id": "r-1", **options})
    assert (caught.value.code, caught.value.field) == (code, field)
    assert "Ann" not in str(caught.value)


def test_numbers_of_any_size_keep_their_value() -> None:
    for number in (2**70, Decimal("0.1000000000000000055511151231257827")):
        metadata = {"amount": number}
        given = {"workflow_id": "9f9b1234-0000-4000-8000-1234567890ab", "metadata": metadata}
        assert str(number).encode() in build_request("session.create", given, request_id="r-1").value


# --- results


NUMBERS = b'{"big":1180591620717411303424,"long":0.1000000000000000055511151231257827,"tiny":1e-400,"score":97.25,"n":7}'


def test_every_number_of_an_answer_reaches_the_caller_with_its_value() -> None:
    verdict = classify(OPERATIONS["aml"], Reply(200, {}, b'{"request_id":"q","aml":%s}' % NUMBERS))
    assert isinstance(verdict, Success)
    found = result(output=verdict.output).output["aml"]
    assert found == {
        "big": 2**70,
        "long": Decimal("0.1000000000000000055511151231257827"),
        "tiny": Decimal("1e-400"),
        "score": 97.25,
        "n": 7,
    }
    assert [type(value) for value in found.values()] == [int, Decimal, Decimal, float, int]


def test_a_result_has_types() -> None:
    error = ErrorInfo(ErrorType.REQUEST_REFUSED, http_code(400), "Didit refused it", 400, "input.full_name")
    found = result(status=Status.FAILED, output={"detail": "no"}, error=error, replay=2)
    assert (found.kind, found.status, found.is_final, found.succeeded) == (ResultKind.FINAL, Status.FAILED, True, False)
    assert (found.error, found.output, found.source, found.replay) == (error, {"detail": "no"}, HERE, 2)
    assert found.received_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert (found.finished_at - found.received_at).total_seconds() == 1.5
    first = result()
    assert (first.error, first.replay, first.succeeded) == (None, 0, True)
    late = result(status=Status.EXPIRED, error=ErrorInfo(ErrorType.EXPIRED, ErrorCode.DEADLINE_PASSED, "")).error
    assert late is not None
    assert (late.type, late.code) == (ErrorType.EXPIRED, ErrorCode.DEADLINE_PASSED)
    assert late.type is ErrorType.EXPIRED
    assert late.code is ErrorCode.DEADLINE_PASSED


def test_a_result_of_a_newer_processor_may_say_more() -> None:
    assert VerificationResult.parse(value_of()[:-1] + b',"news":1}') == result()


NO_RESULTS = [
    *(None, b"", b"{", b"[]", b"null", b"{}", value_of().replace(b'"succeeded"', b'"perhaps"')),
    value_of().replace(b'"r-1"', b'["r-1"]'),
    value_of().replace(b'"aml"', b"{}"),
    re.sub(rb'"result_id":"[^"]*"', b'"result_id":["x"]', value_of()),
    re.sub(rb'("finished_at":"[^"]*)Z"', rb'\1"', value_of()),
]


@pytest.mark.parametrize("value", NO_RESULTS)
def test_what_is_no_result_is_refused(value: bytes | None) -> None:
    with pytest.raises(ValueError, match="no result of version 1"):
        VerificationResult.parse(value)


# --- who gets which result


async def test_everyone_who_waits_for_a_request_gets_its_results() -> None:
    router = ResultRouter(Waiter.give)
    with router.waiting(aml()) as one, router.waiting(aml()) as same, router.waiting(aml("r-2")) as other:
        for waiter in (one, same, other):
            waiter.published(HERE)
        progress, final = result(status=Status.WAITING, kind=ResultKind.PROGRESS), result()
        for found in (progress, final, result(request_id="r-3"), result(request_id=None)):
            await router.hand_out(found)
        assert [await one.next(), await one.next()] == [await same.next(), await same.next()] == [progress, final]
        await router.hand_out(result(request_id="r-2"))
        assert (await other.next()).request_id == "r-2"


@pytest.mark.parametrize("published_first", [True, False])
async def test_a_copy_is_for_the_record_that_it_names_and_for_no_stream(published_first: bool) -> None:
    router = ResultRouter(Waiter.give)
    stream = router.stream()
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    with router.waiting(aml()) as waiter, router.waiting(aml()) as other:
        if published_first:
            waiter.published(HERE)
        for asked in (ELSEWHERE, HERE, HERE):
            await router.take(value_of(), ((COPY_HEADER, str(asked).encode()),))
        if not published_first:
            waiter.published(HERE)
        assert await asyncio.wait_for(waiter.next(), 1) == result()
        for nobody in (waiter, other):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(nobody.next(), 0.01)
    assert not first.done()
    await router.take(value_of())
    assert await first == result()


@pytest.mark.parametrize("published_first", [True, False])
async def test_a_conflict_is_for_the_record_that_it_names(published_first: bool) -> None:
    router = ResultRouter(Waiter.give)
    with router.waiting(aml()) as waiter:
        if published_first:
            waiter.published(HERE)
        theirs, ours = (
            result(status=Status.CONFLICT, source=source, error=ErrorInfo(ErrorType.CONFLICT, ErrorCode.REQUEST_ID_REUSED, ""))
            for source in (ELSEWHERE, HERE)
        )
        await router.hand_out(theirs)
        await router.hand_out(ours)
        if not published_first:
            waiter.published(HERE)
        assert await asyncio.wait_for(waiter.next(), 30) == ours


@pytest.mark.parametrize("published_first", [True, False])
async def test_what_another_record_was_answered_is_compared_first(published_first: bool) -> None:
    """The link of another person's verification was taken for the own one, and their answer."""
    asked: list[tuple[Waiter, Any]] = []
    router = ResultRouter(lambda waiter, found: asked.append((waiter, found)))
    progress, theirs, ours = (
        result(status=Status.WAITING, kind=ResultKind.PROGRESS, source=ELSEWHERE),
        result(source=ELSEWHERE),
        result(error=ErrorInfo(ErrorType.CONFLICT, ErrorCode.REQUEST_ID_REUSED, ""), status=Status.CONFLICT),
    )
    with router.waiting(aml()) as waiter:
        if published_first:
            waiter.published(HERE)
        for found in (progress, theirs, ours):
            await router.hand_out(found)
        if not published_first:
            waiter.published(HERE)
        assert asked == [(waiter, progress), (waiter, theirs)]
        assert await asyncio.wait_for(waiter.next(), 30) == ours
        waiter.give(theirs)
        assert await asyncio.wait_for(waiter.next(), 30) == theirs


@pytest.mark.parametrize("value", [value_of().replace(b'"succeeded"', b'"postponed"'), value_of().replace(b'"final"', b'"partial"')])
async def test_a_result_of_a_newer_version_ends_the_wait_for_it(value: bytes) -> None:
    router = ResultRouter(Waiter.give)
    with router.waiting(aml()) as waiter, router.waiting(aml("r-2")) as other:
        for nobodys in (b'{"request_id":7}', b'{"request_id":"r-3"}', *NO_RESULTS[:6], *NO_RESULTS[7:9]):
            await router.take(nobodys)
        other.published(HERE)
        waiter.published(HERE)
        await router.take(value)
        await router.take(value_of(request_id="r-2"))
        with pytest.raises(UnreadableResultError, match="newer version") as caught:
            await asyncio.wait_for(waiter.next(), 30)
        assert caught.value.request_id == "r-1"
        assert (await asyncio.wait_for(other.next(), 30)).request_id == "r-2", "the others go on"


@pytest.mark.parametrize(
    "change",
    [(b'"waiting"', b'"postponed"'), (b'"finished_at":"', b'"finished_at":"x'), (b'"attempts"', b'"tries"'), (b'"output"', b'"out"')],
)
@pytest.mark.parametrize("published_first", [True, False])
async def test_a_progress_that_cannot_be_read_ends_no_wait(change: tuple[bytes, bytes], published_first: bool) -> None:
    """It ended the wait, although the final result came and could be read."""
    progress = value_of(kind=ResultKind.PROGRESS, status=Status.WAITING)
    router = ResultRouter(lambda _waiter, found: pytest.fail(f"{found} is to be compared"))
    with router.waiting(aml()) as waiter:
        if published_first:
            waiter.published(HERE)
        assert progress.replace(*change) != progress
        await router.take(progress.replace(*change))
        await router.take(value_of())
        if not published_first:
            waiter.published(HERE)
        assert (await asyncio.wait_for(waiter.next(), 30)).is_final


def unreadable(**changes: Any) -> bytes:
    return value_of(**changes).replace(b'"finished_at":"', b'"finished_at":"x')


@pytest.mark.parametrize("published_first", [True, False])
async def test_a_result_of_a_newer_version_ends_no_wait_whose_result_it_is_not(published_first: bool) -> None:
    """Another's result under the same id ended the own wait, although the own one came and could be read."""
    asked: list[tuple[Waiter, Any]] = []
    router = ResultRouter(lambda waiter, found: asked.append((waiter, found)))
    conflict = {"error": ErrorInfo(ErrorType.CONFLICT, ErrorCode.REQUEST_ID_REUSED, ""), "status": Status.CONFLICT}
    with router.waiting(aml()) as waiter:
        if published_first:
            waiter.published(HERE)
        await router.take(unreadable(source=ELSEWHERE))
        await router.take(unreadable(source=ELSEWHERE, **conflict))
        await router.take(unreadable(), ((COPY_HEADER, str(ELSEWHERE).encode()),))
        await router.take(value_of())
        if not published_first:
            waiter.published(HERE)
        assert [(who, found.source) for who, found in asked] == [(waiter, ELSEWHERE)], "to be compared"
        assert (await asyncio.wait_for(waiter.next(), 30)).source == HERE
        waiter.give(asked[0][1])
        with pytest.raises(UnreadableResultError):
            await asyncio.wait_for(waiter.next(), 30)


@pytest.mark.parametrize("source", [b"7", b"null", b'{"topic":"t"}', b'{"topic":"t","partition":"0","offset":1}'])
async def test_a_result_that_does_not_say_whose_it_is_ends_the_wait(source: bytes) -> None:
    router = ResultRouter(Waiter.give)
    with router.waiting(aml()) as waiter:
        waiter.published(HERE)
        await router.take(b'{"request_id":"r-1","source":' + source + b"}")
        with pytest.raises(UnreadableResultError):
            await asyncio.wait_for(waiter.next(), 30)


async def test_two_contents_under_one_id_cannot_be_waited_for_at_once() -> None:
    router = ResultRouter(Waiter.give)
    with router.waiting(aml()):
        with pytest.raises(InvalidRequestError, match="its own id") as caught, router.waiting(aml(name="Bob Example")):
            pass
        assert caught.value.code == "request_id_reused"
    with router.waiting(aml(name="Bob Example")):
        pass


async def test_no_more_wait_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "WAITING_MAX", 2)
    router = ResultRouter(Waiter.give)
    with router.waiting(aml()), router.waiting(aml()), pytest.raises(TooManyWaitingError), router.waiting(aml("r-2")):
        pass
    with router.waiting(aml("r-2")):
        pass


async def test_a_stream_has_every_result_once_until_the_end() -> None:
    router = ResultRouter(Waiter.give)
    stream = router.stream()
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    for found in (result(), result(), result(request_id="r-2")):
        await router.hand_out(found)
    assert [(await first).request_id, (await anext(stream)).request_id] == ["r-1", "r-2"]
    ended = asyncio.ensure_future(anext(stream, None))
    await asyncio.sleep(0)
    router.close("over")
    assert await asyncio.wait_for(ended, 30) is None
    with pytest.raises(ClientClosedError, match="over"):
        await anext(router.stream())


async def test_a_stream_that_is_left_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "KEPT_MAX", 2)
    router = ResultRouter(Waiter.give)
    stream = router.stream()
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await router.hand_out(result(request_id="r-0"))
    assert (await first).request_id == "r-0"
    reading = asyncio.ensure_future(hand_out_all(router, 5))
    await asyncio.sleep(0)
    assert not reading.done(), "it waits for room"
    await stream.aclose()
    await asyncio.wait_for(reading, 30)


async def test_a_full_stream_is_read_to_its_end_after_the_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "KEPT_MAX", 2)
    router = ResultRouter(Waiter.give)
    stream = router.stream()
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await router.hand_out(result(request_id="r-0"))
    await first
    await hand_out_all(router, 2)
    router.close("over")
    async with asyncio.timeout(30):
        assert len([found async for found in stream]) == 2


async def hand_out_all(router: ResultRouter, count: int) -> None:
    for number in range(count):
        await router.hand_out(result(request_id=f"n-{number}"))


async def test_the_end_is_told_to_all_who_wait_and_to_those_who_come_later() -> None:
    router, cause = ResultRouter(Waiter.give), RuntimeError("gone")
    with router.waiting(aml()) as one, router.waiting(aml("r-2")) as two:
        waits = [asyncio.ensure_future(waiter.next()) for waiter in (one, two)]
        await asyncio.sleep(0)
        router.close("reading has failed", cause)
        router.close("closed")
        ends = await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 30)
        assert [(type(end), str(end)) for end in ends] == [(ClientClosedError, "reading has failed")] * 2
        assert [end.__cause__ for end in ends if isinstance(end, BaseException)] == [cause, cause]
        assert ends[0] is not ends[1], "each task writes its own traceback into it"
    with pytest.raises(ClientClosedError, match="reading has failed"), router.waiting(aml()):
        pass


# --- the client without a Kafka


def test_every_error_of_the_client_is_a_client_error() -> None:
    public = [getattr(processor.client, name) for name in processor.client.__all__]
    errors = [found for found in public if inspect.isclass(found) and issubclass(found, BaseException)]
    assert len(errors) == 8
    assert all(issubclass(error, ClientError) for error in errors)
    assert issubclass(InvalidRequestError, ValueError)
    assert issubclass(ResultTimeoutError, TimeoutError)


async def test_a_client_is_open_only_inside_of_its_context() -> None:
    client = VerificationClient("127.0.0.1:1")
    for ask in (
        client.submit("aml", {"full_name": "Ann"}),
        client.request("aml", {"full_name": "Ann"}, timeout_s=1),
        anext(client.results()),
    ):
        with pytest.raises(ClientClosedError, match="async with"):
            await ask


class Broken(PartitionReader):
    """A reader with a fault that no restart of the brokers cures."""

    def __init__(self, fault: Exception) -> None:
        self._fault = fault

    def assign_added(self) -> None:
        pass

    async def poll(self, *_options: Any, **_more: Any) -> Any:
        raise self._fault


async def test_reading_that_fails_is_told_to_those_who_wait() -> None:
    client, fault = VerificationClient("127.0.0.1:1"), RuntimeError("broken")
    router, read = client._router, client._read  # noqa: SLF001 - a fault of a reader that no Kafka brings about
    with router.waiting(aml()) as waiter:
        await asyncio.wait_for(read(Broken(fault)), 30)
        with pytest.raises(ClientClosedError, match="make another client") as caught:
            await asyncio.wait_for(waiter.next(), 30)
    assert caught.value.__cause__ is fault


async def test_a_kafka_that_cannot_be_reached_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VP_KAFKA__BOOTSTRAP", "127.0.0.1:1")
    with pytest.raises(BrokersUnavailableError, match=r"127\.0\.0\.1:1 does not answer") as caught:
        async with VerificationClient():
            pass
    assert caught.value.request_id is None


def test_a_client_says_which_setting_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidSettingsError, match="VP_KAFKA__TOPIC_PREFIX"):
        VerificationClient(topic_prefix="no topic")
    with pytest.raises(InvalidSettingsError, match="bootstrap"):
        VerificationClient("kafka:9092", kafka=KafkaSettings())
    monkeypatch.setenv("VP_KAFKA__SECURITY_PROTOCOL", "none")
    with pytest.raises(InvalidSettingsError, match="VP_KAFKA__SECURITY_PROTOCOL"):
        VerificationClient()


async def test_a_close_that_is_cancelled_leaves_no_connection() -> None:
    client, closed, go_on = VerificationClient("127.0.0.1:1"), asyncio.Event(), asyncio.Event()

    async def reading() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await go_on.wait()

    client._stack.callback(closed.set)  # noqa: SLF001 - stands for the clients that are open
    client._reading = asyncio.create_task(reading())  # noqa: SLF001
    await asyncio.sleep(0)
    closing = asyncio.create_task(client.__aexit__(None, None, None))
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert closed.is_set()
    go_on.set()
