"""What an event says, what it must not say, when two are one, and what is remembered of them."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import orjson
import pytest
from signing import NOW, SECRET, canonical, delivery, digest, signed

from processor.contract.schemas import schema_folder
from processor.settings.webhooks import ENVELOPE_BYTES_MAX
from processor.webhooks.dedup import EventDedup
from processor.webhooks.events import Event, build_event, semantic_key
from processor.webhooks.signatures import SignatureRefused, Verified, verify

SCHEMA = orjson.loads((schema_folder() / "event.v1.json").read_bytes())


def verified(members: dict[str, Any], only: str | None = None) -> Verified:
    body, headers = signed(members, only=only)
    found = verify(body, headers, [SECRET.encode()], members["timestamp"], tolerance_s=300, size_bytes_max=1 << 21)
    assert isinstance(found, Verified), found
    return found


def document(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(event.value)
    jsonschema_rs.validate(SCHEMA, found)
    return found


def test_an_event_holds_the_signed_payload_and_what_readers_need() -> None:
    members = delivery(decision={"name": "Zoë \u2028", "score": 1.0, "empty": {}, "list": []})
    event = build_event(verified(members))
    assert event.key == members["session_id"].encode()
    assert event.unfamiliar == ()
    meaning = semantic_key(verified(members))
    assert document(event) == {
        "schema_version": 1,
        "event_id": members["event_id"],
        "semantic_key": meaning,
        "webhook_type": "status.updated",
        "session_id": members["session_id"],
        "status": "Approved",
        "created_at": NOW - 4,
        "timestamp": NOW,
        "vendor_data": "user-1",
        "request_id": "req-1",
        "verified_by": "v2",
        "payload": members,
    }
    assert canonical(members) in event.value, "the payload is the signed text itself"
    assert members["session_id"] not in event.session
    raw = document(build_event(verified(members, "X-Signature")))
    assert (raw["verified_by"], raw["payload"]) == ("raw", members)


def test_after_simple_an_event_holds_four_fields() -> None:
    found = document(build_event(verified(delivery(), "X-Signature-Simple")))
    assert {name: value for name, value in found.items() if value is not None} == {
        "schema_version": 1,
        "semantic_key": found["semantic_key"],
        "webhook_type": "status.updated",
        "session_id": delivery()["session_id"],
        "status": "Approved",
        "timestamp": NOW,
        "verified_by": "simple",
    }


@pytest.mark.parametrize(
    ("changes", "unfamiliar"),
    [
        ({"status": "Kyc Expired"}, ()),
        ({"status": "approved"}, ("status",)),
        ({"status": "Resub Requested"}, ("status",)),
        ({"webhook_type": "session.archived"}, ("webhook_type",)),
        ({"webhook_type": "user.status.updated", "status": "BLOCKED", "session_id": ...}, ()),
        ({"webhook_type": ..., "status": ...}, ("webhook_type",)),
        ({"webhook_type": 7, "status": {"a": 1}, "session_id": 8, "event_id": [], "vendor_data": 1.5}, ("webhook_type",)),
    ],
)
def test_what_no_table_knows_passes_as_it_is_and_is_counted(changes: dict[str, Any], unfamiliar: tuple[str, ...]) -> None:
    members = delivery(**changes)
    event = build_event(verified(members))
    found = document(event)
    assert event.unfamiliar == unfamiliar
    assert found["payload"] == members
    for name in changes:
        assert found[name] == (members.get(name) if isinstance(members.get(name), str) else None)
    assert event.key == (members["session_id"].encode() if isinstance(members.get("session_id"), str) else None)


@pytest.mark.parametrize("metadata", [..., None, [], {}, {"vp_request_id": ""}, {"vp_request_id": 5}, {"vp_request_id": "x" * 129}])
def test_a_request_id_is_only_what_can_be_one(metadata: Any) -> None:
    assert document(build_event(verified(delivery(metadata=metadata))))["request_id"] is None


@pytest.mark.parametrize(
    ("created_at", "expected"),
    [
        (5, 5),
        (5.0, 5),
        ("2026-11-24T00:00:00Z", "2026-11-24T00:00:00Z"),
        (..., None),
        (None, None),
        (5.5, None),
        (True, None),
        (10**30, None),
    ],
)
def test_created_at_passes_where_it_is_a_time(created_at: Any, expected: Any) -> None:
    assert document(build_event(verified(delivery(created_at=created_at))))["created_at"] == expected


def test_an_envelope_is_small_whatever_its_fields_hold() -> None:
    worst = dict.fromkeys(("event_id", "webhook_type", "session_id", "status", "created_at", "vendor_data"), "\x01" * 1024)
    event = build_event(verified(delivery(**worst, metadata={"vp_request_id": "\x01" * 128})))
    found = document(event)
    assert found["status"] == "\x01" * 1024
    assert len(event.value) - len(orjson.dumps(found["payload"])) < ENVELOPE_BYTES_MAX
    longer = document(build_event(verified(delivery(status="x" * 1025))))
    assert longer["status"] is None
    assert longer["payload"]["status"] == "x" * 1025


def key(only: str | None = None, **changes: Any) -> str:
    return semantic_key(verified(delivery(**changes), only))


def test_a_repetition_has_the_same_meaning_under_another_event_id_and_time() -> None:
    assert key() == key(event_id="other", timestamp=NOW + 60) == key(only="X-Signature")
    assert key() == key(decision={"url": "signed again at each attempt"}), "a status says nothing but itself"
    data: dict[str, Any] = {"webhook_type": "data.updated", "decision": {"b": 1, "a": 2}}
    assert key(**data) == key(**data, event_id="other", timestamp=NOW + 60)


def test_different_happenings_have_different_meanings() -> None:
    data: dict[str, Any] = {"webhook_type": "data.updated", "decision": {"a": 1}}
    created: dict[str, Any] = {"webhook_type": "transaction.created", "session_id": ..., "transaction": "t1"}
    found = [
        key(),
        key(status="Declined"),
        key(session_id="other"),
        key(webhook_type="session.archived"),
        key(created_at=NOW - 3),
        key(created_at=...),
        key(created_at=..., timestamp=NOW + 1),
        key(only="X-Signature-Simple", timestamp=NOW + 30),
        key(only="X-Signature-Simple", timestamp=NOW + 60),
        key(**data),
        key(**data | {"decision": {"a": 2}}),
        key(**created),
        key(**created | {"transaction": "t2"}),
        key(session_id=..., workflow_version=4),
        key(session_id=..., workflow_version=5),
    ]
    assert len(set(found)) == len(found)


def test_the_meaning_of_an_event_is_the_same_for_ever() -> None:
    assert key() == "3ee98cc0e00db42989ec5f285d3a1c85"


def test_a_number_keeps_its_digits_as_long_as_a_double_can_hold_it() -> None:
    def received(number: bytes) -> object:
        body = canonical(delivery(webhook_type="data.updated"))[:-1] + b',"x":' + number + b"}"
        return verify(body, {"X-Signature": digest(body)}, [SECRET.encode()], NOW, tolerance_s=300, size_bytes_max=4096)

    found = received(b"9" * 300)
    assert isinstance(found, Verified)
    assert b'"x":999' in build_event(found).value
    for infinite in (b"1e400", b"9" * 400, b"-1e309"):
        refused = received(infinite)
        assert isinstance(refused, SignatureRefused)
        assert refused.code == "not_finite"


def test_the_memory_is_bounded_in_names_and_time() -> None:
    memory = EventDedup(names_max=3, keep_s=100)
    memory.remember(["a", "b"], 0)
    assert memory.knows(["x", "b"], 99)
    assert not memory.knows(["a", "b"], 100)
    assert not memory.knows(["x"], 0)
    memory.remember(["c"], 1)
    memory.remember(["a"], 2)
    memory.remember(["d"], 3)
    assert len(memory) == 3
    assert not memory.knows(["b"], 3)
    assert memory.knows(["a"], 101)
    assert memory.knows(["d"], -1000), "a clock that was set back"
