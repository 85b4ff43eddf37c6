"""A check whose answer was lost: it is looked for, adopted, waited for, and made again only if it was surely not made."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from test_engine import NOW, SESSION, FakeApi, OpenBudget, Shelf, final, json_reply, record, records, redriven

from processor.budget.permits import Acquired, Ask, InDoubt, Parked
from processor.contract.codes import ErrorCode
from processor.contract.headers import read_hop
from processor.contract.records import Hop, Output, OutputKind, Record, Source
from processor.contract.times import iso
from processor.didit.answers import NoReply, Reply
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
    assert [ask.settled_ms for ask in budget.asks if ask.identity is not None] == [now_ms - LAG_MS], "the list shows it by then"


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


class Journal(OpenBudget):
    """Says ``InDoubt`` of one earlier call as the budget does: unless it was over when the asker had settled the earlier ones."""

    def __init__(self, since_ms: int, over_ms: int) -> None:
        super().__init__()
        self.earlier = InDoubt(since_ms, over_ms)

    async def acquire(self, ask: Ask) -> Acquired:
        if ask.identity is not None and self.earlier.over_ms > ask.settled_ms:
            self.asks.append(ask)
            return self.earlier
        return await super().acquire(ask)


LATER_MS = NOW + PROMISE_MS + LAG_MS  # a check that was lost at NOW cannot come about any more, and is shown if it is


def wanted_again(how: str, **extra: Any) -> Record:
    """A check of unknown fate that is made again where nobody can know: by its caller's wish, or by an operator's."""
    if how == "repeat":
        return lost(on_doubt="repeat", **extra)
    return redriven(run_at(LATER_MS, FakeApi(*NOTHING_SHOWN), lost(**extra)))


HOW = pytest.mark.parametrize("how", ["repeat", "redriven"])


@HOW
def test_a_lookup_that_tells_nothing_settles_nothing_whatever_the_next_call_comes_to(how: str) -> None:
    rec, later_ms = wanted_again(how), LATER_MS + 1000
    for answer in (LOST, json_reply(503, {})):
        assert hop_of(run_at(later_ms, FakeApi(*NOTHING_SHOWN, answer), rec)).doubt_ms == NOW
    parked = run_at(later_ms, FakeApi(*NOTHING_SHOWN), rec, OpenBudget(None, None, Parked(ErrorCode.QUEUE_FULL, 5.0)))
    assert hop_of(parked).doubt_ms == NOW
    result = final(run_at(later_ms, FakeApi(*NOTHING_SHOWN, json_reply(400, {"detail": "no"})), rec))
    assert (result["status"], result["error"]["http_status"]) == ("in_doubt", 400)


@HOW
def test_the_session_of_the_earlier_call_is_adopted_after_a_later_one_was_lost_too(how: str) -> None:
    rec = waiting(run_at(LATER_MS, FakeApi(*NOTHING_SHOWN, LOST), wanted_again(how)))
    api = FakeApi(json_reply(200, {"results": [{**ROW, "created_at": iso(NOW + 1000)}]}), json_reply(200, KEPT))
    assert final(run_at(LATER_MS + 5000, api, rec))["output"]["vp_adopted"] is True


@HOW
@pytest.mark.parametrize("answer", [LOST, json_reply(503, {})])
def test_an_operator_insists_on_one_call_and_a_caller_on_as_many_as_it_takes(how: str, answer: NoReply | Reply) -> None:
    rec = waiting(run_at(LATER_MS, FakeApi(*NOTHING_SHOWN, answer), wanted_again(how)))
    again_ms = 2 * LATER_MS - NOW
    api = FakeApi(*NOTHING_SHOWN, json_reply(200, ANSWER))
    assert final(run_at(again_ms, api, rec))["status"] == ("succeeded" if how == "repeat" else "in_doubt")


@HOW
def test_a_check_that_is_wanted_again_and_comes_too_late_is_in_doubt(how: str) -> None:
    rec = wanted_again(how, deadline="2026-01-01T00:00:00Z")
    parked = waiting(run_at(LATER_MS, FakeApi(*NOTHING_SHOWN), rec, OpenBudget(None, None, Parked(ErrorCode.QUEUE_FULL, 5.0))))
    result = final(run_at(NOW + 10**10, FakeApi(), parked))
    assert (result["status"], result["error"]["code"]) == ("in_doubt", "deadline_passed")


@pytest.mark.parametrize("shown", [(NO_TRACE,), NOTHING_SHOWN])
@pytest.mark.parametrize("under_way_ms", [0, PROMISE_MS])
def test_a_second_call_whose_outcome_died_with_its_owner_is_waited_for_until_the_list_would_show_it(
    shown: tuple[Reply, ...], under_way_ms: int
) -> None:
    """Its record still tells of the first call alone: that the second one was made stands in the journal."""
    over_ms = LATER_MS + under_way_ms
    for now_ms in (LATER_MS + 5000, over_ms + LAG_MS - 1000):
        api = FakeApi(*shown, *shown)
        hop = hop_of(run_at(now_ms, api, lost(on_doubt="repeat"), Journal(LATER_MS, over_ms)))
        assert hop.last_error == "doubt_settling"
        assert hop.doubt_ms == (LATER_MS if shown == (NO_TRACE,) else NOW), "of the first call something is known, or nothing"
        assert {call.operation.name for call in api.calls} == {"session.list"}
    api = FakeApi(*shown, json_reply(200, ANSWER))
    assert final(run_at(over_ms + LAG_MS, api, lost(on_doubt="repeat"), Journal(LATER_MS, over_ms)))["output"] == ANSWER


def test_a_check_in_doubt_may_have_been_made_again_by_an_owner_whose_calls_are_forgotten() -> None:
    rec = lost()
    work = Work(rec, history_truncated=True)
    engine = Engine(load_settings(), FakeApi(NO_TRACE), SHELF, OpenBudget(), clock_ms=lambda: LATER_MS, draw=lambda: 0.0)
    hop = hop_of(records(asyncio.run(engine.handle(rec, work))))
    assert (hop.last_error, hop.doubt_ms, hop.due_ms) == ("doubt_settling", NOW, LATER_MS + PROMISE_MS + LAG_MS)


@pytest.mark.parametrize("kept", [True, False])
def test_an_operator_insists_on_one_call_of_a_round_also_where_its_owner_was_killed(kept: bool) -> None:
    """The record of the round tells of no call; the journal does."""
    ended = (
        run_at(LATER_MS, FakeApi(*NOTHING_SHOWN), lost()) if kept else run_at(NOW, FakeApi(LOST), check(given={"save_api_request": False}))
    )
    rec, looks = redriven(ended), NOTHING_SHOWN if kept else ()
    assert final(run_at(LATER_MS + 1000, FakeApi(*looks, json_reply(200, ANSWER)), rec))["output"] == ANSWER
    killed = Journal(LATER_MS + 1000, LATER_MS + 1000)
    result = final(run_at(2 * LATER_MS - NOW, FakeApi(*looks, *looks), rec, killed))
    assert (result["status"], result["replay"]) == ("in_doubt", 1)
