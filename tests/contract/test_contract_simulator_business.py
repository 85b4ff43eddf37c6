"""Registries, wallets and AML monitoring of the simulator, judged by Didit's OpenAPI."""

from __future__ import annotations

from typing import Any

import openapi
import pytest
from didit_api import Api, api

from processor.didit.catalog import OPERATIONS

WALLET = "0x28c6c06298d514db089934071355e5743bf21d60"


async def handle(a: Api, name: str = "Tesco") -> str:
    """A company that was searched for."""
    found = (await a.call("POST", "/v3/kyb/search/", {"country_code": "GB", "name": name}))[1]
    return str(found["kyb_registry"]["companies"][0]["kyb_response_id"])


def bills(a: Api) -> list[str]:
    return [check["operation"] for check in a.sim.ledger.checks if check["credits"]]


async def test_a_search_is_billed_if_it_finds_something() -> None:
    async with api() as a:
        for name in ("Tesco", "NoMatch"):
            status, found, _ = await a.call("POST", "/v3/kyb/search/", {"country_code": "gb", "name": name, "metadata": {"a": 1}})
            assert openapi.faults_of_answer("kyb.search", status, found) == []
            assert (len(found["kyb_registry"]["companies"]), found["metadata"]) == (name == "Tesco", {"a": 1})
        hook = {"country_code": "GB", "name": "Tesco", "webhook_url": "https://example.org/x"}
        status, found, _ = await a.call("POST", "/v3/kyb/search/", hook)
        assert (openapi.faults_of_answer("kyb.search", status, found), found["kyb_registry"]["search_status"]) == ([], "pending")
        assert bills(a) == ["kyb.search"]


async def test_refusals_of_a_search_are_those_of_the_openapi() -> None:
    documented = [(status, body) for status, _, body in openapi.answers(OPERATIONS["kyb.search"])]
    async with api() as a:
        for given in (
            {"country_code": "GB"},
            {"country_code": "GBR", "name": "x"},
            {"country_code": "GB", "name": "x", "search_type": "exact"},
            {"country_code": "GB", "name": "x", "webhook_url": "nowhere"},
            {"country_code": "GB", "name": "ProviderDown"},
        ):
            assert (await a.call("POST", "/v3/kyb/search/", given))[:2] in documented
        assert bills(a) == []


@pytest.mark.parametrize(("tier", "delivered"), [("select", "basic"), ("shareholders", "shareholders"), ("ubo", "ubo")])
async def test_a_company_is_billed_and_kept_as_a_business_session(tier: str, delivered: str) -> None:
    async with api() as a:
        given = {"kyb_response_id": await handle(a), "vendor_data": "company-1", "metadata": {"vp_request_id": "r"}}
        status, bought, _ = await a.call("POST", f"/v3/kyb/{tier}/", given)
        assert openapi.faults_of_answer(f"kyb.{tier}", status, bought) == []
        assert (bought["registry_tier_delivered"], bought["kyb_registry"]["status"]) == (delivered, "Approved")
        assert bills(a) == ["kyb.search", f"kyb.{tier}"]
        for kind, count in (("user", 0), ("business", 1), ("all", 1)):
            listed = (await a.call("GET", f"/v3/sessions/?vendor_data=company-1&session_kind={kind}"))[1]
            assert listed["count"] == count
        status, decision, _ = await a.call("GET", f"/v3/session/{bought['request_id']}/decision/")
        assert (decision["session_kind"], decision["metadata"]) == ("business", {"vp_request_id": "r"})
        assert decision["registry_checks"][0]["company"]["company_name"] == "Tesco"


async def test_a_pending_report_comes_with_its_session() -> None:
    async with api() as a:
        status, told, _ = await a.call("POST", "/v3/kyb/ubo/", {"kyb_response_id": await handle(a, "Pending Ltd")})
        assert (status, told["registry_tier_delivered"], told["kyb_registry"]["fetch_status"]) == (202, None, "pending")
        decision = (await a.call("GET", f"/v3/session/{told['request_id']}/decision/"))[1]
        assert decision["registry_checks"][0]["company"]["fetch_status"] == "resolved"
        basic = await a.call("POST", "/v3/kyb/ubo/", {"kyb_response_id": await handle(a, "NoOwners Ltd")})
        assert basic[1]["registry_tier_delivered"] == "basic"
        struck = await a.call("POST", "/v3/kyb/select/", {"kyb_response_id": await handle(a, "Struck Ltd")})
        assert struck[1]["kyb_registry"]["status"] == "Declined"


