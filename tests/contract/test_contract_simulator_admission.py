"""Who gets in, how often, and what goes wrong: routes, keys, rate limits, faults, the ledger. Numbers are sections of the facts."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest
import yarl
from didit_api import KEY, SANDBOX_KEY, UNKNOWN, WIDE, WORKFLOW, api

from processor.simulator.config import DOCUMENTED_LIMITS, Config, FaultPlan, RateLimit, Switches
from processor.simulator.routes import ROUTES, scopes_of
from processor.simulator.server import running

TEN = 10


@pytest.mark.parametrize("auth_status", [401, 403])
async def test_1_a_wrong_or_missing_key_is_refused_as_the_switch_says(auth_status: Any) -> None:
    async with api(switches=Switches(auth_status=auth_status)) as a:
        for key in ("wrong", None):
            status, document, _ = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}, key=key)
            assert (status, "detail" in document) == (auth_status, True)
        await a.call("POST", "/_sim/api-keys", {"keys": ["new"]})
        assert (await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}, key="new"))[0] == 201
        assert (await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}))[0] == auth_status


async def test_1_the_session_is_looked_up_before_the_key() -> None:
    async with api() as a:
        assert (await a.call("GET", f"/v3/session/{UNKNOWN}/decision/", key=None))[0] == 404
        known = (await a.create())["session_id"]
        assert (await a.call("GET", f"/v3/session/{known}/decision/", key=None))[0] == 403


async def test_1_an_id_that_is_no_uuid_is_a_404_in_html() -> None:
    async with api() as a:
        status, document, headers = await a.call("GET", "/v3/session/7/decision/")
        assert status == 404
        assert headers["Content-Type"].startswith("text/html")
        assert isinstance(document, bytes)


async def test_1_a_missing_slash_is_a_301_with_the_query_kept() -> None:
    async with api() as a:
        status, _, headers = await a.call("GET", "/v3/sessions?limit=3")
        assert (status, headers["Location"]) == (301, "/v3/sessions/?limit=3")
        assert (await a.call("POST", "/v3/session", {"workflow_id": WORKFLOW}))[0] == 301
        assert (await a.call("GET", "/v3/nonsense/"))[0] == 404


async def test_1_the_healthcheck_is_public() -> None:
    async with api() as a:
        status, document, _ = await a.call("GET", "/system/healthcheck", key=None)
        assert (status, document["status"]) == (200, "ok")


async def test_3_the_429_has_the_documented_headers_and_text_and_only_it_has_them() -> None:
    async with api(limits={**WIDE, "session-create": RateLimit(2, 30.0)}) as a:
        for n in range(2):
            status, _, headers = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW, "vendor_data": f"u{n}"})
            assert status == 201
            assert not [h for h in headers if h.lower().startswith("x-ratelimit") or h.lower() == "retry-after"]
        status, document, headers = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW})
        assert status == 429
        assert document == {"detail": "Session creation rate limit exceeded. You can make up to 2 requests per minute."}
        assert 1 <= int(headers["Retry-After"]) <= 30
        assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("2", "0")
        assert int(headers["X-RateLimit-Reset"]) > 1_700_000_000
        scopes = next(iter(a.sim.ledger.scope_usage().values()))
        assert scopes["session-create"]["max_in_window"] == 3, "a rejected call counts, in the stricter reading"


async def test_3_a_create_counts_in_generic_write_too_and_keys_are_counted_apart() -> None:
    limits = {**WIDE, "generic-write": RateLimit(1, 30.0)}
    async with api(limits=limits, api_keys=("one", "two")) as a:
        assert (await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}, key="one"))[0] == 201
        status, document, _ = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}, key="one")
        assert status == 429
        assert document["detail"].startswith("Write request rate limit")
        assert (await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}, key="two"))[0] == 201
    async with api(limits=limits, switches=Switches(create_counts_in_generic_write=False)) as a:
        assert [(await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW}))[0] for _ in range(3)] == [201] * 3


async def test_3_decisions_count_in_the_decision_scope_but_those_of_v3_as_plain_gets_unless_switched() -> None:
    limits = {**WIDE, "session-decision": RateLimit(1, 30.0)}
    for version, strict, last in (("v3", False, 200), ("v3", True, 429), ("v2", False, 429), ("v1", False, 429)):
        async with api(limits=limits, switches=Switches(v3_decision_counts_in_decision_scope=strict)) as a:
            session_id = (await a.create())["session_id"]
            assert [(await a.call("GET", f"/{version}/session/{session_id}/decision/"))[0] for _ in range(2)] == [200, last]


async def test_3_a_plain_get_is_refused_with_the_documented_text() -> None:
    async with api(limits={**WIDE, "generic-get": RateLimit(1, 30.0)}) as a:
        session_id = (await a.create())["session_id"]
        await a.decision(session_id)
        status, document, headers = await a.call("GET", f"/v3/session/{session_id}/decision/")
        assert (status, headers["X-RateLimit-Limit"]) == (429, "1")
        assert document == {"detail": "GET request rate limit exceeded. You can make up to 1 requests per minute."}


async def test_11_9_every_fault_really_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.simulator.server._SHUTDOWN_S", 0.01)  # it is not this test that waits for the call that hangs
    async with api(faults=FaultPlan(hang_s=30)) as a:

        async def order(*faults: str) -> None:
            await a.call("POST", "/_sim/script", {"route": "session.create", "answers": [{"fault": f} for f in faults]})

        body = {"workflow_id": WORKFLOW, "vendor_data": "f"}
        await order("reset")
        with pytest.raises(aiohttp.ClientError):
            await a.call("POST", "/v3/session/", body)
        assert len(a.sim.sessions) == 0
        await order("lost_reply")
        with pytest.raises(aiohttp.ClientError):
            await a.call("POST", "/v3/session/", body)
        assert len(a.sim.sessions) == 1, "it was done"
        await order("gateway_502")
        status, page, headers = await a.call("POST", "/v3/session/", {**body, "vendor_data": "gateway"})
        assert (status, headers["Content-Type"].split(";")[0], page[:1]) == (502, "text/html", b"<")
        assert len(a.sim.sessions) == 2, "it was done"
        await order("truncated")
        with pytest.raises(aiohttp.ClientError):
            await a.call("POST", "/v3/session/", body)
        await order("hang")
        with pytest.raises(asyncio.TimeoutError):
            await a.call("POST", "/v3/session/", body, timeout=aiohttp.ClientTimeout(total=0.1))
        await order("error_500_html", "error_502", "error_503", "throttle_429", "throttle_429_bare", "slow_body")
        answers = [await a.call("POST", "/v3/session/", body) for _ in range(6)]
        assert [status for status, _, _ in answers] == [500, 502, 503, 429, 429, 201]
        assert answers[0][2]["Content-Type"].startswith("text/html")
        assert "Retry-After" in answers[3][2]
        assert "Retry-After" not in answers[4][2]
        assert len(answers[5][1]) == TEN


async def test_11_9_scripted_answers_come_in_order_and_are_used_up() -> None:
    async with api() as a:
        literal = {"status": 418, "headers": [["X-Odd", "1"]], "body": "tea"}
        await a.call("POST", "/_sim/script", {"route": "*", "answers": [literal, {"fault": None}]})
        status, document, headers = await a.call("GET", "/v3/sessions/")
        assert (status, document, headers["X-Odd"]) == (418, b"tea", "1")
        assert (await a.call("GET", "/v3/sessions/"))[0] == 200
        assert (await a.call("POST", "/_sim/script", {"route": "*", "answers": [{"fault": "nonsense"}]}))[0] == 400
        assert (await a.call("POST", "/_sim/faults", {"rates": {"nonsense": 1}}))[0] == 400


async def test_11_the_ledger_holds_every_call_and_no_key() -> None:
    async with api() as a:
        async with a.session.post(
            a.url + "/v3/session/", json={"workflow_id": WORKFLOW}, headers={"x-api-key": "sim-key", "X-Request-Id": "ref.0"}
        ) as response:
            assert response.status == 201
        ledger = (await a.call("GET", "/_sim/ledger"))[1]
        (call,) = ledger["calls"]
        assert (call["reference"], call["status"], call["acted"], call["counted"]) == ("ref.0", 201, True, True)
        assert call["answered_at"] >= call["at"]
        assert "sim-key" not in orjson.dumps(ledger).decode()
        assert (await a.call("GET", "/_sim/ledger?since=1"))[1]["calls"] == []


async def test_1_the_healthcheck_says_when() -> None:
    async with api() as a:
        document = (await a.call("GET", "/system/healthcheck", key=None))[1]
        assert document["timestamp"].endswith("Z")
        assert len(document["timestamp"]) == len("2026-04-21T16:42:50.445Z")


async def test_1_a_session_of_another_application_is_refused_and_not_listed() -> None:
    async with api() as a:
        own = (await a.create())["session_id"]
        assert (await a.call("GET", f"/v3/session/{own}/decision/", key=SANDBOX_KEY))[0] == 403
        assert (await a.call("DELETE", f"/v3/session/{own}/delete/", key=SANDBOX_KEY))[0] == 403
        assert (await a.call("GET", "/v3/sessions/", key=SANDBOX_KEY))[1]["count"] == 0
        assert (await a.create(key=SANDBOX_KEY))["session_id"] != own, "nor is it reused"


def test_3_every_scope_has_its_documented_limit() -> None:
    assert DOCUMENTED_LIMITS == {
        "session-create": 600,
        "session-decision": 100,
        "generic-write": 300,
        "generic-get": 600,
        "session-generate-pdf": 50,
        "session-add-images": 10,
        "session-update-kyc": 10,
        "session-update-poa": 10,
        "ingest-write": 600,
    }


def test_3_each_route_counts_in_its_own_scope_and_the_generic_one() -> None:
    found = {route.name: scopes_of(route, "v3", Switches()) for route in ROUTES}
    assert found["session.pdf"] == ("session-generate-pdf", "generic-get")
    assert found["session.update_data"] == ("session-update-kyc", "generic-write")
    assert found["session.update_poa_data"] == ("session-update-poa", "generic-write")
    assert found["transaction.create"] == ("ingest-write",), "instead of generic-write"
    assert found["face_match"] == ("generic-write",)
    assert found["billing.balance"] == ("generic-get",)
    assert found["session.arm"] == found["account.register"] == (), "exempt: session tokens, the auth host"


@pytest.mark.parametrize(
    ("scope", "method", "path", "words"),
    [
        ("session-generate-pdf", "GET", "/v3/session/{id}/generate-pdf/", "You can make up to 1 requests per minute."),
        ("session-update-kyc", "PATCH", "/v3/session/{id}/update-data/", "You can make up to 1 requests per minute."),
        ("session-update-poa", "PATCH", "/v3/session/{id}/update-poa-data/", "You can make up to 1 requests per minute."),
        ("ingest-write", "POST", "/v3/transactions/", "Request was throttled. Expected available in"),
    ],
)
async def test_3_the_endpoint_scopes_refuse_with_the_documented_headers(scope: str, method: str, path: str, words: str) -> None:
    async with api(limits={**WIDE, scope: RateLimit(1, 30.0)}) as a:
        path = path.replace("{id}", await a.settled("In Progress", "Approved"))
        assert (await a.call(method, path, {} if method != "GET" else None))[0] in {200, 400, 404}
        status, document, headers = await a.call(method, path, {} if method != "GET" else None)
        assert status == 429
        assert words in document["detail"]
        assert headers["X-RateLimit-Limit"] == "1"
        assert "Retry-After" in headers


async def test_3_successes_have_rate_headers_only_by_the_switch() -> None:
    limits = {**WIDE, "session-create": RateLimit(5, 30.0)}
    async with api(limits=limits, switches=Switches(headers_on_success=True)) as a:
        seen = []
        for n in range(2):
            _, _, headers = await a.call("POST", "/v3/session/", {"workflow_id": WORKFLOW, "vendor_data": f"u{n}"})
            seen.append((headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]))
            assert "Retry-After" not in headers
        assert seen == [("5", "4"), ("5", "3")]
        assert "X-RateLimit-Limit" not in (await a.call("POST", "/auth/v2/programmatic/login/", {}, key=None))[2]


async def test_11_2_an_answer_can_come_long_after_the_act() -> None:
    async with api(faults=FaultPlan(hang_s=0.2)) as a:
        await a.control("script", {"route": "session.create", "answers": [{"fault": "late_reply"}]})
        body = {"workflow_id": WORKFLOW, "vendor_data": "u"}
        with pytest.raises(asyncio.TimeoutError):
            await a.call("POST", "/v3/session/", body, timeout=aiohttp.ClientTimeout(total=0.1))
        assert len(a.sim.sessions) == 1
        await a.control("script", {"route": "session.create", "answers": [{"fault": "late_reply"}]})
        assert (await a.call("POST", "/v3/session/", body))[0] == 201


async def test_2_1_a_suspended_contract_is_a_403_with_a_code() -> None:
    async with api() as a:
        await a.control("credits", {"suspended": True})
        billed: dict[str, dict[str, Any]] = {
            "/v3/session/": {"workflow_id": WORKFLOW},
            "/v3/aml/": {"full_name": "Ann"},
            "/v3/wallet-screening/": {"wallet_address": "0x" + "a" * 40, "blockchain": "ETH"},
            "/v3/kyb/search/": {"country_code": "GB", "name": "Acme"},
            "/v3/transactions/": {
                "transaction_id": "t",
                "transaction_category": "finance",
                "transaction_details": {"direction": "inbound", "amount": "5", "currency": "EUR"},
                "subject": {"vendor_data": "u", "full_name": "Ann"},
            },
        }
        for path, body in billed.items():
            status, document, _ = await a.call("POST", path, body)
            assert (path, status, document.get("code")) == (path, 403, "contract_billing_suspended")
            assert (await a.call("POST", path, body, SANDBOX_KEY))[0] < 300, "what is never billed is never paused (page: API errors)"
        made = (*a.sim.ledger.sessions, *a.sim.ledger.checks)
        assert {one["environment"] for one in made} == {"sandbox"}


async def test_1_every_documented_403_can_be_had() -> None:
    async with api() as a:
        permission = {"detail": "You do not have permission to perform this action."}
        create = ("POST", "/v3/session/", {"workflow_id": WORKFLOW})
        status, foreign, _ = await a.call(*create, key=SANDBOX_KEY)
        assert status == 201
        assert (await a.call("GET", f"/v3/session/{foreign['session_id']}/decision/"))[:2] == (403, permission)
        await a.control("rights", {"forbidden_workflows": [WORKFLOW], "forbidden_routes": ["session.list"], "not_in_contract": ["aml"]})
        assert (await a.call(*create))[:2] == (403, permission)
        assert (await a.call("GET", "/v3/sessions/"))[:2] == (403, permission)
        status, document, _ = await a.call("POST", "/v3/aml/", {"full_name": "Ann"})
        assert (status, document) == (
            403,
            {"error": "Aml API is not included in your contract rate card. Contact support@didit.me to enable it."},
        )
        await a.control("rights", {"deleted": True})
        status, document, _ = await a.call(*create)
        assert (status, document["code"]) == (403, "application_deleted")
        await a.control("rights", {"deleted": False, "forbidden_workflows": []})
        assert (await a.call(*create))[0] == 201
        await a.control("script", {"route": "session.create", "answers": [{"fault": "error_403_html"}]})
        async with a.session.post(f"{a.url}/v3/session/", json={"workflow_id": WORKFLOW}, headers={"x-api-key": KEY}) as response:
            assert (response.status, response.content_type) == (403, "text/html")


async def test_3_without_a_key_the_first_forwarded_address_is_the_caller() -> None:
    async with api(switches=Switches(auth_status=401)) as a:
        for address in ("203.0.113.1, 10.0.0.1", "203.0.113.1", "203.0.113.2"):
            await a.call("GET", "/v3/sessions/", key=None, headers={"X-Forwarded-For": address})
        first, second, third = (call["key"] for call in (await a.ledger())["calls"])
        assert first == second != third


async def test_11_9_limits_that_are_not_named_stay_documented() -> None:
    async with running(Config(limits={"session-create": RateLimit(1)})) as (simulator, _):
        assert simulator.state.sessions is simulator.sessions
        assert simulator.limits["session-generate-pdf"] == RateLimit(50)
        assert simulator.limits["session-create"] == RateLimit(1)


async def test_11_9_a_throttle_of_a_route_without_a_scope_names_no_limit() -> None:
    async with api() as a:
        await a.control("script", {"route": "account.login", "answers": [{"fault": "throttle_429"}]})
        status, _, headers = await a.call("POST", "/auth/v2/programmatic/login/", {}, key=None)
        assert (status, headers["Retry-After"], headers.get("X-RateLimit-Limit")) == (429, "2", None)


async def test_a_body_that_is_no_json_is_a_400_and_a_body_of_the_wrong_kind_a_415() -> None:
    async with api() as a:
        for raw, kind, status, told in (
            (b"{", "application/json", 400, "JSON parse error - "),
            (b"[1]", "Application/JSON; charset=utf-8", 400, "Expected a dictionary, but got list."),
            (b"null", "application/json", 400, "No data provided"),
            (b'{"full_name":"Ann Beta"}', "text/plain", 415, 'Unsupported media type "text/plain" in request.'),
        ):
            async with a.session.post(a.url + "/v3/aml/", data=raw, headers={"x-api-key": KEY, "Content-Type": kind}) as response:
                assert response.status == status
                assert told in str(await response.json())
        assert (await a.call("POST", "/v3/face-match/", {"user_image": "x"}))[0] == 415
        headers = {"x-api-key": KEY, "Content-Type": "multipart/form-data; boundary=b"}
        for raw in (b"", b"--b\r\n\r\nno name\r\n--b--", b"--b\r\nContent-Disposition: form-data; name=x"):
            async with a.session.post(a.url + "/v3/face-match/", data=raw, headers=headers) as response:
                assert response.status == 400


async def test_the_background_ends_with_the_server_and_its_failure_is_not_swallowed() -> None:
    async with running(Config()) as _:
        before = {task.get_name() for task in asyncio.all_tasks()}
        assert "simulator" in before
    assert "simulator" not in {task.get_name() for task in asyncio.all_tasks()}

    def broken(_now: float) -> None:
        raise RuntimeError("broken")

    async def break_it() -> None:
        async with running(Config()) as (simulator, _):
            simulator.sessions.advance = broken  # type: ignore[assignment, method-assign]
            (background,) = (task for task in asyncio.all_tasks() if task.get_name() == "simulator")
            simulator.advance_clock(1)
            await asyncio.wait([background], timeout=60)

    with pytest.raises(ExceptionGroup):
        await break_it()


async def test_a_redirect_to_the_slash_keeps_path_and_query_as_they_were_sent() -> None:
    async with api() as a:
        for path, query in (("/v3/users/a%20b%C3%BC", "?x=a%26b%3D1&y=%20"), ("/v3/sessions", "")):
            url = yarl.URL(a.url + path + query, encoded=True)
            async with a.session.get(url, headers={"x-api-key": KEY}, allow_redirects=False) as response:
                assert (response.status, response.headers["Location"]) == (301, f"{path}/{query}")


async def test_a_method_that_a_path_does_not_have_is_a_405_that_says_which_it_has() -> None:
    """RFC 9110, 15.5.6: a 405 has ``Allow``; 9.3.2: HEAD is answered as GET, without the body."""
    async with api() as a:
        session_id = (await a.create())["session_id"]
        status, document, headers = await a.call("PUT", "/v3/users/u/")
        assert (status, document, headers["Allow"]) == (405, {"detail": 'Method "PUT" not allowed.'}, "GET, PATCH")
        assert (await a.call("GET", "/v3/nothing/"))[0] == 404
        async with a.session.head(f"{a.url}/v3/session/{session_id}/decision/", headers={"x-api-key": KEY}) as response:
            assert (response.status, response.content_type, await response.read()) == (200, "application/json", b"")
            assert int(response.headers["Content-Length"]) > 100
        assert [call["route"] for call in (await a.ledger())["calls"]] == ["session.create", "session.decision"]


@pytest.mark.parametrize("limit", ["%C2%B2", "9" * 5000, "-1", "x"])
async def test_a_page_size_that_is_no_number_is_that_of_a_page_without_one(limit: str) -> None:
    async with api() as a:
        await a.create()
        assert (await a.call("GET", f"/v3/sessions/?limit={limit}"))[1]["count"] == 1


@pytest.mark.parametrize("day", ["20260101", "2026-W01-1", "2026-13-01", "01/02/2026", ""])
async def test_a_day_in_another_form_is_refused(day: str) -> None:
    """Python reads the first two, and a list compared them as text."""
    async with api() as a:
        assert (await a.call("GET", f"/v3/sessions/?date_from={day}"))[:2] == (400, {"date_from": ["Enter a valid date."]})


@pytest.mark.parametrize("by_s", [-1, 1e300, "nan"])
async def test_a_clock_is_not_set_where_no_calendar_goes(by_s: Any) -> None:
    async with api() as a:
        assert (await a.control("clock", {"advance_s": by_s}))[0] == 400
        assert (await a.call("GET", "/v3/billing/balance/"))[0] == 200
