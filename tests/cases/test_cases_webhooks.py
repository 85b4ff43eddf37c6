"""Field cases of the kind webhook-signature, and those of webhook-semantics that the receiver answers: W.., E05, E09, E10."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from receiving import Post, receiving

from processor.webhooks.receiver import ReceiverLimits

DATA = Path(__file__).parent / "data"


def case(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return found


async def play(post: Post, step: dict[str, Any]) -> dict[str, Any]:
    """Post one step, hold the answer to what the case expects of it, and give the last event."""
    given, expected = step["input"], step["expected"]
    assert (given["method"], given["path"]) == ("POST", "/webhooks/didit")
    body = base64.b64decode(given["body_b64"]) if "body_b64" in given else given["body"].encode()
    before, begin = len(post.topic.written), time.monotonic()
    status, _ = await post(body, dict(step["headers"]))
    assert time.monotonic() - begin < expected.get("within_s", 5)
    fits = {"2xx": status == 200, "4xx": 400 <= status < 500, "5xx": status >= 500, "401": status == 401, "not 5xx": status < 500}
    assert any(fits.get(one, str(status) == one) for one in expected["status"].split(" or ")), status
    if "published" in expected:
        assert len(post.topic.written) - before == int(expected["published"])
    return post.topic.written[-1][1] if post.topic.written else {}


async def replay(name: str) -> tuple[Post, list[dict[str, Any]]]:
    """Play all steps of a case against one receiver; its last events, one for each step."""
    found = case(name)
    async with receiving(now=lambda: found["clock"], secrets=tuple(found["secrets"])) as post:
        return post, [await play(post, step) for step in found["steps"]]


async def test_w01_names_arrive_code_point_by_code_point() -> None:
    expected = case("W01")["steps"][0]["expected"]["names"]
    _, (event,) = await replay("W01")
    (person,) = event["payload"]["decision"]["id_verifications"]
    assert [list(map(ord, person[field])) for field in expected] == [list(map(ord, text)) for text in expected.values()]


async def test_w04_empty_maps_and_lists_stay_what_they_are() -> None:
    _, (event,) = await replay("W04")
    assert event["verified_by"] == "v2"
    assert event["payload"]["decision"]["risk"] == {"list": [], "scores": {}}
    assert event["payload"] == json.loads(case("W04")["steps"][0]["input"]["body"])


async def test_w07_a_fresh_header_freshens_no_body_and_the_window_has_two_edges() -> None:
    post, _ = await replay("W07")
    assert [event["timestamp"] for _, event in post.topic.written] == [1764039710]
    assert post.counted("webhooks_refused") == {"stale": 2, "early": 1}


async def test_w08_the_signed_time_is_enough() -> None:
    _, (event,) = await replay("W08")
    assert event["timestamp"] == case("W08")["clock"]


async def test_w12_bytes_that_are_no_text_are_no_event() -> None:
    post, _ = await replay("W12")
    assert post.topic.written == []
    assert sum(post.counted("webhooks_refused").values()) == 3
    assert set(post.counted("webhooks_refused")) == {"not_json"}


async def test_w13_both_secrets_of_a_rotation_pass_and_are_counted() -> None:
    post, _ = await replay("W13")
    assert post.counted("webhook_secrets") == {"0": 1, "1": 1}
    assert post.counted("webhooks_refused") == {"bad_signature": 1}


async def test_w15_nothing_is_unpacked() -> None:
    await replay("W08")  # whatever the first delivery of a process costs
    before = _resident_bytes()
    post, _ = await replay("W15")
    assert _resident_bytes() - before < 16 * 2**20
    assert post.counted("webhooks_refused") == {"compressed": 2}


async def test_e05_events_of_strange_sessions_are_taken_and_told_once() -> None:
    post, events = await replay("E05")
    assert post.counted("webhooks") == {"published": 1, "duplicate": 2}, "three deliveries of one happening, each with its own event_id"
    assert [event["request_id"] for event in events] == [None] * 3


async def test_e09_nothing_is_acknowledged_while_the_broker_is_away() -> None:
    found = case("E09")
    async with receiving(now=lambda: found["clock"], secrets=tuple(found["secrets"])) as post:
        for mood, step in zip(("fails", "ok"), found["steps"], strict=True):
            post.topic.mood = mood
            await play(post, step)
        assert len(post.topic.written) == 1


async def test_e09_nothing_is_acknowledged_while_the_broker_hangs() -> None:
    found = case("E09")
    assert ReceiverLimits().answer_s <= 4, "Didit gives up after 5 s; here it is shorter, so that nobody waits for it"
    async with receiving(now=lambda: found["clock"], secrets=tuple(found["secrets"]), answer_s=0.3) as post:
        post.topic.mood = "hangs"
        await play(post, found["steps"][0])
        post.topic.go.set()
        await play(post, found["steps"][1])
        assert len(post.topic.written) == 1


async def test_e10_what_no_table_knows_passes_as_it_is() -> None:
    post, events = await replay("E10")
    sent = [json.loads(step["input"]["body"]) for step in case("E10")["steps"]]
    assert [(e["webhook_type"], e["status"]) for e in events] == [(b["webhook_type"], b["status"]) for b in sent]
    assert len(post.topic.written) == len(sent)
    assert post.counted("webhooks_unfamiliar") == {"status": 2, "webhook_type": 1}


def _resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("/proc is not here (Linux only): resident memory is read there")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
