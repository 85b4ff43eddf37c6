"""The check asks within the budget, in few calls, and tells the replicas nothing of what it learns."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import orjson
import pytest
from multidict import CIMultiDict
from virtual_time import run_virtual

from processor.budget.permits import Acquired, Ask, BudgetClosedError, CallClass, Ending, Fate, HealthSignal, Parked, Permit
from processor.contract.codes import ErrorCode
from processor.didit.account_checks import CheckState, SetupCheck
from processor.didit.answers import Answer, NoReply, Reply
from processor.didit.calls import HttpCall
from processor.worker.check import AccountReader

WANTED = "a1b2c3d4-5678-90ab-cdef-111111111111"
WAIT_S = 30.0


def reply(status: int, document: Any, **headers: str) -> Reply:
    return Reply(status, CIMultiDict({"Content-Type": "application/json", **headers}), orjson.dumps(document))


def page(*ids: str, more: bool = False) -> Reply:
    rows = [{"uuid": one, "workflow_id": one, "version": 1, "status": "published", "is_archived": False} for one in ids]
    return reply(200, {"count": len(ids), "next": "https://next" if more else None, "previous": None, "results": rows})


class Account:
    """Didit and the budget: answers by operation, the last one for ever; permits, or what comes instead."""

    def __init__(self, answers: dict[str, list[Answer]] | None = None, instead: Acquired | None = None, fails: bool = False) -> None:
        good: dict[str, list[Answer]] = {
            "session.list": [reply(200, {"results": []})],
            "workflow.list": [page(WANTED)],
            "billing.balance": [reply(200, {"balance": "1.0000", "auto_refill_enabled": False})],
        }
        self.answers = good | (answers or {})
        self.instead, self.fails = instead, fails
        self.calls: list[HttpCall] = []
        self.asks: list[Ask] = []
        self.endings: list[Ending] = []
        self.pauses: list[tuple[str, float]] = []
        self.hangs = False

    async def send(self, call: HttpCall, _files: Sequence[object] = ()) -> Answer:
        self.calls.append(call)
        answers = self.answers[call.operation.name]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def acquire(self, ask: Ask) -> Acquired:
        self.asks.append(ask)
        if self.fails:
            raise BudgetClosedError
        if self.hangs:
            await asyncio.Event().wait()
        return Permit("p", ask) if self.instead is None else self.instead

    def release(self, _permit: Permit, ending: Ending) -> None:
        self.endings.append(ending)

    def pause(self, scope: str, wait_s: float) -> None:
        self.pauses.append((scope, wait_s))


def check(account: Account) -> dict[str, SetupCheck]:
    reader = AccountReader(cast("Any", account), cast("Any", account), WAIT_S, 3600.0)
    return {row.name.partition(" ")[0]: row for row in run_virtual(reader.check([WANTED]))}


def made(account: Account) -> list[str]:
    return [call.operation.name for call in account.calls]


def test_three_calls_behind_those_of_requests_and_each_counts() -> None:
    account = Account()
    assert {row.state for row in check(account).values()} == {CheckState.OK}
    assert made(account) == ["session.list", "workflow.list", "billing.balance"]
    assert {(ask.scopes, ask.call_class, ask.identity) for ask in account.asks} == {(("generic-get",), CallClass.POLL, None)}
    assert account.calls[0].query == (("limit", "1"),)


def test_no_end_of_a_call_says_anything_of_the_account() -> None:
    refused = reply(401, {"detail": "Invalid token."})
    account = Account({"session.list": [refused]})
    found = check(account)
    assert (found["key"].state, made(account)) == (CheckState.FAILED, ["session.list"]), "no further call with such a key"
    assert account.endings == [Ending(Fate.ANSWERED, HealthSignal.NEUTRAL)]
    lost = Account({"session.list": [NoReply(sent=True, code=ErrorCode.TIMEOUT, open=True)]})
    assert check(lost)["sessions"].state is CheckState.UNKNOWN
    assert (lost.endings[0].fate, {ending.health for ending in lost.endings}) == (Fate.UNKNOWN, {HealthSignal.NEUTRAL})


def test_pages_are_read_to_the_end_and_not_for_ever() -> None:
    account = Account({"workflow.list": [page("b", more=True), page(WANTED)]})
    assert check(account)["workflow"].state is CheckState.OK
    assert [dict(call.query)["offset"] for call in account.calls if call.operation.name == "workflow.list"] == ["0", "100"]
    endless = Account({"workflow.list": [page("b", more=True)]})
    assert check(endless)["workflow"].state is CheckState.UNKNOWN
    assert made(endless).count("workflow.list") == 20
    broken = Account({"workflow.list": [page("b", more=True), reply(500, {})]})
    assert check(broken)["workflow"].state is CheckState.UNKNOWN


@pytest.mark.parametrize(
    ("account", "words"),
    [
        (Account(instead=Parked(ErrorCode.OPERATION_HELD, 60.0)), ErrorCode.OPERATION_HELD.meaning),
        (Account(fails=True), "the budget log cannot be used"),
    ],
)
def test_without_a_permit_no_call_is_made(account: Account, words: str) -> None:
    found = check(account)
    assert ({row.state for row in found.values()}, len(account.asks), account.calls) == ({CheckState.UNKNOWN}, 1, [])
    assert all(words in row.found for row in found.values())


def test_the_wait_for_a_permit_is_bounded() -> None:
    account = Account()
    account.hangs = True
    assert "within 30 s" in check(account)["key"].found
    assert len(account.asks) == 1, "the first that does not come is the last that is waited for"


def test_a_429_pauses_its_scope_for_every_replica() -> None:
    throttled = reply(
        429, {"detail": "GET request rate limit exceeded. You can make up to 600 requests per minute."}, **{"Retry-After": "7"}
    )
    account = Account({"billing.balance": [throttled]})
    assert check(account)["credits"].state is CheckState.UNKNOWN
    assert account.pauses == [("generic-get", 7.0)]
