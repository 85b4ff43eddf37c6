"""Codes by mail and phone. Numbers are sections of the facts."""

from __future__ import annotations

from typing import Any

import pytest
from didit_api import KEY, SANDBOX_KEY, Api, api

MAIL, PHONE = "ann@example.com", "+34600000003"
GONE = "Expired or Not Found"


async def send(a: Api, kind: str, to: str, key: str = KEY, **extra: Any) -> tuple[int, Any, Any]:
    name = "email" if kind == "email" else "phone_number"
    return await a.post(f"/v3/{kind}/send/", {name: to, **extra}, key=key)


async def checked(a: Api, kind: str, to: str, code: str, key: str = KEY, **extra: Any) -> Any:
    name = "email" if kind == "email" else "phone_number"
    status, document, _ = await a.post(f"/v3/{kind}/check/", {name: to, "code": code, **extra}, key=key)
    assert status == 200, document
    return document


BOTH = pytest.mark.parametrize(("kind", "to"), [("email", MAIL), ("phone", PHONE)])


async def test_2_5_an_email_code_is_sent_twice_then_replaced_and_not_to_an_undeliverable_address() -> None:
    async with api() as a:
        sent = [(await a.post("/v3/email/send/", {"email": "a@example.com"}))[1] for _ in range(3)]
        assert [s["status"] for s in sent] == ["Success", "Retry", "Success"]
        assert [check["credits"] for check in a.sim.ledger.checks] == [1, 0, 1], "the same code once more is free"
        assert sent[0]["request_id"] == sent[1]["request_id"] != sent[2]["request_id"]
        assert len(a.sim.ledger.checks) == 3
        status, document, _ = await a.post("/v3/email/send/", {"email": "a@nowhere.invalid"})
        assert (status, document["status"], document["reason"]) == (200, "Undeliverable", "email_can_not_be_delivered")
        assert len(a.sim.ledger.checks) == 3
        for body in ({}, {"email": "nobody"}, {"email": "a@example.com", "options": {"code_size": 9}}):
            assert (await a.post("/v3/email/send/", body))[0] == 400


@BOTH
async def test_2_5_the_right_code_is_approved_and_belongs_to_its_sending(kind: str, to: str) -> None:
    async with api() as a:
        sent = (await send(a, kind, to, vendor_data="u", metadata={"m": 1}))[1]
        assert (sent["status"], set(sent)) == ("Success", {"request_id", "status", "reason", "vendor_data", "metadata"})
        assert "code" not in sent, "it goes to the addressee alone"
        document = await checked(a, kind, to, (await a.codes(kind))[to])
        assert (document["status"], document["request_id"]) == ("Approved", sent["request_id"])
        assert (document["vendor_data"], document["metadata"]) == ("u", {"m": 1})
        assert document[kind]["verification_attempts"] == 1
        assert document[kind]["verified_at"].endswith("Z")
        assert (await a.decision(sent["request_id"]))["status"] == "Approved"
        assert (await checked(a, kind, to, "000000"))["status"] == GONE, "a code works once"
        billed = [(entry["operation"], entry["credits"]) for entry in a.sim.ledger.checks]
        assert billed == [(f"{kind}.send", 1), (f"{kind}.check", 0)]


@BOTH
async def test_2_5_three_tries_and_the_code_is_gone(kind: str, to: str) -> None:
    async with api() as a:
        await send(a, kind, to)
        code = (await a.codes(kind))[to]
        wrong = "1" * 6 if code != "1" * 6 else "2" * 6
        found = [await checked(a, kind, to, wrong) for _ in range(3)]
        assert [document["status"] for document in found] == ["Failed", "Failed", "Declined"]
        assert [document[kind] for document in found[:2]] == [None, None]
        assert found[0]["message"].endswith("Attempts remaining: 2")
        risk = "EMAIL_CODE_ATTEMPTS_EXCEEDED" if kind == "email" else "VERIFICATION_CODE_ATTEMPTS_EXCEEDED"
        assert [(one["feature"], one["risk"]) for one in found[2][kind]["warnings"]] == [(kind.upper(), risk)]
        assert (await checked(a, kind, to, code))["status"] == GONE


@BOTH
async def test_2_5_a_code_lives_for_five_minutes_from_its_first_sending(kind: str, to: str) -> None:
    async with api() as a:
        assert (await checked(a, kind, to, "123456"))["status"] == GONE, "nothing was sent"
        await send(a, kind, to)
        code = (await a.codes(kind))[to]
        await a.control("clock", {"advance_s": 200})
        assert (await send(a, kind, to))[1]["status"] == "Retry"
        assert (await a.codes(kind))[to] == code, "sent once more"
        await a.control("clock", {"advance_s": 101})
        assert (await checked(a, kind, to, code))["status"] == GONE


