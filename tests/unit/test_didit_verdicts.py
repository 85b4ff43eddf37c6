"""The ordered table: a test for each row and for each order that matters."""

from __future__ import annotations

import gzip
import hashlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.contract.codes import ErrorCode, ForeignCode, http_code
from processor.didit.answers import NoReply, Reply
from processor.didit.catalog import OPERATIONS, Idempotency
from processor.didit.verdicts import (
    AccountFault,
    Ambiguous,
    Deferred,
    Forbidden,
    OurFault,
    Refused,
    Success,
    Throttled,
    Transient,
    Unpaid,
    Verdict,
    classify,
)

CREATE, DECISION = OPERATIONS["session.create"], OPERATIONS["session.decision"]
PERMISSION = "You do not have permission to perform this action."
TOP_UP = "To protect against abuse, phone verification is disabled until your first top-up."
RATE_CARD = "Document AI API is not included in your contract rate card. Contact support@didit.me to enable it."
SHARED = "This session has already been shared with your application."
PDF = "You can only generate a PDF for sessions in review, declined, approved or kyc expired"
CREATED = {"session_id": "s", "url": "u", "status": "Not Started"}


def reply(status: int, body: Any = None, **headers: str) -> Reply:
    raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    return Reply(status, {k.replace("_", "-"): v for k, v in headers.items()}, raw)


ROWS: list[tuple[str, Reply, Verdict]] = [
    ("created", reply(201, CREATED), Success(CREATED)),
    ("created, with more", reply(201, {**CREATED, "n": 1}), Success({**CREATED, "n": 1})),
    ("a challenge page", reply(200, b"<html>"), Ambiguous(ErrorCode.UNREADABLE_ANSWER, 200, None)),
    ("cut JSON", reply(201, b'{"session_id":"1'), Ambiguous(ErrorCode.UNREADABLE_ANSWER, 201, None)),
    ("no session id", reply(201, {"url": "u"}), Ambiguous(ErrorCode.UNREADABLE_ANSWER, 201, None)),
    ("session id of another type", reply(201, {**CREATED, "session_id": 7}), Ambiguous(ErrorCode.UNREADABLE_ANSWER, 201, None)),
    ("null", reply(201, b"null"), Ambiguous(ErrorCode.UNREADABLE_ANSWER, 201, None)),
    ("accepted is no success", reply(202, CREATED), Ambiguous(ErrorCode.UNREADABLE_ANSWER, 202, None)),
    ("no content", reply(204), Ambiguous(ErrorCode.UNREADABLE_ANSWER, 204, None)),
    ("moved", reply(301, None, location="/x"), OurFault(ErrorCode.REDIRECTED, 301)),
    ("permanently", reply(308), OurFault(ErrorCode.REDIRECTED, 308)),
    (
        "one phone number",
        reply(429, {"detail": "Maximum verification attempts reached for this phone number. Only 4 ..."}),
        Deferred(ErrorCode.PHONE_ATTEMPTS, 60.0),
    ),
    (
        "an import job",
        reply(429, {"detail": "This application already has an active import job."}),
        Deferred(ErrorCode.IMPORT_RUNNING, 60.0),
    ),
    (
        "the sandbox quota",
        reply(429, {"detail": "Sandbox session quota exceeded (500 sessions per 24h)."}, retry_after="3600"),
        Deferred(ErrorCode.SANDBOX_QUOTA, 3600.0),
    ),
    (
        "creation limit",
        reply(429, {"detail": "Session creation rate limit exceeded. You can make up to 600 requests per minute."}, retry_after="7"),
        Throttled(("session-create",), 7.0),
    ),
    (
        "write limit",
        reply(429, {"detail": "Write request rate limit exceeded. You can make up to 300 requests per minute."}, x_ratelimit_limit="300"),
        Throttled(("generic-write",), None, 300),
    ),
    (
        "throttled in the other style",
        reply(429, {"detail": "Request was throttled. Expected available in 30 seconds."}),
        Throttled(("session-create", "generic-write"), None),
    ),
    ("headers alone", reply(429, b"", retry_after="2"), Throttled(("session-create", "generic-write"), 2.0)),
    ("a bare 429", reply(429), Throttled((), None)),
    (
        "no credits at 400",
        reply(400, {"detail": "You don't have enough credits to perform this request."}),
        Unpaid(ErrorCode.NO_CREDITS, 400),
    ),
    (
        "no credits at 403",
        reply(403, {"error": "You don't have enough credits to perform this request."}),
        Unpaid(ErrorCode.NO_CREDITS, 403),
    ),
    ("payment", reply(402, {}), Unpaid(ErrorCode.PAYMENT_REQUIRED, 402)),
    ("contract", reply(403, {"detail": "x", "code": "contract_billing_suspended"}), AccountFault(ErrorCode.CONTRACT_SUSPENDED, 403)),
    ("key", reply(401, {"detail": "x"}), AccountFault(ErrorCode.KEY_REFUSED, 401)),
    (
        "a blocked person",
        reply(400, {"vendor_data": "This user or business has been blocked and cannot create new verification sessions."}),
        Refused(
            ErrorCode.VENDOR_DATA_BLOCKED,
            400,
            {"vendor_data": "This user or business has been blocked and cannot create new verification sessions."},
            "input.vendor_data",
            dead_letter=False,
        ),
    ),
    ("a field", reply(400, {"workflow_id": ["x"]}), Refused(http_code(400), 400, {"workflow_id": ["x"]}, "input.workflow_id")),
    ("an array", reply(400, ["same status"]), Refused(http_code(400), 400, ["same status"], None)),
    ("details", reply(400, {"detail": ["one", "two"]}), Refused(http_code(400), 400, {"detail": ["one", "two"]}, None)),
    ("a nested error", reply(400, {"error": {"code": 7}}), Refused(http_code(400), 400, {"error": {"code": 7}}, None)),
    (
        "Didit's own code",
        reply(409, {"detail": "x", "code": "session_locked"}),
        Refused(ForeignCode("session_locked"), 409, {"detail": "x", "code": "session_locked"}, None),
    ),
    ("HTML 404", reply(404, b"<h1>Not Found</h1>"), Refused(http_code(404), 404, None, None)),
    ("a field name that is data", reply(400, {"ada@example.org": ["x"]}), Refused(http_code(400), 400, {"ada@example.org": ["x"]}, None)),
    ("server timeout", reply(408), Ambiguous(ErrorCode.SERVER_TIMEOUT, 408, None)),
    ("too early", reply(425), Ambiguous(ErrorCode.SERVER_TIMEOUT, 425, None)),
    ("500 in HTML", reply(500, b"<html>"), Ambiguous(http_code(500), 500, None)),
    ("503 with a time", reply(503, {"detail": "x"}, retry_after="9"), Ambiguous(http_code(503), 503, 9.0)),
    ("599", reply(599), Ambiguous(http_code(599), 599, None)),
    ("1xx", reply(102), Ambiguous(ErrorCode.UNREADABLE_ANSWER, 102, None)),
]


