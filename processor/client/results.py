"""What callers read: one record of the results topic, with types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from processor.contract.codes import ErrorType, read_code
from processor.contract.records import ErrorInfo, ResultKind, Source, Status
from processor.contract.strict_json import loads

_DEPTH_MAX, _TOKENS_MAX = 80, 1_000_000  # an answer of Didit's that was read before, and the envelope around it


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationResult:
    """One record of the results topic (``schemas/result.v1.json``, docs/contract.md).

    Attributes:
        result_id: the same for every copy of this result.
        request_id: of the request; None where none could be read.
        operation: of the request, e.g. ``aml``; None where none could be read.
        kind: ``FINAL`` once for each request and once more for each redrive; ``PROGRESS`` before it, with status ``WAITING``.
        status: how the request stands. A decline is ``SUCCEEDED``, and the output says ``Declined``.
        output: Didit's answer as it came, also that of a refusal; None if there is none. Every number keeps its value: what
            no float holds is a ``Decimal``, an integer has any size.
        error: why it did not succeed; None if it did.
        attempts: attempts of this round that counted; waiting for the budget does not.
        received_at: Kafka's time of the request.
        finished_at: when this result was made.
        source: where the request's record is.
        replay: times that the request was redriven before; the newest round counts.
    """

    result_id: str
    request_id: str | None
    operation: str | None
    kind: ResultKind
    status: Status
    output: Any
    error: ErrorInfo | None
    attempts: int
    received_at: datetime
    finished_at: datetime
    source: Source
    replay: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether Didit has answered; the answer may be a decline."""
        return self.status is Status.SUCCEEDED

    @property
    def is_final(self) -> bool:
        """Whether nothing more comes for this request, unless an operator redrives it."""
        return self.kind is ResultKind.FINAL

    @classmethod
    def parse(cls, value: bytes | None) -> Self:
        """From the value of a record of the results topic. Members that are not known here are ignored.

        Raises:
            ValueError: if it is no result of this version of the contract.
        """
        try:
            return cls._of(loads(value or b"", depth_max=_DEPTH_MAX, tokens_max=_TOKENS_MAX))
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise ValueError(f"the record is no result of version 1 ({type(exc).__name__})") from None

    @classmethod
    def _of(cls, document: Mapping[str, Any]) -> Self:
        error, source = document["error"], document["source"]
        result_id, request_id, operation = document["result_id"], document["request_id"], document["operation"]
        if not isinstance(result_id, str) or not all(isinstance(name, str | None) for name in (request_id, operation)):
            raise TypeError
        return cls(
            result_id=result_id,
            request_id=request_id,
            operation=operation,
            kind=ResultKind(document["kind"]),
            status=Status(document["status"]),
            output=document["output"],
            error=_error(error) if error else None,
            attempts=document["attempts"],
            received_at=_moment(document["received_at"]),
            finished_at=_moment(document["finished_at"]),
            source=Source(source["topic"], source["partition"], source["offset"]),
            replay=document.get("replay", 0),
        )


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableResult:
    """What can be read of a result that ``VerificationResult.parse`` refuses.

    Attributes:
        request_id: of the request.
        status: may be one that this version does not know; None if there is none.
        source: where the request's record is; None if it does not say.
    """

    request_id: str
    status: str | None
    source: Source | None

    @classmethod
    def parse(cls, value: bytes | None) -> Self | None:
        """None if it has no request id, and is nobody's result; or if it is a progress: the final result is still to come."""
        try:
            found = loads(value or b"", depth_max=_DEPTH_MAX, tokens_max=_TOKENS_MAX)
        except ValueError:
            return None
        if not isinstance(found, dict) or not isinstance(request_id := found.get("request_id"), str):
            return None
        if found.get("kind") == ResultKind.PROGRESS:
            return None
        status, source = found.get("status"), None
        match found.get("source"):
            case {"topic": str(topic), "partition": int(partition), "offset": int(offset)}:
                source = Source(topic, partition, offset)
        return cls(request_id=request_id, status=status if isinstance(status, str) else None, source=source)


Answer = VerificationResult | UnreadableResult


def _error(found: Mapping[str, Any]) -> ErrorInfo:
    return ErrorInfo(ErrorType(found["type"]), read_code(found["code"]), found["message"], found["http_status"], found["field"])