@BOTH
async def test_2_5_what_is_wrong_with_a_code_request_is_a_400(kind: str, to: str) -> None:
    async with api() as a:
        wrong: list[Any] = [{"code_size": 3}, {"code_size": 9}, {"code_size": "6"}, [], {"preferred_channel": "fax"}]
        for options in wrong:
            assert (await send(a, kind, to, options=options))[0] == 400, options
        assert (await send(a, kind, "nobody"))[0] == 400
        name = "email" if kind == "email" else "phone_number"
        for body in ({}, {name: to}, {name: to, "code": "123"}, {name: to, "code": 123456}):
            assert (await a.post(f"/v3/{kind}/check/", body))[0] == 400


async def test_2_5_codes_have_the_size_and_the_characters_asked_for() -> None:
    async with api() as a:
        await send(a, "email", MAIL, options={"code_size": 8, "alphanumeric_code": True})
        code = (await a.codes("email"))[MAIL]
        assert (len(code), code.isalnum(), code.isdigit()) == (8, True, False)
        assert (await checked(a, "email", MAIL.upper(), code.lower()))["status"] == "Approved", "case does not matter"


@pytest.mark.parametrize(
    ("kind", "to", "action"),
    [
        ("email", "breached@example.com", "breached_email_action"),
        ("email", "disposable@example.com", "disposable_email_action"),
        ("phone", "+34600000001", "disposable_number_action"),
        ("phone", "+34600000002", "voip_number_action"),
    ],
)
async def test_2_5_a_right_code_of_a_bad_address_declines_if_the_action_says_so(kind: str, to: str, action: str) -> None:
    async with api() as a:
        await send(a, kind, to)
        assert (await checked(a, kind, to, (await a.codes(kind))[to]))["status"] == "Approved"
        await send(a, kind, to)
        document = await checked(a, kind, to, (await a.codes(kind))[to], **{action: "DECLINE"})
        assert (document["status"], document[kind]["warnings"][0]["log_type"]) == ("Declined", "error")
        assert (await a.decision(document["request_id"]))["status"] == "Declined"


async def test_3_a_number_has_four_sends_an_hour_and_its_429_names_no_limit() -> None:
    async with api() as a:
        assert [(await send(a, "phone", PHONE))[0] for _ in range(4)] == [200] * 4
        status, document, headers = await send(a, "phone", PHONE)
        assert (status, "Only 4 authentication attempts are allowed per hour" in document["detail"]) == (429, True)
        assert not [name for name in headers if name.lower().startswith(("x-ratelimit", "retry-after"))]
        assert (await send(a, "phone", "+34600000004"))[0] == 200, "other numbers do not wait"
        assert len(a.sim.ledger.checks) == 5
        await a.control("clock", {"advance_s": 3600})
        assert (await send(a, "phone", PHONE))[0] == 200


async def test_2_5_phone_codes_need_a_first_top_up() -> None:
    async with api(topped_up=False) as a:
        assert (await send(a, "phone", PHONE))[0] == 403
        assert (await send(a, "email", MAIL))[0] == 200
        await a.control("credits", {"topped_up": True})
        assert (await send(a, "phone", PHONE))[0] == 200


async def test_2_5_a_phone_provider_that_is_down_is_a_502_with_a_code_and_nothing_is_billed() -> None:
    async with api() as a:
        await a.control(
            "script", {"route": "phone.send", "answers": [{"fault": "phone_provider_unavailable"}, {"fault": "phone_error_500"}]}
        )
        status, document, _ = await send(a, "phone", PHONE)
        assert (status, document["code"]) == (502, "phone_provider_unavailable")
        assert (await send(a, "phone", PHONE))[:2] == (500, {"detail": "Error creating phone verification"})
        assert (a.sim.ledger.checks, await a.codes("phone")) == ([], {})
        await a.control("faults", {"rates": {"phone_provider_unavailable": 1.0}})
        assert (await send(a, "phone", PHONE))[0] == 502
        assert (await send(a, "email", MAIL))[0] == 200, "of phone.send alone"


async def test_2_5_a_blocked_number_is_a_200_and_costs_nothing() -> None:
    async with api() as a:
        assert (await send(a, "phone", "+34600000666"))[1]["status"] == "Blocked"
        assert a.sim.ledger.checks == []


@BOTH
async def test_7_the_code_of_a_sandbox_is_known(kind: str, to: str) -> None:
    async with api(credits=0, topped_up=False) as a:
        for _ in range(5):
            assert (await send(a, kind, to, SANDBOX_KEY))[0] == 200
        assert (await checked(a, kind, to, "123456", SANDBOX_KEY))["status"] == "Approved"
        assert (await checked(a, kind, to, "123456"))["status"] == GONE, "of that application alone"