BY_A_GATEWAY: tuple[Any, ...] = (b"<html>", b"", {"message": "Bad gateway"}, b"[]")  # it may give up on a call that is carried out


@pytest.mark.parametrize(("answer", "verdict"), [(a, v) for _, a, v in ROWS], ids=[name for name, _, _ in ROWS])
def test_each_row(answer: Reply, verdict: Verdict) -> None:
    assert classify(CREATE, answer) == verdict


def test_what_is_ambiguous_for_a_create_is_transient_for_a_read() -> None:
    assert DECISION.idempotency is Idempotency.SAFE
    for _, answer, verdict in ROWS:
        if isinstance(verdict, Ambiguous):
            assert classify(DECISION, answer) == Transient(verdict.code, verdict.http_status, verdict.wait_s)
    assert classify(DECISION, NoReply(sent=True, code=ErrorCode.TIMEOUT, open=True)) == Transient(ErrorCode.TIMEOUT, None, None)


def test_no_reply_is_in_doubt_only_if_something_left() -> None:
    assert classify(CREATE, NoReply(sent=True, code=ErrorCode.RESET)) == Ambiguous(ErrorCode.RESET, None, None)
    not_sent = NoReply(sent=False, code=ErrorCode.CONNECT_FAILED)
    assert classify(CREATE, not_sent) == Transient(ErrorCode.CONNECT_FAILED, None, None, sent=False)


def test_a_cut_answer_is_no_success() -> None:
    whole = reply(201, CREATED)
    assert classify(CREATE, Reply(201, {}, whole.body, truncated=True)) == Ambiguous(ErrorCode.UNREADABLE_ANSWER, 201, None)


