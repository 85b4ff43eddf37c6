"""403s of one request, of an operation and of the account: who ends, who waits, who goes on; judged by topics and ledger."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from commands import run_command
from operator_page import OperatorPage
from rig import Rig, create_request, running

from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker

OTHER_WORKFLOW = "0f9b1234-0000-4000-8000-1234567890ab"


def request(request_id: str, operation: str, **given: Any) -> tuple[bytes, bytes]:
    return request_id.encode(), orjson.dumps({"request_id": request_id, "operation": operation, "input": given})


def foreign(rig: Rig) -> tuple[bytes, bytes]:
    """The decision of a session that belongs to another application."""
    headers = {"x-api-key": "sim-sandbox-key", "Content-Type": "application/json"}
    body = orjson.dumps({"workflow_id": OTHER_WORKFLOW})
    call = urllib.request.Request(f"{rig.simulator.url}/v3/session/", body, headers)  # noqa: S310 - loopback, our own url
    with urllib.request.urlopen(call, timeout=30) as response:  # noqa: S310 - loopback, our own url
        return request("foreign", "session.decision", session_id=orjson.loads(response.read())["session_id"])


def workflow(rig: Rig) -> tuple[bytes, bytes]:
    rig.simulator.post("/_sim/rights", {"forbidden_workflows": [OTHER_WORKFLOW]})
    return request("workflow", "session.create", workflow_id=OTHER_WORKFLOW, vendor_data="w")


def top_up(rig: Rig) -> tuple[bytes, bytes]:
    rig.simulator.post("/_sim/credits", {"topped_up": False})
    return request("top-up", "phone.send", phone_number="+14155550123")


def contract(rig: Rig) -> tuple[bytes, bytes]:
    rig.simulator.post("/_sim/rights", {"not_in_contract": ["aml"]})
    return request("contract", "aml", full_name="Ada Example")


def right(rig: Rig) -> tuple[bytes, bytes]:
    rig.simulator.post("/_sim/rights", {"forbidden_routes": ["email.send"]})
    return request("right", "email.send", email="ada@example.org")


CASES: list[tuple[Callable[[Rig], tuple[bytes, bytes]], str]] = [
    (foreign, "not_permitted"),
    (workflow, "not_permitted"),
    (right, "not_permitted"),
    (top_up, "top_up_first"),
    (contract, "not_in_contract"),
]


async def test_a_request_with_a_403_of_its_own_ends_alone_and_forty_others_go_on(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        await rig.start("a")
        bad = [await asyncio.to_thread(make, rig) for make, _ in CASES]
        await rig.publish([bad[0]])  # alone, as nothing else shows that the key works
        await rig.wait_finals(1)
        rig.simulator.post("/_sim/script", {"route": "ip.risk", "answers": [{"fault": "error_403_html"}]})
        page = request("page", "ip.risk", ip_address="192.0.2.1")
        await rig.publish([*bad[1:], page, *(create_request(n) for n in range(40))])
        await rig.wait_finals(46)
        ended = {f["request_id"]: f for f in rig.finals}
        for (key, _), (_, code) in zip(bad, CASES, strict=True):
            found = ended[key.decode()]
            assert (found["status"], found["error"]["type"], found["error"]["code"]) == ("failed", "request_refused", code), found
        assert all(ended[f"r-{n:06d}"]["status"] == "succeeded" for n in range(40))
        assert ended["page"]["attempts"] == 2, "a firewall's page is one attempt"
        assert len(await rig.records("dead-letters")) == len(CASES)
        assert not list(rig.processors[0].events("account_fault"))


async def test_a_refused_operation_waits_in_sight_and_goes_on_after_the_repair(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, BUDGET__REFUSED_REQUESTS="3") as rig:
        await rig.start("a")
        rig.simulator.post("/_sim/rights", {"forbidden_routes": ["email.send"]})
        rig.simulator.post("/_sim/credits", {"credits": 0})
        emails = [request(f"e-{n}", "email.send", email=f"u{n}@example.org") for n in range(2)]
        for n, email in enumerate(emails):
            await rig.publish([email])
            await rig.wait_finals(n + 1)  # it ends alone; the next ones are held
        held = [request(f"h-{n}", "email.send", email=f"h{n}@example.org") for n in range(5)]
        unpaid = [request(f"aml-{n}", "aml", full_name=f"Ada {n}") for n in range(5)]
        reads = [request(f"l-{n}", "session.list", vendor_data=f"u{n}") for n in range(10)]
        await rig.publish([*held, *unpaid, *reads])
        await rig.wait_finals(12)
        await rig.until(lambda: len({r.request_id for r in rig.watch.seen.retries}) >= 10, "ten that wait")
        assert len(await rig.records("dead-letters")) == 2
        assert {f["request_id"][0] for f in rig.finals} == {"e", "l"}
        told = await run_command(rig.environment, "retry", "list")
        assert "no_credits: the account has not enough credits for this operation; top up." in told.text
        assert "`processor retry end REQUEST_ID` ends a request" in told.text
        for _ in range(20):  # it waits for two seconds at a time, and may be at work
            ended_now = await run_command(rig.environment, "retry", "end", "h-4", "--yes")
            if any(f["request_id"] == "h-4" for f in rig.finals):
                break
        assert ended_now.status == 0
        by_hand = next(f for f in rig.finals if f["request_id"] == "h-4")
        assert (by_hand["status"], by_hand["error"]["code"], by_hand["attempts"]) == ("failed", "ended_by_hand", 0)
        rig.simulator.post("/_sim/rights", {"forbidden_routes": []})
        rig.simulator.post("/_sim/credits", {"credits": 100})
        await rig.wait_finals(22)
        ended = {f["request_id"]: f for f in rig.finals}
        assert all(ended[f"{stem}-{n}"]["status"] == "succeeded" for stem in ("h", "aml") for n in range(4))
        assert all(ended[f"{stem}-{n}"]["attempts"] == 1 for stem in ("h", "aml") for n in range(4)), "no attempt burnt"
        assert len(await rig.records("dead-letters")) == 3, "nothing else was dead-lettered for what the account lacks"


async def test_what_an_account_fault_holds_is_seen_is_ended_by_hand_and_goes_on_after_it(kafka: LocalKafka, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("old-key")
    options = ("--switches", '{"auth_status":401}')
    async with running(kafka, tmp_path, partitions=1, simulator_options=options, LANES__WORK_MAX="10") as rig:
        del rig.environment["VP_DIDIT__API_KEY"]
        rig.environment["VP_DIDIT__API_KEY_FILE"] = str(key_file)
        (a,) = await rig.start("a")
        await rig.publish([create_request(n) for n in range(12)])
        await asyncio.to_thread(a.wait_event, "account_fault")
        listed, refused = await asyncio.gather(
            run_command(rig.environment, "retry", "list", "--json"),
            run_command(rig.environment, "retry", "release", "--reason", "waits_for_account", "--yes"),
        )
        found = orjson.loads(listed.out)
        assert found["by_reason"] == {"waits_for_account": 10}, "those that the processor has taken up; two stand behind them"
        assert [r["request_id"] for r in found["records"]] == [f"r-{n:06d}" for n in range(10)]
        assert (refused.status, "a release does not override it" in refused.err) == (2, True)
        page = await asyncio.to_thread(OperatorPage(a).get, "/waiting?reason=waits_for_account")
        assert "r-000009" in page
        ended, told = await asyncio.gather(
            run_command(rig.environment, "retry", "end", "r-000003", "--yes"), run_command(rig.environment, "retry", "list")
        )
        assert (ended.status, "waits_for_account: no call leaves because of a fault of the whole account" in told.text) == (0, True), (
            ended.err
        )
        await rig.wait_finals(1)
        assert [(f["request_id"], f["status"], f["error"]["code"]) for f in rig.finals] == [("r-000003", "failed", "ended_by_hand")]
        key_file.write_text("sim-key")
        await rig.wait_finals(12)
        await rig.read_rest()
        assert sum(f["status"] == "succeeded" and f["attempts"] == 1 for f in rig.finals) == 11
        assert (rig.watch.seen.retries, len(await rig.records("dead-letters"))) == ([], 1), "no record was moved, none is dead but that one"
        assert not list(a.events("life_failed"))
