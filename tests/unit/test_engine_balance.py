"""The credits as a metric: read behind requests, in its scope, and no figure where there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from typing import Any, cast

import orjson
import pytest
from multidict import CIMultiDict
from structlog.testing import capture_logs
from virtual_time import run_virtual

from processor.budget.permits import NOT_SENT, Acquired, Ask, CallClass, Ending, Fate, HealthSignal, Parked, Permit
from processor.clock import boot_clock
from processor.contract.codes import ErrorCode
from processor.didit.answers import Answer, NoReply, Reply
from processor.didit.calls import HttpCall
from processor.engine.balance import BalanceReader
from processor.observe import metrics

HOUR = 3600.0


def reply(status: int, document: Any) -> Reply:
    return Reply(status, CIMultiDict({"Content-Type": "application/json"}), orjson.dumps(document))


GOOD = reply(200, {"balance": "12.5000", "auto_refill_enabled": False})
REFUSED = reply(403, {"detail": "You do not have permission to perform this action."})


class Didit:
    """Answers in their order, the last one for ever; and a budget that gives every permit, or parks."""

    def __init__(self, *answers: Answer, parked: bool = False, start_by: float = inf) -> None:
        self.answers, self.parked, self.start_by = list(answers), parked, start_by
        self.calls: list[HttpCall] = []
        self.asks: list[Ask] = []
        self.endings: list[Ending] = []
        self.pauses: list[tuple[str, float]] = []

    async def send(self, call: HttpCall, _files: Sequence[object] = ()) -> Answer:
        self.calls.append(call)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def acquire(self, ask: Ask) -> Acquired:
        self.asks.append(ask)
        return Parked(ErrorCode.SCOPE_PAUSED, 60.0) if self.parked else Permit("p", ask, start_by=self.start_by)

    def release(self, _permit: Permit, ending: Ending) -> None:
        self.endings.append(ending)

    def pause(self, scope: str, wait_s: float) -> None:
        self.pauses.append((scope, wait_s))


async def read(didit: Didit, for_s: float, every_s: float = 300.0) -> None:
    reader = BalanceReader(cast("Any", didit), cast("Any", didit), every_s, lambda: 0, pause_s_max=HOUR)
    with suppress(TimeoutError):
        async with asyncio.timeout(for_s):
            await reader.run()


def shown() -> dict[str, float]:
    return {sample.labels["auto_refill"]: sample.value for sample in metrics.BALANCE.samples()}


def test_it_is_read_each_interval_behind_all_requests_and_counts_in_its_scope() -> None:
    didit = Didit(GOOD)
    run_virtual(read(didit, 1000.0))
    assert len(didit.calls) == 3, "at 300, 600 and 900 s"
    assert {(ask.endpoint, ask.scopes, ask.call_class, ask.identity) for ask in didit.asks} == {
        ("billing.balance", ("generic-get",), CallClass.POLL, None)
    }
    assert didit.endings == [Ending(Fate.ANSWERED, HealthSignal.GOOD, acted=True)] * 3
    assert shown() == {"off": 12.5}


@pytest.mark.parametrize(
    "answer",
    [
        NoReply(sent=True, code=ErrorCode.TIMEOUT),
        reply(500, {}),
        reply(429, {"detail": "Request was throttled. Expected available in 30 seconds."}),
        reply(200, {"balance": "a lot"}),
        reply(200, {"balance": "NaN"}),
        REFUSED,
    ],
)
def test_what_cannot_be_read_leaves_no_figure(answer: Answer) -> None:
    run_virtual(read(Didit(GOOD, answer), 700.0))
    assert shown() == {}


@pytest.mark.parametrize(("retry_after", "wait_s"), [("7", 7.0), ("7200", HOUR), (None, 5.0)])
def test_a_429_pauses_its_scope_for_every_replica(retry_after: str | None, wait_s: float) -> None:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    body = b'{"detail":"GET request rate limit exceeded. You can make up to 600 requests per minute."}'
    didit = Didit(Reply(429, CIMultiDict({"Content-Type": "application/json", **headers}), body))
    run_virtual(read(didit, 400.0))
    assert didit.pauses == [("generic-get", wait_s)]


def test_without_a_permit_no_call_is_made() -> None:
    didit = Didit(GOOD, parked=True)
    run_virtual(read(didit, 700.0))
    assert (len(didit.asks), didit.calls) == (2, [])


def test_a_permit_that_has_run_out_in_a_freeze_is_given_back_unused() -> None:
    """The call would be counted when nobody allows for it any more."""
    didit = Didit(GOOD, start_by=boot_clock() - 0.1)
    run_virtual(read(didit, 400.0))
    assert (didit.calls, didit.endings) == ([], [NOT_SENT])


def test_a_key_that_may_not_is_asked_again_once_a_day_and_harms_no_operation() -> None:
    didit = Didit(REFUSED)
    with capture_logs() as logs:
        run_virtual(read(didit, 49 * HOUR))
    assert len(didit.calls) == 3
    assert {ending.health for ending in didit.endings} == {HealthSignal.NEUTRAL}
    assert [entry["event"] for entry in logs] == ["balance_refused"] * 3
