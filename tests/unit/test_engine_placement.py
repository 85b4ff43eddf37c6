"""Whose a request is; what is handed on keeps its first place, its time and its caller's headers; and headers that go with a request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.decode import Accepted, Rejected, decode
from processor.contract.encode import FORWARDED_HEADER_BYTES_MAX, forward_output
from processor.contract.records import ErrorInfo, Headers, Output, OutputKind, Record, Source
from processor.engine.outputs import Job, OutputBuilder
from processor.engine.placement import Elsewhere, NotAdmitted, Placement
from processor.settings import LaneSettings, RetrySettings, Settings, load_settings
from processor.stream.topics import topic_names
from processor.verify.bills import Bills
from processor.verify.facts import FactKind
from processor.verify.intake import Intake

WORKFLOW, OTHER = "9f9b1234-0000-4000-8000-1234567890ab", "9f9b1234-0000-4000-8000-1234567890ac"
COMMON = load_settings(kafka={"topic_prefix": "v"}, applications={"shop": {"workflows": [WORKFLOW]}, "bank": {}})
SHOP = COMMON.for_application("shop")
NOW = 1_764_000_000_000


def record(headers: Headers = (), topic: str = "v.requests", operation: str = "session.create", **extra: Any) -> Record:
    body = {"request_id": "r", "operation": operation, "input": {"workflow_id": WORKFLOW, "vendor_data": "u"}, **extra}
    return Record(Source(topic, 1, 42), b"key", orjson.dumps(body), headers, NOW)


def accepted(rec: Record) -> Accepted:
    found = decode(rec)
    assert isinstance(found, Accepted), found
    return found


def placed(settings: Settings, rec: Record) -> str | ErrorCode | None:
    found = accepted(rec)
    match Placement(settings).of(rec, found.request, found.hop):
        case Elsewhere(application):
            return application
        case NotAdmitted(error):
            assert error.type is ErrorType.INVALID_REQUEST
            assert isinstance(error.code, ErrorCode)
            return error.code
        case other:
            return other


@pytest.mark.parametrize(
    ("settings", "given", "expected"),
    [
        (COMMON, {}, None),
        (COMMON, {"application": "default"}, None),
        (COMMON, {"application": "shop"}, "shop"),
        (COMMON, {"headers": (("vp-application", b"bank"),)}, "bank"),
        (COMMON, {"application": "bank", "headers": (("vp-application", b"bank"),)}, "bank"),
        (COMMON, {"application": "nobody"}, ErrorCode.APPLICATION_UNKNOWN),
        (load_settings(), {"application": "shop"}, ErrorCode.APPLICATION_UNKNOWN),
        (SHOP, {}, None),
        (SHOP, {"application": "shop"}, None),
        (SHOP, {"application": "bank"}, ErrorCode.APPLICATION_NOT_ALLOWED),
        (SHOP, {"application": "default"}, ErrorCode.APPLICATION_NOT_ALLOWED),
        (SHOP, {"headers": (("vp-application", b"nobody"),)}, ErrorCode.APPLICATION_NOT_ALLOWED),
        (SHOP, {"input": {"workflow_id": OTHER}}, ErrorCode.WORKFLOW_NOT_ALLOWED),
        (SHOP, {"input": {"workflow_id": OTHER}, "operation": "verification"}, ErrorCode.WORKFLOW_NOT_ALLOWED),
        (SHOP, {"input": {"workflow_id": WORKFLOW.upper()}}, None),
        (SHOP, {"input": {}, "operation": "billing.balance"}, None),
        (COMMON.for_application("bank"), {"input": {"workflow_id": OTHER}}, None),
    ],
)
def test_whose_a_request_is(settings: Settings, given: dict[str, Any], expected: object) -> None:
    assert placed(settings, record(**given)) == expected


@pytest.mark.parametrize(
    "begun", [(b"vp-session-id", b"11111111-2222-4333-8444-555555555555"), (b"vp-doubt-ms", b"5"), (b"vp-attempt", b"1")]
)
def test_what_has_begun_is_seen_to_its_end_whatever_the_workflows_are_by_now(begun: tuple[bytes, bytes]) -> None:
    headers = ((begun[0].decode(), begun[1]),)
    assert placed(SHOP, record(headers=headers, input={"workflow_id": OTHER})) is None


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ((("vp-application", b"bank"),), "headers.vp-application"),  # the value says shop
        ((("vp-application", b"Shop!"),), "headers.vp-application"),
        ((("vp-application", b"shop"), ("vp-application", b"shop")), "headers.vp-application"),
    ],
)
def test_a_header_that_contradicts_or_has_no_form_is_refused(headers: Headers, field: str) -> None:
    found = decode(record(headers=headers, application="shop"))
    assert isinstance(found, Rejected)
    assert found.error.field == field


def handed_on(rec: Record) -> Output:
    found = accepted(rec)
    return forward_output(rec, found.hop, "bank", found.request.operation)


def test_what_is_handed_on_is_the_callers_record_and_says_where_it_stood() -> None:
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    rec = record(headers=(("own", b"1"), ("vp-application", b"bank"), ("traceparent", parent), ("own", None)))
    output = handed_on(rec)
    assert (output.kind, output.key, output.value) == (OutputKind.FORWARD, rec.key, rec.value)
    assert topic_names(COMMON).of(output) == "v.bank.requests"
    arrived = Record(Source("v.bank.requests", 0, 7), output.key, output.value, output.headers, NOW + 5000)
    there = accepted(arrived)
    assert (there.hop.first, there.hop.first_ms) == (rec.source, NOW)
    assert there.hop.traceparent == parent.decode()
    assert [pair for pair in output.headers if pair[0] == "own"] == [("own", b"1"), ("own", None)]
    assert len([name for name, _ in output.headers if name == "traceparent"]) == 1
    assert placed(COMMON.for_application("bank"), arrived) is None


def test_a_round_that_an_operator_gave_goes_on_under_the_first_place() -> None:
    """E.g. one that was rejected before its application was known here."""
    first = {"vp-first-topic": "v.requests", "vp-first-partition": "3", "vp-first-offset": "9", "vp-first-ms": str(NOW - 60_000)}
    texts = {**first, "vp-hop": "1", "vp-replay": "1", "vp-due-ms": str(NOW), "vp-last-error": "redriven"}
    rec = record(headers=tuple((name, text.encode()) for name, text in texts.items()), topic="v.retry.10s")
    output = handed_on(rec)
    assert dict(output.headers) == {name: text.encode() for name, text in texts.items() if name != "vp-due-ms"}


COMPANIONS = {"vp-first-topic": "v.requests", "vp-first-partition": "0", "vp-first-offset": "0", "vp-first-ms": "5"}
FORGED = [
    {"vp-attempt": "1"},
    {"vp-session-id": "11111111-2222-4333-8444-555555555555"},
    {"vp-doubt-ms": "5"},
    {"vp-settled": "approved", "vp-settled-ms": "5"},
    {"vp-due-ms": "5"},
    {"vp-polls": "1"},
]
OWN = {**COMPANIONS, "vp-first-topic": "v.bank.requests"}  # what is handed on stood in another installation's topic
FORGED += [{"vp-hop": "1000000"}, OWN, {**OWN, "vp-first-topic": "v.bank.retry.10s", "vp-replay": "1"}]
HANDED_ON = [COMPANIONS, {**COMPANIONS, "vp-replay": "7"}, {**COMPANIONS, "vp-hop": "3", "vp-last-error": "application_unready"}]


@pytest.mark.parametrize("texts", [*FORGED, *HANDED_ON])
def test_a_caller_is_not_believed_what_only_processors_know(texts: dict[str, str]) -> None:
    """Found by an attack on real Kafka: a victim's request was taken for a copy, and a list of workflows passed by, by forged headers."""
    headers = tuple((name, text.encode()) for name, text in texts.items())
    bank = COMMON.for_application("bank")
    for settings, topic, refused in (
        (COMMON, "v.requests", True),
        (COMMON, "v.retry.10s", False),
        (bank, "v.bank.requests", texts in FORGED),
        (bank, "v.bank.retry.10s", False),
    ):
        rec = record(headers=headers, topic=topic)
        found = Placement(settings).believed(rec, accepted(rec))
        assert isinstance(found, Rejected) == refused, (topic, texts)
        if isinstance(found, Rejected):
            assert (found.error.code, found.error.field) == (ErrorCode.HEADER_INVALID, "headers")
            assert (found.request_id, found.hop.first) == ("r", rec.source)
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for own in (("vp-application", b"bank"), ("traceparent", parent), ("x", b"1")):
        rec = record(headers=(own,), topic="v.requests")
        assert Placement(COMMON).believed(rec, accepted(rec)) == accepted(rec)


