"""Questionnaires of an application: list, create, read, change, delete. Pure but for its own state (OpenAPI 3.0.0, "Questionnaires")."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

from processor.simulator.messages import NOT_FOUND, ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.random_ids import random_uuid
from processor.simulator.timestamps import iso
from processor.simulator.validation import REQUIRED

_NO_GRAPH = "The v3 questionnaire API only accepts simple `form_elements`, not `graph`."
_ELEMENTS = frozenset(
    {
        *("short_text", "long_text", "dropdown", "single_choice", "multiple_choice", "number", "image", "file_upload", "time", "email"),
        *("address", "phone", "country", "date_picker", "consent", "section_header", "separator", "heading", "paragraph"),
    }
)
_HEAD = ("title", "description", "languages", "default_language", "is_active", "is_simple_questionnaire")
_VERSION = ("questionnaire_group_id", "version", "status", "published_at", "is_editable")
_STORED_MAX = 10_000


class QuestionnaireEndpoints:
    """The routes of questionnaires."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._stored: dict[str, dict[str, Any]] = {}  # by uuid

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {
            "questionnaire.list": self._list,
            "questionnaire.create": self._create,
            "questionnaire.get": self._get,
            "questionnaire.update": self._update,
            "questionnaire.delete": self._delete,
        }

    def _list(self, request: ApiRequest) -> ApiResponse:
        rows = [_row(one) for one in self._stored.values() if one["owner"] == request.caller.uuid]
        return ApiResponse(200, {"count": len(rows), "next": None, "previous": None, "results": rows[::-1]})

    def _create(self, request: ApiRequest) -> ApiResponse:
        body = request.json_body
        missing = {name: REQUIRED for name in ("title", "languages", "form_elements") if not body.get(name)}
        if (error := missing or _error(body)) is not None:
            return ApiResponse(400, error)
        if len(self._stored) >= _STORED_MAX:
            return ApiResponse(500, {"detail": "The simulator holds as many questionnaires as it may."})
        made = random_uuid(self._rng)
        found = {
            "owner": request.caller.uuid,
            "uuid": made,
            "questionnaire_group_id": made,
            "version": 1,
            "description": None,
            "default_language": body["languages"][0],
            "is_active": True,
            "is_simple_questionnaire": True,
            "status": "published",
            "created_at": iso(request.now),
        }
        self._stored[made] = _changed(found, body, request.now)
        return ApiResponse(201, _document(self._stored[made]), acted=True)

    def _get(self, request: ApiRequest) -> ApiResponse:
        found = self._found(request)
        return ApiResponse(200, _document(found)) if found is not None else NOT_FOUND

    def _update(self, request: ApiRequest) -> ApiResponse:
        found, body = self._found(request), request.json_body
        if found is None:
            return NOT_FOUND
        if (error := _error({**found, **body})) is not None:
            return ApiResponse(400, error)
        if found["status"] == "published" and body.get("status") == "draft":
            return ApiResponse(400, {"status": ["Cannot revert a published version to draft."]})
        self._stored[found["uuid"]] = _changed(found, body, request.now)
        return ApiResponse(200, _document(self._stored[found["uuid"]]), acted=True)

    def _delete(self, request: ApiRequest) -> ApiResponse:
        found = self._found(request)
        if found is None:
            return NOT_FOUND
        del self._stored[found["uuid"]]
        return ApiResponse(204, None, acted=True)

    def has(self, application: str, uuid: str) -> bool:
        """Whether the application has a questionnaire of this id."""
        return uuid in self._stored and self._stored[uuid]["owner"] == application

    def _found(self, request: ApiRequest) -> dict[str, Any] | None:
        uuid = request.match["name"]
        return self._stored[uuid] if self.has(request.caller.uuid, uuid) else None


def _error(body: dict[str, Any]) -> Any:
    """The 400 body for what is wrong with the members that are there; None if nothing is."""
    if "graph" in body:
        return {"graph": _NO_GRAPH}
    languages, elements = body.get("languages"), body.get("form_elements")
    if not isinstance(languages, list) or "en" not in languages:
        return {"languages": ["languages must include en."]}
    if body.get("default_language", "en") not in languages:
        return {"default_language": ["default_language must be one of languages."]}
    if not isinstance(elements, list) or not all(isinstance(element, dict) for element in elements):
        return {"form_elements": ["Expected a list of items."]}
    faults = [_element_error(element, languages) for element in elements]
    return {"form_elements": faults} if any(faults) else None


def _element_error(element: dict[str, Any], languages: list[str]) -> dict[str, Any]:
    missing: dict[str, Any] = {name: REQUIRED for name in ("element_type", "label") if name not in element}
    if missing:
        return missing
    if element["element_type"] not in _ELEMENTS:
        return {"element_type": [f'"{element["element_type"]}" is not a valid choice.']}
    label = element["label"] if isinstance(element["label"], dict) else {}
    return {} if set(languages) <= set(label) else {"label": ["A translation is missing."]}


def _changed(found: dict[str, Any], body: dict[str, Any], now: float) -> dict[str, Any]:
    members = ("title", "description", "languages", "default_language", "is_active", "status", "form_elements")
    changed = found | {name: body[name] for name in members if name in body}
    published = changed["status"] == "published"
    return changed | {
        "updated_at": iso(now),
        "published_at": (found.get("published_at") or iso(now)) if published else None,
        "is_editable": not published,
    }


def _document(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "questionnaire_id": found["uuid"],
        **{name: found[name] for name in _HEAD},
        "graph": _graph(found["form_elements"]),
        "sections": [],
        **{name: found[name] for name in _VERSION},
    }


def _row(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "uuid": found["uuid"],
        **{name: found[name] for name in (*_HEAD, "created_at", "updated_at")},
        "question_types": sorted({element["element_type"].upper() for element in found["form_elements"]}),
        "workflow_names": [],
        **{name: found[name] for name in _VERSION},
    }


def _graph(elements: list[dict[str, Any]]) -> dict[str, Any]:
    """The questions one after the other."""
    names = [str(element.get("id", f"element_{number}")) for number, element in enumerate(elements, 1)]
    following = dict(pairwise(names))
    nodes = {
        name: {
            "element_type": element["element_type"].upper(),
            "is_required": bool(element.get("is_required", False)),
            "title": element["label"],
            **({"choices": element["options"]} if element.get("options") else {}),
            "next": following.get(name),
        }
        for name, element in zip(names, elements, strict=True)
    }
    return {"start_node": names[0] if names else None, "nodes": nodes}
