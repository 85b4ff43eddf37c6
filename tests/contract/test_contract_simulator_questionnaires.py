"""Questionnaires, whose answers Didit's OpenAPI judges (``simulator_judge.py``)."""

from __future__ import annotations

from typing import Any

import pytest
from didit_api import SANDBOX_KEY, UNKNOWN, api

PATH = "/v3/questionnaires/"
ASKED: dict[str, Any] = {
    "title": "Onboarding",
    "languages": ["en"],
    "form_elements": [
        {"id": "job", "element_type": "short_text", "label": {"en": "Job?"}, "is_required": True},
        {"id": "funds", "element_type": "multiple_choice", "label": {"en": "Funds?"}, "options": [{"value": "w", "label": {"en": "Work"}}]},
    ],
}


async def test_a_questionnaire_is_made_listed_changed_and_deleted_by_its_application() -> None:
    async with api() as a:
        status, made, _ = await a.call("POST", PATH, ASKED)
        assert (status, made["status"], made["version"], made["is_editable"]) == (201, "published", 1, False)
        assert (made["graph"]["start_node"], made["graph"]["nodes"]["job"]["next"]) == ("job", "funds")
        one = f"{PATH}{made['questionnaire_id']}/"
        assert (await a.call("GET", one))[1] == made
        (row,) = (await a.call("GET", PATH))[1]["results"]
        assert (row["uuid"], row["question_types"]) == (made["questionnaire_id"], ["MULTIPLE_CHOICE", "SHORT_TEXT"])
        assert (await a.call("PATCH", one, {"title": "Later"}))[1]["title"] == "Later"
        assert (await a.call("GET", one, key=SANDBOX_KEY))[0] == 404, "it is another application's"
        assert (await a.call("GET", PATH, key=SANDBOX_KEY))[1]["count"] == 0
        assert (await a.call("DELETE", one))[0] == 204
        assert [(await a.call(method, one, {}))[0] for method in ("GET", "PATCH", "DELETE")] == [404] * 3
        assert (await a.call("GET", f"{PATH}{UNKNOWN}/"))[0] == 404


@pytest.mark.parametrize(
    ("change", "member"),
    [
        ({"title": ""}, "title"),
        ({"graph": {}}, "graph"),
        ({"languages": ["es"]}, "languages"),
        ({"default_language": "es"}, "default_language"),
        ({"form_elements": [{"element_type": "short_text"}]}, "form_elements"),
        ({"form_elements": [{"element_type": "slider", "label": {"en": "x"}}]}, "form_elements"),
        ({"form_elements": [{"element_type": "number", "label": {"es": "x"}}]}, "form_elements"),
    ],
)
async def test_what_is_wrong_with_a_questionnaire_is_a_400_by_its_member(change: dict[str, Any], member: str) -> None:
    async with api() as a:
        status, document, _ = await a.call("POST", PATH, ASKED | change)
        assert (status, list(document)) == (400, [member])
        made = (await a.call("POST", PATH, ASKED))[1]
        status, document, _ = await a.call("PATCH", f"{PATH}{made['questionnaire_id']}/", {"status": "draft"})
        assert (status, document) == (400, {"status": ["Cannot revert a published version to draft."]})
