"""Didit's published OpenAPI as the judge of what we accept, what we send, and how we read what comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import openapi
import orjson
import pytest
from multidict import CIMultiDict

from processor.contract import schemas
from processor.contract.decode import Accepted, decode
from processor.contract.records import Hop, Record, Request, Source
from processor.didit.answers import Reply
from processor.didit.calls import HttpCall, build_call
from processor.didit.catalog import OPERATIONS, Operation
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
    Unfit,
    Unpaid,
    Verdict,
    classify,
)

ELSEWHERE = {  # those stand on other pages of Didit's
    "sandbox.scenarios",
    "sandbox.simulate",  # and this one on none
    *("event.create", "event.create_batch"),
    *("list.list", "list.create", "list.entries", "list.add_entry", "list.delete_entry"),
    *("webhook.deliveries", "webhook.resend"),
}
DOCUMENTED = [row for row in OPERATIONS.values() if row.name not in ELSEWHERE]
SESSION_ID = "11111111-2222-4333-8444-555555555555"
JSON_TEXT = {"metadata", "fields"}  # JSON text in a form of Didit's, JSON in our input
# a part that an example leaves out though the schema requires it
NEEDED = {
    "workflow_id": "9f9b1234-0000-4000-8000-1234567890ab",
    "for_application_id": SESSION_ID,
    "fields": [{"key": "a"}],
    "transaction_details": {"direction": "outbound", "amount": 1500, "currency": "EUR"},
    "subject": {"vendor_data": "user-12345", "full_name": "Maria Garcia"},
    "session_numbers": ["1001"],
    "hit_updates": [{"hit_id": "a", "review_status": "Unreviewed"}],
}
_ONE_RECORD = "one record of a stream must not be able to delete everything"
NOT_OURS: dict[str, dict[str, str]] = {  # documented fields that we do not offer, with the reason
    "user.delete": {"delete_all": _ONE_RECORD},
    "session.delete_many": {"delete_all": _ONE_RECORD},
    "session.media": {"include": "what it adds are no files"},
}
# of two parts one is needed, and an example has neither
ONE_OF: dict[str, dict[str, Any]] = {
    "kyb.search": {"name": "Tesco"},
    "aml_monitoring.users": {"vendor_data_list": ["user-123"]},
    "aml_monitoring.businesses": {"vendor_data_list": ["company-123"]},
}
ON_PURPOSE = {  # answers that we read in another way than their status says, with the reason
    ("session.update_status", 400, "Same Status"): "what was asked for is done: an earlier call of ours may have done it",
    ("session.update_feature", 400, "Same Status"): "the same",
}


CONTRADICTED = {  # examples that the document's own schema refuses, with what decides
    "session.update_data-json-Long-form document type": "its text says that six long names are taken",
}


LOOSER: dict[tuple[str, str], str] = {  # limits of ours that let through what the document refuses, with the reason
    ("session.create", "language"): "a language that Didit adds must not wait for a release of ours; its form is checked",
    ("transaction.create", "transaction_category"): "Didit's pages take its camelCase forms too",
    ("wallet_screening", "blockchain"): "the page 'On-demand wallet screening' has ten networks more, and takes an address without one",
    ("session.update_data", "document_type"): "its text says that six long names are taken",
}


def looser(documented: dict[str, Any], ours: dict[str, Any]) -> bool:
    """Whether a value that the document refuses could be taken by us, as far as bounds, lengths and choices tell."""
    if "enum" in documented and ours.get("type") != "array":
        return not set(ours.get("enum", ["another"])) <= {*documented["enum"], None}
    lowest = any(ours.get(name, -1) < documented[name] for name in ("minimum", "minLength", "minItems") if name in documented)
    highest = (name for name in ("maximum", "maxLength", "maxItems") if name in documented and "pattern" not in ours)
    return (lowest and "pattern" not in ours) or any(ours.get(name, 10**9) > documented[name] for name in highest)


def test_no_limit_of_ours_is_looser_than_didits() -> None:
    found: set[tuple[str, str]] = set()
    for name, row in OPERATIONS.items():
        documented = openapi.fields(row) if openapi.path_of(row) is not None else {}
        ours = schemas.input_schema(name)["properties"]
        found |= {(name, field) for field, rule in documented.items() if field in ours and looser(openapi.resolved(rule), ours[field])}
    assert found == set(LOOSER)


def as_input(example: openapi.Example) -> dict[str, Any]:
    """A documented request as callers of ours write it: files by reference, JSON text as JSON, members of the path."""
    row, given = example.operation, dict(example.body)
    for name in row.files:
        if name in given or row.files[name].required:
            given[name] = "file:///x"
    if example.kind.startswith("multipart"):
        given = {name: json.loads(v) if name in JSON_TEXT and isinstance(v, str) else v for name, v in given.items()}
    schema = schemas.input_schema(row.name)
    needed = {name: NEEDED[name] for name in schema.get("required", ()) if name in NEEDED}
    return needed | ONE_OF.get(row.name, {}) | given | dict.fromkeys(row.path_fields, SESSION_ID)


def faults_of_call(call: HttpCall) -> list[str]:
    """What the document has against a call as it goes out."""
    row = call.operation
    kind = "multipart/form-data" if call.files else "application/json"
    schema = openapi.content(row, kind)
    if not schema:
        return [f"{row.name} takes no {kind}"] if call.body is not None or call.files else []
    if not call.files:
        validator = jsonschema_rs.Draft4Validator(openapi.as_json_schema(schema))
        return [f"{row.name}: {error.message}" for error in validator.iter_errors(orjson.loads(call.body or b"{}"))]
    names = {part.name for part in call.files} | {name for name, _ in call.fields}
    unknown, missing = names - set(schema["properties"]), set(schema.get("required", ())) - names
    return [f"{row.name}: unknown {unknown}, missing {missing}"] if unknown or missing else []


def test_every_documented_request_is_accepted_and_goes_out_as_documented() -> None:
    faults: list[str] = []
    examples = [one for one in openapi.examples() if not set(one.body) & set(NOT_OURS.get(one.operation.name, ()))]
    for example in examples:
        row = example.operation
        value = orjson.dumps({"request_id": "r-1", "operation": row.name, "input": as_input(example)})
        judged = decode(Record(Source("t", 0, 0), b"k", value))
        if not isinstance(judged, Accepted):
            faults.append(f"{example}: {judged.error.code} {judged.error.field} {judged.error.message}")
            continue
        if str(example) not in CONTRADICTED:
            faults += faults_of_call(build_call(row, judged.request, Hop(Source("t", 0, 0), 0)))
    assert faults == []
    assert len(examples) > 100


@pytest.mark.parametrize("row", DOCUMENTED, ids=lambda row: row.name)
def test_method_path_and_fields_are_the_documented_ones(row: Operation) -> None:
    offered = set(schemas.input_schema(row.name)["properties"])
    documented = set(openapi.fields(row))
    assert documented - offered == set(NOT_OURS.get(row.name, {})), "documented, and not offered"
    assert offered - documented - set(row.path_fields) == set(), "offered, and not documented"
    call = build_call(row, Request("r", row.name, dict.fromkeys((*row.path_fields, *row.files), SESSION_ID)), Hop(Source("t", 0, 0), 0))
    assert call.path.replace(SESSION_ID, "{}") == _plain(openapi.path_of(row) or "")


_STAYS = "it was valid in a released version and stays so; Didit refuses it itself, and its answer names the member"
TAKEN: dict[tuple[str, str], str] = {  # members of ours that let through what the document forbids, with the reason
    ("session.create", "contact_details"): _STAYS,
    ("session.create", "expected_details"): _STAYS,
    ("session.delete", "face_retention_deadline"): _STAYS,
    ("session.share", "for_application_id"): _STAYS,
    ("document_ai", "fields"): "JSON here, JSON text at Didit",
    **dict.fromkeys((("aml", f"aml_{name}") for name in ("name_weight", "dob_weight", "country_weight", "match_score_threshold")), _STAYS),
    **dict.fromkeys(((f"{name}", "signals") for name in ("email.send", "phone.send", "email.risk", "phone.risk")), _STAYS),
}
VALID = [json.loads(line) for line in (Path(__file__).parent / "fixtures" / "requests.v1.jsonl").read_bytes().splitlines()]


def refusal(row: Operation, given: dict[str, Any]) -> str | None:
    """The field that an input is rejected for; None if it is accepted."""
    value = orjson.dumps({"request_id": "r-1", "operation": row.name, "input": given})
    judged = decode(Record(Source("t", 0, 0), b"k", value))
    return None if isinstance(judged, Accepted) else judged.error.field or ""


def test_what_the_document_forbids_is_rejected_and_its_field_is_named() -> None:
    taken, unnamed, count = set(), [], 0
    for row in DOCUMENTED:
        valid = next(one["input"] for one in VALID if one["operation"] == row.name)
        assert refusal(row, valid) is None
        for name, given in openapi.wrong_bodies({"properties": openapi.fields(row)}, valid, form=False):
            if name in NOT_OURS.get(row.name, ()):
                continue
            count += 1
            field = refusal(row, given)
            if field is None:
                taken.add((row.name, name))
            elif not field.startswith(f"input.{name}"):
                unnamed.append((row.name, name, field))
    assert taken == set(TAKEN)
    assert unnamed == []
    assert count > 1000


def test_a_nested_member_that_didit_refuses_is_named() -> None:
    refused = as_read(OPERATIONS["email.send"], 400, {"signals": {"device_platform": ['"zz" is not a valid choice.']}})
    assert isinstance(refused, Refused)
    assert refused.field == "input.signals"


def _plain(path: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


MEANINGS: Mapping[int, tuple[type, ...]] = {
    200: (Success,),
    201: (Success,),
    202: (Success,),
    204: (Success,),
    400: (Refused, Unpaid, Unfit, OurFault),  # credits are a 400 for some
    401: (AccountFault,),
    403: (Forbidden, Unpaid, AccountFault, Refused),  # refused: a PDF of a session that is not finished
    404: (Refused, Unfit),
    409: (Refused, Deferred),
    415: (OurFault,),
    429: (Throttled, Deferred),
    500: (Ambiguous, Transient),
    502: (Ambiguous, Transient, Refused),
    503: (Ambiguous, Transient, Deferred),
}


def as_read(row: Operation, status: int, body: Any) -> Verdict:
    """What the product makes of an answer in JSON."""
    return classify(row, Reply(status, CIMultiDict({"Content-Type": "application/json"}), orjson.dumps(body)))


def test_every_documented_answer_is_read_as_its_status_means() -> None:
    wrong, count = [], 0
    for row in DOCUMENTED:
        for status, title, body in openapi.answers(row):
            verdict = as_read(row, status, body)
            count += 1
            if not isinstance(verdict, MEANINGS[status]) and (row.name, status, title) not in ON_PURPOSE:
                wrong.append(f"{row.name} {status} {title}: {type(verdict).__name__}")
    assert wrong == []
    assert count > 200


def test_what_the_document_calls_safe_to_retry_is_made_again() -> None:
    seen = set()
    for row in DOCUMENTED:
        for status, described in openapi.described(row)["responses"].items():
            if int(status) < 500 or "safe to retry" not in openapi.resolved(described)["description"].lower():
                continue
            for found, _, body in openapi.answers(row):
                if found == int(status):
                    verdict = as_read(row, found, body)
                    assert isinstance(verdict, Transient), (row.name, status)
                    seen.add((row.name, found))
    assert {("phone.send", 500), ("phone.check", 500), ("phone.send", 502), ("phone.check", 502)} <= seen


def test_a_retryable_service_is_asked_again() -> None:
    (body,) = (body for status, _, body in openapi.answers(OPERATIONS["database_validation"]) if status == 502)
    assert isinstance(as_read(OPERATIONS["database_validation"], 502, body), Transient)


def test_an_error_names_only_fields_that_one_can_send() -> None:
    named = 0
    for row in DOCUMENTED:
        inputs = set(schemas.input_schema(row.name)["properties"])
        for status, title, body in openapi.answers(row):
            verdict = as_read(row, status, body)
            if isinstance(verdict, Refused) and verdict.field is not None:
                assert verdict.field.removeprefix("input.") in inputs, (row.name, title)
                named += 1
            elif (
                isinstance(verdict, Refused) and isinstance(body, dict) and str(verdict.code).startswith("http_")
            ):  # no code of ours says it
                assert not inputs & set(body), (row.name, title)
    assert named > 50
