"""All standalone checks behind one desk: refusals, idempotency, answers, and what they cost. Pure but for its own state.

Sources: Didit, the pages of "Standalone APIs", "API errors" (idempotency, credits), "Sandbox testing".
"""

from __future__ import annotations

import hashlib
import random
import uuid
from dataclasses import dataclass
from typing import Any

import orjson

from processor.simulator.applications import Application
from processor.simulator.checks import databases, documents, faces, screening
from processor.simulator.checks.codes import Codes
from processor.simulator.checks.model import Check, Checked, Inputs
from processor.simulator.multipart import Form
from processor.simulator.scenarios import scenario_fault
from processor.simulator.session import Finding
from processor.simulator.timestamps import iso
from processor.simulator.validation import NO_CREDITS

CHECKS = {check.name: check for check in (*faces.CHECKS, *documents.CHECKS, *databases.CHECKS, *screening.CHECKS)}
_KEY_CHARS_MAX = 255
_BUSY_S = 2
_BUSY = {"detail": "A request with this Idempotency-Key is still running. Please retry later."}
_OTHER_BODY = {"detail": "This Idempotency-Key was used with a different request body."}


@dataclass(slots=True)
class _Kept:
    """What was said under an idempotency key; ``body`` None: the call is still running."""

    digest: str
    body: Any = None


class Desk:
    """All standalone checks of all applications."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._keys: dict[tuple[str, str], _Kept] = {}  # by caller and idempotency key
        self.codes = Codes(rng)

    def begin_keyed(self, caller: str, key: str | None, raw: bytes) -> Checked | None:
        """A call with an idempotency key begins; an answer if it is not to be made."""
        if key is None:
            return None
        if len(key) > _KEY_CHARS_MAX:
            return Checked(400, {"detail": f"Idempotency-Key must be at most {_KEY_CHARS_MAX} characters."})
        digest = hashlib.sha256(raw).hexdigest()
        kept = self._keys.get((caller, key))
        if kept is None:
            self._keys[caller, key] = _Kept(digest)
            return None
        if kept.digest != digest:
            return Checked(409, _OTHER_BODY)
        return Checked(409, _BUSY, retry_after_s=_BUSY_S) if kept.body is None else Checked(200, kept.body)

    def end_keyed(self, caller: str, key: str | None) -> None:
        """A call that has begun is over; if nothing was done, its key may be used again."""
        if key is not None and (kept := self._keys.get((caller, key))) is not None and kept.body is None:
            del self._keys[caller, key]

    def keep(self, caller: str, key: str | None, answer: Any) -> None:
        """An answer to be given again under its key."""
        if key is not None:
            self._keys[caller, key].body = answer

    def run(self, name: str, application: Application, body: Any, now: float) -> Checked:
        """Any check; ``body`` is a form, or JSON (None if it was none)."""
        if not isinstance(body, Form | dict):
            return Checked(400, {"detail": "JSON parse error"})
        found = self._run(name, application, body, now)
        if found.status == 403 and found.body is None:  # noqa: PLR2004 - RFC 9110
            found.body = {"error": NO_CREDITS}
        return found

    def _run(self, name: str, application: Application, body: Form | dict[str, Any], now: float) -> Checked:
        if isinstance(body, dict) and name not in CHECKS:
            kind, _, verb = name.partition(".")
            if verb == "check":
                return self.codes.check(kind, application, body, now)
            return (self.codes.phone_send if kind == "phone" else self.codes.email_send)(application, body, now)
        inputs = Inputs(body.fields, body.files, form=True) if isinstance(body, Form) else Inputs(body)
        return self._find(CHECKS[name], application, inputs, now)

    def _find(self, check: Check, application: Application, inputs: Inputs, now: float) -> Checked:
        inputs.sandbox = application.sandbox
        fault = check.fault(inputs)
        if fault is None and application.sandbox and check.name == "aml" and "sandbox_scenario" in inputs.fields:
            unknown = scenario_fault(inputs.fields["sandbox_scenario"])
            fault = {"sandbox_scenario": unknown} if unknown is not None else None
        if fault is not None:
            return Checked(400, fault)
        if not application.paid:
            return Checked(403, None)
        failed = check.failure(inputs) if check.failure is not None else None
        if failed is not None:
            return Checked(*failed)
        found = check.find(inputs)
        request_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        told = {"vendor_data": inputs.fields.get("vendor_data"), "metadata": _metadata(inputs)}
        status = {"status": found["status"]} if check.risk else {}
        body = {"request_id": request_id, **status, check.member: found, **told, "created_at": iso(now)}
        stored = Finding(check.service, found["status"], {check.array: [{"node_id": None, **found}]})
        return Checked(200, body, acted=True, credit_count=1, stored=stored if check.risk or _saved(inputs) else None)


def _metadata(inputs: Inputs) -> Any:
    """The caller's own data; in a form it is JSON text."""
    value = inputs.fields.get("metadata")
    if not inputs.form or not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _saved(inputs: Inputs) -> bool:
    """Whether the check is to be kept as a session, as it is unless told otherwise."""
    return str(inputs.fields.get("save_api_request", "true")).lower() not in {"false", "0"}
