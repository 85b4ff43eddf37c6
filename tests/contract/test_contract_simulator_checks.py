"""Standalone checks: bodies, outcomes, bills, what is kept. Numbers are sections of the facts."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from didit_api import SANDBOX_KEY, Api, api, until

GOOD = b"\xff\xd8\xff image"
MB = 1024 * 1024
PATHS = {
    "id_verification": "/v3/id-verification/",
    "passive_liveness": "/v3/passive-liveness/",
    "face_match": "/v3/face-match/",
    "face_search": "/v3/face-search/",
    "age_estimation": "/v3/age-estimation/",
    "poa": "/v3/poa/",
    "document_ai": "/v3/document-ai/",
}
FILES = {
    "id_verification": ("front_image",),
    "passive_liveness": ("user_image",),
    "face_match": ("user_image", "ref_image"),
    "face_search": ("user_image",),
    "age_estimation": ("user_image",),
    "poa": ("document",),
    "document_ai": ("document",),
}
NEEDED = {"document_ai": {"fields": "[]"}}
MEMBERS = {"passive_liveness": "liveness"}
LIMITS_MB = {"id_verification": 10, "poa": 15, "document_ai": 30}


async def check(a: Api, name: str, raw: bytes = GOOD, key: str = "sim-key", **fields: str) -> Any:
    status, document, _ = await a.form(PATHS[name], NEEDED.get(name, {}) | fields, key, **dict.fromkeys(FILES[name], raw))
    assert status == 200, document
    return document[MEMBERS.get(name, name)]


@pytest.mark.parametrize("name", PATHS)
async def test_2_5_a_check_by_files_answers_at_once_in_the_common_envelope(name: str) -> None:
    async with api() as a:
        fields = {"vendor_data": "u", "metadata": '{"m": [1]}', **NEEDED.get(name, {})}
        status, document, _ = await a.form(PATHS[name], fields, **dict.fromkeys(FILES[name], GOOD))
        assert status == 200
        assert set(document) == {"request_id", MEMBERS.get(name, name), "vendor_data", "metadata", "created_at"}
        assert document[MEMBERS.get(name, name)]["status"] == "Approved"
        assert (document["vendor_data"], document["metadata"]) == ("u", {"m": [1]})
        (entry,) = a.sim.ledger.checks
        assert (entry["operation"], entry["credits"], entry["reference"]) == (name, 1, "ref.0")
        assert entry["request_id"] == document["request_id"]


@pytest.mark.parametrize("name", PATHS)
async def test_2_5_files_are_required_and_bounded(name: str) -> None:
    async with api() as a:
        file = FILES[name][-1]
        others, fields = dict.fromkeys(FILES[name][:-1], GOOD), NEEDED.get(name, {})
        assert (await a.form(PATHS[name], fields, **others))[:2] == (400, {file: ["No file was submitted."]})
        assert (await a.form(PATHS[name], {file: "text"}, **others))[0] == 400
        assert (await a.form(PATHS[name], fields, **others, **{file: b""}))[:2] == (400, {file: ["The submitted file is empty."]})
        most = LIMITS_MB.get(name, 5)
        status, document, _ = await a.form(PATHS[name], fields, **others, **{file: b"x" * (most * MB + 1)})
        assert (status, list(document)) == (400, [file])
        assert document == {file: [f"File size should not exceed {most} MB"]}
        assert (await a.form(PATHS[name], fields, **others, **{file: b"x" * (most * MB)}))[0] == 200
        assert len(a.sim.ledger.checks) == 1, "a refusal costs nothing"


@pytest.mark.parametrize(("name", "risk"), [(n, r) for n, r in (("id_verification", "DOCUMENT_EXPIRED"), ("poa", "POA_DOCUMENT_EXPIRED"))])
async def test_2_5_a_decline_is_a_200_and_is_billed(name: str, risk: str) -> None:
    async with api() as a:
        found = await check(a, name, b"..DECLINE..")
        assert (found["status"], found["warnings"][0]["risk"], found["warnings"][0]["log_type"]) == ("Declined", risk, "error")
        assert [entry["credits"] for entry in a.sim.ledger.checks] == [1]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("id_verification", "COULD_NOT_RECOGNIZE_DOCUMENT"),
        ("poa", ["Error extracting POA information"]),
        ("document_ai", ["Error extracting Document AI information"]),
    ],
)
async def test_2_5_a_document_that_cannot_be_recognized_is_a_400_and_free(name: str, error: Any) -> None:
    async with api() as a:
        status, document, _ = await a.form(PATHS[name], NEEDED.get(name, {}), **dict.fromkeys(FILES[name], b"..UNREADABLE.."))
        assert (status, document) == (400, {"error": error})
        assert a.sim.ledger.checks == []


@pytest.mark.parametrize(
    ("name", "threshold", "at", "status"),
    [
        ("face_match", "face_match_score_decline_threshold", "30", "Declined"),  # approved only strictly above
        ("face_match", "face_match_score_decline_threshold", "29", "Approved"),
        ("passive_liveness", "face_liveness_score_decline_threshold", "30", "Approved"),
        ("passive_liveness", "face_liveness_score_decline_threshold", "31", "Declined"),
    ],
)
async def test_2_5_scores_decide_against_the_threshold(name: str, threshold: str, at: str, status: str) -> None:
    async with api() as a:
        found = await check(a, name, b"SCORE=30", **{threshold: at})
        assert (found["status"], found["score"]) == (status, 30.0)
        assert bool(found["warnings"]) == (status == "Declined")
        assert (await check(a, name))["status"] == "Approved"
        assert (await check(a, name, b"DECLINE"))["status"] == "Declined", "the documented threshold is 30"
        assert (await check(a, name, b"NOFACE"))["score"] is None
        for wrong in ("101", "-1", "high"):
            assert (await a.form(PATHS[name], {threshold: wrong}, **dict.fromkeys(FILES[name], GOOD)))[0] == 400


async def test_2_5_an_age_below_the_threshold_declines() -> None:
    async with api() as a:
        young = await check(a, "age_estimation", b"AGE=17")
        assert (young["status"], young["age_estimation"], young["warnings"][0]["risk"]) == ("Declined", 17.0, "AGE_BELOW_MINIMUM")
        assert (await check(a, "age_estimation", b"AGE=18"))["status"] == "Approved"
        assert (await check(a, "age_estimation", b"AGE=18", age_estimation_decline_threshold="21"))["status"] == "Declined"
        assert (await check(a, "age_estimation", b"NOFACE"))["age_estimation"] is None
        assert (await check(a, "id_verification", b"AGE=17", minimum_age="18"))["status"] == "Declined"


async def test_2_5_a_risk_declines_only_if_its_action_says_so() -> None:
    async with api() as a:
        found = await check(a, "id_verification", b"RISK:invalid_mrz")
        assert (found["status"], found["warnings"][0]["log_type"]) == ("Approved", "information")
        assert (await check(a, "id_verification", b"RISK:invalid_mrz", invalid_mrz_action="DECLINE"))["status"] == "Declined"
        assert (await check(a, "id_verification", b"SCREEN", perform_document_liveness="true"))["status"] == "Declined"
        assert (await check(a, "id_verification", b"SCREEN"))["status"] == "Approved"
        wrong = {"invalid_mrz_action": "EXPLODE"}
        assert (await a.form(PATHS["id_verification"], wrong, front_image=GOOD))[:2] == (
            400,
            {"invalid_mrz_action": ['"EXPLODE" is not a valid choice.']},
        )


async def test_2_5_a_face_search_names_at_most_five_and_declines_the_listed() -> None:
    async with api() as a:
        found = await check(a, "face_search", b"MATCH" * 9)
        assert (found["status"], found["total_matches"], len(found["matches"])) == ("Approved", 5, 5), "OpenAPI: never in review"
        assert [(one["risk"], one["feature"], one["log_type"]) for one in found["warnings"]] == [
            ("DUPLICATED_FACE", "LIVENESS", "information")
        ]
        nobody = {"error": "No face detected in the image"}
        assert (await a.form(PATHS["face_search"], user_image=b"NOFACE"))[:2] == (400, nobody)
        listed = await check(a, "face_search", b"BLOCKLISTED", search_type="blocklisted_or_approved")
        assert (listed["status"], listed["matches"][0]["is_blocklisted"]) == ("Declined", True)
        assert (await a.form(PATHS["face_search"], {"search_type": "all"}, user_image=GOOD))[0] == 400


async def test_2_5_an_address_is_only_held_against_what_was_expected() -> None:
    async with api() as a:
        assert (await check(a, "poa", b"MISMATCH"))["status"] == "Approved"
        assert (await check(a, "poa", b"MISMATCH", expected_address="Main Street 1"))["status"] == "Declined"
        doubted = await check(a, "poa", b"REVIEW")
        assert (doubted["status"], doubted["warnings"][0]["feature"]) == ("Approved", "PROOF_OF_ADDRESS"), "OpenAPI: never in review"


async def test_2_5_document_ai_reads_the_fields_asked_for() -> None:
    async with api() as a:
        found = await check(a, "document_ai", fields='[{"key":"total","type":"number"},{"key":"who","is_full_name":true}]')
        assert found["extracted_data"] == {"total": 7, "who": "simulated"}
        assert [(field["key"], field["type"], field["is_full_name"]) for field in found["fields"]] == [
            ("total", "number", False),
            ("who", "text", True),
        ]
        assert (found["name_match_score"], found["name_on_document"]) == (None, "Simulated Pérson")
        assert (await check(a, "document_ai", fields='[{"key":"when","type":"date"}]'))["extracted_data"] == {"when": "2026-09-01"}
        assert (await check(a, "document_ai", b"REVIEW"))["status"] == "In Review"
        assert (await check(a, "document_ai", b"DECLINE"))["status"] == "Declined"
        for wrong in ("{", '{"total":{}}', '[{"key":"a"},{"key":"a"}]', "7"):
            assert (await a.form(PATHS["document_ai"], {"fields": wrong}, document=GOOD))[0] == 400


@pytest.mark.parametrize("save", [None, "true", "false"])
async def test_2_5_a_check_is_kept_as_a_session_unless_the_caller_says_no(save: str | None) -> None:
    async with api() as a:
        fields = {"vendor_data": "u", **({"save_api_request": save} if save else {})}
        document = (await a.form(PATHS["face_match"], fields, user_image=b"DECLINE", ref_image=GOOD))[1]
        status, kept, _ = await a.call("GET", f"/v3/session/{document['request_id']}/decision/?include=events")
        if save == "false":
            assert status == 404
            return
        assert (status, kept["status"], kept["session_type"], kept["api_service"]) == (200, "Declined", "API", "FACE_MATCH")
        assert kept["face_matches"][0]["score"] == document["face_match"]["score"]
        assert (kept["vendor_data"], kept["workflow_id"]) == ("u", None)
        assert (await a.decision(document["request_id"], "v2"))["face_match"]["status"] == "Declined"
        rows = (await a.call("GET", "/v3/sessions/?vendor_data=u&session_type=API"))[1]["results"]
        assert [row["session_id"] for row in rows] == [document["request_id"]]
        assert (await a.call("GET", "/v3/sessions/?session_type=HOSTED"))[1]["count"] == 0
        assert (await a.create("u"))["status"] == "Not Started", "it is never handed out as a session to finish"


async def database(a: Api, **body: Any) -> tuple[int, Any]:
    members = {"issuing_state": "ESP", "identification_number": "12345678Z", **body}
    return (await a.post("/v3/database-validation/", {name: value for name, value in members.items() if value is not None}))[:2]


async def test_2_5_a_database_validation_matches_wholly_partly_or_not() -> None:
    async with api() as a:
        for word, match, outcome in (
            ("Ann", "full_match", "Approved"),
            ("PARTIAL", "partial_match", "In Review"),
            ("NOMATCH", "no_match", "Declined"),
        ):
            status, document = await database(a, first_name=word, services=["esp_dni"])
            found = document["database_validation"]
            assert (status, found["status"], found["match_type"]) == (200, outcome, match)
            assert "errors" not in found, "absent when empty"
            assert [(one["service_id"], set(one["validation"].values())) for one in found["validations"]] == [("esp_dni", {match})]
            assert found["services_used"] == ["esp_dni"]
            stateless = (await database(a, first_name=word, save_api_request=False))[1]["database_validation"]
            assert set(stateless["validations"].values()) == {match}
            assert "services_used" not in stateless, "with services alone"
        assert [entry["credits"] for entry in a.sim.ledger.checks] == [1] * 6


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ({"issuing_state": None}, "issuing_state"),
        ({"issuing_state": "ES"}, "error"),
        ({"issuing_state": "XXX"}, "error"),
        ({"identification_number": None}, "error"),
        ({"services": "esp_dni"}, "services"),
        ({"services": ["esp_consent"]}, "consent"),
    ],
)
async def test_2_5_a_database_validation_that_cannot_run_is_a_400_and_free(body: dict[str, Any], member: str) -> None:
    async with api() as a:
        status, document = await database(a, **body)
        assert (status, next(iter(document))) == (400, member)
        assert (await database(a, services=["esp_consent"], consent=True))[0] == 200
        assert len(a.sim.ledger.checks) == 1


async def test_2_5_providers_that_fail_are_named_service_by_service_and_free() -> None:
    async with api() as a:
        for word, code, retryable, expected in (
            ("PROVIDERDOWN", "empty_provider_response", True, 502),
            ("REJECTED", "provider_rejected_input", False, 400),
        ):
            status, document = await database(a, last_name=word, services=["one", "two"])
            assert (status, set(document)) == (expected, {"error", "validation_errors"})
            errors = [(error["service_id"], error["code"], error["retryable"]) for error in document["validation_errors"]]
            assert errors == [("one", code, retryable), ("two", code, retryable)]
        assert a.sim.ledger.checks == []
        status, document = await database(a, services=["one", "two_down"])
        assert status == 200, "one of them answered"
        assert [error["service_id"] for error in document["database_validation"]["errors"]] == ["two_down"]
        form = {"issuing_state": "ESP", "identification_number": "1", "services": '["one"]'}
        assert (await a.form("/v3/database-validation/", form))[0] == 200, "a form is taken too"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v3/email/risk/", {"email": "ann@example.com"}, "Approved"),
        ("/v3/email/risk/", {"email": "breached@example.com"}, "In Review"),
        ("/v3/email/risk/", {"email": "disposable@example.com"}, "Declined"),
        ("/v3/phone/risk/", {"phone_number": "+34600000003"}, "Approved"),
        ("/v3/phone/risk/", {"phone_number": "+34600000002"}, "In Review"),
        ("/v3/phone/risk/", {"phone_number": "+34600000001"}, "Declined"),
        ("/v3/ip/risk/", {"ip_address": "203.0.113.7", "claimed_country": "ESP"}, "Approved"),
        ("/v3/ip/risk/", {"ip_address": "203.0.113.7", "claimed_country": "FRA"}, "In Review"),
        ("/v3/ip/risk/", {"ip_address": "198.51.100.1"}, "In Review"),
    ],
)
async def test_2_5_a_risk_has_its_status_twice_and_is_always_kept(path: str, body: dict[str, Any], status: str) -> None:
    async with api() as a:
        code, document, _ = await a.post(path, {**body, "vendor_data": "u", "save_api_request": False})
        member = path.split("/")[2]
        assert (code, document["status"], document[member]["status"]) == (200, status, status)
        assert (await a.decision(document["request_id"]))["status"] == status
        assert [entry["operation"] for entry in a.sim.ledger.checks] == [f"{member}.risk"]


@pytest.mark.parametrize(
    ("path", "bodies"),
    [
        ("/v3/email/risk/", [{}, {"email": "nobody"}, {"email": 7}]),
        ("/v3/phone/risk/", [{}, {"phone_number": "0034600"}, {"phone_number": "+0123456789"}]),
        ("/v3/ip/risk/", [{}, {"ip_address": "localhost"}, {"ip_address": 7}]),
    ],
)
async def test_2_5_a_risk_needs_a_right_identifier(path: str, bodies: list[Any]) -> None:
    async with api() as a:
        for body in bodies:
            status, document, _ = await a.post(path, body)
            assert (status, len(document)) == (400, 1)
        assert a.sim.ledger.checks == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({}, {"full_name": ["This field is required."]}),
        ({"full_name": "A"}, {"full_name": ["Ensure this field has at least 2 characters."]}),
        ({"full_name": "Ann", "entity_type": "dog"}, {"entity_type": ['"dog" is not a valid choice.']}),
        (
            {"full_name": "Ann", "aml_name_weight": 50},
            {"error": ["AML weights must sum to 100. Current sum: 90 (name: 50, dob: 25, country: 15)"]},
        ),
        (
            {"full_name": "Ann", "aml_score_approve_threshold": 90, "aml_score_review_threshold": 80},
            {"error": ["Approve threshold (90.0) cannot be greater than review threshold (80.0)"]},
        ),
        ({"full_name": "Ann", "nationality": "ESP"}, {"nationality": ["Invalid ISO 3166-1 alpha-2 country code."]}),
        (
            {"full_name": "Ann", "include_ongoing_monitoring": True, "save_api_request": False},
            {"error": ["Ongoing monitoring can only be enabled when the API request is saved."]},
        ),
    ],
)
async def test_2_5_a_wrong_aml_body_is_a_400_and_costs_nothing(body: Any, fault: Any) -> None:
    async with api() as a:
        assert (await a.post("/v3/aml/", body, "k"))[:2] == (400, fault)
        assert (await a.post("/v3/aml/", {"full_name": "Ann"}, "k"))[0] == 200, "a refused call does not use its key up"
        assert len(a.sim.ledger.checks) == 1


@pytest.mark.parametrize(
    ("body", "status", "hits"),
    [
        ({"full_name": "Ann"}, "Approved", 0),
        ({"full_name": "Ann Hit"}, "In Review", 1),
        ({"full_name": "Ann Hit", "aml_score_approve_threshold": 50, "aml_score_review_threshold": 80}, "Declined", 1),
    ],
)
async def test_2_5_a_decline_of_aml_is_a_200(body: Any, status: str, hits: int) -> None:
    async with api() as a:
        code, document, _ = await a.post("/v3/aml/", {**body, "vendor_data": "u", "metadata": {"m": 1}})
        assert code == 200
        assert set(document) == {"request_id", "aml", "vendor_data", "metadata", "created_at"}
        assert (document["aml"]["status"], document["aml"]["total_hits"]) == (status, hits)
        assert (document["vendor_data"], document["metadata"]) == ("u", {"m": 1})


async def test_6_6_an_idempotency_key_is_answered_from_the_first_call_and_billed_once() -> None:
    async with api() as a:
        first = await a.post("/v3/aml/", {"full_name": "Ann"}, "k")
        assert (await a.post("/v3/aml/", {"full_name": "Ann"}, "k"))[:2] == first[:2]
        assert len(a.sim.ledger.checks) == 1
        assert (await a.post("/v3/aml/", {"full_name": "Bob"}, "k"))[0] == 409, "another body"
        assert (await a.post("/v3/aml/", {"full_name": "Ann"}, "other"))[1]["request_id"] != first[1]["request_id"]
        assert (await a.post("/v3/aml/", {"full_name": "Ann"}))[0] == 200
        assert (await a.post("/v3/aml/", {"full_name": "Ann"}, "k" * 256))[0] == 400
        assert [c["operation"] for c in a.sim.ledger.document()["checks"]] == ["aml"] * 3
        assert a.sim.ledger.checks[0]["reference"] == "ref.0"


async def test_6_6_an_idempotency_key_is_of_the_application_whatever_its_api_key() -> None:
    async with api() as a:
        first = await a.post("/v3/aml/", {"full_name": "Ann"}, "k")
        await a.call("POST", "/_sim/api-keys", {"keys": ["rotated"]}, None)
        assert (await a.post("/v3/aml/", {"full_name": "Ann"}, "k", "rotated"))[:2] == first[:2]
        assert (await a.post("/v3/aml/", {"full_name": "Ann"}, "k", SANDBOX_KEY))[1]["request_id"] != first[1]["request_id"]
        assert [check["credits"] > 0 for check in a.sim.ledger.checks] == [True, False]


async def test_6_6_a_key_whose_call_is_running_is_a_409_with_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = asyncio.Event()

    async def latency(_delay_s: float) -> None:
        await answered.wait()

    async with api() as a:
        monkeypatch.setattr("processor.simulator.app.asyncio", SimpleNamespace(sleep=latency))  # the latency ends when the test says so
        running_call = asyncio.create_task(a.post("/v3/aml/", {"full_name": "Ann"}, "k"))
        await until(lambda: len(a.sim.ledger.calls) == 1, "the first call")
        status, _, headers = await a.post("/v3/aml/", {"full_name": "Ann"}, "k")
        assert (status, headers["Retry-After"]) == (409, "2")
        answered.set()
        assert (await running_call)[0] == 200
        assert (await a.post("/v3/aml/", {"full_name": "Ann"}, "k"))[0] == 200
        assert len(a.sim.ledger.checks) == 1


async def test_6_6_a_keyed_call_that_failed_before_it_acted_may_be_made_again() -> None:
    async with api() as a:
        await a.call("POST", "/_sim/script", {"route": "aml", "answers": [{"fault": "error_503"}]})
        assert (await a.post("/v3/aml/", {"full_name": "Ann"}, "k"))[0] == 503
        assert (await a.post("/v3/aml/", {"full_name": "Ann"}, "k"))[0] == 200
        assert len(a.sim.ledger.checks) == 1


async def test_2_5_checks_need_credits() -> None:
    async with api(credits=1) as a:
        assert (await a.post("/v3/email/send/", {"email": "a@example.com"}))[0] == 200
        for path, body in (("/v3/aml/", {"full_name": "Ann"}), ("/v3/email/send/", {"email": "b@example.com"})):
            status, document, _ = await a.post(path, body)
            assert (status, "enough credits" in document["error"]) == (403, True)


async def test_2_5_every_check_needs_credits_and_is_refused_with_a_403() -> None:
    async with api(credits=0) as a:
        for name, path in PATHS.items():
            status, document, _ = await a.form(path, NEEDED.get(name), **dict.fromkeys(FILES[name], GOOD))
            assert (status, list(document)) == (403, ["error"]), name
        assert (await database(a))[0] == 403
        assert (await a.post("/v3/phone/send/", {"phone_number": "+34600000003"}))[0] == 403
        assert (await a.post("/v3/ip/risk/", {"ip_address": "203.0.113.7"}))[0] == 403
        assert a.sim.ledger.checks == []


async def test_6_8_a_check_that_is_repeated_after_a_lost_reply_is_billed_twice() -> None:
    async with api() as a:
        await a.control("script", {"route": "face_match", "answers": [{"fault": "lost_reply"}]})
        with pytest.raises(aiohttp.ClientError):
            await a.form(PATHS["face_match"], user_image=GOOD, ref_image=GOOD)
        assert (await a.form(PATHS["face_match"], user_image=GOOD, ref_image=GOOD))[0] == 200
        assert len(a.sim.ledger.checks) == 2


async def test_7_checks_of_a_sandbox_are_approved_free_and_not_kept() -> None:
    async with api(credits=0) as a:
        for name, path in PATHS.items():
            status, document, _ = await a.form(
                path, NEEDED.get(name), SANDBOX_KEY, **dict.fromkeys(FILES[name], b"DECLINE NOFACE UNREADABLE AGE=3 SCORE=1")
            )
            assert (status, document[MEMBERS.get(name, name)]["status"]) == (200, "Approved"), name
            assert (await a.call("GET", f"/v3/session/{document['request_id']}/decision/", key=SANDBOX_KEY))[0] == 404
        assert {(entry["credits"], entry["environment"]) for entry in a.sim.ledger.checks} == {(0, "sandbox")}
        assert (await a.form(PATHS["poa"], None, SANDBOX_KEY))[0] == 400, "what is wrong stays wrong"


async def test_7_aml_of_a_sandbox_takes_a_scenario() -> None:
    async with api() as a:
        for slug, status in (("decline_aml_hit", "Declined"), ("review_aml_possible_match", "In Review"), ("approve", "Approved")):
            body = {"full_name": "Ann Hit", "sandbox_scenario": slug}
            assert (await a.post("/v3/aml/", body, key=SANDBOX_KEY))[1]["aml"]["status"] == status
        unknown = {"full_name": "Ann", "sandbox_scenario": "x"}
        assert (await a.post("/v3/aml/", unknown, key=SANDBOX_KEY))[:2] == (400, {"sandbox_scenario": ["Unknown sandbox scenario: 'x'."]})
