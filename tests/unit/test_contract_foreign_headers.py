"""Results as CloudEvents, dead letters under the names of Spring and Kafka Connect: by setting, byte for byte as those tools read them."""

from __future__ import annotations

import struct

import orjson
import pytest
from pydantic import ValidationError

from processor.contract import schemas
from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.dead_letters import read_reason
from processor.contract.decode import Rejected, decode
from processor.contract.foreign_headers import DeadLetterDialect, dead_letter_headers
from processor.contract.records import ErrorInfo, Hop, Output, Record, Source
from processor.contract.result_copies import result_copy
from processor.engine.outputs import OutputBuilder
from processor.settings import RetrySettings
from processor.settings.lanes import LaneSettings

ASKED = Source("v.requests", 2, 77)
NOW_MS = 1_700_000_000_000


def refused(lanes: LaneSettings) -> list[Output]:
    """What becomes of a request without an input: a result and a dead letter."""
    record = Record(ASKED, b"k", b'{"request_id": "r-1", "operation": "aml"}', timestamp_ms=NOW_MS)
    bad = decode(record)
    assert isinstance(bad, Rejected)
    return OutputBuilder(lanes, RetrySettings()).rejected(record, bad, NOW_MS + 5)


def test_without_the_settings_there_are_none() -> None:
    result, dead_letter = refused(LaneSettings())
    assert result.headers == ()
    assert all(name.startswith("vp-") for name, _ in dead_letter.headers)


def test_a_result_is_a_cloudevent_and_a_copy_the_same_one() -> None:
    result = refused(LaneSettings(cloudevents_source="/kyc/eu"))[0]
    document = orjson.loads(result.value or b"")
    told = {name: (raw or b"").decode() for name, raw in result.headers}
    assert told == {
        "ce_specversion": "1.0",
        "ce_id": document["result_id"],
        "ce_source": "/kyc/eu",
        "ce_type": "verification.result.final",
        "ce_time": "2023-11-14T22:13:20.005Z",
        "ce_dataschema": "urn:verification-processor:result.v1",
        "content-type": "application/json",
    }
    assert schemas.faults("result-headers.v1", told) == []
    copy = result_copy("r-1", result.value or b"", 2, ASKED, (), cloudevents_source="/kyc/eu")
    assert copy.headers == (("vp-copy-for", b"v.requests[2]@77"), *result.headers)
    assert result_copy("r-1", b"whatever", 2, ASKED, ()).headers == (("vp-copy-for", b"v.requests[2]@77"),)


def test_a_dead_letter_says_its_reason_as_spring_and_connect_do() -> None:
    dead_letter = refused(LaneSettings(dead_letter_headers=("spring", "connect")))[1]
    headers = {name: raw or b"" for name, raw in dead_letter.headers}
    assert headers["kafka_dlt-original-topic"] == headers["__connect.errors.topic"] == b"v.requests"
    assert struct.unpack(">i", headers["kafka_dlt-original-partition"]) == (2,)
    assert struct.unpack(">q", headers["kafka_dlt-original-offset"]) == (77,)
    assert struct.unpack(">q", headers["kafka_dlt-original-timestamp"]) == (NOW_MS,)
    assert (headers["__connect.errors.partition"], headers["__connect.errors.offset"]) == (b"2", b"77")
    assert headers["kafka_dlt-exception-fqcn"] == headers["__connect.errors.exception.class.name"] == b"verification.invalid_request"
    assert headers["kafka_dlt-exception-message"] == headers["__connect.errors.exception.message"] == b"missing_field: input is missing"
    assert schemas.faults("dead-letter-headers.v1", {name: raw.decode("latin-1") for name, raw in headers.items()}) == []
    without = refused(LaneSettings())[1]
    assert read_reason(Record(ASKED, dead_letter.key, dead_letter.value, dead_letter.headers)) == read_reason(
        Record(ASKED, without.key, without.value, without.headers)
    ), "ours are read as before"


@pytest.mark.parametrize(("dialect", "prefix"), [("spring", "kafka_dlt-"), ("connect", "__connect.errors.")])
def test_each_comes_alone(dialect: DeadLetterDialect, prefix: str) -> None:
    dead_letter = refused(LaneSettings(dead_letter_headers=(dialect,)))[1]
    assert {name for name, _ in dead_letter.headers if not name.startswith("vp-")}
    assert all(name.startswith(("vp-", prefix)) for name, _ in dead_letter.headers)


def test_numbers_that_a_caller_made_up_are_cut_to_what_fits() -> None:
    hop = Hop(first=Source("t", 10**18, 10**19 - 1), first_ms=-1)
    found = dict(dead_letter_headers(hop, ErrorInfo(ErrorType.INVALID_REQUEST, ErrorCode.NOT_JSON, ""), "", ["spring"]))
    assert struct.unpack(">i", found["kafka_dlt-original-partition"] or b"") == (2**31 - 1,)
    assert struct.unpack(">q", found["kafka_dlt-original-offset"] or b"") == (2**63 - 1,)
    assert struct.unpack(">q", found["kafka_dlt-original-timestamp"] or b"") == (0,)


@pytest.mark.parametrize("values", [{"cloudevents_source": "two words"}, {"cloudevents_source": "ü"}, {"dead_letter_headers": ["rabbit"]}])
def test_a_setting_that_no_reader_would_understand_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LaneSettings.model_validate(values)
