"""Bulk imports of sessions from other systems. Pure but for the state given (Didit, "Import sessions").

Disabled unless Didit enables them; one job at a time. A job takes a tenth of a second for each row.
"""

from __future__ import annotations

import random
from typing import Any

from processor.simulator.config import Switches
from processor.simulator.messages import NOT_FOUND, ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.multipart import MultipartForm
from processor.simulator.random_ids import random_uuid
from processor.simulator.timestamps import iso
from processor.simulator.validation import NO_PERMISSION, choice_error

_FILE_BYTES_MAX = 25 * 1024 * 1024
_ROW_S = 0.1
_TYPES = ("user_verification", "business_verification", "status_rules", "transactions")
_COLUMNS = b"external_id,vendor_data,status,first_name,last_name,date_of_birth,document_type,document_number,issuing_state\r\n"
_BUSY = "This application already has an active import job. Wait for it to finish before starting another."


class ImportEndpoints:
    """The routes of import jobs."""

    def __init__(self, switches: Switches, rng: random.Random) -> None:
        self._switches = switches
        self._rng = rng
        self._jobs: dict[str, dict[str, Any]] = {}

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        handlers: dict[str, EndpointHandler] = {
            "imports.create": self._create,
            "imports.template": lambda _: ApiResponse(200, _COLUMNS, content_type="text/csv"),
            "imports.get": self._get,
            "imports.errors": self._errors,
        }
        return {name: self._if_enabled(handler) for name, handler in handlers.items()}

    def _if_enabled(self, handler: EndpointHandler) -> EndpointHandler:
        disabled = ApiResponse(403, NO_PERMISSION)
        return lambda request: handler(request) if self._switches.imports_enabled else disabled

    def _create(self, request: ApiRequest) -> ApiResponse:
        form = request.body if isinstance(request.body, MultipartForm) else MultipartForm({k: str(v) for k, v in request.json_body.items()})
        kind, raw = form.fields.get("import_type"), form.files.get("file")
        if (wrong := choice_error(kind, _TYPES)) is not None:
            return ApiResponse(400, {"import_type": wrong})
        if raw is None and not form.fields.get("source_file_url"):
            return ApiResponse(400, {"file": ["Provide a file or a source_file_url."]})
        if raw is not None and len(raw) > _FILE_BYTES_MAX:
            return ApiResponse(400, {"file": ["File size exceeds 25MB."]})
        own_jobs = (job for job in self._jobs.values() if job["owner"] == request.caller.uuid)
        if any(_job_document(job, request.now)["status"] == "PROCESSING" for job in own_jobs):
            return ApiResponse(429, {"detail": _BUSY})
        rows = max(0, raw.count(b"\n") - 1) if raw is not None else 0
        job_id = random_uuid(self._rng)
        source = form.fields.get("source_format", "csv")
        self._jobs[job_id] = {"uuid": job_id, "owner": request.caller.uuid, "kind": kind, "format": source, "rows": rows, "at": request.now}
        return ApiResponse(201, _job_document(self._jobs[job_id], request.now), acted=True)

    def _get(self, request: ApiRequest) -> ApiResponse:
        job = self._job(request)
        return ApiResponse(200, _job_document(job, request.now)) if job is not None else NOT_FOUND

    def _errors(self, request: ApiRequest) -> ApiResponse:
        if self._job(request) is None:
            return NOT_FOUND
        return ApiResponse(200, {"count": 0, "next": None, "previous": None, "results": []})

    def _job(self, request: ApiRequest) -> dict[str, Any] | None:
        job = self._jobs.get(request.match["name"])
        return job if job is not None and job["owner"] == request.caller.uuid else None


def _job_document(job: dict[str, Any], now: float) -> dict[str, Any]:
    end = job["at"] + max(1, job["rows"]) * _ROW_S
    done = job["rows"] if now >= end else int((now - job["at"]) / _ROW_S)
    return {
        "uuid": job["uuid"],
        "status": "COMPLETED" if now >= end else "PROCESSING",
        "import_type": job["kind"],
        "source_format": job["format"],
        "source_filename": f"import.{job['format']}",
        "total_rows": job["rows"],
        "processed_rows": done,
        "created_count": done,
        "updated_count": 0,
        "skipped_count": 0,
        "failed_count": 0,
        "total_media_bytes": 0,
        "checkpoint_row": done,
        "last_error": None,
        "created_at": iso(job["at"]),
        "updated_at": iso(min(now, end)),
        "started_at": iso(job["at"]),
        "completed_at": iso(end) if now >= end else None,
    }
