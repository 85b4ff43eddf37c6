"""Every variant, every secret, the window, and what is believed afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest
from signing import NOW, SECRET, canonical, delivery, digest, signed

from processor.webhooks.canonical import canonical_forms, script_number, server_number
from processor.webhooks.signatures import SignatureRefused, Verified, verify

VECTOR_SECRET = b"whsec_example_secret_0123456789abcdefghijkl"
VECTOR = (
    rb'{"created_at":1764000000,"event_id":"00000000-0000-4000-8000-000000000001","metadata":{"a":0.5,"b":1.0},'
    rb'"session_id":"11111111-2222-3333-4444-555555555555","status":"Approved","timestamp":1764000000,"vendor_data":"user-\u00e9-1",'
    rb'"webhook_type":"status.updated","workflow_id":"9f9b1234-aaaa-bbbb-cccc-1234567890ab"}'
)
VECTOR_SIGNATURES = {
    "X-Signature-V2": "51033ceaa1bcf13b1f2153afbd202e0f6cbc67a0264fa188668998dcc28c6112",
    "X-Signature": "b301030eca7c7c577bb95fdd4ad7112a8a6d6a170d47b5300b17063326bff55d",
    "X-Signature-Simple": "a87e34cf0c309dd138c2835ef38885054129bae582965ebea4817696ef2008f5",
}
VARIANTS = {"X-Signature-V2": "v2", "X-Signature": "raw", "X-Signature-Simple": "simple"}


def judge(
    body: bytes, headers: dict[str, str], secrets: tuple[str, ...] = (SECRET,), now_s: float = NOW, size_bytes_max: int = 1 << 20
) -> Verified | SignatureRefused:
    return verify(body, headers, [s.encode() for s in secrets], now_s, tolerance_s=300.0, size_bytes_max=size_bytes_max)


def verified(body: bytes, headers: dict[str, str], **options: Any) -> Verified:
    found = judge(body, headers, **options)
    assert isinstance(found, Verified), found
    return found


def reason(body: bytes, headers: dict[str, str], **options: Any) -> str:
    found = judge(body, headers, **options)
    assert isinstance(found, SignatureRefused), found
    return found.reason


@pytest.mark.parametrize("header", VARIANTS)
def test_the_vector_of_the_documents_fits_by_each_variant_alone(header: str) -> None:
    found = verify(VECTOR, {header: VECTOR_SIGNATURES[header]}, [VECTOR_SECRET], 1_764_000_000, tolerance_s=300, size_bytes_max=4096)
    assert isinstance(found, Verified)
    assert (found.variant, found.rotation, found.timestamp_s) == (VARIANTS[header], 0, 1_764_000_000)


def test_the_canonical_form_of_the_vector_has_whole_floats_as_ints_and_plain_unicode() -> None:
    (form,) = canonical_forms(json.loads(VECTOR), size_bytes_max=4096)
    assert b'"metadata":{"a":0.5,"b":1}' in form
    assert '"vendor_data":"user-é-1"'.encode() in form
    assert form == VECTOR.replace(b"1.0", b"1").replace(rb"\u00e9", "é".encode())


def test_the_best_variant_that_fits_is_taken_whatever_the_others_say() -> None:
    body, headers = signed(delivery())
    assert verified(body, headers).variant == "v2"
    assert verified(body, headers | {"X-Signature-V2": "0" * 64}).variant == "raw"
    assert verified(body, {"X-Signature-V2": "nonsense", "X-Signature-Simple": headers["X-Signature-Simple"]}).variant == "simple"
    assert verified(body, {"X-Signature-V2": f" {headers['X-Signature-V2'].upper()} "}).variant == "v2"


def test_a_body_written_anew_on_its_way_still_fits_by_v2() -> None:
    members = delivery(decision={"score": 95.4, "limit": 100, "name": "Zoë", "empty": {}, "list": []})
    _, headers = signed(members)
    again = json.dumps(dict(reversed(members.items())), indent=2, ensure_ascii=False).encode()
    assert verified(again, headers).variant == "v2"
    assert reason(again, {"X-Signature": headers["X-Signature"]}) == "bad_signature"


def test_several_secrets_the_newest_first_and_a_foreign_one_never() -> None:
    body, headers = signed(delivery(), secret="previous-secret")
    assert verified(body, headers, secrets=(SECRET, "previous-secret")).rotation == 1
    assert verified(body, headers, secrets=("previous-secret", SECRET)).rotation == 0
    assert reason(body, headers) == "bad_signature"
    assert reason(body, headers, secrets=()) == "bad_signature"


@pytest.mark.parametrize(
    ("age_s", "expected"), [(0, None), (300, None), (301, "stale"), (-300, None), (-301, "early"), (10**9, "stale"), (-(10**9), "early")]
)
@pytest.mark.parametrize("only", VARIANTS)
def test_the_window_is_judged_on_the_signed_time(age_s: int, expected: str | None, only: str) -> None:
    body, headers = signed(delivery(timestamp=NOW - age_s), only=only)
    found = judge(body, headers | {"X-Timestamp": str(NOW)})
    assert (found.reason if isinstance(found, SignatureRefused) else None) == expected


@pytest.mark.parametrize("timestamp", [..., None, "now", "1764040000", True, [NOW], NOW + 0.5, -1, 10**300, 10**20, 1e300])
def test_a_body_without_a_signed_time_is_refused(timestamp: Any) -> None:
    body, headers = signed(delivery(timestamp=timestamp), only="X-Signature-V2")
    assert reason(body, headers) == "no_time"


def test_a_time_that_is_a_whole_float_is_taken() -> None:
    body = json.dumps(delivery(timestamp=float(NOW))).encode()
    assert verified(body, {"X-Signature": digest(body)}).timestamp_s == NOW


@pytest.mark.parametrize(
    ("body", "expected", "code"),
    [
        (b"", "not_json", "not_json"),
        (b"\xff\xfe{\x00", "not_json", "not_utf8"),
        (b'{"a":1,"a":2}', "not_json", "duplicate_key"),
        (b'{"a":NaN}', "not_json", "not_finite"),
        (b'{"a":"\\ud83d"}', "not_json", "lone_surrogate"),
        (b"[" * 65 + b"]" * 65, "not_json", "too_deep"),
        (b'{"a":"' + b"x" * (1 << 20) + b'"}', "not_json", "too_large"),
        (b"[]", "not_object", None),
        (b"null", "not_object", None),
        (b'"text"', "not_object", None),
    ],
)
def test_what_is_no_strict_object_is_refused_even_if_it_is_signed(body: bytes, expected: str, code: str | None) -> None:
    found = judge(body, {"X-Signature": digest(body)})
    assert isinstance(found, SignatureRefused)
    assert (found.reason, found.code) == (expected, code)


@pytest.mark.parametrize("signature", ["", "0", "0" * 63, "0" * 65, "g" * 64, "é" * 64, "sha256=" + "0" * 64, "\udcff" * 64])
def test_headers_that_are_no_digest_are_no_signature(signature: str) -> None:
    body, _ = signed(delivery())
    assert reason(body, dict.fromkeys(VARIANTS, signature)) == "unsigned"
    assert reason(body, {}) == "unsigned"


def test_after_simple_only_its_four_fields_are_believed() -> None:
    members = delivery()
    _, headers = signed(members, only="X-Signature-Simple")
    forged = members | {"vendor_data": "somebody else", "metadata": {"vp_request_id": "req-2"}, "decision": {"status": "Declined"}}
    found = verified(canonical(forged), headers)
    assert found.text is None
    assert found.members == {name: members[name] for name in ("timestamp", "session_id", "status", "webhook_type")}


@pytest.mark.parametrize("changes", [{"status": ...}, {"status": None}, {"session_id": ..., "webhook_type": None}])
def test_simple_writes_absent_as_empty_and_null_as_none(changes: dict[str, Any]) -> None:
    body, headers = signed(delivery(**changes), only="X-Signature-Simple")
    found = verified(body, headers)
    assert all(found.members[name] is None for name in changes)


def test_simple_takes_no_text_that_can_be_divided_in_two_ways() -> None:
    members = delivery(status="a:b")
    body, headers = signed(members, only="X-Signature-Simple")
    assert reason(body, headers) == "bad_signature"
    assert reason(canonical(members | {"session_id": members["session_id"] + ":a", "status": "b"}), headers) == "bad_signature"
    body, headers = signed(delivery(status=["list"]), only="X-Signature-Simple")
    assert reason(body, headers) == "bad_signature"


def test_numbers_that_python_and_javascript_print_differently_fit_in_either_spelling() -> None:
    members = delivery(decision={"tiny": 5e-05, "large": 12345678901234567890})
    text = canonical(members)
    assert b"5e-05" in text
    script = text.replace(b"5e-05", b"0.00005").replace(b"12345678901234567890", b"12345678901234567000")
    for form in (text, script):
        assert verified(text, {"X-Signature-V2": digest(form)}).text == form


def test_a_body_that_only_rounds_to_what_was_signed_is_believed_as_it_was_signed() -> None:
    members = delivery(decision={"score": 0.1, "count": 2**53})
    text = canonical(members)
    forged = text.replace(b"0.1", b"0.1000000000000000000000000001")
    found = verified(forged, {"X-Signature-V2": digest(text)})
    assert found.text == text
    assert found.members["decision"]["score"] == 0.1
    assert reason(text.replace(str(2**53).encode(), str(2**53 + 2).encode()), {"X-Signature-V2": digest(text)}) == "bad_signature"


def test_a_few_bytes_do_not_become_megabytes() -> None:
    body = b'{"n":[' + b",".join([b"1e300"] * 10_000) + b"]}"
    assert list(canonical_forms(json.loads(body), size_bytes_max=100_000)) == [b'{"n":[' + b",".join([b"1e+300"] * 10_000) + b"]}"], (
        "ten thousand numbers of 301 digits are not written"
    )
    assert list(canonical_forms({"n": 10**400}, size_bytes_max=100)) == [], "no double, and too long"


@pytest.mark.parametrize(
    ("number", "server", "script"),
    [
        (0.5, "0.5", "0.5"),
        (-0.0, "0", "0"),
        (100.0, "100", "100"),
        (1e21, "1000000000000000000000", "1e+21"),
        (123456789012345680000.0, "123456789012345683968", "123456789012345680000"),
        (1e-6, "1e-06", "0.000001"),
        (-1.5e-7, "-1.5e-07", "-1.5e-7"),
        (5e-324, "5e-324", "5e-324"),
        (1.7976931348623157e308, str(int(1.7976931348623157e308)), "1.7976931348623157e+308"),
        (2**53 + 1, "9007199254740993", "9007199254740992"),
    ],
)
def test_how_numbers_are_printed(number: float, server: str, script: str) -> None:
    assert (server_number(number), script_number(number)) == (server, script)
