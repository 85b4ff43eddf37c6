"""A check whose answer was lost: it is looked for, adopted, waited for, and made again only if it was surely not made."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from test_engine import NOW, SESSION, FakeApi, OpenBudget, Shelf, final, json_reply, record, records, redriven

from processor.budget.permits import InDoubt
from processor.contract.codes import ErrorCode
from processor.contract.headers import read_hop
from processor.contract.records import Hop, Output, OutputKind, Record, Source
from processor.didit.answers import NoReply
from processor.engine.engine import Engine
from processor.settings import load_settings
from processor.stream.handler import Work

INPUT = {"user_image": "file:///a", "ref_image": "file:///b", "vendor_data": "u"}
SHELF = Shelf(user_image=b"png", ref_image=b"png")
LOST = NoReply(sent=True, code=ErrorCode.RESET)
ROW = {"session_id": SESSION, "vendor_data": "u", "created_at": "2027-01-01T00:00:00Z", "status": "Approved"}
KEPT = {**ROW, "metadata": {"vp_request_id": "r"}, "face_matches": [{"node_id": None, "status": "Approved", "score": 97.0}]}
ANSWER = {"request_id": SESSION, "face_match": {"status": "Approved", "score": 97.0}}
FOUND = (json_reply(200, {"results": [ROW]}), json_reply(200, KEPT))
NO_TRACE = json_reply(200, {"results": [{**ROW, "created_at": "2001-01-01T00:00:00Z"}]})
NOTHING_SHOWN = (json_reply(200, {"results": []}), json_reply(200, {"results": []}))
PROMISE_MS = int(1000 * load_settings().promise_s_max)
LAG_MS = 60_000


def run_at(now_ms: int, api: FakeApi, rec: Record, budget: OpenBudget | None = None) -> list[Output]:
    engine = Engine(load_settings(), api, SHELF, budget or OpenBudget(), clock_ms=lambda: now_ms, draw=lambda: 0.0)
    return records(asyncio.run(engine.handle(rec, Work(rec))))


def check(**extra: Any) -> Record:
    return record(operation="face_match", input={**INPUT, **extra.pop("given", {})}, **extra)


def waiting(outputs: list[Output]) -> Record:
    (retry,) = outputs
    assert retry.kind is OutputKind.RETRY
    return Record(Source("v.retry.10s", 0, 7), retry.key, retry.value, retry.headers, NOW)


def lost(**extra: Any) -> Record:
    return waiting(run_at(NOW, FakeApi(LOST), check(**extra)))


def hop_of(outputs: list[Output]) -> Hop:
    return read_hop(waiting(outputs))


def test_a_lost_answer_is_found_and_adopted() -> None:
    api = FakeApi(*FOUND)
    result = final(run_at(NOW + 5000, api, lost()))
    assert [call.operation.name for call in api.calls] == ["session.list", "session.decision"]
    assert result["status"] == "succeeded"
    assert result["output"]["face_match"] == {"status": "Approved", "score": 97.0}
    assert (result["output"]["request_id"], result["output"]["vp_adopted"]) == (SESSION, True)


def test_without_a_trace_it_is_looked_for_again_and_made_again_only_when_it_cannot_come_any_more() -> None:
    rec, now_ms, looks = lost(), NOW + 5000, []
    settles_ms = NOW + PROMISE_MS + LAG_MS
    while now_ms < settles_ms:
        api = FakeApi(NO_TRACE)
        outputs = run_at(now_ms, api, rec)
        hop, rec = hop_of(outputs), waiting(outputs)
        assert (hop.last_error, hop.attempt, hop.doubt_ms) == ("doubt_settling", 1, NOW)
        assert hop.due_ms is not None
        looks.append(round((now_ms - NOW) / 1000))
        now_ms = hop.due_ms
    assert looks == [5, 15, 30, 60, 120]
    assert now_ms == settles_ms
    api, budget = FakeApi(NO_TRACE, json_reply(200, ANSWER)), OpenBudget()
    assert final(run_at(now_ms, api, rec, budget))["output"] == ANSWER
    assert [ask.settled_ms for ask in budget.asks if ask.identity is not None] == [now_ms]


def test_the_call_that_is_made_again_has_a_doubt_of_its_own() -> None:
    later_ms = NOW + PROMISE_MS + LAG_MS
    outputs = run_at(later_ms, FakeApi(NO_TRACE, LOST), lost())
    assert hop_of(outputs).doubt_ms == later_ms, "else a third call would be made too early"
    assert hop_of(run_at(later_ms + 5000, FakeApi(NO_TRACE), waiting(outputs))).last_error == "doubt_settling"


def test_a_call_of_a_former_owner_is_waited_for_until_its_promise_and_the_lag_are_over() -> None:
    over_ms = NOW + 400_000
    rec = waiting(run_at(NOW, FakeApi(NO_TRACE), check(), OpenBudget(InDoubt(NOW - 500_000, over_ms))))
    assert read_hop(rec).due_ms == over_ms + LAG_MS


def test_where_the_list_shows_no_check_at_all_nobody_can_know() -> None:
    rec = lost()
    assert hop_of(run_at(NOW + 5000, FakeApi(*NOTHING_SHOWN), rec)).last_error == "doubt_settling", "it may only be late"
    result = final(run_at(NOW + PROMISE_MS + LAG_MS, FakeApi(*NOTHING_SHOWN), rec))
    assert (result["status"], result["error"]["code"]) == ("in_doubt", "call_unanswered")


def test_who_wants_it_repeated_gets_a_second_call_where_nobody_can_know() -> None:
    api = FakeApi(*NOTHING_SHOWN, json_reply(200, ANSWER))
    assert final(run_at(NOW + PROMISE_MS + LAG_MS, api, lost(on_doubt="repeat")))["output"] == ANSWER


@pytest.mark.parametrize("on_doubt", ["fail", "repeat"])
def test_a_check_that_took_place_is_never_made_again(on_doubt: str) -> None:
    api = FakeApi(FOUND[0], json_reply(200, {**KEPT, "face_matches": None}))
    assert final(run_at(NOW + PROMISE_MS + LAG_MS, api, lost(on_doubt=on_doubt)))["status"] == "in_doubt"


def test_what_didit_was_asked_not_to_keep_ends_in_doubt_at_once() -> None:
    api = FakeApi(LOST)
    assert final(run_at(NOW, api, check(given={"save_api_request": False})))["status"] == "in_doubt"
    assert len(api.calls) == 1


def test_a_redriven_check_is_looked_up_first_and_made_again_where_nobody_can_know() -> None:
    ended = run_at(NOW + PROMISE_MS + LAG_MS, FakeApi(*NOTHING_SHOWN), lost())
    again = redriven(ended)
    assert final(run_at(NOW + 10**6, FakeApi(*FOUND), again))["output"]["vp_adopted"] is True
    result = final(run_at(NOW + 10**6, FakeApi(*NOTHING_SHOWN, json_reply(200, ANSWER)), again))
    assert (result["output"], result["replay"]) == (ANSWER, 1)


def test_a_doubt_that_cannot_settle_before_the_deadline_names_no_status_that_didit_has_not_answered() -> None:
    rec = lost(deadline="2025-11-24T16:01:00Z")
    (told,) = [o for o in run_at(NOW + 58_000, FakeApi(NO_TRACE), rec) if o.kind is OutputKind.RESULT]
    error = final([told])["error"]
    assert (error["type"], error["code"], error["http_status"]) == ("in_doubt", "doubt_settling", None)


def test_a_lookup_that_is_refused_keeps_the_doubt() -> None:
    hop = hop_of(run_at(NOW + 5000, FakeApi(json_reply(400, {"detail": "x"})), lost()))
    assert (hop.last_error, hop.doubt_ms) == ("lookup_refused", NOW)


def test_the_deadline_ends_a_doubt_that_has_not_settled() -> None:
    rec = replace(lost(deadline="2026-01-01T00:00:00Z"))
    result = final(run_at(NOW + 10**10, FakeApi(), rec))
    assert (result["status"], result["error"]["code"]) == ("in_doubt", "deadline_passed")
