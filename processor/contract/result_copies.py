"""Copies of known results, for those who ask again: the same value once more, with a header that names the record it answers. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from processor.contract.digests import source_digest
from processor.contract.foreign_headers import cloudevent_headers
from processor.contract.records import About, Headers, Output, OutputKind, ResultKind, Source, Status

COPY_HEADER = "vp-copy-for"


def result_copy(request_id: str, value: bytes, partition: int, asked: Source, trace: Headers, *, cloudevents_source: str = "") -> Output:
    """The record of the results topic that repeats a result.

    Args:
        request_id: its key.
        value: of the result, as it stands in the topic.
        partition: where it stands: the same key goes to the same partition.
        asked: where the record of the caller stands who asks again.
        trace: headers of its trace.
        cloudevents_source: to have it read as a CloudEvent too, the same one; empty for no such headers.
    """
    document: dict[str, Any] = orjson.loads(value) if cloudevents_source else {}
    headers = (*trace, (COPY_HEADER, str(asked).encode()), *cloudevent_headers(document, cloudevents_source))
    return Output(OutputKind.RESULT, request_id.encode(), value, headers, about=About(copy=True), partition=partition)


def copy_for(headers: Headers) -> str | None:
    """The position of the record that a copy answers, ``topic[partition]@offset``; None for a result that is no copy."""
    return next((raw.decode(errors="replace") for name, raw in headers if name == COPY_HEADER and raw is not None), None)


def is_final_of(value: bytes | None, request_id: str, first: str) -> bool:
    """Whether the value of a record of the results topic is a final result of a request.

    Args:
        value: whatever stands there.
        request_id: of the request.
        first: digest of the position of the caller's record; another record under the same id may have had another content.
    """
    try:
        found = orjson.loads(value or b"")
        if found["request_id"] != request_id or found["kind"] != ResultKind.FINAL or found["status"] == Status.CONFLICT:
            return False
        source = found["source"]
        return source_digest(Source(source["topic"], source["partition"], source["offset"])) == first
    except (ValueError, KeyError, TypeError):
        return False
