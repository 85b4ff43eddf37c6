"""Runs standalone checks: validation, idempotency keys, results and costs. Pure but for its own state.

Sources: Didit, the pages of "Standalone APIs", "API errors" (idempotency, credits), "Sandbox testing".
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Any

import orjson

from processor.simulator.applications import Application
from processor.simulator.checks import databases, documents, faces, screening
from processor.simulator.checks.codes import VerificationCodes
from processor.simulator.checks.model import CheckDefinition, CheckInputs, CheckResponse
from processor.simulator.json_numbers import loads
from processor.simulator.multipart import MultipartForm
from processor.simulator.random_ids import random_uuid
from processor.simulator.scenarios import scenario_error
from processor.simulator.session import StoredCheck
from processor.simulator.timestamps import iso
from processor.simulator.validation import NO_CREDITS

CHECKS = {check.name: check for check in (*faces.CHECKS, *documents.CHECKS, *databases.CHECKS, *screening.CHECKS)}
_KEY_CHARS_MAX = 255
_BUSY_S = 2
_BUSY = {"detail": "A request with this Idempotency-Key is still running. Please retry later."}
_OTHER_BODY = {"detail": "This Idempotency-Key was used with a different request body."}


@dataclass(slots=True)
class _IdempotentCall:
    """The call with an idempotency key: digest of its body, and its response; ``response_body`` None: it is still running."""

    digest: str
    response_body: Any = None


class CheckService:
    """Standalone checks for all applications."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._calls: dict[tuple[str, str], _IdempotentCall] = {}  # by application and idempotency key: an API key may be rotated
        self.codes = VerificationCodes(rng)

    def begin_idempotent(self, application: str, key: str, raw: bytes) -> CheckResponse | None:
        """Begin a call with an idempotency key. Returns None if it may run, else its response: the stored one, or a rejection."""
        if len(key) > _KEY_CHARS_MAX:
            return CheckResponse(400, {"detail": f"Idempotency-Key must be at most {_KEY_CHARS_MAX} characters."})
        digest = hashlib.sha256(raw).hexdigest()
        call = self._calls.get((application, key))
        if call is None:
            self._calls[application, key] = _IdempotentCall(digest)
            return None
        if call.digest != digest:
            return CheckResponse(409, _OTHER_BODY)
        if call.response_body is None:
            return CheckResponse(409, _BUSY, retry_after_s=_BUSY_S)
        return CheckResponse(200, call.response_body)

    def end_idempotent(self, application: str, key: str) -> None:
        """End a call that has begun; if it did not act, its key can be used again."""
        if (call := self._calls.get((application, key))) is not None and call.response_body is None:
            del self._calls[application, key]

    def store_response(self, application: str, key: str | None, body: Any) -> None:
        """Store the response body of a call that acted, for later calls with its key."""
        if key is not None:
            self._calls[application, key].response_body = body

    def run(self, name: str, application: Application, body: Any, now: float) -> CheckResponse:
        """Run a check by its route name; ``body`` is a form or parsed JSON (None if it was not JSON)."""
        if not isinstance(body, MultipartForm | dict):
            return CheckResponse(400, {"detail": "JSON parse error"})
        response = self._run(name, application, body, now)
        if response.status == 403 and response.body is None:  # noqa: PLR2004 - RFC 9110
            response.body = {"error": NO_CREDITS}
        return response

    def _run(self, name: str, application: Application, body: MultipartForm | dict[str, Any], now: float) -> CheckResponse:
        if isinstance(body, dict) and name not in CHECKS:
            kind, _, verb = name.partition(".")
            if verb == "check":
                return self.codes.check(kind, application, body, now)
            return (self.codes.phone_send if kind == "phone" else self.codes.email_send)(application, body, now)
        inputs = CheckInputs(body.fields, body.files, body.file_names, form=True) if isinstance(body, MultipartForm) else CheckInputs(body)
        return self._run_check(CHECKS[name], application, inputs, now)

    def _run_check(self, check: CheckDefinition, application: Application, inputs: CheckInputs, now: float) -> CheckResponse:
        inputs.sandbox = application.sandbox
        error = check.validate(inputs)
        if error is None and application.sandbox and check.name == "aml" and "sandbox_scenario" in inputs.fields:
            unknown = scenario_error(inputs.fields["sandbox_scenario"])
            error = {"sandbox_scenario": unknown} if unknown is not None else None
        if error is not None:
            return CheckResponse(400, error)
        if not application.can_pay:
            return CheckResponse(403, None)
        failure = check.fail(inputs) if check.fail is not None else None
        if failure is not None:
            return CheckResponse(*failure)
        result = check.evaluate(inputs)
        request_id = random_uuid(self._rng)
        common = {"vendor_data": inputs.fields.get("vendor_data"), "metadata": _metadata(inputs)}
        status = {"status": result["status"]} if check.risk else {}
        body = {"request_id": request_id, **status, check.member: result, **common, "created_at": iso(now)}
        stored = StoredCheck(check.service, result["status"], {check.array: [result]})
        return CheckResponse(200, body, acted=True, credit_count=1, stored=stored if check.risk or inputs.is_saved else None)


def _metadata(inputs: CheckInputs) -> Any:
    """The ``metadata`` of the caller; in a form it is JSON text."""
    value = inputs.fields.get("metadata")
    if not inputs.form or not isinstance(value, str):
        return value
    try:
        return loads(value)
    except orjson.JSONDecodeError:
        return value
