"""The Travel Rule of the simulator, and transactions that a device submits, judged by Didit's OpenAPI."""

from __future__ import annotations

from typing import Any

import pytest
from didit_api import Api, api

WALLET = "0x742d35cc6634c0532925a3b844bc454e4438f44e"
DEPOSIT = {"chain": "ethereum", "txid": "0x1", "wallet_address": WALLET, "amount": "500.00", "currency": "USDC"}
NAMED = {"name": "Ana", "wallet_address": WALLET}
UNHOSTED = {"payment_method": {"method_type": "unhosted_wallet", "account_id": WALLET}}


async def switched_on(a: Api, **more: Any) -> None:
    assert (await a.call("PUT", "/v3/travel-rule/settings/", {"is_enabled": True, "legal_name": "Origin", **more}))[0] == 200


async def transfer(a: Api, number: int = 1, beneficiary: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A new outbound transaction of this category."""
    body = {
        "transaction_id": f"tr-{number}",
        "transaction_category": "travelRule",
        "transaction_details": {"direction": "outbound", "amount": "0.25", "currency": "ETH", "currency_kind": "crypto"},
        "subject": {"vendor_data": "u", "full_name": "Ann"},
        "travel_rule_details": {"beneficiary_data": beneficiary or {}},
    }
    status, found, _ = await a.call("POST", "/v3/transactions/", body | more)
    assert status == 201, found
    document: dict[str, Any] = found
    return document


async def patched(a: Api, uuid: str, **body: Any) -> tuple[int, Any]:
    return (await a.call("PATCH", f"/v3/transactions/{uuid}/travel-rule/", body))[:2]


async def test_settings_are_kept_and_need_a_name_to_be_switched_on() -> None:
    async with api() as a:
        path = "/v3/travel-rule/settings/"
        status, refused, _ = await a.call("PUT", path, {"is_enabled": True, "legal_name": " "})
        assert (status, refused) == (400, {"legal_name": ["legal_name is required to enable travel rule."]})
        assert (await a.call("GET", path))[1]["is_enabled"] is False
        await switched_on(a, threshold_amount="1000", unknown=1)
        found = (await a.call("GET", path))[1]
        assert (found["is_enabled"], found["threshold_amount"], found["jurisdiction"]) == (True, "1000", "EU")
        for wrong in ({"timeout_outcome": "WAIT"}, {"threshold_amount": "much"}):
            assert (await a.call("PUT", path, wrong))[0] == 400
        assert (await a.call("GET", "/v3/travel-rule/vasps/?search=x"))[1]["results"] == []


@pytest.mark.parametrize(
    ("beneficiary", "more", "status"),
    [
        ({}, {}, "NOT_ENOUGH_COUNTERPARTY_DATA"),
        (NAMED, {}, "COUNTERPARTY_VASP_NOT_FOUND"),
        (NAMED | {"travel_address": "ta1"}, {}, "AWAITING_COUNTERPARTY"),
        (NAMED | {"counterparty_vasp_email": "a@example.com"}, {}, "AWAITING_COUNTERPARTY"),
        (NAMED, {"counterparty": UNHOSTED}, "UNCONFIRMED_OWNERSHIP"),
    ],
)
async def test_a_transfer_begins_where_its_data_lead_it(beneficiary: dict[str, Any], more: dict[str, Any], status: str) -> None:
    async with api() as a:
        assert (await transfer(a, 0, beneficiary, **more))["travel_rule"]["status"] == "NOT_APPLICABLE", "it is switched off"
        await switched_on(a)
        made = await transfer(a, 1, beneficiary, **more)
        assert made["travel_rule"]["status"] == status
        waits = status == "UNCONFIRMED_OWNERSHIP"
        assert (made["status"], made["action_required"] is not None) == ("AWAITING_USER" if waits else "APPROVED", waits)


async def test_a_transfer_is_confirmed_finished_cancelled_and_sent_again() -> None:
    async with api() as a:
        await switched_on(a)
        made = await transfer(a, 1, NAMED, counterparty=UNHOSTED)
        assert (await patched(a, made["uuid"], payment_txn_id="0xhash"))[0] == 409, "its wallet is not confirmed yet"
        path = f"/v3/transactions/{made['uuid']}/travel-rule/ownership/"
        status, confirmed, _ = await a.call("POST", path, {"confirmed": True})
        assert (status, confirmed["status"], confirmed["ownership_confirmed"]) == (200, "COMPLETED", True)
        assert (await a.call("POST", path, {"confirmed": True}))[0] == 409
        told = (await a.call("GET", f"/v3/transactions/{made['uuid']}/"))[1]
        assert (told["status"], told["action_required"]) == ("APPROVED", None)
        assert (await patched(a, made["uuid"], payment_txn_id="0xhash"))[1]["status"] == "FINISHED"
        assert (await patched(a, made["uuid"], action="cancel"))[0] == 409
        other = await transfer(a, 2, NAMED)
        assert (await patched(a, other["uuid"]))[0] == 400
        assert (await patched(a, other["uuid"], action="resend"))[1]["status"] == "COUNTERPARTY_VASP_NOT_FOUND"
        assert (await patched(a, other["uuid"], action="cancel"))[1]["status"] == "CANCELLED"
        shown = (await a.call("GET", f"/v3/transactions/{other['uuid']}/"))[1]
        assert shown["travel_rule"]["status"] == "CANCELLED"


async def test_a_deposit_is_registered_once_and_confirmed_by_the_address_book() -> None:
    async with api() as a:
        await switched_on(a)
        status, first, _ = await a.call("POST", "/v3/travel-rule/inbound/", DEPOSIT | {"beneficiary_data": {"name": "Ana"}})
        assert (status, first["created"], first["travel_rule"]["status"]) == (201, True, "UNCONFIRMED_OWNERSHIP")
        status, again, _ = await a.call("POST", "/v3/travel-rule/inbound/", DEPOSIT)
        assert (status, again["created"], again["transaction_id"]) == (200, False, first["transaction_id"])
        sandbox = await a.call("POST", "/v3/travel-rule/inbound/", DEPOSIT, "sim-sandbox-key")
        assert (sandbox[0], sandbox[1]["travel_rule"]["status"]) == (201, "NOT_APPLICABLE")
        for wrong in ({}, DEPOSIT | {"amount": "much"}):
            assert (await a.call("POST", "/v3/travel-rule/inbound/", wrong))[0] == 400
        denied = await a.call("POST", f"/v3/transactions/{first['transaction_id']}/travel-rule/ownership/", {"confirmed": False})
        assert denied[1]["status"] == "COUNTERPARTY_VASP_GENERAL_DECLINE"
        book = "/v3/travel-rule/wallet-addresses/"
        status, entry, _ = await a.call("POST", book, {"address": WALLET, "chain": "ethereum", "self_declared": True})
        assert (status, entry["is_ownership_verified"]) == (201, True)
        assert (await a.call("POST", book, {"address": WALLET, "chain": "ethereum"}))[0] == 400
        known = (await a.call("POST", "/v3/travel-rule/inbound/", DEPOSIT | {"txid": "0x2"}))[1]
        assert known["travel_rule"]["status"] == "COMPLETED"
        changed = (await a.call("PATCH", f"{book}{entry['uuid']}/", {"holder_name": "Ana"}))[1]
        assert changed["holder_name"] == "Ana"
        assert (await a.call("DELETE", f"{book}{entry['uuid']}/"))[0] == 204
        assert (await a.call("GET", book))[1]["count"] == 0


async def test_a_link_for_a_proof_needs_wallet_and_chain() -> None:
    async with api() as a:
        assert (await a.call("POST", "/v3/travel-rule/widget-session/", {"wallet_address": WALLET, "chain": "ethereum"}))[0] == 201
        assert (await a.call("POST", "/v3/travel-rule/widget-session/", {"wallet_address": WALLET}))[0] == 400


WIRE = {
    "txnId": "wd-1",
    "type": "finance",
    "info": {"direction": "out", "amount": "0.25", "currency": "ETH", "currencyType": "crypto"},
    "subject": {"fullName": "Jane", "externalUserId": "somebody-else"},
    "counterparty": {"fullName": "Ana", "paymentMethod": {"type": "unhosted_wallet", "accountId": WALLET}},
}


async def test_a_device_submits_with_a_token_for_the_user_that_it_was_made_for() -> None:
    async with api() as a:
        status, made, _ = await a.call("POST", "/v3/transactions/sdk-token/", {"vendor_data": "u", "ttl_seconds": 300, "max_uses": 1})
        assert status == 201
        token = {"X-Transaction-Token": made["sdk_token"]}
        missing = await a.call("POST", "/v1/transactions/", {"txnId": "x"}, None, headers=token)
        assert missing[0] == 400
        status, sent, _ = await a.call("POST", "/v1/transactions/", WIRE, None, headers=token)
        assert (status, sent["vendor_data"], sent["currency_type"], sent["direction"]) == (201, "u", "crypto", "OUTBOUND")
        assert sent["metadata"]["counterparty"]["payment_method"] == {"method_type": "unhosted_wallet", "account_id": WALLET}
        status, found, _ = await a.call("GET", f"/v1/transactions/{sent['uuid']}/", key=None, headers=token)
        assert (status, found["txn_id"]) == (200, "wd-1")
        used_up = await a.call("POST", "/v1/transactions/", WIRE | {"txnId": "wd-2"}, None, headers=token)
        assert used_up[:2] == (401, {"detail": "Invalid transaction token."})
        await a.control("clock", {"advance_s": 301})
        over = await a.call("GET", f"/v1/transactions/{sent['uuid']}/", key=None, headers=token)
        assert over[:2] == (401, {"detail": "Transaction token expired."})
        wrongs: list[dict[str, Any]] = [{}, {"vendor_data": "u", "ttl_seconds": 0}, {"vendor_data": "u", "ttl_seconds": 86_401}]
        for wrong in wrongs:
            assert (await a.call("POST", "/v3/transactions/sdk-token/", wrong))[0] == 400
