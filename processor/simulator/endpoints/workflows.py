"""Workflows of an application: list, create, read, change, delete. Pure but for the state given (OpenAPI 3.0.0, "Workflows").

Didit takes the short form alone (``features`` in order), and refuses every other member, those of its older scripts included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from processor.simulator.messages import NOT_FOUND, ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.pages import page_response
from processor.simulator.sessions import Sessions
from processor.simulator.timestamps import iso
from processor.simulator.workflows import Workflows, WorkflowVersion

_MEMBERS = (
    *("workflow_label", "is_default", "status", "features", "is_white_label_enabled", "is_desktop_allowed", "max_retry_attempts"),
    *("retry_window_days", "session_expiration_time", "face_liveness_max_attempts", "face_match_max_attempts"),
)
_UNKNOWN = f"The v3 workflow API only accepts {', '.join(f'`{name}`' for name in _MEMBERS)}."
_FEATURES = frozenset(
    {
        *("AGE_ESTIMATION", "AML", "DATABASE_VALIDATION", "DOCUMENT_AI", "EMAIL_VERIFICATION", "FACE_MATCH", "IP_ANALYSIS"),
        *("KYB_DOCUMENTS", "KYB_KEY_PEOPLE", "KYB_REGISTRY", "LIVENESS", "NFC", "OCR", "PHONE_VERIFICATION", "PROOF_OF_ADDRESS"),
        "QUESTIONNAIRE",
    }
)
_NOT_FIRST = frozenset({"AML", "IP_ANALYSIS", "DATABASE_VALIDATION", "KYB_KEY_PEOPLE"})  # nothing that a user does
_AFTER = {"FACE_MATCH": "OCR"}
_RANGES = {
    "max_retry_attempts": (0, 10),
    "retry_window_days": (1, 365),
    "face_liveness_max_attempts": (1, 3),
    "face_match_max_attempts": (1, 3),
    "session_expiration_time": (3600, 2_419_200),
}
_FLAGS = ("is_default", "is_white_label_enabled", "is_desktop_allowed")
_LABEL_CHARS_MAX = 50
_WORKFLOWS_MAX = 50  # of an application


class WorkflowEndpoints:
    """The routes of workflows. ``has_questionnaire``: whether an application has a questionnaire of this id."""

    def __init__(self, sessions: Sessions, workflows: Workflows, has_questionnaire: Callable[[str, str], bool]) -> None:
        self._sessions, self._workflows, self._has_questionnaire = sessions, workflows, has_questionnaire

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {
            "workflow.list": self._list,
            "workflow.create": self._create,
            "workflow.get": self._get,
            "workflow.update": self._update,
            "workflow.delete": self._delete,
        }

    def _list(self, request: ApiRequest) -> ApiResponse:
        return page_response(request, self._workflows.of(request.caller, request.now), self._row)

    def _create(self, request: ApiRequest) -> ApiResponse:
        body, caller = request.json_body, request.caller
        if not body.get("features"):
            return ApiResponse(400, _members_error(body) or {"features": ["At least one feature is required."]})
        if (error := self._error(request)) is not None:
            return ApiResponse(400, error)
        if self._workflows.count_of(caller) >= _WORKFLOWS_MAX:
            return ApiResponse(400, {"detail": f"An application has at most {_WORKFLOWS_MAX} workflows."})
        return ApiResponse(201, self._document(self._workflows.make(caller, body, request.now)), acted=True)

    def _get(self, request: ApiRequest) -> ApiResponse:
        found = self._found(request)
        return ApiResponse(200, self._document(found)) if found is not None else NOT_FOUND

    def _update(self, request: ApiRequest) -> ApiResponse:
        found, body = self._found(request), request.json_body
        if found is None:
            return NOT_FOUND
        if (error := self._error(request)) is not None:
            return ApiResponse(400, error)
        if body.get("status") == "draft" and found.published_at is not None:
            return ApiResponse(400, {"status": ["Cannot revert a published version to draft."]})
        return ApiResponse(200, self._document(self._workflows.change(found, body, request.now)), acted=True)

    def _delete(self, request: ApiRequest) -> ApiResponse:
        """Sessions of the version keep their results, and name no workflow any more."""
        found = self._found(request)
        if found is None:
            return NOT_FOUND
        self._workflows.delete(found)
        for session in self._sessions.by_application(request.caller):
            if (session.workflow_id, session.workflow_version) == (found.workflow_id, found.number):
                session.workflow_id = session.workflow_version = None
        return ApiResponse(204, None, acted=True)

    def _found(self, request: ApiRequest) -> WorkflowVersion | None:
        return self._workflows.get(request.caller, request.match["name"], request.now)

    def _error(self, request: ApiRequest) -> Any:
        body = request.json_body
        if (error := _members_error(body)) is not None:
            return error
        if "features" not in body:
            return None
        if (error := _features_error(body["features"])) is not None:
            return {"features": error}
        for row in body["features"]:
            asked = str((row.get("config") or {}).get("questionnaire_uuid"))
            if row["feature"] == "QUESTIONNAIRE" and not self._has_questionnaire(request.caller.uuid, asked):
                missing = f"Questionnaire '{asked}' was not found for this application."
                return {"features": f"{missing} Create the questionnaire first, then use its questionnaire_id."}
        return None

    def _row(self, version: WorkflowVersion) -> dict[str, Any]:
        """As the list shows it."""
        settings = version.settings
        return {
            "uuid": version.uuid,
            "workflow_id": version.workflow_id,
            "workflow_label": settings["workflow_label"],
            "workflow_type": "kyb" if version.is_business else "kyc",
            "is_default": settings["is_default"],
            "is_archived": version.workflow_id in self._workflows.archived,
            "is_white_label_enabled": settings["is_white_label_enabled"],
            **dict.fromkeys(("total_price", "min_price", "max_price"), 1.0),
            "features": " + ".join(version.feature_types),
            "is_simple_workflow": True,
            "is_editable": version.published_at is None,
            "workflow_url": f"https://verify.didit.me/u/{version.workflow_id}",
            "max_retry_attempts": settings["max_retry_attempts"],
            "retry_window_days": settings["retry_window_days"],
            "session_expiration_time": settings["session_expiration_time"],
            "version": version.number,
            "status": "draft" if version.published_at is None else "published",
            "has_draft": self._workflows.has_draft(version.workflow_id),
            "created_by": None,
            "updated_at": iso(version.changed_at),
        }

    def _document(self, version: WorkflowVersion) -> dict[str, Any]:
        """The members that are documented, of about 190."""
        row = self._row(version)
        del row["has_draft"], row["created_by"]
        nodes = [{"node_id": f"node-{number}", **feature} for number, feature in enumerate(version.features)]
        return row | {
            **{name: version.settings[name] for name in ("is_desktop_allowed", "face_liveness_max_attempts", "face_match_max_attempts")},
            **{f"is_{name.lower()}_enabled": name in version.feature_types for name in ("LIVENESS", "FACE_MATCH", "AML", "NFC")},
            "workflow_graph": {"start_node": "node-0", "nodes": nodes},
            "published_at": iso(version.published_at) if version.published_at is not None else None,
            "created_at": iso(version.created_at),
        }


def _members_error(body: dict[str, Any]) -> Any:
    """What is wrong with the names, and with all values but the features; None if nothing."""
    if unknown := [name for name in body if name not in _MEMBERS]:
        return {name: [_UNKNOWN] for name in unknown}
    for name in _FLAGS:
        if name in body and not isinstance(body[name], bool):
            return {name: ["Must be a valid boolean."]}
    if len(str(body.get("workflow_label", ""))) > _LABEL_CHARS_MAX:
        return {"workflow_label": [f"Ensure this field has no more than {_LABEL_CHARS_MAX} characters."]}
    if body.get("status", "published") not in {"draft", "published"}:
        return {"status": [f'"{body["status"]}" is not a valid choice.']}
    for name, (least, most) in _RANGES.items():
        if name in body and (error := _number_error(body[name], least, most, nullable=name == "retry_window_days")) is not None:
            return {name: [error]}
    return None


def _number_error(value: Any, least: int, most: int, *, nullable: bool) -> str | None:
    if value is None and nullable:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        return "A valid integer is required."
    if value < least:
        return f"Ensure this value is greater than or equal to {least}."
    return f"Ensure this value is less than or equal to {most}." if value > most else None


def _features_error(features: Any) -> list[str] | None:
    """What is wrong with the features and their order; None if nothing."""
    if not isinstance(features, list) or not features or not all(isinstance(row, dict) for row in features):
        return ["At least one feature is required."]
    names = [row.get("feature") for row in features]
    for number, name in enumerate(names):
        if name not in _FEATURES:
            return [f"Invalid feature '{name}'. Allowed values: {', '.join(sorted(_FEATURES))}."]
        if name in _AFTER and _AFTER[name] not in names[:number]:
            return [f"Feature '{name}' must appear after one of: {_AFTER[name]}."]
        if number == 0 and name in _NOT_FIRST:
            return [f"Feature '{name}' cannot be the first step."]
    return None
