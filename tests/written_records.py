"""Every kind of record that a version writes, and what it means to that version: ``tests/contract/test_contract_versions.py``.

At a release: ``python tests/written_records.py > tests/contract/fixtures/records.<version>.jsonl``. Such a file never changes.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import orjson

from processor.budget.log_records import (
    Alive,
    Asked,
    Begun,
    Claimed,
    Ended,
    Failed,
    LaneDone,
    LogRecord,
    Paused,
    decode_entry,
    encode,
    encode_group,
)
from processor.budget.permits import CallIdentity, HealthSignal, LogPosition
from processor.budget.replica_facts import ReplicaFacts
from processor.budget.tenant_shares import TenantsWaiting
from processor.client.results import VerificationResult
from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.dead_letters import read_hop_left, read_identity, read_reason
from processor.contract.decode import Accepted, decode
from processor.contract.digests import content_digest, rejected_digest, request_digest, source_digest
from processor.contract.encode import dead_letter_output, result_output, retry_output
from processor.contract.erasures import Erasure, encode_erasure, is_erasure
from processor.contract.pauses import PauseAct, PauseKind, encode_pause, read_pause
from processor.contract.records import (
    ErrorInfo,
    Headers,
    Hop,
    Record,
    Result,
    ResultKind,
    Source,
    Status,
    call_reference,
    idempotency_key,
)
from processor.contract.repairs import Repair, RepairKind, Target, read_repair, repair_value
from processor.contract.result_copies import COPY_HEADER, copy_for, is_final_of
from processor.contract.schemas import operations
from processor.stream.cancels import encode_cancel, read_cancel
from processor.stream.offsets import decode_metadata, encode_metadata
from processor.stream.releases import Release, encode_release, read_release

REQUESTS = Path(__file__).parent / "contract" / "fixtures" / "requests.v1.jsonl"
NOW, RUN = 1_764_000_000_000, "11111111-2222-4333-8444-555555555555"
PARENT, STATE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vp=00f067aa0ba902b7"
TRACE: Headers = (("traceparent", PARENT.encode()), ("tracestate", STATE.encode()))
FIRST, HERE = Source("verification.requests", 3, 41), Source("verification.retry.10s", 1, 9)
VALUE = orjson.dumps({"request_id": "onboarding-4711", "operation": "aml", "input": {"full_name": "Ann Example"}})
BAD = (
    b"not json",
    b"{}",
    b'{"request_id":"a","operation":"aml","input":{"full_name":"x"},"input":{}}',
    b'{"request_id":"a","operation":"nothing","input":{}}',
    b'{"request_id":"a","operation":"aml","input":{}}',
    b'{"request_id":"a","operation":"aml","input":{"full_name":"x"},"deadline":"tomorrow"}',
    b'{"request_id":"a","operation":"aml","input":{"full_name":"x","unknown":1},"unknown":2}',
    b'{"request_id":"a","operation":"session.create","input":{"vendor_data":1},"priority":"soon","on_doubt":1}',
)

Line = dict[str, Any]


def plain(value: Any) -> Any:
    """As JSON can hold it."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list | frozenset | set):
        found = [plain(each) for each in value]
        return found if isinstance(value, tuple | list) else sorted(found)
    return _text_of(value)


def _text_of(value: Any) -> Any:
    match value:
        case Enum():
            return value.value
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return value.isoformat()
        case float() if math.isinf(value):
            return str(value)
        case _:
            return value


def record_of(line: Line) -> Record:
    """The record that a line holds."""
    key, headers = line.get("key"), tuple((name, text.encode()) for name, text in line.get("headers", ()))
    place = line.get("place", ["verification.requests", 0, 0])
    return Record(Source(*place), None if key is None else key.encode(), line["value"].encode(), headers, NOW)


def _request_meaning(line: Line) -> Any:
    record = record_of(line)
    decoded = decode(record)
    meaning: Line = {"hop": plain(decoded.hop)}
    if isinstance(decoded, Accepted):
        request = decoded.request
        meaning |= {"request": plain(request), "content": content_digest(request), "id": request_digest("verification", request.request_id)}
        meaning |= {"reference": call_reference(request.request_id, 2), "idempotency_key": idempotency_key(request.request_id)}
    else:
        code, field = decoded.error.code, decoded.error.field
        meaning |= {"code": code, "field": field, "content": rejected_digest(decoded.request_id or "", record.value, f"{code} {field}")}
    return meaning


def _result_meaning(line: Line) -> Any:
    record = record_of(line)
    found = VerificationResult.parse(record.value)
    answers = found.request_id is not None and is_final_of(record.value, found.request_id, source_digest(found.source))
    return {"result": plain(found), "copy_for": copy_for(record.headers), "answers_who_asks_again": answers}


