"""Programmatic registration, money, users, transactions, imports. Numbers are sections of the facts."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from didit_api import KEY, SANDBOX_KEY, UNKNOWN, WORKFLOW, Api, api

from processor.simulator.config import Switches

AUTH = "/auth/v2/programmatic"
MAIL, PASSWORD = "ann@mail.test.org", "MyStr0ng!Pass"


async def auth(a: Api, verb: str, address: str = "203.0.113.1", **body: Any) -> tuple[int, Any]:
    return (await a.call("POST", f"{AUTH}/{verb}/", body, None, headers={"X-Forwarded-For": address}))[:2]


async def registered(a: Api) -> Any:
    assert (await auth(a, "register", email=MAIL, password=PASSWORD))[0] == 201
    status, document = await auth(a, "verify-email", email=MAIL, code=(await a.codes("account"))[MAIL])
    assert status == 200, document
    return document


async def test_1_1_two_calls_and_there_is_a_key_that_works() -> None:
    async with api(account_credits=5) as a:
        status, document = await auth(a, "register", email=MAIL, password=PASSWORD)
        assert (status, set(document), document["email"]) == (201, {"message", "email"}, MAIL)
        code = (await a.codes("account"))[MAIL]
        assert (len(code), code.isalnum(), code) == (6, True, code.upper())
        status, document = await auth(a, "verify-email", email=MAIL, code=code.lower())
        assert status == 200
        assert document["expires_in"] == 86400
        assert {"access_token", "refresh_token", "organization", "application"} <= set(document)
        assert set(document["application"]) == {"uuid", "name", "client_id", "api_key"}
        key = document["application"]["api_key"]
        assert (await a.create("theirs", key=key))["status"] == "Not Started"
        assert (await a.call("GET", "/v3/sessions/", key=KEY))[1]["count"] == 0, "applications are apart"
        sandbox = document["sandbox_application"]["api_key"]
        session_id = (await a.create("s", key=sandbox, sandbox_scenario="approve"))["session_id"]
        assert (await a.decision(session_id, key=sandbox))["environment"] == "sandbox"
        assert [c["scopes"] for c in (await a.ledger())["calls"][:2]] == [[], []], "another host: outside the limits"


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("Sh0r!t", "at least 8"),
        ("alllower1!", "uppercase"),
        ("ALLUPPER1!", "lowercase"),
        ("NoDigits!!", "digit"),
        ("NoSpecial11", "special"),
    ],
)
async def test_1_1_the_first_broken_rule_of_a_password_is_named(password: str, words: str) -> None:
    async with api() as a:
        status, document = await auth(a, "register", email=MAIL, password=password)
        assert status == 400
        assert words in document["password"][0]


async def test_1_1_registration_refuses_as_documented() -> None:
    async with api() as a:
        assert (await auth(a, "register"))[1] == {"email": ["This field is required."], "password": ["This field is required."]}
        assert (await auth(a, "register", email="nobody", password=PASSWORD))[0] == 400
        status, page, headers = await a.call("POST", f"{AUTH}/register/", {"email": "ann@example.com", "password": PASSWORD}, None)
        assert (status, headers["Content-Type"].startswith("text/html")) == (500, True), "mail to a reserved domain is not delivered"
        assert page.startswith(b"<!doctype html>")
        await registered(a)
        assert "email" in (await auth(a, "register", email=MAIL, password=PASSWORD))[1], "it exists"


async def test_1_1_an_address_may_register_five_times_an_hour() -> None:
    async with api() as a:
        answers = [(await auth(a, "register", email=f"u{n}@mail.net", password=PASSWORD))[0] for n in range(6)]
        assert answers == [201] * 5 + [429]
        assert (await auth(a, "register", "203.0.113.2", email="v@mail.net", password=PASSWORD))[0] == 201
        await a.control("clock", {"advance_s": 3600})
        assert (await auth(a, "register", email="w@mail.net", password=PASSWORD))[0] == 201


async def test_1_1_a_code_dies_and_can_be_mailed_again_after_a_minute() -> None:
    async with api() as a:
        await auth(a, "register", email=MAIL, password=PASSWORD)
        old = (await a.codes("account"))[MAIL]
        wrong = {"detail": "Invalid or expired verification code."}
        assert await auth(a, "verify-email", email=MAIL, code="ZZZZZZ") == (400, wrong)
        assert await auth(a, "verify-email", email="other@mail.net", code=old) == (400, wrong)
        assert (await auth(a, "resend-otp", email=MAIL))[0] == 429
        assert (await auth(a, "login", email=MAIL, password=PASSWORD))[0] == 403, "not verified yet"
        await a.control("clock", {"advance_s": 601})
        assert await auth(a, "verify-email", email=MAIL, code=old) == (400, wrong), "ten minutes are over"
        assert (await auth(a, "resend-otp", email=MAIL))[0] == 200
        assert (await auth(a, "verify-email", email=MAIL, code=(await a.codes("account"))[MAIL]))[0] == 200
        assert (await auth(a, "verify-email", email=MAIL, code=(old)))[0] == 400


async def test_1_1_logins_lock_for_longer_and_longer() -> None:
    async with api() as a:
        await registered(a)
        assert set((await auth(a, "login", email=MAIL, password=PASSWORD))[1]) == {"access_token", "refresh_token", "expires_in"}
        assert (await auth(a, "login", email="nobody@mail.net", password="x"))[0] == 401
        for failures, lock_s in ((5, 900), (5, 3600), (10, 86_400)):
            for _ in range(failures):
                assert (await auth(a, "login", email=MAIL, password="wrong"))[0] == 401
            status, document = await auth(a, "login", email=MAIL, password=PASSWORD)
            assert (status, f"in {lock_s // 60} minutes" in document["detail"]) == (429, True), "even with the right one"
            await a.control("clock", {"advance_s": lock_s + 1})
        assert (await auth(a, "login", email=MAIL, password=PASSWORD))[0] == 200


async def test_1_1_a_signed_in_account_sees_its_organization_and_applications() -> None:
    async with api() as a:
        made = await registered(a)
        bearer = {"Authorization": f"Bearer {made['access_token']}"}
        organization = made["organization"]["uuid"]
        path = "/auth/v2/organizations/me/"
        assert (await a.call("GET", path, key=None, headers=bearer))[1] == [made["organization"]]
        apps = (await a.call("GET", f"{path}{organization}/applications/", key=None, headers=bearer))[1]
        assert apps == [made["application"], made["sandbox_application"]]
        one = f"{path}{organization}/applications/{made['application']['uuid']}/"
        assert (await a.call("GET", one, key=None, headers=bearer))[1]["api_key"] == made["application"]["api_key"]
        assert (await a.call("GET", one.replace(organization, UNKNOWN), key=None, headers=bearer))[0] == 404
        assert (await a.call("GET", f"{path}{organization}/applications/{UNKNOWN}/", key=None, headers=bearer))[0] == 404
        for token in ("", "x.y.z", made["refresh_token"]):
            assert (await a.call("GET", path, key=None, headers={"Authorization": f"Bearer {token}"}))[0] == 401
        await a.control("clock", {"advance_s": 86_401})
        assert (await a.call("GET", path, key=None, headers=bearer))[0] == 401


async def test_2_6_the_balance_is_text_with_four_digits_and_goes_down() -> None:
    async with api(credits=2) as a:
        before = (await a.call("GET", "/v3/billing/balance/"))[1]
        assert before == {"balance": "2.0000", "auto_refill_enabled": False, "auto_refill_amount": None, "auto_refill_threshold": None}
        await a.create()
        await a.post("/v3/aml/", {"full_name": "Ann"})
        assert (await a.call("GET", "/v3/billing/balance/"))[1]["balance"] == "0.0000"
        assert (await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}))[0] == 400
        assert (await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW, "vendor_data": "u"}))[0] == 400, "no reuse either"


async def test_2_6_a_top_up_is_a_checkout_and_the_money_comes_when_it_is_paid() -> None:
    async with api() as a:
        made = await registered(a)
        key = made["application"]["api_key"]
        assert (await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}, key))[0] == 400, "an organization starts with nothing"
        assert (await a.call("POST", "/v3/phone/send/", {"phone_number": "+34600000003"}, key))[0] == 403
        for body in ({}, {"amount_in_dollars": 49}, {"amount_in_dollars": "fifty"}):
            status, document, _ = await a.call("POST", "/v3/billing/top-up/", body, key)
            assert (status, isinstance(document, list)) == (400, True), "bare arrays"
        checkout = (await a.call("POST", "/v3/billing/top-up/", {"amount_in_dollars": 50}, key))[1]
        assert set(checkout) == {"checkout_session_id", "checkout_session_url"}
        assert (await a.call("GET", "/v3/billing/balance/", key=key))[1]["balance"] == "0.0000"
        assert (await a.control(f"checkouts/{checkout['checkout_session_id']}/pay", {}))[1] == {"credits": 50}
        assert (await a.control(f"checkouts/{checkout['checkout_session_id']}/pay", {}))[0] == 400, "once"
        assert (await a.call("POST", "/v3/phone/send/", {"phone_number": "+34600000003"}, key))[0] == 200
        assert (await a.call("GET", "/v3/billing/balance/", key=key))[1]["balance"] == "49.0000"


async def test_2_6_a_blocked_person_gets_no_session_until_unblocked() -> None:
    async with api() as a:
        assert (await a.call("GET", "/v3/users/u/"))[0] == 404
        await a.create("u")
        user = (await a.call("GET", "/v3/users/u/"))[1]
        assert (user["vendor_data"], user["status"], user["session_count"]) == ("u", "ACTIVE", 1)
        assert (await a.call("PATCH", "/v3/users/u/update-status/", {"status": "BLOCKED"}))[0] == 200
        status, document, _ = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW, "vendor_data": "u"})
        words = "This user or business has been blocked and cannot create new verification sessions."
        assert (status, document) == (400, {"vendor_data": words})
        assert (await a.call("GET", "/v3/users/u/"))[1]["status"] == "BLOCKED"
        for wrong in ({}, {"status": "blocked"}):
            assert (await a.call("PATCH", "/v3/users/u/update-status/", wrong))[0] == 400
        await a.call("PATCH", "/v3/users/u/update-status/", {"status": "ACTIVE"})
        await a.create("u")


def transaction(**extra: Any) -> dict[str, Any]:
    details = {"direction": "outbound", "amount": extra.pop("amount", "10.00"), "currency": "EUR"}
    return {
        "transaction_id": "t-1",
        "transaction_category": "finance",
        "transaction_details": details,
        "subject": {"vendor_data": "u", "full_name": "Ann"},
        **extra,
    }


@pytest.mark.parametrize("switch", [400, 201])
async def test_2_7_a_transaction_id_counts_once(switch: int) -> None:
    async with api(switches=Switches(transaction_duplicate=switch)) as a:  # type: ignore[arg-type]
        status, first, _ = await a.call("POST", "/v3/transactions/", transaction())
        assert (status, first["status"], first["txn_id"], first["environment"]) == (201, "APPROVED", "t-1", "live")
        status, second, _ = await a.call("POST", "/v3/transactions/", transaction())
        if switch == 400:
            expected: Any = {"transaction_id": ["A transaction with this transaction_id already exists."]}
        else:
            expected = first
        assert (status, second) == (switch, expected)
        assert (await a.call("GET", f"/v3/transactions/{first['uuid']}/"))[1] == first
        assert (await a.call("GET", f"/v3/transactions/{UNKNOWN}/"))[0] == 404
        assert (await a.call("GET", "/v3/transactions/t-1/"))[2]["Content-Type"].startswith("text/html"), "by Didit's own id only"
        assert (await a.call("GET", "/v3/transactions/"))[1]["count"] == 1


async def test_2_7_transactions_are_checked_reviewed_and_in_a_sandbox_approved() -> None:
    async with api() as a:
        assert (await a.call("POST", "/v3/transactions/", transaction(amount="10000")))[1]["status"] == "IN_REVIEW"
        sandbox = (await a.call("POST", "/v3/transactions/", transaction(amount="10000"), SANDBOX_KEY))[1]
        assert (sandbox["status"], sandbox["score"], sandbox["environment"]) == ("APPROVED", 0, "sandbox")
        for wrong in ({}, transaction(transaction_id="x" * 129), transaction(transaction_category="x"), transaction(amount="much")):
            assert (await a.call("POST", "/v3/transactions/", wrong))[0] == 400


async def test_2_4_bulk_imports_are_off_unless_turned_on() -> None:
    async with api() as a:
        for method, path in (("POST", ""), ("GET", "template/"), ("GET", f"{UNKNOWN}/"), ("GET", f"{UNKNOWN}/errors/")):
            assert (await a.call(method, f"/v3/session/imports/{path}", {} if method == "POST" else None))[0] == 403


async def test_2_4_one_import_job_at_a_time() -> None:
    async with api(switches=Switches(imports_enabled=True)) as a:
        template = (await a.call("GET", "/v3/session/imports/template/"))[1]
        rows = template + b"a,b,Approved,,,,,,\r\n" * 600
        status, job, _ = await a.form("/v3/session/imports/", {"import_type": "user_verification", "source_format": "csv"}, file=rows)
        assert (status, job["status"], job["total_rows"], job["source_format"]) == (201, "PROCESSING", 600, "csv")
        busy = "This application already has an active import job. Wait for it to finish before starting another."
        again = {"import_type": "transactions", "source_file_url": "https://files.example/x.csv"}
        status, document, headers = await a.call("POST", "/v3/session/imports/", again)
        assert (status, document) == (429, {"detail": busy})
        assert not [name for name in headers if name.lower().startswith(("x-ratelimit", "retry-after"))]
        await a.control("clock", {"advance_s": 61})
        done = (await a.call("GET", f"/v3/session/imports/{job['uuid']}/"))[1]
        assert (done["status"], done["processed_rows"], done["completed_at"][-1]) == ("COMPLETED", 600, "Z")
        assert (await a.call("GET", f"/v3/session/imports/{job['uuid']}/errors/"))[1]["results"] == []
        assert (await a.call("POST", "/v3/session/imports/", again))[0] == 201
        for wrong in ({}, {"import_type": "x"}, {"import_type": "transactions"}):
            assert (await a.call("POST", "/v3/session/imports/", wrong))[0] == 400


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{client_id}:{secret}'.encode()).decode()}"}


async def v1_token(a: Api, headers: dict[str, str], grant: str = "client_credentials") -> tuple[int, dict[str, Any]]:
    async with a.session.post(f"{a.url}/auth/v2/token/", data={"grant_type": grant}, headers=headers) as response:
        return response.status, await response.json()


async def test_1_a_client_of_api_v1_gets_a_token_and_makes_sessions_by_features() -> None:
    async with api() as a:
        status, told = await v1_token(a, basic("sim-live", KEY))
        assert (status, told["client_id"], told["expires_in"]) == (200, "sim-live", 86_400)
        bearer = {"Authorization": f"Bearer {told['access_token']}"}
        given = {"features": "OCR + NFC + AML", "vendor_data": "u", "callback": "https://example.com/"}
        status, made, _ = await a.call("POST", "/v1/session/", given, None, headers=bearer)
        assert (status, set(made)) == (201, {"session_id", "session_token", "url"})
        await a.move(made["session_id"], "In Progress", "Approved")
        path = f"/v1/session/{made['session_id']}/decision/"
        status, found, _ = await a.call("GET", path, key=None, headers=bearer)
        assert (status, found["features"], found["vendor_data"]) == (200, ["ID_VERIFICATION", "NFC", "AML"], "u")
        assert (await a.call("GET", path))[0] == 200, "the key of the same application works as well"
        wrong = await a.call("POST", "/v1/session/", {"features": "FACE"}, None, headers=bearer)
        assert wrong[:2] == (400, {"features": ['"FACE" is not a valid choice.']})
        assert (await a.call("GET", path.replace("v1", "v3"), key=None, headers=bearer))[0] == 403, "a token is for API v1"
        keys = {call["key"] for call in (await a.ledger())["calls"] if call["path"].startswith("/v1/")}
        assert len(keys) == 1, "a token counts as the key of its application"
        await a.control("clock", {"advance_s": 86_401})
        assert (await a.call("GET", path, key=None, headers=bearer))[0] == 403


@pytest.mark.parametrize("headers", [{}, basic("sim-live", "wrong"), basic("sim-sandbox", KEY), {"Authorization": "Basic !"}])
async def test_1_wrong_credentials_get_no_token(headers: dict[str, str]) -> None:
    async with api() as a:
        assert await v1_token(a, headers) == (401, {"error": "invalid_client"})
        assert await v1_token(a, basic("sim-live", KEY), "password") == (400, {"error": "unsupported_grant_type"})
        nobody = {"Authorization": "Bearer x.y.z"}
        assert (await a.call("POST", "/v1/session/", {}, None, headers=nobody))[0] == 403
