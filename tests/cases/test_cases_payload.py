"""Field cases of the kinds payload, retry-time (R10) and kyc-session (K09), replayed at the decoder."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from processor.contract.decode import Accepted, Rejected, decode
from processor.contract.records import Hop, Record, Source
from processor.didit.calls import build_call
from processor.didit.catalog import OPERATIONS

DATA = Path(__file__).parent / "data"


def records(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DATA / f"{name}.json").read_text())["records"]
    return found


def value_of(entry: dict[str, Any]) -> bytes | None:
    if "value_b64" in entry:
        return base64.b64decode(entry["value_b64"])
    text = entry["value"]
    encoded: bytes | None = None if text is None else text.encode("utf-8", "surrogatepass")
    return encoded


def sent(found: Accepted) -> dict[str, Any]:
    """What goes to Didit, without what we add."""
    body: dict[str, Any] = orjson.loads(
        build_call(OPERATIONS[found.request.operation], found.request, Hop(Source("t", 0, 0), 0)).body or b""
    )
    return {name: member for name, member in body.items() if name != "metadata"}


@pytest.mark.parametrize("name", ["J01", "J03", "J05", "J08", "J12"])
def test_each_record_ends_as_the_case_says(name: str) -> None:
    for number, entry in enumerate(records(name)):
        value = value_of(entry)
        found = decode(Record(Source("t", 0, number), b"user-1", value))
        expected = entry["expected"]["outcome"]
        if expected == "processed":
            assert isinstance(found, Accepted), (name, number, found)
        elif expected == "rejected" or "rejected;" in expected or expected.startswith("counted"):
            assert isinstance(found, Rejected), (name, number)
            assert found.error.message
        if isinstance(found, Accepted):  # whatever is taken goes out whole
            assert sent(found) == json.loads(value or b"")["input"]
            assert found.request.input == json.loads(value or b"")["input"]


def test_j01_names_the_path_of_the_half_surrogate() -> None:
    found = decode(Record(Source("t", 0, 0), None, value_of(records("J01")[0])))
    assert isinstance(found, Rejected)
    assert (found.error.code, found.error.field) == ("lone_surrogate", "input.full_name")
    assert found.request_id == "j01"


def test_j12_says_what_the_five_bytes_are() -> None:
    found = decode(Record(Source("t", 0, 0), None, value_of(records("J12")[0])))
    assert isinstance(found, Rejected)
    assert found.error.code == "framed"
    assert "schema registry" in found.error.message


@pytest.mark.parametrize("name", ["J10", "J13"])
def test_names_go_out_code_point_by_code_point(name: str) -> None:
    for entry in records(name):
        found = decode(Record(Source("t", 0, 0), None, value_of(entry)))
        assert isinstance(found, Accepted), found
        assert sent(found)["full_name"] == entry["expected"]["sent_unchanged"]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "America/Vancouver"])
def test_r10_offsets_decide_whatever_the_zone_of_the_process(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for entry in records("R10"):
            found = decode(Record(Source("t", 0, 0), None, value_of(entry)))
            if "deadline_epoch" in entry["expected"]:
                assert isinstance(found, Accepted)
                assert found.request.deadline_ms == entry["expected"]["deadline_epoch"] * 1000
            else:
                assert isinstance(found, Rejected)
                assert found.error.field == entry["expected"]["path"]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("zone", ["America/Vancouver", "Pacific/Kiritimati", "UTC"])
def test_k09_a_birth_date_stays_the_same_text_in_every_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for day in ("2000-01-01", "1999-12-31", "2000-02-29", "1900-01-01"):
            what = {"full_name": "Ann", "date_of_birth": day}
            found = decode(Record(Source("t", 0, 0), None, orjson.dumps({"request_id": "k09", "operation": "aml", "input": what})))
            assert isinstance(found, Accepted), found
            assert sent(found) == what
    finally:
        monkeypatch.undo()
        time.tzset()