def _dead_letter_meaning(line: Line) -> Any:
    record = record_of(line)
    return {"reason": plain(read_reason(record)), "hop": plain(read_hop_left(record)), "identity": plain(read_identity(record))}


def _act_meaning(line: Line) -> Any:
    """Of a record of the repairs topic, to whoever redrives and to the lanes."""
    value = record_of(line).value
    meaning = {"repair": plain(read_repair(value)), "release": plain(read_release(value))}
    return meaning | {"cancel": plain(read_cancel(value)), "erasure": is_erasure(value)}


MEANINGS: dict[str, Callable[[Line], Any]] = {
    "request": _request_meaning,
    "retry": _request_meaning,
    "result": _result_meaning,
    "dead-letter": _dead_letter_meaning,
    "repair": _act_meaning,
    "pause": lambda line: plain(read_pause(record_of(line).value)),
    "commit": lambda line: plain(decode_metadata(line["floor"], line["value"])),
    "budget": lambda line: [{"type": type(record).__name__, **plain(record)} for record in decode_entry(record_of(line).value)],
}


def _line(kind: str, value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = (), **more: Any) -> Line:
    texts = [[name, raw.decode()] for name, raw in headers if raw is not None]
    line = {"kind": kind, "value": (value or b"").decode(), **({"headers": texts} if texts else {}), **more}
    return line | {"meaning": MEANINGS[kind](line)}


HOPS = (
    Hop(FIRST, NOW),
    Hop(FIRST, NOW, hop=2, attempt=1, due_ms=NOW + 5000, first_failure_ms=NOW - 9000, last_error="http_503"),
    Hop(FIRST, NOW, hop=1, due_ms=NOW + 9000, last_error="queue_full", traceparent=PARENT, tracestate=STATE),
    Hop(FIRST, NOW, hop=3, attempt=2, due_ms=NOW + 60_000, last_error="timeout", doubt_ms=NOW - 100, replay=1),
    Hop(FIRST, NOW, hop=4, attempt=1, due_ms=NOW + 3_600_000, last_error="following", session_id=RUN, polls=3),
    Hop(FIRST, NOW, hop=9, due_ms=NOW + 86_400_000, session_id=RUN, polls=7, settled="approved", settled_ms=NOW - 5),
    Hop(FIRST, NOW, hop=1, due_ms=NOW + 5000, last_error="http_503", application="shop", copied=(("correlation-id", b"c-1"),)),
)
ERRORS = (
    ErrorInfo(ErrorType.REQUEST_REFUSED, ErrorCode.NOT_PERMITTED, "Didit does not allow it.", 403, None),
    ErrorInfo(ErrorType.INVALID_REQUEST, ErrorCode.WRONG_FORM, "input.full_name must be a text", None, "input.full_name"),
    ErrorInfo(ErrorType.IN_DOUBT, ErrorCode.CALL_UNANSWERED, "nobody knows"),
)
_RESULT = Result("onboarding-4711", "aml", Status.SUCCEEDED, FIRST, 1, NOW - 900, NOW, {"status": "Declined", "score": 1.5})
RESULTS = (
    _RESULT,
    replace(_RESULT, kind=ResultKind.PROGRESS, status=Status.WAITING, operation="verification", output={"session_id": RUN}),
    replace(_RESULT, version=2, operation="verification"),
    *(replace(_RESULT, status=status, error=ERRORS[0], output=None, replay=1) for status in (Status.FAILED, Status.EXPIRED)),
    *(replace(_RESULT, status=status, error=ERRORS[2], output=None) for status in (Status.IN_DOUBT, Status.CONFLICT)),
    replace(_RESULT, request_id=None, operation=None, status=Status.REJECTED, error=ERRORS[1], output=None, attempts=0),
)
IDENTITY = CallIdentity("A" * 20, "B" * 20, "C" * 20, "verification.requests[3]", 41)
LOG: tuple[LogRecord, ...] = (
    Alive("0a1b2c", "processor-0", {"session-create": 600}),
    Alive(
        *("0a1b2c", "processor-0", {"session-create": 600}, {"session-create": 60.0}, {"aml": 3}),
        lost=True,
        clock_off_s=1.5,
        log_name="0a1b2c3d",
        reads_groups=True,
        facts=ReplicaFacts("0.1.0", 77, 90_000_000, 4, "life_failed", NOW),
    ),
    Alive(
        "0a1b2c", "processor-0", {"aml": 60}, tenants={"aml": TenantsWaiting({"": 1, "brand-7": 2}, 3, 4)}, group="verification-processor"
    ),
    Asked("0a1b2c-1", ("session-create", "generic-write"), 180.0, "session.create", identity=IDENTITY),
    Asked("0a1b2c-2", ("generic-get",), 95.5, "session.decision", weight=2, probe=True),
    Asked("0a1b2c-3", ("aml",), 180.0, "aml", identity=replace(IDENTITY, replay=1), announced=True),
    Claimed("0a1b2c-4", IDENTITY),
    Begun("0a1b2c-3"),
    *(Ended("0a1b2c-1", used=True, acted=True, health=health) for health in HealthSignal),
    Ended("0a1b2c-2", used=False),
    Failed("0a1b2c-3", HealthSignal.BAD),
    Paused("session-create", 30.0, limit=600),
    Paused("session-create", 12.5, counts=False),
    LaneDone("verification.requests[3]", 41, b"\x05"),
)
REPAIRS = (
    Repair(
        RepairKind.REDRIVEN, RUN, NOW, "ann@host", Target("verification.dead-letters", 0, 3, NOW - 1), "a", "aml", "http_503", 1, NOW, "x"
    ),
    Repair(RepairKind.DISCARDED, RUN, NOW, "ann@host", Target("verification.dead-letters", 0, 4, NOW - 1), "a", "aml", "http_503"),
)


