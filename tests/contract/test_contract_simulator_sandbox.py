"""Sandboxes: scenarios, arming, the quota. Numbers are sections of the facts."""

from __future__ import annotations

import re

import pytest
from didit_api import KEY, SANDBOX_KEY, WORKFLOW, Api, FrozenClock, api, until

from processor.simulator.config import Behaviour
from processor.simulator.messages import ApiRequest
from processor.simulator.scenarios import SCENARIOS

DOCUMENTED = [
    "approve",
    "decline_aml_hit",
    "decline_could_not_recognize_document",
    "decline_database_no_match",
    "decline_document_expired",
    "decline_face_match_low_similarity",
    "decline_ip_blocklist",
    "decline_kyb_registry_mismatch",
    "decline_liveness_attack",
    "decline_minimum_age",
    "decline_mrz_validation",
    "decline_nfc_chip_not_verified",
    "decline_poa_address_mismatch",
    "review_aml_possible_match",
    "review_face_match_borderline",
    "review_poa_partial_match",
    "lookup_partial_match",
    "lookup_no_match",
    "lookup_provider_error",
    "wallet_cancelled",
    "wallet_timeout",
    "wallet_provider_error",
]


async def test_7_the_catalogue_has_every_documented_scenario() -> None:
    async with api() as a:
        status, document, _ = await a.call("GET", "/v1/sandbox/scenarios/")
        assert (status, document["count"]) == (200, 22)
        assert [row["slug"] for row in document["scenarios"]] == DOCUMENTED


@pytest.mark.parametrize("slug", SCENARIOS)
async def test_7_a_scenario_fixes_the_outcome_once_the_flow_is_completed(slug: str) -> None:
    scenario = SCENARIOS[slug]
    async with api() as a:
        if scenario.array == "registry_checks":
            await a.control("workflows", {"business": [WORKFLOW]})
        session_id = (await a.create(key=SANDBOX_KEY, sandbox_scenario=slug))["session_id"]
        assert (await a.decision(session_id, key=SANDBOX_KEY))["status"] == "Not Started", "it is not completed yet"
        assert (await a.control(f"sessions/{session_id}/finish", {}))[1]["status"] == scenario.outcome
        document = await a.decision(session_id, key=SANDBOX_KEY)
        assert (document["status"], document["environment"]) == (scenario.outcome, "sandbox")
        if scenario.risk:
            assert document[scenario.array][0]["warnings"][0]["risk"] == scenario.risk
            assert scenario.feature in document["features"]


async def test_7_users_of_a_sandbox_end_as_the_scenario_says() -> None:
    async with api(behaviour=Behaviour(after_s=0.05, odds={"Approved": 1.0})) as a:
        session_id = (await a.create(key=SANDBOX_KEY, sandbox_scenario="decline_document_expired"))["session_id"]
        session = a.sim.sessions.get(session_id, 0)
        assert session is not None
        await until(lambda: session.status == "Declined", "the user")


async def arm(a: Api, session: dict[str, str], scenario: object, token: str | None = None) -> tuple[int, object]:
    headers = {"Session-Token": session["session_token"] if token is None else token}
    body = {"scenario": scenario} if scenario is not None else {}
    return (await a.call("POST", f"/v3/session/{session['session_id']}/sandbox/arm/", body, None, headers=headers))[:2]


async def test_7_a_session_is_armed_by_its_own_token_before_it_starts() -> None:
    async with api() as a:
        session = await a.create(key=SANDBOX_KEY)
        unknown = {"scenario": ["Unknown sandbox scenario: 'x'."]}
        assert await arm(a, session, "x") == (400, unknown)
        assert await arm(a, session, None) == (400, {"scenario": ["This field is required."]})
        assert (await arm(a, session, "approve", "wrong"))[0] == 403
        armed = {"session_id": session["session_id"], "scenario": "decline_aml_hit", "status": "Not Started"}
        assert await arm(a, session, "decline_aml_hit") == (200, armed)
        assert (await a.ledger())["calls"][-1]["scopes"] == [], "session tokens are exempt from the limits"
        assert (await a.control(f"sessions/{session['session_id']}/finish", {}))[1]["status"] == "Declined"
        late = ["Scenario can only be armed before the verification starts."]
        assert await arm(a, session, "approve") == (400, late)
        live = await a.create(key=KEY)
        assert (await arm(a, live, "approve"))[0] == 403, "sandboxes alone"