def test_a_cut_file_is_no_success() -> None:
    pdf, headers = OPERATIONS["session.pdf"], {"content-type": "application/pdf"}
    assert isinstance(classify(pdf, Reply(200, headers, b"%PDF")), Success)
    assert classify(pdf, Reply(200, headers, b"%PDF", truncated=True)) == Transient(ErrorCode.UNREADABLE_ANSWER, 200, None)


@pytest.mark.parametrize("body", [b"", gzip.compress(b"%PDF-1.7"), b"<html>"], ids=["empty", "packed", "a page"])
def test_what_is_no_file_of_its_type_is_no_success(body: bytes) -> None:
    pdf, headers = OPERATIONS["session.pdf"], {"content-type": "application/pdf", "content-encoding": "gzip"}
    assert classify(pdf, Reply(200, headers, body)) == Transient(ErrorCode.UNREADABLE_ANSWER, 200, None)


def test_large_error_bodies_are_not_kept() -> None:
    verdict = classify(CREATE, reply(400, {"detail": "x" * 20_000}))
    assert isinstance(verdict, Refused)
    assert verdict.output is None


def test_a_decision_on_a_decline_is_a_success() -> None:
    assert classify(DECISION, reply(200, {"session_id": "s", "status": "Declined"})) == Success({"session_id": "s", "status": "Declined"})


headers = st.dictionaries(st.sampled_from(["retry-after", "date", "x-ratelimit-limit", "x-ratelimit-reset"]), st.text(max_size=30))


@given(st.integers(100, 999), headers, st.binary(max_size=80), st.booleans(), st.sampled_from(list(OPERATIONS.values())))
def test_every_answer_has_a_meaning_and_success_is_never_guessed(
    status: int, found: dict[str, str], body: bytes, cut: bool, operation: Any
) -> None:
    verdict = classify(operation, Reply(status, found, body, truncated=cut))
    assert isinstance(verdict, Verdict)
    if isinstance(verdict, Success):
        assert status in operation.success_statuses
        assert not cut
    if isinstance(verdict, Throttled | Deferred | Transient | Ambiguous) and verdict.wait_s is not None:
        assert verdict.wait_s >= 0


AML, EMAIL = OPERATIONS["aml"], OPERATIONS["email.send"]


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (reply(200, {"request_id": "q", "aml": {"status": "Declined"}}), Success({"request_id": "q", "aml": {"status": "Declined"}})),
        (reply(409, {"detail": "x"}, retry_after="3"), Deferred(ErrorCode.KEY_IN_USE, 3.0)),
        (reply(409, {"detail": "The first request is still running"}), Deferred(ErrorCode.KEY_IN_USE, 60.0)),
        (reply(409, {"detail": "another body"}), Transient(ErrorCode.KEY_CONFLICT, 409, None)),
        (
            reply(403, {"error": "You don't have enough credits to perform this request. Please top up"}),
            Unpaid(ErrorCode.NO_CREDITS, 403),
        ),
        (
            reply(400, {"error": ["AML weights must sum to 100."]}),
            Refused(http_code(400), 400, {"error": ["AML weights must sum to 100."]}, None),
        ),
        (reply(502), Ambiguous(http_code(502), 502, None)),
        (NoReply(sent=True, code=ErrorCode.RESET), Ambiguous(ErrorCode.RESET, None, None)),
    ],
)
def test_answers_of_a_keyed_check(answer: Any, verdict: Verdict) -> None:
    assert classify(AML, answer) == verdict


def test_a_409_of_a_call_without_a_key_is_a_refusal() -> None:
    assert isinstance(classify(CREATE, reply(409, {"detail": "x"}, retry_after="3")), Refused)


@pytest.mark.parametrize("status", ["Success", "Retry", "Undeliverable"])
def test_every_status_of_an_email_is_a_success(status: str) -> None:
    body = {"request_id": "q", "status": status, "reason": None}
    assert classify(EMAIL, reply(200, body)) == Success(body)


