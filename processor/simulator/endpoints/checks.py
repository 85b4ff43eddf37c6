"""Standalone checks: run by the check service, billed in the ledger, kept as sessions. Pure but for the state given."""

from __future__ import annotations

from processor.simulator.billing import bill
from processor.simulator.checks.model import CheckResponse
from processor.simulator.checks.service import CHECKS, CheckService
from processor.simulator.ledger import Ledger
from processor.simulator.messages import ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.sessions import Sessions
from processor.simulator.validation import SUSPENDED

_CODE_ROUTES = ("email.send", "email.check", "phone.send", "phone.check")


class CheckEndpoints:
    """The routes of standalone checks."""

    def __init__(self, sessions: Sessions, service: CheckService, ledger: Ledger) -> None:
        self.service = service
        self._sessions = sessions
        self._ledger = ledger

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {name: self._handler(name) for name in (*CHECKS, *_CODE_ROUTES)}

    def begin(self, request: ApiRequest) -> ApiResponse | None:
        """Begin an admitted call. Returns None if it may run, else the response under its idempotency key."""
        if request.idempotency_key is None:  # routes without it may have no caller either
            return None
        response = self.service.begin_idempotent(request.caller.uuid, request.idempotency_key, request.body)
        return _to_api_response(response) if response is not None else None

    def end(self, request: ApiRequest) -> None:
        """End a call that has begun, whether it succeeded or not."""
        if request.idempotency_key is not None:
            self.service.end_idempotent(request.caller.uuid, request.idempotency_key)

    def _handler(self, name: str) -> EndpointHandler:
        def handle(request: ApiRequest) -> ApiResponse:
            caller = request.caller
            if caller.is_suspended:
                return ApiResponse(403, SUSPENDED)
            if name in caller.organization.not_in_contract:
                title = name.replace("_", " ").title().replace(" Ai", " AI")
                text = f"{title} API is not included in your contract rate card. Contact support@didit.me to enable it."
                return ApiResponse(403, {"error": text})
            result = self.service.run(name, caller, request.body, request.now)
            if not result.acted:
                return _to_api_response(result)
            self.service.store_response(caller.uuid, request.idempotency_key, result.body)
            bill(self._ledger, request, name, result.body["request_id"], credit_count=result.credit_count)
            response = _to_api_response(result)
            if result.stored is not None and not caller.sandbox:
                response.session_id = self._sessions.store_check(caller, result.stored, result.body, request.now).session_id
            return response

        return handle


def _to_api_response(response: CheckResponse) -> ApiResponse:
    headers = {"Retry-After": str(response.retry_after_s)} if response.retry_after_s is not None else None
    return ApiResponse(response.status, response.body, acted=response.acted, headers=headers)
