"""The list of workflows. Pure but for the state given (Didit, "List workflows")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from processor.simulator.messages import ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.pages import page_response
from processor.simulator.sessions import Sessions
from processor.simulator.timestamps import iso


class WorkflowEndpoints:
    """The workflows that are known; where every UUID is taken, those that sessions have used."""

    def __init__(self, sessions: Sessions, known: Callable[[], frozenset[str] | None]) -> None:
        self._sessions = sessions
        self._known = known

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {"workflow.list": self._list}

    def _list(self, request: ApiRequest) -> ApiResponse:
        versions = self._sessions.workflow_versions
        known = self._known()
        ids = sorted(known if known is not None else versions)
        return page_response(request, ids, lambda workflow_id: _row(workflow_id, versions.get(workflow_id, 1), request.now))


def _row(workflow_id: str, version: int, now: float) -> dict[str, Any]:
    return {
        "uuid": workflow_id,
        "workflow_id": workflow_id,
        "workflow_label": "Simulated KYC",
        "workflow_type": "kyc",
        "is_default": False,
        "is_archived": False,
        "is_white_label_enabled": False,
        **dict.fromkeys(("total_price", "min_price", "max_price"), 1.0),
        "features": "OCR + LIVENESS + FACE_MATCH",
        "is_simple_workflow": True,
        "is_editable": False,
        "workflow_url": f"https://verify.didit.me/u/{workflow_id}",
        "max_retry_attempts": 3,
        "retry_window_days": 7,
        "session_expiration_time": 604_800,
        "version": version,
        "status": "published",
        "has_draft": False,
        "created_by": None,
        "updated_at": iso(now),
    }