def test_what_no_topic_has_room_for_is_rejected() -> None:
    full = ("own", b"x" * (FORWARDED_HEADER_BYTES_MAX - 13))
    assert placed(COMMON, record(headers=(full,), application="bank")) == "bank"
    assert placed(COMMON, record(headers=(full, ("more", b"")), application="bank")) is ErrorCode.TOO_LARGE
    assert placed(COMMON, record(headers=(full, ("vp-application", b"bank")))) == "bank", "ours are no matter of the caller's"
    assert placed(COMMON, record(headers=(full, ("more", b"")))) is None, "its own is not written anew"


def test_an_output_for_nobody_has_no_topic() -> None:
    with pytest.raises(ValueError, match="no such application"):
        topic_names(load_settings()).of(handed_on(record()))


def test_the_named_application_outlives_retries_and_dead_letters() -> None:
    rec = record(headers=(("vp-application", b"nobody"),))
    found = accepted(rec)
    error = ErrorInfo(ErrorType.INVALID_REQUEST, ErrorCode.APPLICATION_UNKNOWN, "no")
    rejected = OutputBuilder(LaneSettings(), RetrySettings()).rejected(rec, Rejected(error, "r", "session.create", found.hop), NOW)
    assert ("vp-application", b"nobody") in rejected[1].headers
    waiting, _ = OutputBuilder(LaneSettings(), RetrySettings()).deferred(
        Job(rec, found.request, found.hop), ErrorCode.APPLICATION_UNREADY, None, NOW, 0.5
    )
    assert ("vp-application", b"nobody") in waiting[0].headers