async def test_refusals_of_a_company_are_those_of_the_openapi() -> None:
    documented = [(status, body) for status, _, body in openapi.answers(OPERATIONS["kyb.select"])]
    async with api() as a:
        known = await handle(a)
        given: list[dict[str, Any]] = [{}, {"kyb_response_id": known, "save_api_request": False}]
        for body in given:
            assert (await a.call("POST", "/v3/kyb/select/", body))[:2] in documented
        assert (await a.call("POST", "/v3/kyb/select/", {"kyb_response_id": "unknown"}))[0] == 400
        a.sim.state.directory.organization.credits = 0
        status, told, _ = await a.call("POST", "/v3/kyb/select/", {"kyb_response_id": known})
        assert (status, told["code"]) == (403, "insufficient_credits")


async def test_a_wallet_is_screened_and_billed() -> None:
    async with api() as a:
        for address, severity in ((WALLET, "LOW"), (WALLET[:-3] + "bad", "CRITICAL")):
            status, told, _ = await a.call("POST", "/v3/wallet-screening/", {"wallet_address": address, "blockchain": "ETH"})
            assert (openapi.faults_of_answer("wallet_screening", status, told), told["severity"]) == ([], severity)
        assert bills(a) == ["wallet_screening"] * 2
        wrong: list[dict[str, Any]] = [
            {},
            {"wallet_address": WALLET, "blockchain": "CELO"},
            {"wallet_address": "x", "blockchain": "ETH"},
            {"wallet_address": WALLET, "blockchain": "X"},
        ]
        for given in wrong:
            assert (await a.call("POST", "/v3/wallet-screening/", given))[0] == 400
        down = {"wallet_address": WALLET[:-3] + "502", "blockchain": "ETH"}
        assert (await a.call("POST", "/v3/wallet-screening/", down))[0] == 502
        a.sim.state.directory.organization.not_in_contract = frozenset({"wallet_screening"})
        assert (await a.call("POST", "/v3/wallet-screening/", {"wallet_address": WALLET, "blockchain": "ETH"}))[0] == 409
        assert len(bills(a)) == 2


async def test_a_wallet_without_its_network_is_told_by_its_address_or_not_screened() -> None:
    async with api() as a:
        status, told, _ = await a.call("POST", "/v3/wallet-screening/", {"wallet_address": "bc1q" + "a" * 38})
        assert (status, told["blockchain"]) == (200, "BTC")
        status, told, _ = await a.call("POST", "/v3/wallet-screening/", {"wallet_address": WALLET})
        assert (status, "ETH" in told["candidate_chains"], bills(a)) == (422, True, ["wallet_screening"])
        status, told, _ = await a.call("POST", "/v3/wallet-screening/", {"wallet_address": WALLET, "blockchain": "BASE"})
        assert (status, told["blockchain"]) == (200, "BASE")


async def test_monitoring_goes_on_and_off_and_is_billed_once() -> None:
    async with api() as a:
        await a.create("u")
        path, given = "/v3/users/aml-monitoring/", {"is_enabled": True, "vendor_data_list": ["u", "nobody"]}
        status, told, _ = await a.call("POST", path, given | {"estimate_only": True})
        assert (openapi.faults_of_answer("aml_monitoring.users", status, told), told["needing_screening"]) == ([], 1)
        outcomes = []
        for on in (True, True, False, True):
            status, told, _ = await a.call("POST", path, given | {"is_enabled": on})
            assert openapi.faults_of_answer("aml_monitoring.users", status, told) == []
            assert told["unmatched"] == ["nobody"]
            outcomes += [result["outcome"] for result in told["results"]]
        assert outcomes == ["screened_and_enabled", "already_enabled", "disabled", "enabled"]
        assert bills(a) == ["aml_monitoring.users"]
        status, job, _ = await a.call("GET", f"/v3/aml-monitoring/jobs/{told['job_id']}/")
        assert (status, openapi.faults_of_answer("aml_monitoring.job", status, job), job["total"]) == (200, [], 1)


async def test_many_are_a_job_and_businesses_are_others_than_users() -> None:
    async with api() as a:
        for n in range(21):
            await a.create(f"u-{n}")
        given = {"is_enabled": True, "vendor_data_list": [f"u-{n}" for n in range(21)]}
        status, told, _ = await a.call("POST", "/v3/users/aml-monitoring/", given)
        assert (status, told["status"], openapi.faults_of_answer("aml_monitoring.users", status, told)) == (202, "PENDING", [])
        assert (await a.call("POST", "/v3/businesses/aml-monitoring/", given))[1]["total"] == 0
        await a.call("POST", "/v3/kyb/select/", {"kyb_response_id": await handle(a), "vendor_data": "c"})
        told = (await a.call("POST", "/v3/businesses/aml-monitoring/", {"is_enabled": True, "vendor_data_list": ["c"]}))[1]
        assert (told["target_type"], told["total"]) == ("business", 1)
        wrongs: list[dict[str, Any]] = [{}, {"is_enabled": True}, {"is_enabled": True, "didit_internal_id_list": ["x"]}]
        for wrong in wrongs:
            assert (await a.call("POST", "/v3/users/aml-monitoring/", wrong))[0] == 400