@pytest.mark.parametrize(
    ("operation", "answer", "verdict"),
    [
        ("session.delete", reply(204), Success(None)),
        (
            "session.update_status",
            reply(400, ["The new status is the same as the current status."]),
            Success(["The new status is the same as the current status."]),
        ),
        (
            "session.pdf",
            reply(403, {"detail": "You can only generate a PDF for sessions in review"}),
            Refused(ErrorCode.SESSION_NOT_SETTLED, 403, {"detail": "You can only generate a PDF for sessions in review"}, None),
        ),
        ("session.pdf", reply(200, {"x": 1}), Transient(ErrorCode.UNREADABLE_ANSWER, 200, None)),
        (
            "session.pdf",
            reply(200, b"%PDF-1.4", content_type="application/pdf; x=1"),
            Success(
                {
                    "content_type": "application/pdf",
                    "size_bytes": 8,
                    "sha256": hashlib.sha256(b"%PDF-1.4").hexdigest(),
                    "content_base64": "JVBERi0xLjQ=",
                }
            ),
        ),
        (
            "session.import_shared",
            reply(403, {"detail": "This session has already been shared with your application."}),
            Refused(ErrorCode.ALREADY_SHARED, 403, {"detail": "This session has already been shared with your application."}, None),
        ),
        (
            "database_validation",
            reply(502, {"error": "x", "validation_errors": [{"code": "a", "retryable": False}, {"code": "b", "retryable": True}]}),
            Transient(http_code(502), 502, None),
        ),
        (
            "database_validation",
            reply(502, {"error": "x", "validation_errors": [{"service_id": "s"}, {"retryable": False}, "x"], "retryable": True}),
            Refused(
                ErrorCode.SERVICES_FAILED,
                502,
                {"error": "x", "validation_errors": [{"service_id": "s"}, {"retryable": False}, "x"], "retryable": True},
                None,
            ),
        ),
        ("database_validation", reply(502, b"<html>"), Ambiguous(http_code(502), 502, None)),
        (
            "phone.send",
            reply(502, {"detail": "x", "code": "phone_provider_unavailable"}),
            Transient(ForeignCode("phone_provider_unavailable"), 502, None),
        ),
        *(
            ("database_validation", reply(502, body), Refused(ErrorCode.SERVICES_FAILED, 502, body, None))
            for body in ({"validation_errors": [{"code": "provider_invalid_input"}]}, {"validation_errors": ["x"]})
        ),
        *(
            ("database_validation", reply(502, page), Ambiguous(http_code(502), 502, None))  # of a gateway: nobody knows what came of it
            for page in (*BY_A_GATEWAY, {"errors": ["x"]}, {"validation_errors": "x"}, {"validation_errors": []})
        ),
        *(
            (operation, reply(502, answered), verdict)  # unbilled in Didit's words alone
            for operation in ("phone.send", "email.check", "ip.risk", "kyb.search", "wallet_screening")
            for answered, verdict in (
                *((page, Ambiguous(http_code(502), 502, None)) for page in BY_A_GATEWAY),
                *((told, Transient(http_code(502), 502, None)) for told in ({"detail": "x"}, {"error": ["x"]})),
            )
        ),
        ("phone.send", reply(503, b"upstream connect error"), Ambiguous(http_code(503), 503, None)),
        ("phone.send", reply(503, {"detail": "x"}), Transient(http_code(503), 503, None)),
        ("phone.send", reply(500, {"detail": "Error creating phone verification"}), Transient(http_code(500), 500, None)),
        ("phone.check", reply(500, {"detail": "Error checking phone verification"}), Transient(http_code(500), 500, None)),
        ("phone.send", reply(500, {"detail": "Server error"}), Ambiguous(http_code(500), 500, None)),
        ("email.send", reply(500, {"detail": "Error creating phone verification"}), Ambiguous(http_code(500), 500, None)),
        *(
            (operation, reply(400, body), Refused(http_code(400), 400, body, field))
            for operation, body, field in (
                ("email.check", {"code": ["This field is required."]}, "input.code"),
                ("document_ai", {"non_field_errors": ["x"]}, None),
                ("database_validation", {"error": ["x"], "fields_required_by": {"tax_number": ["bra_cpf"]}}, "input.tax_number"),
                ("database_validation", {"error": ["x"], "invalid_fields_by_service": {"chn": ["national_id_format"]}}, None),
                ("poa", {"email": ["not an input of it"], "document": ["x"]}, "input.document"),
                ("poa", {"fields_required_by": ["document"], "detail": ["x"]}, None),
            )
        ),
        (
            "id_verification",
            reply(400, {"error": "COULD_NOT_RECOGNIZE_DOCUMENT"}),
            Refused(http_code(400), 400, {"error": "COULD_NOT_RECOGNIZE_DOCUMENT"}, None),
        ),
        (
            "face_match",
            reply(200, {"request_id": "q", "face_match": {"status": "Declined"}}),
            Success({"request_id": "q", "face_match": {"status": "Declined"}}),
        ),
        ("face_match", reply(503), Ambiguous(http_code(503), 503, None)),
        ("email.check", reply(200, {"status": "Expired or Not Found"}), Success({"status": "Expired or Not Found"})),
    ],
)
def test_answers_that_only_some_operations_give(operation: str, answer: Any, verdict: Verdict) -> None:
    assert classify(OPERATIONS[operation], answer) == verdict


