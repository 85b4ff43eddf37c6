"""What a caller's type checker sees of ``processor.client``. Not run: tests/house/test_house_client.py has mypy read it, with the wheel.

Each `type: ignore` is an error that has to be there: mypy refuses one that ignores nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, assert_never, assert_type

from processor.client import (
    BrokersUnavailableError,
    ClientError,
    ErrorCode,
    ErrorInfo,
    ErrorType,
    InvalidRequestError,
    KafkaSettings,
    OnDoubt,
    Priority,
    ResultKind,
    ResultTimeoutError,
    Source,
    Status,
    UnreadableResultError,
    VerificationClient,
    VerificationResult,
)


def build() -> VerificationClient:
    VerificationClient("kafka:9092", "verification")
    VerificationClient(bootstrap="kafka:9092", topic_prefix="verification")
    VerificationClient(kafka=KafkaSettings(bootstrap="kafka:9092", security_protocol="SASL_SSL", sasl_username="me"))
    VerificationClient(9092)  # type: ignore[arg-type]
    VerificationClient(no_such_option=3)  # type: ignore[call-arg]
    VerificationClient(kafka=KafkaSettings(no_such_option=3))  # type: ignore[call-arg]
    return VerificationClient()


async def ask(request_input: Mapping[str, object], deadline: datetime) -> None:
    async with VerificationClient() as client:
        assert_type(client, VerificationClient)
        assert_type(await client.request("aml", request_input, timeout_s=1), VerificationResult)
        assert_type(await client.submit("aml", request_input), str)
        await client.request(
            "aml",
            request_input,
            timeout_s=1.5,
            request_id="r-1",
            key="user-17",
            priority=Priority.URGENT,
            deadline=deadline,
            on_doubt=OnDoubt.REPEAT,
        )
        async for result in client.follow("verification", request_input, timeout_s=1, priority=Priority.BULK, deadline=datetime.now(UTC)):
            assert_type(result, VerificationResult)
        async for result in client.results():
            assert_type(result, VerificationResult)


async def refused(client: VerificationClient) -> None:
    await client.request("aml", {}, timeout_s=1, no_such_option=3)  # type: ignore[call-arg]
    await client.submit("aml", {}, no_such_option=3)  # type: ignore[call-arg]
    client.follow("aml", {}, timeout_s=1, no_such_option=3)  # type: ignore[call-arg]
    await client.request("aml", {})  # type: ignore[call-arg]
    await client.submit("aml", {}, timeout_s=1)  # type: ignore[call-arg]
    await client.request("aml", {}, timeout_s="1")  # type: ignore[arg-type]
    await client.submit("aml", "Ann")  # type: ignore[arg-type]
    await client.submit("aml", {}, priority="urgent")  # type: ignore[arg-type]
    await client.submit("aml", {}, deadline="2027-01-31T12:00:00Z")  # type: ignore[arg-type]
    await client.submit("aml", {}, on_doubt=True)  # type: ignore[arg-type]
    client.request("aml", {}, timeout_s=1).status  # type: ignore[attr-defined]  # noqa: B018 - nobody has awaited it


def read(result: VerificationResult, value: bytes | None) -> None:
    assert_type(VerificationResult.parse(value), VerificationResult)
    assert_type(result.result_id, str)
    assert_type(result.request_id, str | None)
    assert_type(result.operation, str | None)
    assert_type(result.kind, ResultKind)
    assert_type(result.status, Status)
    assert_type(result.output, Any)
    assert_type(result.error, ErrorInfo | None)
    assert_type(result.attempts, int)
    assert_type(result.received_at, datetime)
    assert_type(result.finished_at, datetime)
    assert_type(result.source, Source)
    assert_type(result.replay, int)
    assert_type(result.succeeded, bool)
    assert_type(result.is_final, bool)
    result.error.code  # type: ignore[union-attr]  # noqa: B018 - it may be None
    result.status = Status.FAILED  # type: ignore[misc]
    result.no_such_field  # type: ignore[attr-defined]  # noqa: B018 - the error is the point


def asked_too_late(error: ErrorInfo) -> bool:
    assert_type(error.type, ErrorType)
    assert_type(error.code.upper(), str)
    return error.type is ErrorType.EXPIRED or error.code in {ErrorCode.DEADLINE_PASSED, "http_410"} or error.code == "http_404"


def every_status(status: Status) -> str:
    match status:
        case Status.WAITING:
            return "waits for the person"
        case Status.SUCCEEDED | Status.REJECTED | Status.FAILED | Status.EXPIRED | Status.CONFLICT | Status.IN_DOUBT:
            return "is final"
        case _:
            assert_never(status)


def caught(error: Exception) -> str | None:
    base: ClientError | None = error if isinstance(error, ClientError) else None
    value: ValueError = InvalidRequestError("missing_field", "input.full_name", "is missing")
    if isinstance(error, InvalidRequestError):
        assert_type(error.code, str)
        return error.field
    if isinstance(error, BrokersUnavailableError):
        return error.request_id
    if isinstance(error, UnreadableResultError):
        return error.request_id
    if isinstance(error, ResultTimeoutError):
        late: TimeoutError = error
        assert_type(error.request_id, str)
        return str(late)
    return str(base or value)
