"""The Travel Rule of an application: its settings, its wallet address book, and its transfers. Pure but for its own state.

Source: Didit's OpenAPI 3.0.0 ("Travel Rule"). No other provider is there, so a transfer ends at its first status, but for what the caller
does; which status that is stands in docs/simulator.md.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from processor.simulator.random_ids import random_uuid
from processor.simulator.timestamps import iso

NETWORKS = ("GTR", "TRUST", "VERIFYVASP", "SYGNA")
TERMINAL = frozenset({"FINISHED", "CANCELLED", "EXPIRED", "COUNTERPARTY_VASP_GENERAL_DECLINE", "NOT_APPLICABLE"})
RESENDABLE = frozenset({"COUNTERPARTY_VASP_NOT_FOUND", "COUNTERPARTY_VASP_NOT_REACHABLE", "NOT_ENOUGH_COUNTERPARTY_DATA"})
_DEFAULTS: dict[str, Any] = {
    "is_enabled": False,
    "jurisdiction": "EU",
    "name_matching_strictness": "DEFAULT",
    "confirmation_timeout_hours": 48,
    "timeout_outcome": "HOLD",
    "threshold_amount": "0.00",
    "legal_name": "",
    "lei": "",
    "compliance_email": "",
    "is_discoverable": True,
    "inbound_auto_accept": False,
    "allow_self_declaration": False,
    "allow_screenshot_proof": True,
    "auto_wallet_verification": True,
    "vasp_attribution_enabled": True,
    "disabled_networks": [],
}


@dataclass(slots=True, eq=False)
class Transfer:
    """The exchange that belongs to one transaction. Times are epoch seconds."""

    uuid: str
    direction: str
    wallet: str | None
    status: str
    created_at: float
    rail: str | None = None
    originator: dict[str, Any] = field(default_factory=dict)
    beneficiary: dict[str, Any] = field(default_factory=dict)
    is_confirmed: bool | None = None
    timeline: list[dict[str, Any]] = field(default_factory=list)

    def move(self, status: str, now: float) -> None:
        """To another status, and a line of the timeline."""
        self.status = status
        self.timeline.append({"status": status, "at": iso(now), "detail": ""})

    def document(self) -> dict[str, Any]:
        """As the routes of transfers answer; personal data of an inbound one once its wallet is confirmed."""
        shown = {
            "uuid": self.uuid,
            "status": self.status,
            "direction": self.direction,
            "rail": self.rail,
            "protocol": None,
            "ivms_version": "ivms101.2023",
            "required": self.status != "NOT_APPLICABLE",
            "ownership_confirmed": self.is_confirmed,
            "deadline_at": None,
            "timeline": self.timeline,
            "counterparty_vasp": None,
            "created_at": iso(self.created_at),
        }
        if self.direction == "INBOUND" and self.is_confirmed is not True:
            return shown
        return shown | {"originator_data": self.originator, "beneficiary_data": self.beneficiary}

    def member(self) -> dict[str, Any]:
        """As a transaction shows it."""
        return {
            "uuid": self.uuid,
            "status": self.status,
            "protocol": None,
            "required": self.status != "NOT_APPLICABLE",
            "obligations_count": 0,
            "originator_data": self.originator,
            "beneficiary_data": self.beneficiary,
            "metadata": {},
        }


class TravelRule:
    """All settings, address books and transfers, by application and transaction."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._settings: dict[str, dict[str, Any]] = {}
        self._books: dict[str, dict[str, dict[str, Any]]] = {}  # by application and id of the entry, oldest first
        self.transfers: dict[str, Transfer] = {}  # by id of the transaction

    def settings(self, application: str) -> dict[str, Any]:
        """What is set; changes of it are kept."""
        return self._settings.setdefault(application, dict(_DEFAULTS))

    def book(self, application: str) -> dict[str, dict[str, Any]]:
        """The wallet address book; changes of it are kept."""
        return self._books.setdefault(application, {})

    def entry_of(self, application: str, wallet: str | None) -> dict[str, Any] | None:
        """The entry of a wallet; None if there is none."""
        return next((entry for entry in self.book(application).values() if entry["address"] == wallet), None)

    def begin(self, application: str, transaction: dict[str, Any], body: dict[str, Any], now: float) -> None:
        """Begin the transfer of a new transaction of this category, if the rule is on or details were sent."""
        settings, details = self.settings(application), body.get("travel_rule_details")
        if not isinstance(details, dict):
            details = {}
        if not settings["is_enabled"] and not details:
            return
        transfer = Transfer(random_uuid(self._rng), transaction["direction"], _wallet(transaction, body), "", now)
        transfer.originator, transfer.beneficiary = details.get("originator_data", {}), details.get("beneficiary_data", {})
        applies = settings["is_enabled"] and Decimal(transaction["amount"]) >= Decimal(str(settings["threshold_amount"]))
        transfer.move(self.route(transfer, body) if applies else "NOT_APPLICABLE", now)
        entry = self.entry_of(application, transfer.wallet)
        if transfer.direction == "INBOUND" and applies and entry is not None and entry["is_ownership_verified"]:
            self.confirm(application, transfer, now, confirmed=True)
        self.transfers[transaction["uuid"]] = transfer
        transaction["travel_rule"] = transfer.member()
        if transfer.status == "UNCONFIRMED_OWNERSHIP" and transfer.direction == "OUTBOUND" and settings["auto_wallet_verification"]:
            transaction["status"] = "AWAITING_USER"
            widget = self.widget_session(now)
            transaction["action_required"] = {"type": "wallet_ownership"} | {
                name: widget[name] for name in ("url", "widget_session_id", "expires_at")
            }

    def route(self, transfer: Transfer, body: dict[str, Any]) -> str:
        """The status of a transfer when it begins, and its rail."""
        method = ((body.get("counterparty") or {}).get("payment_method") or {}).get("method_type")
        if transfer.direction == "INBOUND" or method == "unhosted_wallet":
            return "UNCONFIRMED_OWNERSHIP"
        if not transfer.beneficiary.get("name") or not transfer.beneficiary.get("wallet_address"):
            return "NOT_ENOUGH_COUNTERPARTY_DATA"
        if transfer.beneficiary.get("travel_address") or transfer.beneficiary.get("counterparty_vasp_email"):
            transfer.rail = "TRP" if transfer.beneficiary.get("travel_address") else "EMAIL"
            return "AWAITING_COUNTERPARTY"
        return "COUNTERPARTY_VASP_NOT_FOUND"

    def confirm(self, application: str, transfer: Transfer, now: float, *, confirmed: bool) -> None:
        """What the beneficiary's application says of the wallet's owner."""
        transfer.is_confirmed = confirmed
        transfer.move("COMPLETED" if confirmed else "COUNTERPARTY_VASP_GENERAL_DECLINE", now)
        if confirmed and (entry := self.entry_of(application, transfer.wallet)) is not None:
            entry["is_ownership_verified"] = True

    def widget_session(self, now: float, lifetime_s: float = 3600.0) -> dict[str, Any]:
        """A link by which a customer proves that a wallet is theirs. Nobody opens it here."""
        token = f"{self._rng.getrandbits(160):040x}"
        return {
            "widget_session_id": random_uuid(self._rng),
            "token": token,
            "url": f"https://verify.didit.me/wallet/{token}",
            "expires_at": iso(now + lifetime_s),
        }


def is_amount(value: Any) -> bool:
    """Whether it is a decimal number as text or as a number."""
    try:
        return not isinstance(value, bool) and Decimal(str(value)).is_finite()
    except InvalidOperation:
        return False


def _wallet(transaction: dict[str, Any], body: dict[str, Any]) -> str | None:
    party = body["subject"] if transaction["direction"] == "INBOUND" else body.get("counterparty") or {}
    found: str | None = (party.get("payment_method") or {}).get("account_id")
    return found
