"""What is shown of a request: its shape, none of its values."""

from __future__ import annotations

import time

import orjson

from processor.contract.redaction import masked_request


def test_redaction_keeps_the_shape_of_a_request_and_no_values() -> None:
    document = {
        "request_id": "No",
        "operation": "session.create",
        "priority": "bulk",
        "deadline": "2027-01-31T12:00:00Z",
        "surprise": "secret",
        "input": {
            "workflow_id": "secret",
            "expected_details": {"first_name": "secret", "secret": ["secret", {"secret": 5}]},
            "metadata": {"secret": None, "secret2": "secret"},
        },
    }
    shown = masked_request(orjson.dumps(document))
    assert shown == {
        "request_id": "No",
        "operation": "session.create",
        "priority": "bulk",
        "deadline": "2027-01-31T12:00:00Z",
        "***": "***",
        "input": {
            "workflow_id": "***",
            "expected_details": {"first_name": "***", "***": ["***", {"***": "***"}]},
            "metadata": {"***": "***", "*** 2": "***"},
        },
    }
    odd = masked_request(b'{"request_id": ["secret"], "priority": "secret", "deadline": 5, "operation": {"secret": 1}, "input": "secret"}')
    assert odd == {"request_id": "***", "priority": "***", "deadline": "***", "operation": "***", "input": "***"}
    for unreadable in (None, b"", b"[1]", b"{"):
        assert masked_request(unreadable) is None


def test_redaction_of_very_many_names_is_quick_or_refused() -> None:
    for count, shown in ((500, True), (20_000, False)):  # names with three below each: within a request's TOKENS_MAX, and far beyond
        many = {f"name {n}": {f"name {m}": 1 for m in range(3)} for n in range(count)}
        for document in (many, {"operation": "aml", "input": many}, {"input": {"list": [many]}}):
            began = time.process_time()
            assert (masked_request(orjson.dumps(document)) is not None) is shown
            assert time.process_time() - began < 5.0, "in a quadratic time it takes minutes"