async def test_7_scenarios_of_a_create_are_checked() -> None:
    async with api() as a:
        body = {"workflow_id": WORKFLOW, "sandbox_scenario": "x"}
        assert (await a.call("POST", "/v3/session/", body, SANDBOX_KEY))[:2] == (
            400,
            {"sandbox_scenario": ["Unknown sandbox scenario: 'x'."]},
        )
        assert "sandbox_scenario" in (await a.call("POST", "/v3/session/", {**body, "sandbox_scenario": "approve"}, KEY))[1]


def create_request(a: Api, vendor: str) -> ApiRequest:
    match = re.fullmatch("", "")
    assert match is not None
    return ApiRequest(
        match=match,
        query={},
        body={"workflow_id": WORKFLOW, "vendor_data": vendor},
        now=a.sim.session_now(),
        base_url=a.url,
        key="",
        session=None,
        reference=None,
        idempotency_key=None,
        address="",
        session_token="",
        authorization="",
        application=a.sim.state.directory.sandbox,
    )


async def test_7_a_sandbox_is_free_and_has_500_creates_a_day() -> None:
    async with api(credits=0, clock=FrozenClock()) as a:
        for n in range(499):  # 499 of them without HTTP, which would take seconds
            a.sim.state.handlers["session.create"](create_request(a, f"u{n}"))
        for refused in ({}, {"workflow_id": "x"}, {"workflow_id": WORKFLOW, "sandbox_scenario": "x"}):
            assert (await a.call("POST", "/v3/session/", refused, SANDBOX_KEY))[0] == 400, "no session, so it does not count"
        await a.create("u0", key=SANDBOX_KEY)
        assert len(a.sim.ledger.reused) == 1, "none, either"
        await a.create("u499", key=SANDBOX_KEY)
        assert len(a.sim.ledger.sessions) == 500
        status, document, headers = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}, SANDBOX_KEY)
        assert status == 429
        words = "Sandbox session quota exceeded (500 sessions per 24h). Wait for the window to reset. Expected available in"
        assert document["detail"].startswith(words)
        assert headers["Retry-After"] == "86400"
        assert not [name for name in headers if name.lower().startswith("x-ratelimit")]
        assert {entry["environment"] for entry in a.sim.ledger.sessions} == {"sandbox"}
        assert (await a.call("GET", "/v3/billing/balance/"))[1]["balance"] == "0.0000", "they cost nothing"
        await a.advance(86_399)
        assert (await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}, SANDBOX_KEY))[0] == 429
        await a.advance(1)
        await a.create("later", key=SANDBOX_KEY)


@pytest.mark.parametrize("status", ["Approved", "Declined", "In Review", "Expired"])
async def test_7_a_sandbox_session_can_be_ended_without_its_user(status: str) -> None:
    async with api() as a:
        path = f"/v3/session/{(await a.create(key=SANDBOX_KEY))['session_id']}/simulate/"
        assert (await a.call("POST", path, {"new_status": status, "comment": "x"}, SANDBOX_KEY))[1]["status"] == status
        assert (await a.decision(path.split("/")[3], key=SANDBOX_KEY))["status"] == status
        assert (await a.call("POST", path, {"new_status": "Resubmitted"}, SANDBOX_KEY))[0] == 400
        live = f"/v3/session/{(await a.create())['session_id']}/simulate/"
        assert (await a.call("POST", live, {"new_status": status}))[0] == 403
