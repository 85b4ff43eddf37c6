"""The table of codes: callers branch on these words, so none is renamed, and each is counted and explained."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.contract.codes import CODE_FORM, CodeKind, ErrorCode, counted_as, didit_code, http_code
from processor.contract.decode import DEPTH_MAX, KEY_BYTES_MAX, TOKENS_MAX, VALUE_BYTES_MAX
from processor.contract.error_types import ErrorType
from processor.contract.schemas import schema_folder
from processor.contract.strict_json import _NUMBER_CHARS_MAX

SCHEMA = orjson.loads((schema_folder() / "result.v1.json").read_bytes())["properties"]["error"]["oneOf"][1]["properties"]
# spelled out once more on purpose: to take a word out of here is to break those who branch on it
PUBLISHED = """
    tombstone empty too_large key_too_large framed compressed not_utf8 byte_order_mark not_json not_an_object duplicate_key not_finite
    number_too_long number_too_large lone_surrogate too_deep too_many_values
    missing_field unknown_field wrong_type too_long too_short not_allowed
    wrong_form invalid header_unknown header_repeated header_invalid header_incomplete
    file_not_allowed file_missing file_empty file_too_large file_type file_unavailable
    timeout reset connect_failed server_timeout unreadable_answer key_conflict lookup_refused
    throttled scope_paused queue_full phone_attempts import_running sandbox_quota cooldown key_in_use doubt_settling redriven following
    waits_for_account
    vendor_data_blocked session_not_settled already_shared services_failed already_exists
    session_expired session_abandoned not_settled_in_time deadline_passed call_unanswered request_id_reused redirected output_too_large
    internal_error
    no_credits payment_required contract_suspended key_refused application_closed
    operation_held operation_paused not_permitted top_up_first not_in_contract firewall_refused ended_by_hand
"""
COUNTED = {
    "throttled", "scope_paused", "queue_full", "following", "cooldown", "phone_attempts", "import_running", "key_in_use", "key_conflict",
    "doubt_settling", "lookup_refused", "timeout", "connect_failed", "reset", "unreadable_answer", "server_timeout", "sandbox_quota",
    "file_unavailable", "redriven",
}  # fmt: skip


def test_no_published_code_is_renamed_or_gone() -> None:
    assert set(PUBLISHED.split()) - set(ErrorCode) == set()


def test_the_schema_of_results_lists_the_types() -> None:
    assert set(SCHEMA["type"]["enum"]) == set(ErrorType)


@pytest.mark.parametrize("code", ErrorCode)
def test_a_row_is_whole(code: ErrorCode) -> None:
    assert CODE_FORM.fullmatch(code)
    assert SCHEMA["code"]["pattern"] == f"^{CODE_FORM.pattern}$"
    assert code.meaning
    for text in (code.meaning, code.remedy):
        assert text == text.strip(" .;"), "a part of a sentence, which others put together"
        assert "|" not in text, "it stands in a table"
    assert counted_as(code) == (code if code.waits else None)
    assert code.types or code.kind in {CodeKind.ACCOUNT, CodeKind.WAIT, CodeKind.HELD, CodeKind.MEDIA}, (
        "holds a request up, or is told in an output"
    )


def test_rows_name_the_limits_that_hold() -> None:
    for code, limit in {
        ErrorCode.TOO_LARGE: f"{VALUE_BYTES_MAX:_}".replace("_", " "),
        ErrorCode.KEY_TOO_LARGE: f"{KEY_BYTES_MAX:_}".replace("_", " "),
        ErrorCode.TOO_MANY_VALUES: str(TOKENS_MAX),
        ErrorCode.TOO_DEEP: str(DEPTH_MAX),
        ErrorCode.NUMBER_TOO_LONG: str(_NUMBER_CHARS_MAX),
    }.items():
        assert f" {limit} " in code.meaning, code


def test_what_metrics_have_counted_so_far_keeps_its_label() -> None:
    assert COUNTED - {counted_as(code) for code in ErrorCode} == set()


@pytest.mark.parametrize("kind", ErrorType)
def test_every_type_has_its_codes_and_its_message(kind: ErrorType) -> None:
    assert any(kind in code.types for code in ErrorCode)
    assert kind.message == f"{kind.meaning}; {kind.remedy}."


@pytest.mark.parametrize(
    ("code", "label"),
    [
        ("http_503", "http_5xx"),
        (http_code(429), "http_4xx"),
        ("throttled", "throttled"),
        ("not_json", None),
        ("http_9zz", None),
        ("http_5031", None),
        ("phone_provider_unavailable", None),
        ("Zoë", None),
        ("", None),
    ],
)
def test_labels_of_codes_are_bounded(code: str, label: str | None) -> None:
    assert counted_as(code) == label


@given(st.text() | st.from_regex(CODE_FORM) | st.integers() | st.none())
def test_a_code_of_didits_is_a_short_word_or_none(named: object) -> None:
    found = didit_code(named)
    assert found is None or (found == named and CODE_FORM.fullmatch(found) and counted_as(found) in {None, *COUNTED})


def test_a_code_of_didits_is_taken_as_it_came() -> None:
    assert didit_code("phone_provider_unavailable") == "phone_provider_unavailable"
    assert [didit_code(named) for named in ("Ada Lovelace", "ada@example.org", "1st", "", "x" * 65, ["a"])] == [None] * 6
