"""Transactions and monitoring events of the simulator, judged by Didit's OpenAPI where it has them."""

from __future__ import annotations

import asyncio
from typing import Any

import openapi
import pytest
from didit_api import SANDBOX_KEY, api

from processor.didit.catalog import OPERATIONS
from processor.simulator.config import FaultPlan, Latency


def transaction(number: int = 1, **extra: Any) -> dict[str, Any]:
    details = {"direction": "out", "amount": extra.pop("amount", "10.50"), "currency": "EUR"}
    subject = {"vendor_data": "u", "full_name": "Ann"}
    return {
        "transaction_id": f"t-{number}",
        "transaction_category": "travel_rule",
        "transaction_details": details,
        "subject": subject,
        **extra,
    }


def event(number: int = 1, **extra: Any) -> dict[str, Any]:
    named = {"event_id": f"e-{number}", "event_category": "auth", "action_type": "login", "occurred_at": "2026-10-17T09:15:02.481Z"}
    return named | {"subject": {"vendor_data": "u"}} | extra


async def test_answers_are_those_of_the_openapi() -> None:
    async with api() as a:
        status, made, _ = await a.call(
            "POST", "/v3/transactions/", transaction(counterparty={"full_name": "Bob"}, custom_properties={"a": 1})
        )
        assert openapi.faults_of_answer("transaction.create", status, made) == []
        assert (made["amount"], made["direction"], made["transaction_type"], made["action_type"]) == (
            "10.5",
            "OUTBOUND",
            *["travelRule"] * 2,
        )
        assert made["props"] == {"a": 1}
        status, listed, _ = await a.call("GET", "/v3/transactions/")
        assert openapi.faults_of_answer("transaction.list", status, listed) == []
        assert listed["results"][0]["counterparty_name"] == "Bob"
        status, read, _ = await a.call("GET", f"/v3/transactions/{made['uuid']}/")
        assert read == made


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"transaction_details": {"direction": "in", "currency": "EUR"}}, {"transaction_details": {"amount": ["This field is required."]}}),
        ({"transaction_category": "x"}, {"non_field_errors": ["Unsupported transaction category."]}),
        ({"subject": {"full_name": "Ann"}}, {"subject": ["subject.vendor_data and subject.full_name are required."]}),
    ],
)
async def test_what_the_openapi_shows_as_refused_is_refused(given: dict[str, Any], error: dict[str, Any]) -> None:
    documented = [body for status, _, body in openapi.answers(OPERATIONS["transaction.create"]) if status == 400]
    assert error in documented
    async with api() as a:
        assert (await a.call("POST", "/v3/transactions/", transaction(**given)))[:2] == (400, error)
        assert a.sim.ledger.checks == []


async def test_blocked_people_take_part_in_no_transaction() -> None:
    async with api() as a:
        a.sim.state.sessions.blocked_users(a.sim.state.directory.live).add("user-12345")
        subject = {"vendor_data": "user-12345", "full_name": "Ann"}
        status, body, _ = await a.call("POST", "/v3/transactions/", transaction(subject=subject))
        assert (400, "Blocklisted participant", body) in list(openapi.answers(OPERATIONS["transaction.create"]))
        assert status == 400


async def test_a_transaction_is_billed_once_and_in_a_sandbox_never() -> None:
    async with api() as a:
        for _ in range(2):
            await a.call("POST", "/v3/transactions/", transaction())
        await a.call("POST", "/v3/transactions/", transaction(), SANDBOX_KEY)
        assert [check["credits"] for check in a.sim.ledger.checks] == [1, 0]


async def test_a_large_amount_is_declined() -> None:
    async with api() as a:
        assert (await a.call("POST", "/v3/transactions/", transaction(amount=1_000_000)))[1]["status"] == "DECLINED"


async def test_the_list_is_ordered_by_the_time_of_the_transaction_and_has_pages() -> None:
    async with api() as a:
        for number, at in enumerate(("2026-01-02T00:00:00Z", "2026-01-03T00:00:00+01:00", "2025-01-01T00:00:00Z")):
            await a.call("POST", "/v3/transactions/", transaction(number, transaction_at=at))
        page = (await a.call("GET", "/v3/transactions/?limit=2"))[1]
        assert [row["txn_id"] for row in page["results"]] == ["t-1", "t-0"]
        assert (page["count"], page["total_transactions"], page["previous"]) == (3, 3, None)
        rest = (await a.call("GET", page["next"].removeprefix(a.url)))[1]
        assert [row["txn_id"] for row in rest["results"]] == ["t-2"]


async def test_an_event_counts_once() -> None:
    async with api() as a:
        first = await a.call("POST", "/v3/events/", event())
        assert first[0] == 201
        assert (await a.call("POST", "/v3/events/", event()))[:2] == first[:2]
        for wrong in ({}, event(event_category="x"), event(occurred_at="now"), event(event_id="x" * 129)):
            assert (await a.call("POST", "/v3/events/", wrong))[0] == 400


async def test_a_batch_tells_of_each_event() -> None:
    async with api() as a:
        await a.call("POST", "/v3/events/", event(1))
        status, told, _ = await a.call("POST", "/v3/events/batch/", {"events": [event(1), event(2), event(3, event_category="x")]})
        assert status == 207
        assert [(item["index"], item["outcome"]) for item in told["results"]] == [(0, "replayed"), (1, "accepted"), (2, "rejected")]
        assert (await a.call("POST", "/v3/events/batch/", [event(4)]))[0] == 201
        wrongs: list[Any] = [{"events": []}, {}, {"events": [event(n) for n in range(501)]}]
        for wrong in wrongs:
            assert (await a.call("POST", "/v3/events/batch/", wrong))[0] == 400


async def test_transactions_and_events_share_a_scope_of_their_own() -> None:
    async with api() as a:
        for path, body in (("transactions", transaction()), ("events", event()), ("events/batch", {"events": [event(2)]})):
            await a.call("POST", f"/v3/{path}/", body)
        assert {tuple(call.scopes) for call in a.sim.ledger.calls} == {("ingest-write",)}


async def test_two_same_creations_at_a_time_are_one_and_a_409() -> None:
    """Of each pair one is made, whichever comes first; later it is a 400, and another id is free."""
    async with api(faults=FaultPlan(latency=Latency(0.2))) as a:
        calls = (a.call("POST", "/v3/transactions/", transaction(number)) for number in (1, 1, 2))
        statuses = sorted([answer[0] for answer in await asyncio.gather(*calls)])
        assert statuses == [201, 201, 409]
        assert (await a.call("POST", "/v3/transactions/", transaction(1)))[0] == 400
        assert [check["operation"] for check in (await a.ledger())["checks"]] == ["transaction.create"] * 2


async def test_a_creation_that_failed_leaves_its_id_free() -> None:
    async with api() as a:
        await a.control("script", {"route": "transaction.create", "answers": [{"fault": "error_503"}]})
        assert [(await a.call("POST", "/v3/transactions/", transaction()))[0] for _ in range(2)] == [503, 201]