def test_an_audit_owes_nothing_for_what_was_handed_on() -> None:
    intake = Intake(topic_names(COMMON), Bills([]))
    assert [fact.kind for fact in intake.take(record(application="shop"))] == [FactKind.HANDED_ON]
    assert intake.handed_on == 1
    assert [fact.kind for fact in intake.take(record(application="nobody"))] == [FactKind.REQUEST]


def test_copied_headers_go_to_every_output() -> None:
    lanes = LaneSettings(copy_headers=("Correlation-Id", "x-run"))
    rec = record(headers=(("correlation-id", b"c-1"), ("correlation-id", b"c-2"), ("X-Run", b"x" * 257), ("other", b"o")))
    found = decode(rec, lanes.copy_headers)
    assert isinstance(found, Accepted)
    job, built = Job(rec, found.request, found.hop), OutputBuilder(lanes, RetrySettings())
    ended = built.ended_by_hand(job, NOW)
    [waiting], _ = built.deferred(job, ErrorCode.QUEUE_FULL, 5.0, NOW, 0.5)
    for output in (*ended, waiting):
        own = [pair for pair in output.headers if not pair[0].startswith("vp-")]
        assert own == [("correlation-id", b"c-1")], "the first one, and none that is too long or not listed"
    again = Record(Source("v.retry.10s", 0, 1), waiting.key, waiting.value, waiting.headers, NOW)
    assert decode(again, lanes.copy_headers).hop.copied == (("correlation-id", b"c-1"),)
    assert decode(replace(again, headers=waiting.headers)).hop.copied == ()


@pytest.mark.parametrize("name", ["vp-hop", "traceparent", "ce_id", "Content-Type", "with blank", "", "x" * 65, "kafka_dlt-x"])
def test_a_header_with_a_meaning_is_not_copied(name: str) -> None:
    with pytest.raises(ValidationError):
        LaneSettings(copy_headers=(name,))
