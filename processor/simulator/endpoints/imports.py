"""Bulk imports of sessions made elsewhere. Pure but for the state it is given (Didit, "Import sessions").

Off unless Didit turns them on; one job at a time. A job takes as long as its rows: a tenth of a second each.
"""

from __future__ import annotations

import random
import uuid
from typing import Any

from processor.simulator.config import Switches
from processor.simulator.messages import Asked, Handler, Told
from processor.simulator.multipart import Form
from processor.simulator.timestamps import iso

_FILE_BYTES_MAX = 25 * 1024 * 1024
_ROW_S = 0.1
_TYPES = ("user_verification", "business_verification", "status_rules", "transactions")
_COLUMNS = b"external_id,vendor_data,status,first_name,last_name,date_of_birth,document_type,document_number,issuing_state\r\n"
_BUSY = "This application already has an active import job. Wait for it to finish before starting another."


class ImportEndpoints:
    """The routes of import jobs."""

    def __init__(self, switches: Switches, rng: random.Random) -> None:
        self._switches, self._rng = switches, rng
        self._jobs: dict[str, dict[str, Any]] = {}

    def handlers(self) -> dict[str, Handler]:
        """By route."""
        handlers: dict[str, Handler] = {
            "imports.create": self._create,
            "imports.template": lambda _: Told(200, _COLUMNS, content_type="text/csv"),
            "imports.get": self._get,
            "imports.errors": self._errors,
        }
        return {name: self._if_enabled(handler) for name, handler in handlers.items()}

    def _if_enabled(self, handler: Handler) -> Handler:
        refused = Told(403, {"detail": "You do not have permission to perform this action."})
        return lambda asked: handler(asked) if self._switches.imports_enabled else refused

    def _create(self, asked: Asked) -> Told:
        form = asked.body if isinstance(asked.body, Form) else Form({k: str(v) for k, v in asked.document.items()})
        kind, raw = form.fields.get("import_type"), form.files.get("file")
        if kind not in _TYPES:
            return Told(400, {"import_type": [f'"{kind}" is not a valid choice.'] if kind is not None else ["This field is required."]})
        if raw is None and not form.fields.get("source_file_url"):
            return Told(400, {"file": ["Provide a file or a source_file_url."]})
        if raw is not None and len(raw) > _FILE_BYTES_MAX:
            return Told(400, {"file": ["File size exceeds 25MB."]})
        if any(self._shown(job, asked.now)["status"] == "PROCESSING" for job in self._jobs.values() if job["owner"] == asked.caller.uuid):
            return Told(429, {"detail": _BUSY})
        rows = max(0, raw.count(b"\n") - 1) if raw is not None else 0
        job_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        source = form.fields.get("source_format", "csv")
        self._jobs[job_id] = {"uuid": job_id, "owner": asked.caller.uuid, "kind": kind, "format": source, "rows": rows, "at": asked.now}
        return Told(201, self._shown(self._jobs[job_id], asked.now), acted=True)

    def _get(self, asked: Asked) -> Told:
        job = self._of(asked)
        return Told(200, self._shown(job, asked.now)) if job is not None else Told(404, {"detail": "Not found."})

    def _errors(self, asked: Asked) -> Told:
        if self._of(asked) is None:
            return Told(404, {"detail": "Not found."})
        return Told(200, {"count": 0, "next": None, "previous": None, "results": []})

    def _of(self, asked: Asked) -> dict[str, Any] | None:
        job = self._jobs.get(asked.match["name"])
        return job if job is not None and job["owner"] == asked.caller.uuid else None

    @staticmethod
    def _shown(job: dict[str, Any], now: float) -> dict[str, Any]:
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
            "failed_count": 0,
            "created_at": iso(job["at"]),
            "updated_at": iso(min(now, end)),
            "started_at": iso(job["at"]),
            "completed_at": iso(end) if now >= end else None,
        }
