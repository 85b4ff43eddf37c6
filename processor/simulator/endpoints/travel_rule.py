"""The Travel Rule: settings, directory, address book, transfers. Pure but for the state given (OpenAPI 3.0.0, "Travel Rule")."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from processor.simulator.endpoints.transactions import TransactionEndpoints
from processor.simulator.messages import NOT_FOUND, ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.pages import page_response
from processor.simulator.random_ids import random_uuid
from processor.simulator.timestamps import iso
from processor.simulator.travel_rule import NETWORKS, RESENDABLE, TERMINAL, Transfer, TravelRule, is_amount
from processor.simulator.validation import REQUIRED, choice_error

_CHOICES = {
    "name_matching_strictness": frozenset({"NONE", "STRICT", "DEFAULT", "FUZZY"}),
    "timeout_outcome": frozenset({"HOLD", "REJECT", "PROCEED"}),
}
_EDITABLE = ("holder_name", "holder_vendor_data", "entity_type", "travel_address")
_DEPOSIT = ("chain", "txid", "wallet_address", "amount", "currency")
_MINUTE_S = 60
_CONFLICT = {"detail": "The transfer is not in a state that allows this operation."}


class TravelRuleEndpoints:
    """The routes of the Travel Rule."""

    def __init__(self, rule: TravelRule, transactions: TransactionEndpoints, rng: random.Random) -> None:
        self._rule, self._transactions, self._rng = rule, transactions, rng
        self._deposits: dict[tuple[str, str, str], tuple[str, str]] = {}  # application, hash and wallet -> both ids of the transaction

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {
            "travel_rule.settings": self._settings,
            "travel_rule.update_settings": self._update_settings,
            "travel_rule.vasps": lambda request: page_response(request, [], dict),
            "travel_rule.wallets": self._wallets,
            "travel_rule.add_wallet": self._add_wallet,
            "travel_rule.update_wallet": self._of_entry(self._update_wallet),
            "travel_rule.delete_wallet": self._of_entry(self._delete_wallet),
            "travel_rule.inbound": self._inbound,
            "travel_rule.widget": self._widget,
            "travel_rule.update": self._of_transfer(self._update),
            "travel_rule.ownership": self._of_transfer(self._ownership),
        }

    def _settings(self, request: ApiRequest) -> ApiResponse:
        settings = self._rule.settings(request.caller.uuid)
        network = {"mode": "unavailable", "platform_available": False, "connected": False}
        networks = {name.lower(): {"rail": name, **network} for name in NETWORKS}
        address = f"ta{request.caller.uuid.replace('-', '')}" if settings["legal_name"] else ""
        return ApiResponse(200, settings | {"networks": networks, "travel_address": address})

    def _update_settings(self, request: ApiRequest) -> ApiResponse:
        settings, body = self._rule.settings(request.caller.uuid), request.json_body
        for name, choices in _CHOICES.items():
            if name in body and (wrong := choice_error(body[name], choices)) is not None:
                return ApiResponse(400, {name: wrong})
        if not is_amount(body.get("threshold_amount", "0")):
            return ApiResponse(400, {"threshold_amount": ["A valid number is required."]})
        changed = settings | {name: value for name, value in body.items() if name in settings}
        if changed["is_enabled"] is True and not str(changed["legal_name"]).strip():
            return ApiResponse(400, {"legal_name": ["legal_name is required to enable travel rule."]})
        settings |= changed
        found = self._settings(request)
        found.acted = True
        return found

    def _wallets(self, request: ApiRequest) -> ApiResponse:
        return page_response(request, list(self._rule.book(request.caller.uuid).values())[::-1], dict)

    def _add_wallet(self, request: ApiRequest) -> ApiResponse:
        body, book = request.json_body, self._rule.book(request.caller.uuid)
        if not body.get("address"):
            return ApiResponse(400, {"address": REQUIRED})
        if any((entry["address"], entry["chain"]) == (body["address"], body.get("chain")) for entry in book.values()):
            return ApiResponse(400, {"address": ["This address already exists for this chain."]})
        entry = {
            "uuid": random_uuid(self._rng),
            "address": body["address"],
            "chain": body.get("chain"),
            **{name: body.get(name) for name in _EDITABLE},
            "entity_type": body.get("entity_type", "individual"),
            "is_ownership_verified": body.get("self_declared") is True,
            "self_declared": body.get("self_declared") is True,
            "created_at": iso(request.now),
        }
        book[entry["uuid"]] = entry
        return ApiResponse(201, entry, acted=True)

    def _of_entry(self, handle: Callable[[ApiRequest, dict[str, Any]], ApiResponse]) -> EndpointHandler:
        def found(request: ApiRequest) -> ApiResponse:
            entry = self._rule.book(request.caller.uuid).get(request.match["name"])
            return handle(request, entry) if entry is not None else NOT_FOUND

        return found

    def _update_wallet(self, request: ApiRequest, entry: dict[str, Any]) -> ApiResponse:
        entry |= {name: request.json_body[name] for name in _EDITABLE if name in request.json_body}
        return ApiResponse(200, {name: entry[name] or "" for name in _EDITABLE}, acted=True)

    def _delete_wallet(self, request: ApiRequest, entry: dict[str, Any]) -> ApiResponse:
        del self._rule.book(request.caller.uuid)[entry["uuid"]]
        return ApiResponse(204, None, acted=True)

    def _widget(self, request: ApiRequest) -> ApiResponse:
        body = request.json_body
        if missing := {name: REQUIRED for name in ("wallet_address", "chain") if not body.get(name)}:
            return ApiResponse(400, missing)
        minutes = body.get("expires_in_minutes", _MINUTE_S)
        if not isinstance(minutes, int) or isinstance(minutes, bool) or minutes < 1:
            return ApiResponse(400, {"expires_in_minutes": ["A valid integer is required."]})
        return ApiResponse(201, self._rule.widget_session(request.now, minutes * _MINUTE_S), acted=True)

    def _inbound(self, request: ApiRequest) -> ApiResponse:
        """A deposit that has settled already: once for its hash and wallet."""
        body, application = request.json_body, request.caller.uuid
        if missing := {name: REQUIRED for name in _DEPOSIT if not body.get(name)}:
            return ApiResponse(400, missing)
        if not is_amount(body["amount"]):
            return ApiResponse(400, {"amount": ["A valid number is required."]})
        key = (application, str(body["txid"]), str(body["wallet_address"]))
        new = key not in self._deposits
        if new:
            made = self._transactions.create_deposit(request)
            self._deposits[key] = (made["uuid"], made["txn_id"])
        uuid, txn_id = self._deposits[key]
        document = {"transaction_id": uuid, "txn_id": txn_id, "created": new, "travel_rule": self._rule.transfers[uuid].document()}
        return ApiResponse(201 if new else 200, document, acted=new)

    def _of_transfer(self, handle: Callable[[ApiRequest, Transfer], ApiResponse]) -> EndpointHandler:
        def found(request: ApiRequest) -> ApiResponse:
            transaction = self._transactions.by_uuid(request.caller.uuid, request.match["name"])
            transfer = self._rule.transfers.get(request.match["name"]) if transaction is not None else None
            if transaction is None or transfer is None:
                return NOT_FOUND
            answer = handle(request, transfer)
            transaction["travel_rule"] = transfer.member()
            if transfer.status != "UNCONFIRMED_OWNERSHIP" and transaction["status"] == "AWAITING_USER":
                transaction |= {"status": "APPROVED", "action_required": None}
            return answer

        return found

    def _update(self, request: ApiRequest, transfer: Transfer) -> ApiResponse:
        """Report the hash on the chain, cancel, or route again."""
        body = request.json_body
        if body.get("payment_txn_id"):
            allowed, status = transfer.direction == "OUTBOUND" and transfer.status == "COMPLETED", "FINISHED"
        elif body.get("action") == "cancel":
            allowed, status = transfer.status not in TERMINAL, "CANCELLED"
        elif body.get("action") == "resend":
            allowed, status = transfer.direction == "OUTBOUND" and transfer.status in RESENDABLE, self._rule.route(transfer, {})
        else:
            return ApiResponse(400, {"detail": "Provide payment_txn_id or an action: cancel, resend."})
        if not allowed:
            return ApiResponse(409, _CONFLICT)
        transfer.move(status, request.now)
        return ApiResponse(200, transfer.document(), acted=True)

    def _ownership(self, request: ApiRequest, transfer: Transfer) -> ApiResponse:
        confirmed = request.json_body.get("confirmed")
        if not isinstance(confirmed, bool):
            return ApiResponse(400, {"confirmed": REQUIRED})
        if transfer.status != "UNCONFIRMED_OWNERSHIP":
            return ApiResponse(409, _CONFLICT)
        self._rule.confirm(request.caller.uuid, transfer, request.now, confirmed=confirmed)
        return ApiResponse(200, transfer.document(), acted=True)
