"""What was valid stays valid. Lines may be added to the fixtures, never changed or removed."""

from __future__ import annotations

from pathlib import Path

import jsonschema_rs
import orjson
import pytest

from processor.contract.decode import Accepted, decode
from processor.contract.pauses import read_pause
from processor.contract.records import Record, Source
from processor.contract.repairs import read_repair
from processor.contract.schemas import operations

FIXTURES = Path(__file__).parent / "fixtures"
SCHEMAS = Path(__file__).parent.parent.parent / "schemas"


@pytest.mark.parametrize(
    "line", (FIXTURES / "requests.v1.jsonl").read_bytes().splitlines(), ids=lambda raw: orjson.loads(raw)["request_id"][:8]
)
def test_a_request_of_version_1_is_accepted(line: bytes) -> None:
    found = decode(Record(Source("t", 0, 0), None, line, (), 0))
    assert isinstance(found, Accepted), found


def test_every_operation_has_a_request_that_stays_valid() -> None:
    named = {orjson.loads(line)["operation"] for line in (FIXTURES / "requests.v1.jsonl").read_bytes().splitlines()}
    assert named == set(operations()), "add a request of each operation to the fixtures"


@pytest.mark.parametrize("line", (FIXTURES / "results.v1.jsonl").read_bytes().splitlines(), ids=lambda raw: orjson.loads(raw)["status"])
def test_a_result_of_version_1_fits_its_schema(line: bytes) -> None:
    jsonschema_rs.validate(orjson.loads((SCHEMAS / "result.v1.json").read_bytes()), orjson.loads(line))


@pytest.mark.parametrize("line", (FIXTURES / "events.v1.jsonl").read_bytes().splitlines(), ids=lambda raw: orjson.loads(raw)["status"])
def test_an_event_of_version_1_fits_its_schema(line: bytes) -> None:
    jsonschema_rs.validate(orjson.loads((SCHEMAS / "event.v1.json").read_bytes()), orjson.loads(line))


@pytest.mark.parametrize("line", (FIXTURES / "repairs.v1.jsonl").read_bytes().splitlines(), ids=lambda raw: orjson.loads(raw)["kind"])
def test_a_repair_of_version_1_is_read(line: bytes) -> None:
    jsonschema_rs.validate(orjson.loads((SCHEMAS / "repair.v1.json").read_bytes()), orjson.loads(line))
    assert read_repair(line) is not None


@pytest.mark.parametrize("line", (FIXTURES / "pauses.v1.jsonl").read_bytes().splitlines(), ids=lambda raw: orjson.loads(raw)["kind"])
def test_a_pause_of_version_1_is_read(line: bytes) -> None:
    jsonschema_rs.validate(orjson.loads((SCHEMAS / "pause.v1.json").read_bytes()), orjson.loads(line))
    assert read_pause(line) is not None
