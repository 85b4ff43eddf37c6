"""Workflows of the simulator, their versions, and the sessions of business workflows, judged by Didit's OpenAPI."""

from __future__ import annotations

from typing import Any

import openapi
import pytest
from didit_api import UNKNOWN, WORKFLOW, Api, api, hooked

KYC: list[dict[str, Any]] = [
    {"feature": "OCR"},
    {"feature": "LIVENESS", "config": {"face_liveness_method": "passive"}},
    {"feature": "FACE_MATCH"},
]
KYB: list[dict[str, Any]] = [{"feature": "KYB_REGISTRY"}, {"feature": "KYB_DOCUMENTS"}, {"feature": "KYB_KEY_PEOPLE"}, {"feature": "AML"}]


async def made(a: Api, features: list[dict[str, Any]] = KYC, **body: Any) -> dict[str, Any]:
    status, document, _ = await a.call("POST", "/v3/workflows/", {"features": features, **body})
    assert status == 201, document
    found: dict[str, Any] = document
    return found


async def patched(a: Api, uuid: str, **body: Any) -> dict[str, Any]:
    status, document, _ = await a.call("PATCH", f"/v3/workflows/{uuid}/", body)
    assert status == 200, document
    found: dict[str, Any] = document
    return found


async def listed(a: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await a.call("GET", "/v3/workflows/"))[1]["results"]
    return found


def documented(method: str, status: str) -> list[Any]:
    """The bodies of the document's examples."""
    described = openapi.document()["paths"][f"/v3/workflows/{'' if method == 'post' else '{settings_uuid}/'}"][method]["responses"][status]
    return [example["value"] for example in described["content"]["application/json"]["examples"].values()]


async def test_a_workflow_is_made_read_used_and_deleted() -> None:
    async with api() as a:
        workflow = await made(a, workflow_label="Standard KYC", session_expiration_time=3600)
        (example,) = documented("post", "201")
        assert set(example) <= set(workflow)
        same = ("features", "version", "status", "max_retry_attempts", "retry_window_days", "is_default", "is_editable")
        assert {name: workflow[name] for name in same} == {name: example[name] for name in same}
        assert (await a.call("GET", f"/v3/workflows/{workflow['uuid']}/"))[1] == workflow
        assert [row["workflow_label"] for row in await listed(a)] == ["Standard KYC"]
        session = await a.create(workflow_id=workflow["workflow_id"])
        assert session["workflow_version"] == 1
        assert (await a.call("DELETE", f"/v3/workflows/{workflow['uuid']}/"))[0] == 204
        assert (await a.decision(session["session_id"]))["workflow_id"] is None
        assert (await a.call("GET", f"/v3/workflows/{workflow['uuid']}/"))[0] == 404
        assert (await a.call("POST", "/v3/session/", {"workflow_id": workflow["workflow_id"]}))[:2] == (
            400,
            {"workflow_id": "Invalid workflow_id."},
        )


async def test_a_version_is_changed_in_place_published_or_followed_by_another() -> None:
    async with api() as a:
        draft = await made(a, status="draft")
        assert (draft["status"], draft["is_editable"]) == ("draft", True)
        assert (await a.call("POST", "/v3/session/", {"workflow_id": draft["uuid"]}))[0] == 400, "no version of it is published"
        saved = await patched(a, draft["uuid"], status="draft", workflow_label="Saved")
        assert (saved["status"], saved["workflow_label"]) == ("draft", "Saved")
        first = await patched(a, draft["uuid"], features=KYC[:1])
        assert (first["status"], first["features"], first["uuid"]) == ("published", "OCR", draft["uuid"])
        same = await patched(a, first["uuid"], workflow_label="Renamed", is_default=True)
        assert (same["uuid"], same["version"], same["workflow_label"]) == (first["uuid"], 1, "Renamed")
        old = await a.create(workflow_id=first["workflow_id"])
        second = await patched(a, first["uuid"], status="published", max_retry_attempts=1)
        assert (second["workflow_id"], second["version"], second["workflow_label"]) == (first["workflow_id"], 2, "Renamed")
        assert second["uuid"] != first["uuid"]
        assert sorted(row["version"] for row in await listed(a)) == [1, 2], "each row is one version"
        new = await a.create(workflow_id=first["workflow_id"])
        assert (old["workflow_version"], new["workflow_version"]) == (1, 2), "an unfinished session of an older version is not reused"
        reverted = await a.call("PATCH", f"/v3/workflows/{second['uuid']}/", {"status": "draft"})
        assert reverted[:2] == (400, {"status": ["Cannot revert a published version to draft."]})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, {"features": ["At least one feature is required."]}),
        ({"features": KYC, "workflow_type": "kyc"}, None),
        ({"features": [{"feature": "FACE_MATCH"}]}, {"features": ["Feature 'FACE_MATCH' must appear after one of: OCR."]}),
        ({"features": [{"feature": "QUESTIONNAIRE", "config": {"questionnaire_uuid": "11111111-2222-3333-4444-555555555555"}}]}, None),
        ({"features": [{"feature": "AML"}]}, {"features": ["Feature 'AML' cannot be the first step."]}),
        ({"features": KYC, "max_retry_attempts": 11}, {"max_retry_attempts": ["Ensure this value is less than or equal to 10."]}),
        ({"features": KYC, "retry_window_days": 0}, {"retry_window_days": ["Ensure this value is greater than or equal to 1."]}),
        ({"features": KYC, "is_default": "yes"}, {"is_default": ["Must be a valid boolean."]}),
        ({"features": KYC, "workflow_label": "x" * 51}, {"workflow_label": ["Ensure this field has no more than 50 characters."]}),
    ],
)
async def test_a_workflow_that_is_wrong_is_refused(body: dict[str, Any], told: Any) -> None:
    async with api() as a:
        status, document, _ = await a.call("POST", "/v3/workflows/", body)
        assert (status, document) == (400, told if told is not None else document)
        assert told is not None or document in documented("post", "400")
        assert await listed(a) == []