def _results() -> Iterator[Line]:
    for result in RESULTS:
        out = result_output(result, TRACE)
        yield _line("result", out.value, out.headers, key=result.key)
    copy = result_output(_RESULT, (*TRACE, (COPY_HEADER, b"verification.requests[3]@99")))
    yield _line("result", copy.value, copy.headers, key=_RESULT.key)


def _acts() -> Iterator[Line]:
    """Of people, in the repairs and controls topics."""
    for repair in REPAIRS:
        yield _line("repair", repair_value(repair))
    for end in (False, True):
        yield _line("repair", encode_release(Release(HERE.topic, 1, (9, 12), RUN, end=end), at_ms=NOW, by="ann@host"))
    yield _line("repair", encode_cancel(["onboarding-4711"], run_id=RUN, at_ms=NOW, by="ann@host"))
    yield _line("repair", encode_erasure(Erasure(RUN, NOW, "ann@host", "0" * 64, 1, 2, 3, 4)))
    for kind in PauseKind:
        for operation in ("aml", None):
            yield _line("pause", encode_pause(PauseAct(kind, operation, "ann@host", "credits run out", NOW, RUN)))


def written() -> Iterator[Line]:
    """What this version writes, a line each, with what it reads in it."""
    for value in (*REQUESTS.read_bytes().splitlines(), *BAD):
        yield _line("request", value)
    origin = Record(HERE, b"user-17", VALUE, (), NOW)
    for hop in HOPS:
        out = retry_output(origin, hop, 10)
        yield _line("retry", out.value, out.headers, key="user-17", place=[HERE.topic, HERE.partition, HERE.offset])
        for error in ERRORS:
            room = len(VALUE) - (error is ERRORS[2])
            dead = dead_letter_output(origin, hop, error, attempts=hop.attempt + 1, failed_ms=NOW, value_bytes_max=room)
            yield _line("dead-letter", dead.value, dead.headers, key="user-17", place=["verification.dead-letters", 0, 3])
    yield from _results()
    yield from _acts()
    for done in ((), (41, 43, 70)):
        yield _line("commit", encode_metadata(41, done, LogPosition("0a1b2c3d", 5000)).encode(), floor=41)
    for record in LOG:
        yield _line("budget", encode(record))
    yield _line("budget", encode_group([encode(record) for record in LOG]))


def words() -> dict[str, list[str]]:
    """What an earlier version may not know, by where it stands."""
    schema = orjson.loads((Path(__file__).parent.parent / "schemas" / "request.v1.json").read_bytes())
    lines = list(written())
    headers = {name for line in lines for name, _ in line.get("headers", ()) if name.startswith("vp-")}
    documents = {kind: [orjson.loads(line["value"]) for line in lines if line["kind"] == kind] for kind in ("repair", "budget")}
    members = {f"{document['t']}.{name}" for document in documents["budget"] if isinstance(document, dict) for name in document}
    return {
        "operations": sorted(operations()),
        "members of a request": sorted(schema["properties"]),
        "types of errors": sorted(kind.value for kind in ErrorType),
        "statuses": sorted(status.value for status in Status),
        "headers": sorted(headers),
        "kinds of records in the repairs topic": sorted({document["kind"] for document in documents["repair"]}),
        "members of records in the budget log": sorted(members),
    }


def main() -> None:
    """Write the file of this version to stdout."""
    for line in (*written(), {"kind": "words", "words": words()}):
        sys.stdout.write(json.dumps(line, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
