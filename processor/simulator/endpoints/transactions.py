"""Transactions and monitoring events. Pure but for the state given.

Sources: Didit's OpenAPI 3.0.0 ("Transactions"), "Create Monitoring Event" and its batch, "Rate limiting".
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode

import orjson

from processor.simulator.billing import bill, unpayable
from processor.simulator.config import Switches
from processor.simulator.json_numbers import loads
from processor.simulator.ledger import Ledger
from processor.simulator.messages import NOT_FOUND, ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.random_ids import random_uuid
from processor.simulator.sessions import Sessions
from processor.simulator.timestamps import iso
from processor.simulator.travel_rule import TravelRule
from processor.simulator.validation import REQUIRED

_CATEGORIES = {  # as sent -> as stored
    "finance": "finance",
    "kyc": "kyc",
    "travel_rule": "travelRule",
    "user_event": "userPlatformEvent",
    "audit_trail_event": "auditTrailEvent",
    "gambling_bet": "gamblingBet",
    "gambling_limit_change": "gamblingLimitChange",
    "gambling_bonus_change": "gamblingBonusChange",
}
_TRAVEL = "travelRule"
_EVENT_CATEGORIES = frozenset(
    {"auth", "session", "gameplay", "bonus", "affiliate", "payment", "dispute", "security", "responsible_gambling", "custom"}
)
_EVENT_MEMBERS = ("event_id", "event_category", "action_type", "occurred_at")
_ID_CHARS_MAX = 128
_EVENTS_MAX = 500
_PAGE = 50
_COUNT_MAX = 100
_DIRECTIONS = {"in": "INBOUND", "inbound": "INBOUND", "out": "OUTBOUND", "outbound": "OUTBOUND"}
_REVIEWED, _DECLINED = 10_000, 1_000_000  # amounts from which on (docs/simulator.md)
_SUMMARY = (
    *("uuid", "transaction_number", "txn_id", "transaction_type", "action_type", "status", "direction", "amount", "currency"),
    *("preferred_currency_amount", "preferred_currency_code", "payment_details", "txn_date", "score", "severity"),
    *("decision_reason_code", "decision_reason_label", "tags"),
)


class TransactionEndpoints:
    """The routes of transactions and monitoring events."""

    def __init__(self, sessions: Sessions, ledger: Ledger, switches: Switches, rule: TravelRule, rng: random.Random) -> None:
        self._sessions, self._ledger, self._switches, self._rule, self._rng = sessions, ledger, switches, rule, rng
        self._transactions: dict[tuple[str, str], dict[str, Any]] = {}  # by application and the caller's id
        self._events: dict[tuple[str, str], dict[str, Any]] = {}  # the same
        self._under_way: dict[tuple[str, str], ApiRequest] = {}  # the same

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {
            "transaction.create": self.create,
            "transaction.list": self._list,
            "transaction.get": self.get,
            "event.create": self._create_event,
            "event.create_batch": self._create_events,
        }

    def begin(self, request: ApiRequest) -> ApiResponse | None:
        """The rejection of a creation while another one with its ``transaction_id`` is under way; None if it may run.

        Didit, "Transaction Monitoring: Troubleshooting"; the page has no text of it.
        """
        try:
            body = loads(request.body)
        except orjson.JSONDecodeError:
            return None  # refused as such later
        given = body.get("transaction_id") if isinstance(body, dict) else None
        if not isinstance(given, str):
            return None
        key = (request.caller.uuid, given)
        if self._under_way.setdefault(key, request) is not request and key not in self._transactions:
            return ApiResponse(409, {"detail": "A transaction with this transaction_id is being created."})
        return None

    def end(self, request: ApiRequest) -> None:
        """End a creation that has begun, whether it succeeded or not."""
        self._under_way = {key: other for key, other in self._under_way.items() if other is not request}

    def create(self, request: ApiRequest) -> ApiResponse:
        """A duplicate is a 400, or by a switch the existing one."""
        error = _transaction_error(request.body, self._sessions.blocked_users(request.caller))
        if error is not None:
            return ApiResponse(400, error)
        key = (request.caller.uuid, request.json_body["transaction_id"])
        existing = self._transactions.get(key)
        if existing is not None:
            if self._switches.transaction_duplicate == 400:  # noqa: PLR2004 - a switch
                return ApiResponse(400, {"transaction_id": ["A transaction with this transaction_id already exists."]})
            return ApiResponse(201, _shown(existing))
        if (rejection := unpayable(request)) is not None:
            return rejection
        document = self._store(request)
        bill(self._ledger, request, "transaction.create", document["uuid"])
        return ApiResponse(201, _shown(document), acted=True)

    def create_deposit(self, request: ApiRequest) -> dict[str, Any]:
        """The transaction of a deposit that has settled already (OpenAPI, "Register an after-deposit inbound transfer"): not billed."""
        body = request.json_body
        beneficiary = body.get("beneficiary_data") or {}
        method = {"payment_method": {"method_type": "crypto_wallet", "account_id": body["wallet_address"]}}
        given = {
            "transaction_id": f"sunrise-{random_uuid(self._rng)}",
            "transaction_category": _TRAVEL,
            "transaction_details": {
                "direction": "inbound",
                **{name: body[name] for name in ("amount", "currency")},
                "currency_kind": "crypto",
                "payment_reference_id": body["txid"],
            },
            "subject": {"vendor_data": None, "full_name": beneficiary.get("name"), **method},
            "travel_rule_details": {"originator_data": body.get("originator_data") or {}, "beneficiary_data": beneficiary},
        }
        return self._store(replace(request, body=given))

    def by_uuid(self, application: str, uuid: str) -> dict[str, Any] | None:
        """A transaction of an application by Didit's own id; None if there is none."""
        rows = ((owner, row) for (owner, _), row in self._transactions.items() if row["uuid"] == uuid)
        return next((row for owner, row in rows if owner == application), None)

    def _store(self, request: ApiRequest) -> dict[str, Any]:
        caller, document = request.caller, self._document(request)
        if document["transaction_type"] == _TRAVEL:
            self._rule.begin(caller.uuid, document, request.json_body, request.now)
        self._transactions[caller.uuid, document["txn_id"]] = document
        return document

    def _document(self, request: ApiRequest) -> dict[str, Any]:
        body, details = request.json_body, request.json_body["transaction_details"]
        subject = body["subject"]
        amount = _decimal(details["amount"]) or Decimal(0)
        category = _CATEGORIES.get(body["transaction_category"], body["transaction_category"])
        party = {
            "uuid": random_uuid(self._rng),
            "role": "APPLICANT",
            "entity_type": subject.get("entity_type", "individual"),
            "kind": "USER",
        }
        party |= {name: subject.get(name) for name in ("vendor_data", "full_name", "first_name", "last_name")}
        party |= {"country_code": None, "dob": subject.get("date_of_birth"), "address": subject.get("address", {})}
        party |= {"institution_info": {}, "device": {}, "external_party_snapshot": None}
        return {
            "uuid": random_uuid(self._rng),
            "environment": request.caller.environment,
            "transaction_number": len(self._transactions) + 1,
            "txn_id": body["transaction_id"],
            "txn_date": body.get("transaction_at") or iso(request.now),
            "zone_id": body.get("time_zone"),
            "transaction_type": category,
            "action_type": details.get("action_type") or category,
            "direction": _DIRECTIONS[details["direction"].lower()],
            **_verdict(amount, sandbox=request.caller.sandbox),
            "source": "LIVE",
            "amount": _plain(amount),
            "currency": details["currency"],
            "currency_type": details.get("currency_kind"),
            "amount_in_default_currency": _plain(_decimal(details.get("amount_in_default_currency"))),
            "default_currency_code": details.get("default_currency"),
            "preferred_currency_amount": _plain(_decimal(details.get("amount_in_default_currency"))),
            "preferred_currency_code": details.get("default_currency"),
            "payment_details": details.get("payment_details"),
            "payment_txn_id": details.get("payment_reference_id"),
            "vendor_data": subject["vendor_data"],
            "metadata": {"subject": subject, "counterparty": body.get("counterparty", {})},
            "props": body.get("custom_properties", {}),
            **{name: [] for name in ("tags", "payment_methods", "documents", "activities", "alerts", "rule_runs", "provider_results")},
            "parties": [party],
            **dict.fromkeys(("travel_rule", "network_snapshot", "remediation", "action_required", "cost_breakdown")),
            "created_at": iso(request.now),
        }

    def _list(self, request: ApiRequest) -> ApiResponse:
        """Newest first by the time that the caller named; ``count`` is capped (OpenAPI)."""
        rows = [row for (application, _), row in self._transactions.items() if application == request.caller.uuid]
        rows.sort(key=lambda row: (datetime.fromisoformat(row["txn_date"]).timestamp(), row["transaction_number"]), reverse=True)
        limit, offset = _number(request, "limit", _PAGE) or _PAGE, _number(request, "offset", 0)
        document = {
            "count": min(len(rows), _COUNT_MAX),
            "next": _page_url(request, limit, offset + limit) if offset + limit < len(rows) else None,
            "previous": _page_url(request, limit, max(0, offset - limit)) if offset else None,
            "total_transactions": len(rows),
            "results": [_summary(row) for row in rows[offset : offset + limit]],
        }
        return ApiResponse(200, document)

    def get(self, request: ApiRequest) -> ApiResponse:
        """One transaction by Didit's own id."""
        found = self.by_uuid(request.caller.uuid, request.match["name"])
        return ApiResponse(200, _shown(found)) if found is not None else NOT_FOUND

    def _create_event(self, request: ApiRequest) -> ApiResponse:
        error = _event_error(request.body)
        if error is not None:
            return ApiResponse(400, error)
        event, new = self._store_event(request, request.json_body)
        return ApiResponse(201, event, acted=new)

    def _create_events(self, request: ApiRequest) -> ApiResponse:
        """Each event for itself; 207 if any is rejected."""
        events = request.body.get("events") if isinstance(request.body, dict) else request.body
        if not isinstance(events, list) or not 1 <= len(events) <= _EVENTS_MAX:
            return ApiResponse(400, {"events": [f"Send 1 to {_EVENTS_MAX} events."]})
        results: list[dict[str, Any]] = []
        for index, given in enumerate(events):
            error = _event_error(given)
            if error is not None:
                results.append({"index": index, "outcome": "rejected", "errors": error})
                continue
            event, new = self._store_event(request, given)
            results.append({"index": index, "outcome": "accepted" if new else "replayed", **event})
        outcomes = [result["outcome"] for result in results]
        counts = {name: outcomes.count(name) for name in ("accepted", "replayed", "rejected")}
        return ApiResponse(207 if counts["rejected"] else 201, {**counts, "results": results}, acted=bool(counts["accepted"]))

    def _store_event(self, request: ApiRequest, given: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        key = (request.caller.uuid, given["event_id"])
        new = key not in self._events
        if new:
            self._events[key] = {
                "event_uuid": random_uuid(self._rng),
                **{name: given[name] for name in _EVENT_MEMBERS},
                "received_at": iso(request.now),
            }
        return self._events[key], new


def _verdict(amount: Decimal, *, sandbox: bool) -> dict[str, Any]:
    status, score, severity, reason = "APPROVED", 0, None, None
    if not sandbox and amount >= _REVIEWED:
        status, score, severity, reason = "IN_REVIEW", 60, "MEDIUM", "AMOUNT_ABOVE_LIMIT"
    if not sandbox and amount >= _DECLINED:
        status, score, severity = "DECLINED", 95, "CRITICAL"
    return {
        "status": status,
        "score": score,
        "severity": severity,
        "decision_reason_code": reason,
        "decision_reason_label": reason and "Amount above the limit",
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """The whole of a transaction; the time of its creation is a member of the list's rows alone (OpenAPI 3.0.0)."""
    return {name: value for name, value in row.items() if name != "created_at"}


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    party = row["parties"][0]
    other = row["metadata"]["counterparty"]
    people = {"subject_name": party["full_name"], "subject_vendor_data": party["vendor_data"], "subject_country": party["country_code"]}
    people |= {
        "counterparty_name": other.get("full_name"),
        "counterparty_vendor_data": other.get("vendor_data"),
        "counterparty_country": None,
    }
    return {name: row[name] for name in (*_SUMMARY, "created_at")} | people | {"assigned_to_name": None}


def _transaction_error(body: Any, blocked: set[str]) -> Any:  # noqa: PLR0911 - one return for each documented error
    if not isinstance(body, dict):
        return {"detail": "JSON parse error"}
    needed = ("transaction_id", "transaction_category", "transaction_details", "subject")
    if missing := {name: REQUIRED for name in needed if body.get(name) in (None, "")}:
        return missing
    if not isinstance(body["transaction_id"], str) or len(body["transaction_id"]) > _ID_CHARS_MAX:
        return {"transaction_id": [f"Ensure this field has no more than {_ID_CHARS_MAX} characters."]}
    if body["transaction_category"] not in {*_CATEGORIES, *_CATEGORIES.values()}:
        return {"non_field_errors": ["Unsupported transaction category."]}
    if (error := _details_error(body["transaction_details"])) is not None:
        return {"transaction_details": error}
    subject = body["subject"]
    if not isinstance(subject, dict) or not subject.get("vendor_data") or not subject.get("full_name"):
        return {"subject": ["subject.vendor_data and subject.full_name are required."]}
    if subject["vendor_data"] in blocked:
        text = f"The individual '{subject['vendor_data']}' is in the blocklist and cannot participate in transactions."
        return {"vendor_data": [text]}
    return None


def _details_error(details: Any) -> Any:
    if not isinstance(details, dict):
        return {"non_field_errors": ["Invalid data. Expected a dictionary."]}
    if missing := {name: REQUIRED for name in ("direction", "amount", "currency") if details.get(name) in (None, "")}:
        return missing
    if str(details["direction"]).lower() not in _DIRECTIONS:
        return {"direction": [f'"{details["direction"]}" is not a valid choice.']}
    amount = _decimal(details["amount"])
    return {"amount": ["A valid number is required."]} if amount is None or amount < 0 else None


def _event_error(event: Any) -> Any:
    if not isinstance(event, dict):
        return {"non_field_errors": ["Invalid data. Expected a dictionary."]}
    if missing := {name: REQUIRED for name in _EVENT_MEMBERS if not isinstance(event.get(name), str) or not event[name]}:
        return missing
    for name in ("event_id", "action_type"):
        if len(event[name]) > _ID_CHARS_MAX:
            return {name: [f"Ensure this field has no more than {_ID_CHARS_MAX} characters."]}
    if event["event_category"] not in _EVENT_CATEGORIES:
        return {"event_category": [f'"{event["event_category"]}" is not a valid choice.']}
    return None if _is_time(event["occurred_at"]) else {"occurred_at": ["Datetime has wrong format."]}


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).astimezone(UTC) is not None
    except (ValueError, OverflowError):
        return False


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _plain(number: Decimal | None) -> str | None:
    """As Didit writes it: without zeros at the end, never in scientific notation."""
    if number is None:
        return None
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _number(request: ApiRequest, name: str, default: int) -> int:
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default  # noqa: PLR2004 - a sane number


def _page_url(request: ApiRequest, limit: int, offset: int) -> str:
    return f"{request.base_url}/v3/transactions/?{urlencode({'limit': limit, 'offset': offset})}"