async def test_an_unknown_feature_and_an_existing_questionnaire() -> None:
    element = {"element_type": "short_text", "label": {"en": "Why?"}}
    async with api() as a:
        assert "Invalid feature 'FOO'" in (await a.call("POST", "/v3/workflows/", {"features": [{"feature": "FOO"}]}))[1]["features"][0]
        asked = (await a.call("POST", "/v3/questionnaires/", {"title": "t", "languages": ["en"], "form_elements": [element]}))[1]
        config = {"questionnaire_uuid": asked["questionnaire_id"]}
        assert (await made(a, [{"feature": "QUESTIONNAIRE", "config": config}]))["features"] == "QUESTIONNAIRE"


async def test_one_workflow_of_an_application_is_its_default() -> None:
    async with api() as a:
        first = await made(a, is_default=True)
        second = await made(a, is_default=True)
        assert {row["uuid"]: row["is_default"] for row in await listed(a)} == {first["uuid"]: False, second["uuid"]: True}


async def test_a_workflow_belongs_to_its_application_and_not_without_end() -> None:
    async with api() as a:
        workflow = await made(a)
        assert (await a.call("GET", f"/v3/workflows/{workflow['uuid']}/", key="sim-sandbox-key"))[0] == 404
        given = {"workflow_id": workflow["uuid"]}
        assert (await a.call("POST", "/v3/session/", given, "sim-sandbox-key"))[0] == 400
        for _ in range(49):
            await made(a)
        assert (await a.call("POST", "/v3/workflows/", {"features": KYC}))[0] == 400


async def test_a_decision_has_what_the_workflow_has() -> None:
    async with api() as a:
        workflow = await made(a, [{"feature": "OCR"}, {"feature": "PROOF_OF_ADDRESS"}, {"feature": "AML"}])
        session = (await a.create(workflow_id=workflow["uuid"]))["session_id"]
        await a.move(session, "In Progress", "Declined")
        found = await a.decision(session)
        assert found["features"] == ["ID_VERIFICATION", "POA", "AML"]
        assert found["liveness_checks"] is None
        assert {name: found[name][0]["status"] for name in ("id_verifications", "poa_verifications", "aml_screenings")} == {
            "id_verifications": "Approved",
            "poa_verifications": "Approved",
            "aml_screenings": "Declined",
        }


async def test_a_business_workflow_makes_business_sessions() -> None:
    details = {"company_name": "Tesco PLC", "registry_country": "GB", "registration_number": "00445790", "first_name": "Ann"}
    async with hooked() as (a, receiver):
        workflow = await made(a, KYB, workflow_label="Standard KYB")
        session = (await a.create("company-1", workflow_id=workflow["workflow_id"], expected_details=details))["session_id"]
        (row,) = (await a.call("GET", "/v3/sessions/?session_kind=business"))[1]["results"]
        assert (row["company_name"], row["workflow_type"], row["workflow_label"]) == (None, "kyb", "Standard KYB")
        await a.move(session, "In Progress", "Approved")
        (row,) = (await a.call("GET", "/v3/sessions/?session_kind=all&vendor_data=company-1"))[1]["results"]
        assert (row["company_name"], row["registration_number"], row["country"]) == ("Tesco PLC", "00445790", "GB")
        found = await a.decision(session)
        assert (found["session_kind"], found["features"]) == ("business", [feature["feature"] for feature in KYB])
        assert "id_verifications" not in found
        assert found["expected_details"] == {name: value for name, value in details.items() if name != "first_name"}
        assert all(found[name][0]["status"] == "Approved" for name in ("registry_checks", "document_verifications", "key_people_checks"))
        told = receiver.bodies[-1]
        assert (told["session_kind"], told["business_session_id"], told["decision"]) == (
            "business",
            session,
            await a.told_decision(session),
        )


async def test_a_workflow_of_the_console_may_be_of_businesses() -> None:
    async with api() as a:
        await a.control("workflows", {"business": [WORKFLOW]})
        session = (await a.create())["session_id"]
        await a.move(session, "In Progress", "Declined")
        found = await a.decision(session)
        assert found["registry_checks"][0]["warnings"][0]["risk"] == "REGISTRY_DATA_MISMATCH"
        assert (await a.call("PATCH", f"/v3/workflows/{UNKNOWN}/", {}))[0] == 404
