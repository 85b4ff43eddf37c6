"""The judge of every answer (``simulator_judge.py``), and what every route answers: to a wrong key, over its limit, for no session."""

from __future__ import annotations

import re
from typing import Any

import openapi
import pytest
from didit_api import UNKNOWN, WIDE, Api, api
from simulator_judge import OTHERWISE, judged_faults

from processor.simulator.config import RateLimit
from processor.simulator.routes import ROUTES, Route
from processor.simulator.scenarios import SCENARIOS

KEYED = [route for route in ROUTES if route.auth == "key"]
MEMBER = "POST /v3/email/send/"
SENT = {"request_id": UNKNOWN, "status": "Success", "reason": None, "vendor_data": None, "metadata": None}


def path_of(route: Route, session_id: str) -> str:
    """A path that the route answers."""
    text = (
        route.pattern.pattern.replace(r"(?P<version>v2|v3)", "v3")
        .replace(r"(?P<version>v1|v3)", "v3")
        .replace(r"(?P<version>v1|v2|v3)", "v3")
    )
    return re.sub(r"\(\?P<\w+>\[\^/\]\+\)", session_id, text)


async def ask(a: Api, route: Route, session_id: str, key: str) -> int:
    path = path_of(route, session_id)
    return (await (a.form(path, {}, key) if route.form == "only" else a.call(route.method, path, key=key)))[0]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"status": "Sent"}, '.status: "Sent" is not one of'),
        ({"request_id": 7}, '.request_id: 7 is not of type "string"'),
        ({"sent_at": "x"}, ".sent_at: not documented"),
        ({"reason": ...}, ".reason: missing"),
    ],
)
def test_a_wrong_an_unknown_and_a_missing_member_are_seen(change: dict[str, Any], fault: str) -> None:
    assert judged_faults("POST", "/v3/email/send/", 200, SENT) == []
    changed = {name: value for name, value in (SENT | change).items() if value is not ...}
    (found,) = judged_faults("POST", "/v3/email/send/", 200, changed)
    assert fault in found


def test_an_undocumented_status_and_a_page_instead_of_json_are_seen() -> None:
    assert judged_faults("POST", "/v3/email/send/", 418, {}) == [f"{MEMBER} 418 418 is not documented"]
    assert judged_faults("POST", "/v3/email/send/", 400, b"<html>") == [f"{MEMBER} 400 400 has another type of body"]
    assert judged_faults("GET", "/v1/sandbox/scenarios/", 418, {}) == [], "what the document has not, it does not judge"


def test_every_difference_on_purpose_has_its_reason_and_excuses_no_whole_document() -> None:
    for pattern, reason in OTHERWISE:
        assert len(reason) > 10
        assert not re.fullmatch(pattern, f"{MEMBER} 200 .status: missing"), pattern
    assert sum(openapi.endpoint(route.method, path_of(route, UNKNOWN)) is not None for route in KEYED) >= 40


async def test_every_route_refuses_a_wrong_key_and_calls_over_its_limit_as_documented() -> None:
    once = {name: RateLimit(1, 3600.0) for name in WIDE} | {name: RateLimit(1, 3600.0) for name in ("session-generate-pdf", "ingest-write")}
    async with api(limits={**once, "session-create": RateLimit(10), "generic-write": RateLimit(2, 3600.0)}) as a:
        session_id = (await a.create())["session_id"]
        for route in KEYED:
            assert await ask(a, route, session_id, "wrong") in {401, 403}, route.name
        for route in KEYED:
            await ask(a, route, session_id, "sim-sandbox-key")
        for route in KEYED[1:]:
            assert await ask(a, route, session_id, "sim-sandbox-key") == 429, route.name


async def test_every_route_of_a_session_answers_an_unknown_one_as_documented() -> None:
    async with api() as a:
        for route in KEYED:
            if route.has_session_id:
                assert await ask(a, route, UNKNOWN, "sim-key") == 404, route.name


@pytest.mark.parametrize("slug", sorted(SCENARIOS))
async def test_the_decision_and_the_row_of_every_scenario_are_whole(slug: str) -> None:
    async with api() as a:
        session_id = (await a.create(key="sim-sandbox-key", sandbox_scenario=slug))["session_id"]
        await a.control(f"sessions/{session_id}/finish", {})
        found = await a.decision(session_id, key="sim-sandbox-key")
        assert found["status"] == SCENARIOS[slug].outcome
        await a.call("GET", "/v3/sessions/", key="sim-sandbox-key")
