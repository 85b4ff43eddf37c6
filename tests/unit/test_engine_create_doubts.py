"""A create whose answer nobody has heard: it is looked for again and again, adopted as soon as it is shown, and made again last."""

from __future__ import annotations

import pytest
from test_engine import NOW, FakeApi, OpenBudget, final, json_reply, record
from test_engine_check_doubts import hop_of, run_at, waiting

from processor.budget.permits import InDoubt
from processor.contract.records import Record
from processor.settings import load_settings

SESSION = "11111111-2222-4333-8444-555555555555"
CREATED = {"session_id": SESSION, "url": "https://verify.didit.me/session/t", "status": "Not Started"}
ROW = {"session_id": SESSION, "vendor_data": "r", "created_at": "2027-01-01T00:00:00Z", "status": "Not Started"}
PROMISE_MS = 90_000  # of a create, with its own timeout: no file is read for it
LAG_MS = int(1000 * load_settings().didit.read_lag_s)
NOTHING = json_reply(200, {"results": []})


def create() -> Record:
    return record(input={"workflow_id": "9f9b1234-0000-4000-8000-1234567890ab"})


def killed(age_ms: int) -> OpenBudget:
    """The journal, when a former owner has asked so long ago and is gone."""
    return OpenBudget(InDoubt(NOW - age_ms, NOW - age_ms + PROMISE_MS))


def test_a_create_that_is_not_shown_is_looked_for_again_until_it_cannot_come_any_more() -> None:
    rec, now_ms, looks, budget = create(), NOW, [], killed(4000)
    while True:
        api = FakeApi(NOTHING, json_reply(201, CREATED))
        outputs = run_at(now_ms, api, rec, budget)
        if len(api.calls) > 1:
            break
        looks.append((now_ms - NOW + 4000) / 1000)
        hop, rec, budget = hop_of(outputs), waiting(outputs), OpenBudget()
        assert (hop.last_error, hop.attempt, hop.doubt_ms) == ("doubt_settling", 0, NOW - 4000)
        assert hop.due_ms is not None
        now_ms = hop.due_ms
    assert looks == [4, 6, 9, 13.5, 20.25, 30.375, 45.562, 68.343, 102.514]
    assert now_ms == NOW - 4000 + PROMISE_MS + LAG_MS
    assert final(outputs)["output"]["session_id"] == SESSION
    assert [ask.settled_ms for ask in budget.asks if ask.identity is not None] == [now_ms]


@pytest.mark.parametrize("looks", [1, 3])
def test_a_session_that_is_shown_late_is_adopted_at_the_next_look(looks: int) -> None:
    rec, now_ms, budget = create(), NOW, killed(10_000)
    for _ in range(looks):
        outputs = run_at(now_ms, FakeApi(NOTHING), rec, budget)
        rec, budget, due_ms = waiting(outputs), OpenBudget(), hop_of(outputs).due_ms
        assert due_ms is not None
        assert due_ms - now_ms <= (now_ms - NOW + 10_000) / 2
        now_ms = due_ms
    api = FakeApi(json_reply(200, {"results": [ROW]}), json_reply(200, {**ROW, "metadata": {"vp_request_id": "r"}}))
    assert final(run_at(now_ms, api, rec, budget))["output"]["session_id"] == SESSION
    assert "session.create" not in [call.operation.name for call in api.calls]


def test_a_create_of_an_owner_with_a_longer_promise_is_waited_for_until_that_is_over() -> None:
    longer = OpenBudget(InDoubt(NOW - 1000, NOW - 1000 + 3 * PROMISE_MS))
    assert hop_of(run_at(NOW, FakeApi(NOTHING), create(), longer)).due_ms == NOW - 1000 + 3 * PROMISE_MS + LAG_MS


def test_a_create_whose_connection_was_closed_is_made_again_at_once() -> None:
    """Who closed it has made a session, which is shown or handed out again, or never will."""
    answered = OpenBudget(InDoubt(NOW - 500, NOW - 500))
    assert final(run_at(NOW, FakeApi(NOTHING, json_reply(201, CREATED)), create(), answered))["status"] == "succeeded"