# every 403 that Didit's OpenAPI and its pages "API errors" and "API keys" document for what is called here, and what it is about
FORBIDDEN_TEXTS: list[tuple[str, object, Verdict]] = [
    ("session.create", {"detail": PERMISSION}, Forbidden(ErrorCode.NOT_PERMITTED, 403, {"detail": PERMISSION}, key_works=False)),
    ("session.decision", {"detail": PERMISSION}, Forbidden(ErrorCode.NOT_PERMITTED, 403, {"detail": PERMISSION}, key_works=False)),
    ("aml", {"detail": "Invalid API Key."}, AccountFault(ErrorCode.KEY_REFUSED, 403)),
    (
        "session.decision",
        {"detail": "Authentication credentials were not provided or are invalid."},
        AccountFault(ErrorCode.KEY_REFUSED, 403),
    ),
    ("session.create", {"detail": "x", "code": "application_deleted"}, AccountFault(ErrorCode.APPLICATION_CLOSED, 403)),
    ("session.create", {"detail": "x", "code": "contract_billing_suspended"}, AccountFault(ErrorCode.CONTRACT_SUSPENDED, 403)),
    ("phone.send", {"detail": TOP_UP}, Forbidden(ErrorCode.TOP_UP_FIRST, 403, {"detail": TOP_UP}, key_works=True)),
    ("document_ai", {"error": RATE_CARD}, Forbidden(ErrorCode.NOT_IN_CONTRACT, 403, {"error": RATE_CARD}, key_works=True)),
    (
        "aml",
        {"error": "You don't have enough credits to perform this request. Please top up at https://business.didit.me"},
        Unpaid(ErrorCode.NO_CREDITS, 403),
    ),
    ("ip.risk", {"error": "You don't have enough credits to perform this request."}, Unpaid(ErrorCode.NO_CREDITS, 403)),
    ("session.import_shared", {"detail": SHARED}, Refused(ErrorCode.ALREADY_SHARED, 403, {"detail": SHARED}, None)),
    ("session.pdf", {"detail": PDF}, Refused(ErrorCode.SESSION_NOT_SETTLED, 403, {"detail": PDF}, None)),
    (
        "session.update_status",
        {"detail": "x", "code": "console_only"},
        Forbidden(ForeignCode("console_only"), 403, {"detail": "x", "code": "console_only"}, key_works=False),
    ),
    ("session.create", b"<html><h1>403 Forbidden</h1></html>", Transient(ErrorCode.FIREWALL_REFUSED, 403, None)),
    ("aml", b"", Transient(ErrorCode.FIREWALL_REFUSED, 403, None)),
]


@pytest.mark.parametrize(("name", "body", "verdict"), FORBIDDEN_TEXTS)
def test_a_403_is_judged_by_what_it_is_about(name: str, body: Any, verdict: Verdict) -> None:
    assert classify(OPERATIONS[name], reply(403, body)) == verdict


SPEAKS_OF_THE_ACCOUNT = (
    *("application_deleted", "contract_billing_suspended", "insufficient_credits", "You don't have enough credits", "Invalid API Key."),
    *(TOP_UP, RATE_CARD),
)


@pytest.mark.parametrize("quoted", SPEAKS_OF_THE_ACCOUNT)
@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_field_error_that_quotes_the_caller_holds_no_other_request(status: int, quoted: str) -> None:
    """A complaint about a field may show the value that one caller sent there (Django REST framework: ``"X" is not a valid choice.``)."""
    told = [f'"{quoted}" is not a valid choice.']
    body = {"vendor_data": told, "code": [quoted], "expected_details": {"country": told, "detail": quoted}}
    refused = Refused(http_code(status), status, body, "input.vendor_data")
    forbidden = Forbidden(ErrorCode.NOT_PERMITTED, status, body, key_works=False)
    assert classify(CREATE, reply(status, body)) == (forbidden if status == 403 else refused)
