"""The engine with a scripted API and a budget that always says yes: which outputs each story ends in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import Any

import orjson
import pytest
from metric_values import metric_value
from structlog.testing import capture_logs

from processor.bounds.byte_budget import ByteBudget, ByteReservation
from processor.budget.permits import (
    Acquired,
    Ask,
    BudgetClosedError,
    CallClass,
    CallIdentity,
    Conflict,
    Duplicate,
    Ending,
    Fate,
    HealthSignal,
    InDoubt,
    NoPermit,
    Parked,
    ParkedWait,
    Permit,
    Place,
)
from processor.clock import boot_clock
from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.headers import hop_headers, read_hop
from processor.contract.records import Headers, Hint, Hop, Output, OutputKind, Record, Source
from processor.didit.answers import Answer, NoReply, Reply
from processor.didit.calls import FileContent, FilePart, HttpCall
from processor.didit.catalog import OPERATIONS
from processor.engine.engine import Engine
from processor.engine.places import place_of
from processor.files.rules import FileError
from processor.repair.dead_letter import dead_letter_of, redriven_hop
from processor.settings import load_settings
from processor.stream.cancels import read_cancel
from processor.stream.handler import OUTPUT_TOO_LARGE, NothingToPublish, Outcome, Outputs, Work, WorkAbandonedError

NOW = 1_764_000_000_000
WORKFLOW = "9f9b1234-0000-4000-8000-1234567890ab"
SESSION = "11111111-2222-4333-8444-555555555555"
CREATED = {"session_id": SESSION, "url": "https://verify.didit.me/session/tok", "status": "Not Started", "vendor_data": "u"}


class FakeApi:
    """Answers in order; a scripted fake, not a mock: an unexpected call fails the test."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.calls, self.keys_read = list(answers), [], 0
        self.files = []

    calls: list[HttpCall]
    files: list[list[FileContent]]

    async def send(self, call: HttpCall, files: Sequence[FileContent] = ()) -> Answer:
        self.calls.append(call)
        self.files.append(list(files))
        return self.answers.pop(0)

    def refresh_key(self) -> bool:
        self.keys_read += 1
        return True


class Shelf:
    """Files by reference; a fault is raised instead."""

    longest_s = 15.0

    def __init__(self, **files: bytes | FileError) -> None:
        self.files = files

    def reservation(self) -> AbstractContextManager[ByteReservation]:
        return ByteBudget(1).reservation()

    async def fetch(self, parts: Sequence[FilePart], held: ByteReservation) -> list[FileContent]:
        del held
        found = []
        for part in parts:
            content = self.files[part.name]
            if isinstance(content, FileError):
                content.field = part.name
                raise content
            found.append(FileContent(part.name, content, "image/png"))
        return found


class OpenBudget:
    """Grants at once and notes what it was told. ``refusals`` come first, one for each ask; an error is raised."""

    def __init__(self, *refusals: NoPermit | Exception | None, down: bool = False) -> None:
        self.asks: list[Ask] = []
        self.endings: list[Ending] = []
        self.pauses: list[tuple[str, float]] = []
        self.named_limits: list[int | None] = []
        self.refusals, self.down = list(refusals), down
        self.held: set[str] = set()
        self.claims: list[CallIdentity] = []
        self.prior: Duplicate | Conflict | InDoubt | None = None  # what a claim is told
        self.start_by = inf
        self.paused: list[bool] = []  # an answer for each time that somebody asks
        self.full: Parked | None = None  # what is said to who comes to the line
        self.aside: Parked | None = None  # and to who keeps others from being read
        self.turned_away: list[Place] = []

    @property
    def fates(self) -> list[Fate]:
        return [ending.fate for ending in self.endings]

    async def acquire(self, ask: Ask) -> Acquired:
        self.asks.append(ask)
        refusal = self.refusals.pop(0) if self.refusals else None
        if isinstance(refusal, Exception):
            raise refusal
        if refusal is not None:
            return refusal
        self.held.add(str(len(self.asks)))
        return Permit(str(len(self.asks)), ask, start_by=self.start_by)

    async def claim(self, identity: CallIdentity) -> Duplicate | Conflict | InDoubt | None:
        self.claims.append(identity)
        return self.prior

    def park(self, place: Place, start: Callable[[], None]) -> ParkedWait:
        raise AssertionError((place, start))

    def turn_away(self, place: Place, *, aside: bool) -> Parked | None:
        found = self.aside if aside else self.full
        if found is not None:
            self.turned_away.append(place)
        return found

    def release(self, permit: Permit, ending: Ending) -> None:
        self.held.remove(permit.id)  # each once
        self.endings.append(ending)

    def pause(self, scope: str, wait_s: float, limit: int | None = None) -> None:
        self.pauses.append((scope, wait_s))
        self.named_limits.append(limit)

    def is_paused(self, endpoint: str) -> bool:
        assert endpoint
        return self.paused.pop(0) if self.paused else False

    def is_down(self, endpoint: str) -> bool:
        assert endpoint
        return self.down


def json_reply(status: int, body: Any, **headers: str) -> Reply:
    return Reply(status, {k.replace("_", "-"): v for k, v in headers.items()}, orjson.dumps(body))


def record(request_id: str = "r", operation: str = "session.create", headers: Headers = (), **extra: Any) -> Record:
    default = {"workflow_id": WORKFLOW, "vendor_data": "u"} if operation == "session.create" else {"session_id": SESSION}
    body = {"request_id": request_id, "operation": operation, "input": extra.pop("input", default), **extra}
    return Record(Source("v.requests", 3, 41), b"key", orjson.dumps(body), headers, NOW - 1000)


def run(
    api: FakeApi,
    rec: Record,
    budget: OpenBudget | None = None,
    *,
    history_truncated: bool = False,
    finished_before: bool = False,
    shelf: Shelf | None = None,
    **settings: Any,
) -> list[Output]:
    engine = Engine(load_settings(**settings), api, shelf or Shelf(), budget or OpenBudget(), clock_ms=lambda: NOW, draw=lambda: 0.5)
    work = Work(rec, history_truncated=history_truncated, finished_before=finished_before)
    outputs = records(asyncio.run(engine.handle(rec, work)))
    for output in outputs:
        keeps_the_table_of_codes(output)
        lies_by_the_first_record(output)
    a_dead_letter_counts_as_its_result_does(outputs)
    return outputs


def run_at(now: int, api: FakeApi, rec: Record) -> list[Output]:
    engine = Engine(load_settings(), api, Shelf(), OpenBudget(), clock_ms=lambda: now, draw=lambda: 0.5)
    return records(asyncio.run(engine.handle(rec, Work(rec))))


def records(outcome: Outcome) -> list[Output]:
    return list(outcome.records) if isinstance(outcome, Outputs) else []


def keeps_the_table_of_codes(output: Output) -> None:
    """Each code comes as its row says: with one of its types, and in a delay topic only if it waits."""
    code = next((c for c in ErrorCode if c == output.about.code), None)
    if output.kind is OutputKind.RESULT and output.about.code is not None:
        kind = orjson.loads(output.value or b"")["error"]["type"]
        assert kind in (tuple(ErrorType) if code is None else code.types), (code, kind)
    elif output.kind is OutputKind.RETRY and code is not None:
        assert code.waits, code


def a_dead_letter_counts_as_its_result_does(outputs: Sequence[Output]) -> None:
    for output in outputs:
        if output.kind is OutputKind.DEAD_LETTER:
            assert int(dict(output.headers)["vp-attempts"] or b"") == final(outputs)["attempts"], output.headers


def lies_by_the_first_record(output: Output) -> None:
    """A result in the partition of the caller's record, through retries and redrives; all else by its key."""
    own = orjson.loads(output.value or b"")["source"]["partition"] if output.kind is OutputKind.RESULT else None
    assert output.partition == own, output


def final(outputs: Sequence[Output]) -> dict[str, Any]:
    found = [o for o in outputs if o.kind is OutputKind.RESULT]
    assert len(found) == 1, "exactly one final result"
    result: dict[str, Any] = orjson.loads(found[0].value or b"")
    assert result["kind"] == "final"
    return result


def kinds(outputs: Sequence[Output]) -> list[OutputKind]:
    return [o.kind for o in outputs]


def test_the_same_id_in_two_installations_is_not_the_same_request() -> None:
    budget = OpenBudget()
    for prefix in ("one", "two"):
        of_prefix = {"topic_prefix": prefix}
        run(FakeApi(json_reply(201, CREATED)), replace(record(), source=Source(f"{prefix}.requests", 3, 41)), budget, kafka=of_prefix)
    one, two = (ask.identity for ask in budget.asks)
    assert one is not None
    assert two is not None
    assert (one.request != two.request, one.content == two.content) == (True, True)


def test_a_success_is_one_result_and_nothing_else() -> None:
    api, budget = FakeApi(json_reply(201, CREATED)), OpenBudget()
    outputs = run(api, record(priority="urgent"), budget)
    assert kinds(outputs) == [OutputKind.RESULT]
    assert final(outputs)["output"] == CREATED
    assert final(outputs)["source"] == {"topic": "v.requests", "partition": 3, "offset": 41}
    ask = budget.asks[0]
    assert (ask.endpoint, ask.scopes, ask.call_class, ask.since_ms) == (
        "session.create",
        ("session-create", "generic-write"),
        CallClass.URGENT,
        NOW - 1000,
    )
    assert ask.identity is not None
    assert (ask.identity.lane, ask.identity.offset, ask.identity.replay, ask.settled_ms) == ("v.requests[3]", 41, 0, 0)
    assert budget.endings == [Ending(Fate.ANSWERED, HealthSignal.GOOD, acted=True)]
    assert budget.fates == [Fate.ANSWERED]
    sent = orjson.loads(api.calls[0].body or b"")
    assert sent == {"workflow_id": WORKFLOW, "vendor_data": "u", "metadata": {"vp_request_id": "r"}}


def test_a_retry_waits_in_its_own_class_and_keeps_the_first_position() -> None:
    outputs = run(FakeApi(Reply(403, {}, b"<h1>Forbidden</h1>")), record())
    assert kinds(outputs) == [OutputKind.RETRY]
    again = Record(Source("v.retry.10s", 0, 7), outputs[0].key, outputs[0].value, outputs[0].headers, NOW)
    hop = read_hop(again)
    assert (hop.first, hop.hop, hop.attempt, hop.last_error) == (Source("v.requests", 3, 41), 1, 1, "firewall_refused")
    assert hop.doubt_ms is None, "nothing was done"
    budget = OpenBudget()
    assert final(run(FakeApi(json_reply(201, CREATED)), again, budget))["attempts"] == 2
    assert budget.asks[0].call_class is CallClass.RETRY


@pytest.mark.parametrize(
    ("answer", "fate"),
    [
        (NoReply(sent=True, code=ErrorCode.TIMEOUT, open=True), Fate.UNKNOWN),
        (NoReply(sent=True, code=ErrorCode.RESET), Fate.ANSWERED),
        (NoReply(sent=False, code=ErrorCode.CONNECT_FAILED), Fate.NOT_SENT),
    ],
)
def test_the_budget_learns_what_is_known_of_a_call(answer: Answer, fate: Fate) -> None:
    budget = OpenBudget()
    run(FakeApi(answer), record(), budget)
    assert budget.fates == [fate]


def _in_doubt(replay: int = 0) -> Record:
    return doubted(record(), replay)


def doubted(made: Record, replay: int = 0) -> Record:
    outputs = run(FakeApi(NoReply(sent=True, code=ErrorCode.RESET)), made)
    doubtful = Record(Source("v.retry.10s", 0, 7), outputs[0].key, outputs[0].value, outputs[0].headers, NOW)
    return replace(doubtful, headers=hop_headers(replace(read_hop(doubtful), replay=replay)))


def test_a_doubt_is_settled_by_the_list_before_anything_is_created() -> None:
    doubtful = _in_doubt()
    assert read_hop(doubtful).doubt_ms == NOW
    row = {"session_id": SESSION, "vendor_data": "u", "created_at": "2027-01-01T00:00:00Z", "status": "Not Started"}
    listed = json_reply(200, {"count": 1, "results": [row]})
    detail = json_reply(200, {**row, "session_url": "https://x/session/tok", "metadata": {"vp_request_id": "r"}, "workflow_id": WORKFLOW})
    api = FakeApi(listed, detail)
    result = final(run(api, doubtful))
    assert [c.operation.name for c in api.calls] == ["session.list", "session.decision"]
    assert result["status"] == "succeeded"
    assert result["output"]["session_id"] == SESSION
    assert result["output"]["session_token"] == "tok"


@pytest.mark.parametrize(("status", "replay"), [("Expired", 0), ("Expired", 1), ("Abandoned", 1), ("Kyc Expired", 1)])
def test_a_session_that_is_over_is_not_adopted_unopened_or_by_a_redrive(status: str, replay: int) -> None:
    row = {"session_id": SESSION, "vendor_data": "u", "created_at": "2027-01-01T00:00:00Z", "status": status}
    late = json_reply(200, {"results": [{**row, "status": "Not Started"}]})  # it expires between the list and its details
    detail = json_reply(200, {**row, "metadata": {"vp_request_id": "r"}})
    for lookups in ([json_reply(200, {"results": [row]})], [late, detail]):
        api = FakeApi(*lookups, json_reply(201, CREATED))
        assert final(run(api, _in_doubt(replay)))["output"] == CREATED
        assert api.calls[-1].operation.name == "session.create"


def test_somebody_elses_session_is_not_adopted() -> None:
    row = {"session_id": SESSION, "vendor_data": "u", "created_at": "2027-01-01T00:00:00Z", "status": "Not Started"}
    detail = json_reply(200, {**row, "metadata": {"vp_request_id": "other"}})
    api = FakeApi(json_reply(200, {"results": [row]}), detail, json_reply(201, CREATED))
    assert final(run(api, _in_doubt()))["output"] == CREATED
    assert [c.operation.name for c in api.calls] == ["session.list", "session.decision", "session.create"]


def test_an_unanswered_list_keeps_the_doubt() -> None:
    outputs = run(FakeApi(json_reply(503, {"detail": "x"})), _in_doubt())
    hop = read_hop(Record(Source("v.retry.10s", 0, 8), None, outputs[0].value, outputs[0].headers, NOW))
    assert (hop.doubt_ms, hop.attempt, hop.hop) == (NOW, 2, 2)


def test_a_refused_lookup_is_not_a_refused_create() -> None:
    for answer in (json_reply(400, {"detail": "x"}), Reply(301, {}, b"")):
        outputs = run(FakeApi(answer), _in_doubt())
        hop = read_hop(Record(Source("v.retry.10s", 0, 8), None, outputs[0].value, outputs[0].headers, NOW))
        assert (hop.last_error, hop.doubt_ms) == ("lookup_refused", NOW)


def test_a_key_that_a_lookup_is_refused_with_is_read_again_and_the_doubt_waits_for_the_next_probe() -> None:
    api = FakeApi(json_reply(403, {"detail": "You do not have permission to perform this action."}))
    outputs = run(api, _in_doubt())
    hop = read_hop(Record(Source("v.retry.10s", 0, 8), None, outputs[0].value, outputs[0].headers, NOW))
    assert (hop.last_error, hop.doubt_ms, api.keys_read) == ("lookup_refused", NOW, 1)
    assert hop.due_ms is not None
    assert hop.due_ms >= NOW + 60_000, "two probes of the account"


def test_a_session_deleted_since_it_was_listed_is_passed_over() -> None:
    row = {"session_id": SESSION, "vendor_data": "u", "created_at": "2027-01-01T00:00:00Z", "status": "Not Started"}
    api = FakeApi(json_reply(200, {"results": [row]}), json_reply(404, {"detail": "Not found."}), json_reply(201, CREATED))
    assert final(run(api, _in_doubt()))["output"] == CREATED


def test_a_deadline_that_passes_in_doubt_is_no_plain_expiry() -> None:
    doubtful = _in_doubt()
    body = orjson.loads(doubtful.value or b"")
    late = Record(doubtful.source, doubtful.key, orjson.dumps({**body, "deadline": "2020-01-01T00:00:00Z"}), doubtful.headers, NOW)
    outputs = run(FakeApi(), late)
    assert kinds(outputs) == [OutputKind.RESULT, OutputKind.DEAD_LETTER]
    assert (final(outputs)["status"], final(outputs)["error"]["code"]) == ("in_doubt", "deadline_passed")


def test_a_request_given_up_in_doubt_says_so() -> None:
    outputs = run(FakeApi(NoReply(sent=True, code=ErrorCode.RESET)), record(), retry={"attempts_max": 1})
    assert kinds(outputs) == [OutputKind.RESULT, OutputKind.DEAD_LETTER]
    assert final(outputs)["status"] == "in_doubt"
    assert outputs[1].value == record().value
    assert dict(outputs[1].headers)["vp-doubt-ms"] == str(NOW).encode(), "who redrives it looks the call up first"


@pytest.mark.parametrize(
    ("answer", "before", "attempts"),
    [
        (json_reply(503, {}), 5, 6),  # the last one of those that are made
        (json_reply(400, {"detail": "no"}), 2, 3),
        (json_reply(302, {}), 0, 1),
    ],
)
def test_a_dead_letter_has_the_attempt_that_ended_it(answer: Answer, before: int, attempts: int) -> None:
    headers = hop_headers(Hop(Source("v.requests", 3, 41), NOW - 5000, hop=before, attempt=before))
    outputs = run(FakeApi(answer), replace(record(operation="session.decision"), headers=headers))
    assert final(outputs)["attempts"] == attempts
    dead = next(o for o in outputs if o.kind is OutputKind.DEAD_LETTER)
    assert dead_letter_of(Record(Source("v.dead-letters", 0, 5), dead.key, dead.value, dead.headers, NOW)).attempts == attempts


def redriven(outputs: list[Output]) -> Record:
    """The record of a new round, made from the dead letter among outputs."""
    dead = next(o for o in outputs if o.kind is OutputKind.DEAD_LETTER)
    dead_letter = dead_letter_of(Record(Source("v.dead-letters", 0, 5), dead.key, dead.value, dead.headers, NOW))
    return Record(Source("v.retry.10s", 0, 9), dead.key, dead.value, hop_headers(redriven_hop(dead_letter, NOW)), NOW)


def test_a_redriven_request_goes_behind_live_ones_and_has_a_result_of_its_own() -> None:
    first = run(FakeApi(json_reply(400, {"detail": "no"})), record(operation="session.decision", priority="urgent"))
    budget = OpenBudget()
    again = run(FakeApi(json_reply(200, {"session_id": SESSION, "status": "Approved"})), redriven(first), budget, retry={"attempts_max": 3})
    assert [ask.call_class for ask in budget.asks] == [CallClass.BULK]
    assert (budget.asks[0].identity.replay if budget.asks[0].identity else None) == 1
    assert (final(again)["status"], final(again)["replay"], final(again)["attempts"]) == ("succeeded", 1, 1)
    assert final(again)["result_id"] != final(first)["result_id"]
    assert "replay" not in final(first)


@pytest.mark.parametrize("late_s", [-5.0, 0.5])
def test_a_call_whose_permit_has_run_out_in_a_freeze_does_not_leave(late_s: float) -> None:
    budget, api = OpenBudget(), FakeApi(json_reply(201, CREATED))
    budget.start_by = boot_clock() - late_s
    outputs = run(api, record(), budget)
    if late_s < 0:
        assert (kinds(outputs), budget.fates, len(api.calls)) == ([OutputKind.RESULT], [Fate.ANSWERED], 1)
        return
    assert (kinds(outputs), budget.fates, api.calls) == ([OutputKind.RETRY], [Fate.NOT_SENT], [])
    hop = read_hop(Record(Source("v.retry.10s", 0, 8), None, outputs[0].value, outputs[0].headers, NOW))
    assert (hop.attempt, hop.doubt_ms, hop.last_error) == (0, None, "call_not_sent")


def test_a_call_whose_operation_is_paused_before_it_leaves_gives_its_permit_back_and_waits() -> None:
    budget, api = OpenBudget(None, Parked(ErrorCode.OPERATION_PAUSED, 60.0)), FakeApi()
    budget.paused = [True]
    outputs = run(api, record(), budget)
    assert (kinds(outputs), budget.fates, api.calls) == ([OutputKind.RETRY], [Fate.NOT_SENT], [])
    hop = read_hop(Record(Source("v.retry.10s", 0, 8), None, outputs[0].value, outputs[0].headers, NOW))
    assert (hop.attempt, hop.doubt_ms, hop.last_error) == (0, None, "operation_paused")
    assert hop.may_start_early, "its line calls it in"


@pytest.mark.parametrize("code", [ErrorCode.OPERATION_PAUSED, ErrorCode.QUEUE_FULL])
def test_what_is_sent_away_and_looked_up_first_is_tried_again_soon_as_no_line_calls_it_in(code: ErrorCode) -> None:
    by_key = doubted(record(operation="aml", input={"full_name": "Ann"}))
    for wanted, made in ((300, _in_doubt()), (3600, by_key), (3600, record())):
        outputs = run(FakeApi(), made, OpenBudget(Parked(code, 3600.0)))
        waiting = Record(Source("v.retry.10s", 0, 8), None, outputs[0].value, outputs[0].headers, NOW)
        assert wanted <= ((read_hop(waiting).due_ms or 0) - NOW) / 1000 <= 2 * wanted
        assert (place_of(waiting, NOW) is None) == (wanted == 300)


@pytest.mark.parametrize("code", ["queue_full", "operation_paused", "redriven", "doubt_settling", "session_missing"])
def test_a_code_of_didits_that_is_spelled_as_one_of_ours_does_not_start_a_retry_early(code: str) -> None:
    busy = json_reply(503, {"code": code, "detail": "x"}, retry_after="120")
    (retry,) = run(FakeApi(busy), record(operation="email.send", input={"email": "a@example.org"}))
    waiting = Record(Source("v.retry.1m", 0, 8), None, retry.value, retry.headers, NOW)
    assert (read_hop(waiting).due_ms or 0) >= NOW + 120_000
    assert (read_hop(waiting).last_error, read_hop(waiting).may_start_early) == ("http_503", False)


def test_a_redriven_check_in_doubt_is_called_again_because_the_operator_has_decided() -> None:
    first = run(FakeApi(NoReply(sent=True, code=ErrorCode.RESET)), record(operation="email.send", input={"email": "a@example.org"}))
    assert final(first)["status"] == "in_doubt"
    api = FakeApi(json_reply(200, {"status": "Success"}))
    again = run(api, redriven(first))
    assert (len(api.calls), final(again)["status"], final(again)["replay"]) == (1, "succeeded", 1)


def test_a_redriven_creation_whose_session_is_over_makes_a_new_one() -> None:
    first = run(FakeApi(NoReply(sent=True, code=ErrorCode.RESET)), record(), retry={"attempts_max": 1})
    row = {"session_id": SESSION, "vendor_data": "u", "created_at": "2027-01-01T00:00:00Z", "status": "Expired"}
    api = FakeApi(json_reply(200, {"results": [row]}), json_reply(201, CREATED))
    assert final(run(api, redriven(first)))["output"] == CREATED


@pytest.mark.parametrize("status", ["Expired", "Abandoned", None])
def test_a_redriven_verification_whose_session_is_over_or_gone_makes_a_new_one(status: str | None) -> None:
    dead, _, _ = poll(json_reply(400, {"detail": "no"}))
    looked = json_reply(404, {"detail": "Not found."}) if status is None else decision_reply(status)
    fresh = {**CREATED, "session_id": "22222222-2222-4333-8444-555555555555"}
    outputs, api, budget = poll(looked, json_reply(201, fresh), rec=redriven(dead))
    assert [c.operation.name for c in api.calls] == ["session.decision", "session.create"]
    assert [a.identity.replay for a in budget.asks if a.identity is not None] == [1]
    (retry,) = outputs_of(OutputKind.RETRY, outputs)
    hop = read_hop(Record(Source("v.retry.10s", 0, 9), None, retry.value, retry.headers, NOW))
    assert (hop.session_id, hop.polls, hop.replay) == (fresh["session_id"], 0, 1)
    (result,) = outputs_of(OutputKind.RESULT, outputs)
    assert orjson.loads(result.value or b"")["output"] == fresh


def test_a_redriven_verification_whose_session_lives_or_has_a_decision_goes_on_with_it() -> None:
    dead, _, _ = poll(json_reply(400, {"detail": "no"}))
    outputs, _, _ = poll(decision_reply("Approved"), rec=redriven(dead))
    assert (final(outputs)["status"], final(outputs)["replay"]) == ("succeeded", 1)
    (retry,), _, _ = poll(decision_reply("In Progress"), rec=redriven(dead))
    later = Record(Source("v.retry.10s", 0, 9), None, retry.value, retry.headers, NOW)
    outputs, _, _ = poll(decision_reply("Expired"), rec=later)
    assert final(outputs)["error"]["code"] == "session_expired", "only what was over when the round began is replaced"


def test_a_redriven_creation_in_doubt_is_looked_up_first() -> None:
    first = run(FakeApi(NoReply(sent=True, code=ErrorCode.RESET)), record(), retry={"attempts_max": 1})
    api = FakeApi(json_reply(200, {"results": []}), json_reply(201, CREATED))
    again = run(api, redriven(first))
    assert [c.operation.name for c in api.calls] == ["session.list", "session.create"]
    assert (final(again)["status"], final(again)["replay"]) == ("succeeded", 1)


def test_a_bad_record_that_is_redriven_is_refused_again_under_another_result_id() -> None:
    first = run(FakeApi(), record(more=1))
    again = run(FakeApi(), redriven(first))
    assert (final(again)["status"], final(again)["replay"]) == ("rejected", 1)
    assert final(again)["result_id"] != final(first)["result_id"]


def test_a_copy_of_a_rejected_request_is_a_duplicate() -> None:
    budget = OpenBudget()
    assert final(run(FakeApi(), record(more=1), budget))["status"] == "rejected"
    budget.prior = Duplicate()
    copy = replace(record(more=1), source=Source("v.requests", 0, 7))
    assert run(FakeApi(), copy, budget) == []
    first, second = budget.claims
    assert (first.request, first.content, first.replay) == (second.request, second.content, 0)
    assert first.first != second.first
    assert not budget.asks


def test_what_else_is_rejected_is_claimed_as_another_content_and_what_names_nobody_not_at_all() -> None:
    budget = OpenBudget()
    for bad in (record(more=1), record(more=2), record(headers=(("vp-attempt", b"-1"),)), record()):
        run(FakeApi(json_reply(201, CREATED)), bad, budget)
    contents = [c.content for c in budget.claims] + [a.identity.content for a in budget.asks if a.identity is not None]
    assert len(set(contents)) == 4
    assert final(run(FakeApi(), record(request_id="x" * 129), budget))["request_id"] is None
    assert len(budget.claims) == 3


def test_a_rejected_request_under_the_id_of_another_one_is_a_conflict_under_its_own_position() -> None:
    budget = OpenBudget()
    first = final(run(FakeApi(), record(more=1), budget))
    budget.prior = Conflict()
    outputs = run(FakeApi(), record(more=2), budget)
    assert (final(outputs)["status"], final(outputs)["error"]["code"]) == ("conflict", "request_id_reused")
    assert final(outputs)["result_id"] != first["result_id"]
    assert [o.kind for o in outputs] == [OutputKind.RESULT, OutputKind.DEAD_LETTER]
    assert outputs[0].key == b"v.requests[3]@41"


def test_a_rate_limit_pauses_its_scope_and_is_capped() -> None:
    budget = OpenBudget()
    text = {"detail": "Write request rate limit exceeded. You can make up to 300 requests per minute."}
    outputs = run(FakeApi(json_reply(429, text, retry_after="999999")), record(), budget)
    assert budget.pauses == [("generic-write", 86_400.0)]
    assert kinds(outputs) == [OutputKind.RETRY]
    hop = read_hop(Record(Source("t", 0, 1), None, outputs[0].value, outputs[0].headers, NOW))
    assert hop.attempt == 0
    assert (hop.due_ms or 0) >= NOW + 86_400_000


@pytest.mark.parametrize("stamp_ms", [-1, 0, NOW // 1000, NOW + 9 * 3_600_000])
def test_a_stamp_that_says_nothing_gives_no_place_before_or_behind_all_others(stamp_ms: int) -> None:
    """Of topics with CreateTime it is by the producer's clock: a request without one went first for ever, one of tomorrow last."""
    rec, budget = replace(record(), timestamp_ms=stamp_ms), OpenBudget()
    run(FakeApi(json_reply(201, CREATED)), rec, budget)
    assert [ask.since_ms for ask in budget.asks] == [NOW]
    budget.full = Parked(ErrorCode.QUEUE_FULL, 40.0)
    run(FakeApi(), rec, budget)
    assert [place.since_ms for place in budget.turned_away] == [NOW]


def test_a_paused_scope_sends_the_request_to_wait_without_a_call() -> None:
    budget = OpenBudget(Parked(ErrorCode.SCOPE_PAUSED, 60.0))
    api = FakeApi()
    outputs = run(api, record(), budget)
    assert api.calls == []
    assert kinds(outputs) == [OutputKind.RETRY]
    assert outputs[0].delay_s == 60


def test_a_request_that_meets_a_full_line_waits_before_anything_is_asked_for() -> None:
    api, budget = FakeApi(), OpenBudget()
    budget.full = Parked(ErrorCode.QUEUE_FULL, 40.0)
    outputs = run(api, record(tenant="flood", priority="bulk", deadline="2030-01-01T00:00:00Z"), budget)
    assert (api.calls, budget.asks) == ([], [])
    [place] = budget.turned_away
    assert (place.endpoint, place.call_class, place.since_ms, place.tenant) == ("session.create", CallClass.BULK, NOW - 1000, "flood")
    assert place.scopes == OPERATIONS["session.create"].scopes
    assert place.deadline_ms is not None
    assert kinds(outputs) == [OutputKind.RETRY]
    hop = read_hop(Record(Source("v.retry.10s", 0, 7), outputs[0].key, outputs[0].value, outputs[0].headers, NOW))
    assert (hop.last_error, hop.attempt, hop.due_ms) == ("queue_full", 0, NOW + 42_000)


def test_one_that_keeps_others_from_being_read_waits_elsewhere() -> None:
    budget, rec = OpenBudget(), record()
    budget.aside = Parked(ErrorCode.QUEUE_FULL, 40.0)
    engine = Engine(load_settings(), FakeApi(), Shelf(), budget, clock_ms=lambda: NOW, draw=lambda: 0.5)
    work = Work(rec)
    work.aside = True
    assert kinds(records(asyncio.run(engine.handle(rec, work)))) == [OutputKind.RETRY]
    assert (len(budget.turned_away), budget.asks) == (1, [])


@pytest.mark.parametrize(
    ("hop", "deadline"),
    [
        ({"last_error": "queue_full"}, None),
        ({"last_error": "operation_paused"}, None),
        ({"doubt_ms": NOW - 500}, None),
        ({}, "2020-01-01T00:00:00Z"),
    ],
)
def test_who_has_waited_is_in_doubt_or_out_of_time_is_not_turned_away(hop: Any, deadline: str | None) -> None:
    api, budget = FakeApi(json_reply(200, {"results": []}), json_reply(201, CREATED)), OpenBudget()
    budget.full = Parked(ErrorCode.QUEUE_FULL, 40.0)
    headers = hop_headers(Hop(Source("v.requests", 3, 41), NOW - 500_000, hop=3, due_ms=NOW, **hop)) if hop else ()
    run(api, record(headers=headers, **({} if deadline is None else {"deadline": deadline})), budget)
    assert budget.turned_away == []


def test_an_account_fault_waits_in_place_and_reads_the_key_anew() -> None:
    api, budget = (
        FakeApi(
            json_reply(403, {"detail": "x", "code": "application_deleted"}), json_reply(401, {"detail": "no"}), json_reply(201, CREATED)
        ),
        OpenBudget(),
    )
    result = final(run(api, record(), budget))
    assert (result["status"], result["attempts"]) == ("succeeded", 1)
    assert [e.health for e in budget.endings] == [HealthSignal.ACCOUNT, HealthSignal.ACCOUNT, HealthSignal.GOOD]
    assert api.keys_read == 2


@pytest.mark.parametrize(("hint", "counted"), [("soon", 1), ("5, soon", 1), ("5", 0), (None, 0)])
def test_a_retry_after_that_cannot_be_read_is_counted(hint: str | None, counted: int) -> None:
    labels = {"operation": "session.create"}
    before = metric_value("vp_retry_after_unusable_total", **labels) or 0.0
    run(FakeApi(json_reply(503, {}, **({"retry_after": hint} if hint else {}))), record())
    assert (metric_value("vp_retry_after_unusable_total", **labels) or 0.0) - before == counted


def test_a_call_that_never_left_costs_no_attempt_and_leaves_no_doubt() -> None:
    for code in (ErrorCode.CONNECT_FAILED, ErrorCode.CALL_NOT_SENT):
        headers = hop_headers(Hop(Source("v.requests", 3, 41), NOW - 5000, hop=9, attempt=5, due_ms=NOW - 1))  # one more would be the last
        budget = OpenBudget()
        outputs = run(
            FakeApi(NoReply(sent=False, code=code)), replace(record(operation="aml", input={"full_name": "Ada"}), headers=headers), budget
        )
        assert kinds(outputs) == [OutputKind.RETRY]
        hop = read_hop(Record(Source("t", 0, 1), None, outputs[0].value, outputs[0].headers, NOW))
        assert (hop.attempt, hop.doubt_ms, hop.last_error) == (5, None, code)
        assert budget.fates == [Fate.NOT_SENT]


FOREIGN = json_reply(403, {"detail": "You do not have permission to perform this action."})


def test_a_403_ends_its_request_once_the_key_is_seen_to_work() -> None:
    api, budget = FakeApi(FOREIGN, json_reply(200, {"count": 0, "results": []})), OpenBudget()
    outputs = run(api, record(operation="session.decision"), budget)
    assert kinds(outputs) == [OutputKind.RESULT, OutputKind.DEAD_LETTER]
    result = final(outputs)
    assert (result["status"], result["error"]["type"], result["error"]["code"]) == ("failed", "request_refused", "not_permitted")
    assert [ask.endpoint for ask in budget.asks] == ["session.decision", "session.list"]
    assert [e.health for e in budget.endings] == [HealthSignal.DENIED, HealthSignal.GOOD]


def test_who_sees_the_key_work_only_after_another_one_saw_it_fail_was_refused_for_the_key() -> None:
    """It was revoked for a moment, and is the same one again."""

    class Revoked(FakeApi):
        async def send(self, call: HttpCall, files: Sequence[FileContent] = ()) -> Answer:
            answer = await super().send(call, files)
            await asyncio.sleep(0)
            return answer

        def refresh_key(self) -> bool:
            return False

    api = Revoked(FOREIGN, FOREIGN, FOREIGN, json_reply(200, {"count": 0, "results": []}))  # two calls, then their looks

    async def both() -> list[Any]:
        engine = Engine(load_settings(), api, Shelf(), OpenBudget(), clock_ms=lambda: NOW, draw=lambda: 0.5)
        found = [record(operation="session.decision"), record(operation="session.decision")]
        return await asyncio.gather(*(engine.handle(rec, Work(rec)) for rec in found))

    outcomes = asyncio.run(both())
    assert [call.operation.name for call in api.calls] == ["session.decision"] * 2 + ["session.list"] * 2
    assert [kinds(records(outcome)) for outcome in outcomes] == [[OutputKind.RETRY]] * 2


@pytest.mark.parametrize(
    ("answers", "down", "code"),
    [
        ((FOREIGN, FOREIGN), False, "not_permitted"),  # perhaps it is the key
        ((FOREIGN, json_reply(503, {})), False, "not_permitted"),
        ((FOREIGN, json_reply(200, {"count": 0, "results": []})), True, "not_permitted"),  # others of the operation were refused, too
        ((json_reply(403, {"error": "Document AI API is not included in your contract rate card."}),), True, "not_in_contract"),
        ((json_reply(403, {"error": "You don't have enough credits to perform this request."}),), False, "no_credits"),
    ],
)
def test_a_403_that_may_be_everybodys_waits_without_an_attempt_or_a_dead_letter(answers: Any, down: bool, code: str) -> None:
    outputs = run(FakeApi(*answers), record(operation="session.decision"), OpenBudget(down=down))
    assert kinds(outputs) == [OutputKind.RETRY]
    hop = read_hop(Record(Source("t", 0, 1), None, outputs[0].value, outputs[0].headers, NOW))
    assert (hop.attempt, hop.last_error, hop.due_ms is not None and hop.due_ms >= NOW + 60_000) == (0, code, True)


@pytest.mark.parametrize(("doubt_ms", "status", "kind"), [(None, "failed", "exhausted"), (NOW - 500, "in_doubt", "in_doubt")])
def test_a_request_that_is_ended_by_hand_makes_no_call(doubt_ms: int | None, status: str, kind: str) -> None:
    api, budget = FakeApi(), OpenBudget()
    hop = Hop(Source("v.requests", 3, 41), NOW - 5000, hop=3, due_ms=NOW + 9, last_error=ErrorCode.NOT_PERMITTED, doubt_ms=doubt_ms)
    rec = replace(record(), headers=hop_headers(hop))
    engine = Engine(load_settings(), api, Shelf(), budget, clock_ms=lambda: NOW, draw=lambda: 0.5)
    outputs = records(asyncio.run(engine.handle(rec, Work(rec, ended=True))))
    assert kinds(outputs) == [OutputKind.RESULT, OutputKind.DEAD_LETTER]
    result = final(outputs)
    assert (result["status"], result["error"]["type"], result["error"]["code"]) == (status, kind, "ended_by_hand")
    assert (api.calls, budget.asks, len(budget.claims)) == ([], [], 1)


@pytest.mark.parametrize(
    ("operation", "prior", "truncated", "ends"),
    [
        ("session.create", Duplicate(), False, None),  # the other record of this id has its own end
        ("session.create", Conflict(), False, ("conflict", "conflict")),
        ("session.create", InDoubt(NOW - 500, NOW), False, ("in_doubt", "ended_by_hand")),
        ("session.create", None, True, ("in_doubt", "ended_by_hand")),
        ("session.decision", InDoubt(NOW - 500, NOW), True, ("failed", "ended_by_hand")),  # it only reads
    ],
)
def test_a_request_that_is_ended_before_its_call_is_asked_for_is_judged_by_what_others_did(
    operation: str, prior: Any, truncated: bool, ends: tuple[str, str] | None
) -> None:
    api, budget = FakeApi(), OpenBudget()
    budget.prior = prior
    rec = record(operation=operation)
    engine = Engine(load_settings(), api, Shelf(), budget, clock_ms=lambda: NOW, draw=lambda: 0.5)
    outcome = asyncio.run(engine.handle(rec, Work(rec, ended=True, history_truncated=truncated)))
    assert (api.calls, budget.asks) == ([], [])
    if ends is None:
        assert outcome == NothingToPublish("duplicate")
        return
    result = final(records(outcome))
    assert (result["status"], result["error"]["code"] if ends[0] != "conflict" else "conflict") == ends


def handled(rec: Record, budget: OpenBudget, **told: Any) -> Outcome:
    engine = Engine(load_settings(), FakeApi(), Shelf(), budget, clock_ms=lambda: NOW, draw=lambda: 0.5)
    work = Work(rec)
    work.is_cancelled = lambda request_id: request_id == told.get("cancelled")
    outcome = asyncio.run(engine.handle(rec, work))
    assert work.request_id is not None
    assert budget.asks == [], "no call is asked for"
    return outcome


@pytest.mark.parametrize(
    ("hop", "prior", "ends"),
    [
        ({}, None, ("failed", "cancelled", "cancelled")),
        ({"doubt_ms": NOW - 500}, None, ("in_doubt", "in_doubt", "cancelled")),
        ({}, InDoubt(NOW - 500, NOW), ("in_doubt", "in_doubt", "cancelled")),
        ({}, Conflict(), ("conflict", "conflict", "request_id_reused")),
        ({}, Duplicate(), None),
        ({"session_id": "11111111-2222-4333-8444-555555555555", "polls": 3}, None, ("failed", "cancelled", "cancelled")),
    ],
)
def test_a_request_that_was_taken_back_ends_once_without_a_call_or_a_dead_letter(hop: Any, prior: Any, ends: Any) -> None:
    budget = OpenBudget()
    budget.prior = prior
    given = {"workflow_id": WORKFLOW, "vendor_data": "u"}
    rec = record(operation="verification" if "polls" in hop else "session.create", input=given)
    rec = replace(rec, headers=hop_headers(Hop(Source("v.requests", 3, 41), NOW - 5000, hop=3, due_ms=NOW + 9_000, **hop)))
    outcome = handled(rec, budget, cancelled="r")
    if ends is None:
        assert outcome == NothingToPublish("duplicate")
        return
    result = final(records(outcome))
    assert (result["status"], result["error"]["type"], result["error"]["code"]) == ends
    if ends[0] != "conflict":
        assert kinds(records(outcome)) == [OutputKind.RESULT], "there is nothing to redrive"


def test_a_cancel_tells_all_replicas_in_the_transaction_of_its_own_result() -> None:
    budget = OpenBudget()
    told, result = records(handled(record(operation="cancel", input={"request_id": "onboarding-4711"}), budget))
    assert (told.kind, told.key) == (OutputKind.REPAIR, None)
    cancel = read_cancel(told.value)
    assert cancel is not None
    assert cancel.request_ids == ("onboarding-4711",)
    assert final([result])["output"] == {"request_id": "onboarding-4711"}
    assert final([result])["status"] == "succeeded"
    assert len(budget.claims) == 1, "a second cancel of this request id is a copy"
    again = OpenBudget()
    again.prior = Duplicate()
    assert handled(record(operation="cancel", input={"request_id": "a"}), again) == NothingToPublish("duplicate")
    late = handled(record(operation="cancel", input={"request_id": "a"}, deadline="2020-01-01T00:00:00Z"), OpenBudget())
    assert final(records(late))["status"] == "expired"


def test_a_deadline_that_has_passed_makes_no_call() -> None:
    api = FakeApi()
    outputs = run(api, record(deadline="2020-01-01T00:00:00Z"))
    assert api.calls == []
    assert kinds(outputs) == [OutputKind.RESULT]
    assert final(outputs)["status"] == "expired"


PAST: dict[str, Any] = {"deadline": "2020-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("operation", "prior", "truncated", "ends"),
    [
        ("session.create", None, False, ("expired", "deadline_passed")),
        ("session.create", InDoubt(NOW - 500, NOW), False, ("in_doubt", "deadline_passed")),
        ("session.create", Conflict(), False, ("conflict", "request_id_reused")),
        ("session.create", Duplicate(), False, None),
        ("session.decision", InDoubt(NOW - 500, NOW), False, ("expired", "deadline_passed")),
        ("session.decision", None, True, ("expired", "deadline_passed")),
    ],
)
def test_an_expired_request_takes_its_id_and_is_judged_by_what_others_did(operation: str, prior: Any, truncated: bool, ends: Any) -> None:
    budget = OpenBudget()
    budget.prior = prior
    outputs = run(FakeApi(), record(operation=operation, **PAST), budget, history_truncated=truncated)
    assert budget.asks == []
    assert len(budget.claims) == 1
    if ends is None:
        assert outputs == [], "its result is that of the record that was there before"
        return
    result = final(outputs)
    assert (result["status"], result["error"]["code"]) == ends


def test_one_that_expires_in_a_pause_or_after_a_call_that_never_left_takes_its_id_too() -> None:
    soon: dict[str, Any] = {"deadline": datetime.fromtimestamp(NOW / 1000 + 0.5, UTC).isoformat()}
    paused, unsent = OpenBudget(Parked(ErrorCode.SCOPE_PAUSED, 90.0)), OpenBudget()
    api = FakeApi(NoReply(sent=False, code=ErrorCode.CONNECT_FAILED))
    for outputs, budget in ((run(FakeApi(), record(**soon), paused), paused), (run(api, record(**soon), unsent), unsent)):
        assert final(outputs)["status"] == "expired"
        assert len(budget.claims) == 1


def test_who_has_a_session_or_a_doubt_has_called_and_claims_nothing() -> None:
    budget = OpenBudget()
    assert final(run(FakeApi(), record(**PAST), budget, history_truncated=True))["status"] == "in_doubt"
    first = Source("v.requests", 3, 41)
    for hop in ({"session_id": SESSION, "polls": 1}, {"doubt_ms": NOW - 500_000}):
        headers = hop_headers(Hop(first, NOW - 500_000, hop=1, due_ms=NOW, **hop))
        given = {"workflow_id": WORKFLOW, "vendor_data": "u"}
        rec = record(operation="verification" if "polls" in hop else "session.create", headers=headers, input=given, **PAST)
        api = FakeApi(*([json_reply(200, {"session_id": SESSION, "status": "In Progress"})] if "polls" in hop else []))
        assert final(run(api, rec, budget))["status"] == ("expired" if "polls" in hop else "in_doubt")
    assert budget.claims == []


def test_a_closed_budget_leaves_the_record_to_the_next_life() -> None:
    budget = OpenBudget(BudgetClosedError())
    with pytest.raises(WorkAbandonedError):
        run(FakeApi(), record(), budget)


def test_work_that_is_stopping_never_waits_again() -> None:
    rec, budget = record(), OpenBudget()
    work = Work(rec)
    work.stopping = True
    engine = Engine(load_settings(), FakeApi(), Shelf(), budget, clock_ms=lambda: NOW, draw=lambda: 0.5)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(engine.handle(rec, work))
    assert budget.asks == []


class HangingApi(FakeApi):
    """Never answers."""

    async def send(self, call: HttpCall, files: Sequence[FileContent] = ()) -> Answer:
        self.calls.append(call)
        await asyncio.Event().wait()
        raise AssertionError(files)


async def test_the_fate_of_a_call_that_is_cut_off_is_unknown() -> None:
    api, budget, rec = HangingApi(), OpenBudget(), record()
    engine = Engine(load_settings(), api, Shelf(), budget, clock_ms=lambda: NOW, draw=lambda: 0.5)
    work = Work(rec)
    task = asyncio.create_task(engine.handle(rec, work))
    while not api.calls:
        await asyncio.sleep(0)
    assert work.calling
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (budget.fates, work.calling) == ([Fate.UNKNOWN], False)


def test_no_call_leaves_once_work_was_told_to_stop() -> None:
    rec, api = record(), FakeApi(json_reply(201, CREATED))
    work = Work(rec)

    class StoppedMeanwhile(OpenBudget):
        async def acquire(self, ask: Ask) -> Acquired:
            work.stopping = True
            return await super().acquire(ask)

    budget = StoppedMeanwhile()
    engine = Engine(load_settings(), api, Shelf(), budget, clock_ms=lambda: NOW, draw=lambda: 0.5)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(engine.handle(rec, work))
    assert (api.calls, budget.fates) == ([], [Fate.NOT_SENT])


@pytest.mark.parametrize(("reason", "told"), [(OUTPUT_TOO_LARGE, "output_too_large"), ("KeyError", "internal_error")])
def test_a_record_on_which_we_fail_still_ends_once(reason: str, told: str) -> None:
    engine = Engine(load_settings(), FakeApi(), Shelf(), OpenBudget(), clock_ms=lambda: NOW, draw=lambda: 0.5)
    for rec in (record(), Record(Source("v.requests", 0, 1), None, b"\xff", (), NOW)):
        outputs = engine.broken(rec, reason).records
        assert kinds(outputs) == [OutputKind.RESULT, OutputKind.DEAD_LETTER]
        assert final(outputs)["error"]["code"] == told


def test_an_answer_that_does_not_fit_is_a_failure_that_says_so() -> None:
    outputs = run(FakeApi(json_reply(201, {**CREATED, "x": "y" * 300_000})), record(), lanes={"output_bytes_max": 200_000})
    assert final(outputs)["error"]["code"] == "output_too_large"
    assert all(o.size_bytes <= 200_000 for o in outputs)


FOUND = {"session_id": SESSION, "vendor_data": "u", "created_at": "2027-01-01T00:00:00Z", "status": "Not Started"}


def adoption() -> tuple[Answer, Answer]:
    """What the lookups say when the session is there."""
    detail = {**FOUND, "session_url": "https://x/session/tok", "metadata": {"vp_request_id": "r"}, "workflow_id": WORKFLOW}
    return json_reply(200, {"results": [FOUND]}), json_reply(200, detail)


TRANSFER = {
    "transaction_id": "t-1",
    "transaction_category": "finance",
    "transaction_details": {"direction": "in", "amount": "1.50", "currency": "EUR"},
    "subject": {"vendor_data": "u", "full_name": "Ann"},
}
THERE_ALREADY = json_reply(400, {"transaction_id": ["A transaction with this transaction_id already exists."]})
NO_TRANSACTIONS = json_reply(200, {"results": []})


def test_a_transaction_of_a_former_life_is_looked_up_and_adopted() -> None:
    row = {"uuid": SESSION, "txn_id": "t-1", "txn_date": "2099-01-01T00:00:00Z", "created_at": "2099-01-01T00:00:00Z"}
    there = {"uuid": SESSION, "status": "DECLINED"}
    api = FakeApi(json_reply(200, {"results": [row]}), json_reply(200, there))
    told = final(run(api, record(operation="transaction.create", input=TRANSFER), OpenBudget(InDoubt(NOW - 500, NOW + 60_000))))
    assert (told["status"], told["output"]) == ("succeeded", there)


def test_a_transaction_of_which_there_is_no_trace_is_made_again() -> None:
    api = FakeApi(NO_TRANSACTIONS, json_reply(201, {"uuid": SESSION, "status": "APPROVED"}))
    told = final(run(api, record(operation="transaction.create", input=TRANSFER), OpenBudget(InDoubt(NOW - 500, NOW - 500))))
    assert told["status"] == "succeeded"
    assert [call.operation.name for call in api.calls] == ["transaction.list", "transaction.create"]


@pytest.mark.parametrize("answer", [THERE_ALREADY, json_reply(409, {"detail": "Conflict."})], ids=["there", "a call at the same time"])
def test_a_transaction_that_is_there_already_is_refused_unless_an_earlier_call_may_have_made_it(answer: Any) -> None:
    told = final(run(FakeApi(answer), record(operation="transaction.create", input=TRANSFER)))
    assert (told["status"], told["error"]["code"]) == ("failed", "already_exists")
    assert told["error"]["message"] == ErrorCode.ALREADY_EXISTS.message, "to correct the request would help nobody"
    api = FakeApi(NO_TRANSACTIONS, answer)
    outputs = run(api, record(operation="transaction.create", input=TRANSFER), OpenBudget(InDoubt(NOW - 500, NOW - 500)))
    assert kinds(outputs) == [OutputKind.RETRY], "it is looked up again"
    api = FakeApi(NO_TRANSACTIONS, answer)
    doubt = OpenBudget(InDoubt(NOW - 500, NOW - 500))
    told = final(run(api, record(operation="transaction.create", input=TRANSFER), doubt, retry={"attempts_max": 1}))
    assert told["status"] == "in_doubt"


def test_a_call_of_a_former_life_is_looked_up_and_adopted() -> None:
    api, budget = FakeApi(*adoption()), OpenBudget(InDoubt(NOW - 500, NOW + 60_000))
    assert final(run(api, record(), budget))["output"]["session_id"] == SESSION
    assert [c.operation.name for c in api.calls] == ["session.list", "session.decision"]
    assert [a.identity is None for a in budget.asks] == [False, True, True], "lookups are not the request's own calls"


def test_a_call_that_left_no_trace_is_made_again_with_the_doubt_settled() -> None:
    api, budget = FakeApi(json_reply(200, {"results": []}), json_reply(201, CREATED)), OpenBudget(InDoubt(NOW - 500, NOW - 500))
    assert final(run(api, record(), budget))["output"] == CREATED
    assert [(a.endpoint, a.settled_ms) for a in budget.asks] == [("session.create", 0), ("session.list", inf), ("session.create", NOW)]


def test_a_newer_call_in_doubt_is_seen_although_an_older_doubt_was_looked_up() -> None:
    budget = OpenBudget(None, InDoubt(NOW - 200_000, NOW + 5_000))
    api = FakeApi(json_reply(200, {"results": []}), json_reply(200, {"results": []}))
    (retry,) = run(api, _in_doubt(), budget)
    assert read_hop(Record(Source("v.retry.1m", 0, 8), None, retry.value, retry.headers, NOW)).last_error == "doubt_settling"


def test_a_doubt_from_the_journal_goes_on_in_the_headers() -> None:
    outputs = run(FakeApi(json_reply(503, {"detail": "x"})), record(), OpenBudget(InDoubt(NOW - 500, NOW)))
    assert read_hop(Record(Source("v.retry.10s", 0, 8), None, outputs[0].value, outputs[0].headers, NOW)).doubt_ms == NOW - 500


def test_what_the_journal_knows_as_finished_is_not_looked_up_for_the_doubt_in_its_headers() -> None:
    budget = OpenBudget()
    budget.prior = Duplicate()
    assert run(FakeApi(), _in_doubt(), budget, finished_before=True, history_truncated=True) == []
    assert [claim.offset for claim in budget.claims] == [_in_doubt().source.offset]
    budget.prior = None  # another request at the same place: the topic was created again
    assert final(run(FakeApi(*adoption()), _in_doubt(), budget, finished_before=True))["status"] == "succeeded"


def test_a_safe_call_needs_no_lookup() -> None:
    budget = OpenBudget()
    run(FakeApi(json_reply(200, {"session_id": SESSION, "status": "Approved"})), record(operation="session.decision"), budget)
    assert budget.asks[0].settled_ms == inf


def test_what_the_journal_has_lost_is_looked_up_too() -> None:
    api = FakeApi(*adoption())
    assert final(run(api, record(), history_truncated=True))["output"]["session_id"] == SESSION
    api = FakeApi(json_reply(200, {"session_id": SESSION, "status": "Approved"}))
    run(api, record(operation="session.decision"), history_truncated=True)
    assert len(api.calls) == 1


@pytest.mark.parametrize("stamp_ms", [NOW + 3_600_000, 2**62, -1])
def test_what_the_journal_has_lost_is_looked_up_whatever_clock_has_stamped_the_record(stamp_ms: int) -> None:
    _, detail = adoption()
    made = {**FOUND, "created_at": datetime.fromtimestamp(NOW / 1000 - 3600, UTC).isoformat()}  # by a former owner
    api = FakeApi(json_reply(200, {"results": [made]}), detail)
    assert final(run(api, replace(record(), timestamp_ms=stamp_ms), history_truncated=True))["output"]["session_id"] == SESSION
    later = FakeApi(json_reply(200, {"results": []}), json_reply(503, {"detail": "x"}))
    (retry,) = run(later, replace(record(), timestamp_ms=stamp_ms), history_truncated=True)
    hop = read_hop(Record(Source("v.retry.10s", 0, 8), None, retry.value, retry.headers, NOW))
    assert hop.doubt_ms == (0 if stamp_ms < 0 else NOW - 86_400_000), "the next owner can read it"


@pytest.mark.parametrize(("attempt", "status"), [(0, "failed"), (1, "succeeded")])
def test_a_session_that_an_earlier_attempt_has_deleted_is_deleted(attempt: int, status: str) -> None:
    headers = hop_headers(Hop(Source("v.requests", 3, 41), NOW - 1000, hop=attempt, attempt=attempt))
    outputs = run(FakeApi(json_reply(404, {"detail": "Not found."})), replace(record(operation="session.delete"), headers=headers))
    assert final(outputs)["status"] == status


@pytest.mark.parametrize(
    ("operation", "given", "announced", "waits_announced"),
    [
        ("session.create", {"workflow_id": WORKFLOW}, False, True),
        ("email.send", {"email": "a@example.org"}, True, False),
        ("session.decision", {"session_id": SESSION}, False, False),
    ],
)
def test_a_create_is_announced_if_it_waits_and_what_is_billed_each_time_always(
    operation: str, given: dict[str, Any], announced: bool, waits_announced: bool
) -> None:
    budget = OpenBudget()
    run(FakeApi(json_reply(400, {"detail": "no"})), record(operation=operation, input=given), budget)
    assert [(ask.announced, ask.waits_announced) for ask in budget.asks] == [(announced, waits_announced)]


def test_a_duplicate_is_completed_without_a_call_or_an_output() -> None:
    api, rec = FakeApi(), record()
    engine = Engine(load_settings(), api, Shelf(), OpenBudget(Duplicate()), clock_ms=lambda: NOW, draw=lambda: 0.5)
    assert asyncio.run(engine.handle(rec, Work(rec))) == NothingToPublish("duplicate")
    assert api.calls == []


def test_another_content_under_the_same_id_is_a_conflict_under_its_own_key() -> None:
    api = FakeApi()
    outputs = run(api, record(), OpenBudget(Conflict()))
    assert kinds(outputs) == [OutputKind.RESULT, OutputKind.DEAD_LETTER]
    result = final(outputs)
    assert (result["status"], result["request_id"], result["error"]["code"]) == ("conflict", "r", "request_id_reused")
    assert outputs[0].key == b"v.requests[3]@41"
    answer = final(run(FakeApi(json_reply(201, CREATED)), record()))
    assert result["result_id"] != answer["result_id"], "never in the place of the other request's answer"


def test_the_mark_tells_contents_apart_whatever_the_order_of_members() -> None:
    def content(**extra: Any) -> str:
        budget = OpenBudget()
        run(FakeApi(json_reply(201, CREATED)), record(**extra), budget)
        identity = budget.asks[0].identity
        assert identity is not None
        assert "user" not in str(identity)
        return identity.content

    one = content(input={"workflow_id": WORKFLOW, "vendor_data": "user", "metadata": {"a": 1, "b": [1.50]}})
    assert one == content(input={"metadata": {"b": [1.50], "a": 1}, "vendor_data": "user", "workflow_id": WORKFLOW}, priority="bulk")
    assert one != content(input={"workflow_id": WORKFLOW, "vendor_data": "user2", "metadata": {"a": 1, "b": [1.50]}})
    assert one != content(request_id="r2", input={"workflow_id": WORKFLOW, "vendor_data": "user", "metadata": {"a": 1, "b": [1.50]}})


@pytest.mark.parametrize("answer", [json_reply(503, {"detail": "x"}), Reply(403, {}, b"<h1>Forbidden</h1>")])
def test_a_dead_endpoint_burns_no_attempts(answer: Answer) -> None:
    for down, attempts in ((True, 0), (False, 1)):
        outputs = run(FakeApi(answer), record(), OpenBudget(down=down), retry={"attempts_max": 2})
        assert kinds(outputs) == [OutputKind.RETRY]
        hop = read_hop(Record(Source("t", 0, 1), None, outputs[0].value, outputs[0].headers, NOW))
        assert hop.attempt == attempts


def test_the_scope_that_tripped_is_found_by_its_limit_else_all_are_paused() -> None:
    for limit, paused in (("300", ["generic-write"]), ("600", ["session-create"]), ("7", ["session-create", "generic-write"])):
        budget = OpenBudget()
        run(FakeApi(json_reply(429, {"detail": "Request was throttled."}, retry_after="2", x_ratelimit_limit=limit)), record(), budget)
        assert budget.pauses == [(scope, 2.0) for scope in paused]
        assert budget.named_limits == ([None, None] if limit == "7" else [int(limit)]), "whose limit it is must be known"


PLAIN_GET = "GET request rate limit exceeded. You can make up to 600 requests per minute."
OF_DECISIONS = "Session decision rate limit exceeded. You can make up to 100 requests per minute."


@pytest.mark.parametrize(
    ("version", "text", "told", "paused", "differs"),
    [
        ("v3", PLAIN_GET, "600", "generic-get", False),
        ("v3", OF_DECISIONS, "100", "session-decision", True),  # as Didit's older pages have it
        ("v2", OF_DECISIONS, "100", "session-decision", False),
        ("v2", PLAIN_GET, "300", "generic-get", True),
    ],
)
def test_a_refused_decision_pauses_the_scope_it_names_and_another_limit_than_ours_is_told(
    version: str, text: str, told: str, paused: str, differs: bool
) -> None:
    budget, asked = OpenBudget(), record(operation="session.decision")
    with capture_logs() as logs:
        run(
            FakeApi(json_reply(429, {"detail": text}, retry_after="2", x_ratelimit_limit=told)),
            asked,
            budget,
            didit={"api_version": version},
        )
    assert (budget.pauses, budget.named_limits) == ([(paused, 2.0)], [int(told)])
    assert [log["told"] for log in logs if log["event"] == "limit_differs"] == [int(told)] * differs


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        (json_reply(201, CREATED), Ending(Fate.ANSWERED, HealthSignal.GOOD, acted=True)),
        (json_reply(400, {"detail": "x"}), Ending(Fate.ANSWERED, HealthSignal.GOOD)),
        (json_reply(500, {"detail": "x"}), Ending(Fate.ANSWERED, HealthSignal.BAD, acted=True)),
        (NoReply(sent=True, code=ErrorCode.TIMEOUT, open=True), Ending(Fate.UNKNOWN, HealthSignal.BAD, acted=True)),
        (NoReply(sent=True, code=ErrorCode.RESET), Ending(Fate.ANSWERED, HealthSignal.BAD, acted=True)),
        (NoReply(sent=False, code=ErrorCode.CONNECT_FAILED), Ending(Fate.NOT_SENT, HealthSignal.BAD)),
    ],
)
def test_the_log_learns_how_a_call_ended(answer: Answer, ending: Ending) -> None:
    budget = OpenBudget()
    run(FakeApi(answer), record(), budget)
    assert budget.endings == [ending]


# ---- verification: a session that is followed


def verification(**extra: Any) -> Record:
    return record(operation="verification", input={"workflow_id": WORKFLOW, "vendor_data": "u"}, **extra)


def outputs_of(kind: OutputKind, outputs: Sequence[Output]) -> list[Output]:
    return [o for o in outputs if o.kind is kind]


def following(**extra: Any) -> Record:
    """The record that waits after the creation."""
    outputs = run(FakeApi(json_reply(201, CREATED)), verification(**extra))
    (retry,) = outputs_of(OutputKind.RETRY, outputs)
    return Record(Source("v.retry.10s", 0, 8), retry.key, retry.value, retry.headers, NOW)


def poll(*answers: Answer, rec: Record | None = None, hint: Hint | None = None, now: int = NOW) -> tuple[list[Output], FakeApi, OpenBudget]:
    api, budget = FakeApi(*answers), OpenBudget()
    engine = Engine(load_settings(), api, Shelf(), budget, clock_ms=lambda: now, draw=lambda: 0.5)
    rec = rec or following()
    return records(asyncio.run(engine.handle(rec, Work(rec, hint=hint)))), api, budget


def decision_reply(status: str, **extra: Any) -> Reply:
    return json_reply(200, {"session_id": SESSION, "status": status, **extra})


def test_a_verification_gives_the_link_at_once_and_waits() -> None:
    outputs = run(FakeApi(json_reply(201, CREATED)), verification())
    (result,) = outputs_of(OutputKind.RESULT, outputs)
    progress = orjson.loads(result.value or b"")
    assert (progress["kind"], progress["status"], progress["operation"]) == ("progress", "waiting", "verification")
    assert progress["output"] == CREATED
    (retry,) = outputs_of(OutputKind.RETRY, outputs)
    hop = read_hop(Record(Source("v.retry.10s", 0, 8), None, retry.value, retry.headers, NOW))
    assert (hop.session_id, hop.polls, hop.attempt, hop.doubt_ms) == (SESSION, 0, 1, None)
    assert hop.due_ms is not None
    assert NOW + 13_000 < hop.due_ms <= NOW + 15_000


def test_a_key_that_a_poll_is_refused_with_is_read_again() -> None:
    api = FakeApi(FOREIGN)
    outputs = run(api, following())
    assert (kinds(outputs), api.keys_read) == ([OutputKind.RETRY], 1), "no other call may be made for as long as it is followed"


def test_a_lost_creation_of_a_verification_is_adopted_and_followed() -> None:
    outputs = run(FakeApi(*adoption()), verification(), OpenBudget(InDoubt(NOW - 500, NOW + 60_000)))
    assert len(outputs_of(OutputKind.RESULT, outputs)) == len(outputs_of(OutputKind.RETRY, outputs)) == 1


@pytest.mark.parametrize("status", ["Not Started", "In Progress", "In Review", "Resubmitted", "Awaiting User", "Something New"])
def test_while_the_person_is_not_done_we_look_again_later(status: str) -> None:
    outputs, api, budget = poll(decision_reply(status))
    assert [c.operation.name for c in api.calls] == ["session.decision"]
    assert [a.call_class for a in budget.asks] == [CallClass.FIRST_POLL]
    (retry,) = outputs
    hop = read_hop(Record(Source("v.retry.10s", 0, 9), None, retry.value, retry.headers, NOW))
    assert (hop.polls, hop.session_id, hop.attempt) == (1, SESSION, 1)


@pytest.mark.parametrize(
    ("status", "ended", "code"),
    [
        ("Approved", "succeeded", None),
        ("Declined", "succeeded", None),
        ("Kyc Expired", "succeeded", None),
        ("Expired", "expired", "session_expired"),
        ("Abandoned", "expired", "session_abandoned"),
    ],
)
def test_a_settled_session_is_the_one_final_result(status: str, ended: str, code: str | None) -> None:
    outputs, _, _ = poll(decision_reply(status, warnings=[]))
    result = final(outputs)
    assert (result["status"], result["output"]["status"], result["attempts"]) == (ended, status, 1)
    assert (result["error"]["code"] if result["error"] else None) == code
    assert len(outputs) == 1, "there is nothing to redrive"


def test_a_signed_event_saves_the_look() -> None:
    decision = {"session_id": SESSION, "status": "Approved", "id_verifications": []}
    payload = {"session_id": SESSION, "status": "Approved", "timestamp": NOW // 1000 + 60, "decision": decision}
    event = {"session_id": SESSION, "status": "Approved", "verified_by": "v2", "payload": payload}
    outputs, api, _ = poll(hint=Hint(SESSION, NOW + 61_000, event))
    assert api.calls == []
    assert final(outputs)["output"] == decision
    outputs, api, _ = poll(decision_reply("Approved"), hint=Hint(SESSION, NOW, {**event, "verified_by": "simple", "payload": None}))
    assert len(api.calls) == 1, "a weaker one is only a reason to look"


def signed(environment: str | None, decided: str | None = None) -> Hint:
    decision = {"session_id": SESSION, "status": "Approved", "from": "event"} | ({"environment": decided} if decided else {})
    payload = {"session_id": SESSION, "status": "Approved", "timestamp": NOW // 1000 + 60, "decision": decision}
    payload |= {"environment": environment} if environment else {}
    return Hint(SESSION, NOW + 61_000, {"session_id": SESSION, "status": "Approved", "verified_by": "v2", "payload": payload})


def foreign_events() -> float:
    return metric_value("vp_foreign_events_total") or 0.0


def test_an_event_of_another_environment_than_the_keys_is_only_a_reason_to_look() -> None:
    api = FakeApi(*(decision_reply("In Progress", environment="live") for _ in range(4)))
    engine = Engine(load_settings(), api, Shelf(), OpenBudget(), clock_ms=lambda: NOW, draw=lambda: 0.5)

    def outcome(hint: Hint) -> tuple[OutputKind, int]:
        rec = following()
        (output,) = records(asyncio.run(engine.handle(rec, Work(rec, hint=hint))))
        return output.kind, len(api.calls)

    before = foreign_events()
    assert outcome(signed("live")) == (OutputKind.RESULT, 1), "the first look tells the environment of the key, and the event is believed"
    assert outcome(signed("live")) == (OutputKind.RESULT, 1)
    assert outcome(signed("live", "live")) == (OutputKind.RESULT, 1)
    assert outcome(signed(None)) == (OutputKind.RESULT, 1), "it does not say"
    assert foreign_events() == before
    assert outcome(signed("sandbox")) == (OutputKind.RETRY, 2)
    assert outcome(signed("live", "sandbox")) == (OutputKind.RETRY, 3)
    assert foreign_events() == before + 2


@pytest.mark.parametrize(("told", "logged"), [("live", "live"), ("Zoë Tracer, born 1990", "unknown")])
def test_the_log_names_no_environment_that_didit_does_not_document(told: str, logged: str) -> None:
    engine = Engine(
        load_settings(),
        FakeApi(decision_reply("In Progress", environment=told)),
        Shelf(),
        OpenBudget(),
        clock_ms=lambda: NOW,
        draw=lambda: 0.5,
    )
    rec = following()
    with capture_logs() as logs:
        records(asyncio.run(engine.handle(rec, Work(rec, hint=signed("sandbox")))))
    (event,) = [entry for entry in logs if entry["event"] == "event_of_other_environment"]
    assert event["environment"] == logged


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (json_reply(503, {"detail": "x"}), "http_503"),
        (NoReply(sent=True, code=ErrorCode.RESET), "reset"),
        (json_reply(429, {"detail": "x"}, retry_after="7", x_ratelimit_limit="100"), "throttled"),
        (json_reply(200, {"unknown": 1}), "unreadable_answer"),
    ],
)
def test_a_look_that_fails_uses_no_attempt_up(answer: Answer, code: str) -> None:
    (retry,), _, _ = poll(answer)
    hop = read_hop(Record(Source("v.retry.10s", 0, 9), None, retry.value, retry.headers, NOW))
    assert (hop.last_error, hop.attempt, hop.session_id, hop.polls) == (code, 1, SESSION, 0)


MISSING = json_reply(404, {"detail": "Not found."})


def looks_until_final(rec: Record, now: int, *answers: Answer) -> tuple[list[Output], int, list[int]]:
    """Looks at a session, each when it is due, with one answer each; a 404 when they are used up. When each was due, in seconds."""
    left = list(answers)
    due: list[int] = []
    while True:
        outputs, _, _ = poll(left.pop(0) if left else MISSING, rec=rec, now=now)
        if not outputs_of(OutputKind.RETRY, outputs):
            return outputs, now, due
        rec = again(outputs, now)
        hop = read_hop(rec)
        due.append(round(((hop.due_ms or 0) - now) / 1000))
        now = hop.due_ms or 0


def test_a_session_that_is_not_shown_yet_is_looked_at_again() -> None:
    outputs, _, due = looks_until_final(following(), NOW + 15_000, *[MISSING] * 6, decision_reply("Approved"))
    assert final(outputs)["status"] == "succeeded"
    assert due == [14, 14, 27, 52, 102, 199], "growing distances"
    hop = read_hop(again(poll(MISSING)[0], NOW))
    assert (hop.last_error, hop.attempt, hop.session_id, hop.polls) == ("session_missing", 1, SESSION, 0)


def test_a_session_that_is_never_shown_ends_with_the_deadline_or_the_longest_time() -> None:
    outputs, _, _ = looks_until_final(following(deadline="2025-11-24T17:00:00Z"), NOW + 15_000)
    assert (final(outputs)["status"], final(outputs)["error"]["code"]) == ("expired", "deadline_passed")
    outputs, now, due = looks_until_final(following(), NOW + 15_000)
    assert (final(outputs)["status"], final(outputs)["error"]["code"]) == ("expired", "not_settled_in_time")
    assert 14 * 86_400_000 <= now - NOW <= 14 * 86_400_000 + 3_700_000
    assert max(due) <= 3600


def test_a_session_that_was_seen_and_is_not_shown_for_an_hour_is_gone() -> None:
    outputs, now, _ = looks_until_final(following(), NOW + 15_000, decision_reply("In Progress"))
    assert (final(outputs)["status"], final(outputs)["error"]["http_status"]) == ("failed", 404)
    assert len(outputs_of(OutputKind.DEAD_LETTER, outputs)) == 1
    assert now - NOW >= 3_600_000
    seen_between = [
        decision_reply("In Progress"),
        *[MISSING] * 8,
        decision_reply("In Progress"),
        *[MISSING] * 5,
        decision_reply("Declined"),
    ]
    outputs, _, _ = looks_until_final(following(), NOW + 15_000, *seen_between)
    assert final(outputs)["status"] == "succeeded", "it was not missing for an hour on end"


@pytest.mark.parametrize("stamp_ms", [NOW, -1, NOW + 9 * 3_600_000], ids=["right", "none", "of tomorrow"])
@pytest.mark.parametrize("operation", ["session.decision", "session.pdf"])
def test_a_read_of_a_session_that_may_be_too_new_is_made_again_for_a_minute(operation: str, stamp_ms: int) -> None:
    rec, due = replace(record(operation=operation), timestamp_ms=stamp_ms), []
    now = NOW + 1000
    while True:
        outputs = run_at(now, FakeApi(MISSING), rec)
        if not outputs_of(OutputKind.RETRY, outputs):
            break
        rec = again(outputs, NOW)
        hop = read_hop(rec)
        assert (hop.last_error, hop.attempt) == ("session_missing", 0)
        due.append(round(((hop.due_ms or 0) - NOW) / 1000))
        now = hop.due_ms or 0
    if stamp_ms == NOW:
        assert due == [6, 14, 28, 57, 60], "growing distances, and once more at the end"
    else:  # from its first look on
        assert due[0] < 10
        assert 60 <= due[-1] <= 63
    assert (final(outputs)["error"]["type"], final(outputs)["error"]["code"]) == ("request_refused", "http_404")


def test_a_404_of_another_call_is_no_reason_to_wait() -> None:
    rec = replace(record(operation="session.share", input={"session_id": SESSION, "for_application_id": SESSION}), timestamp_ms=NOW)
    assert final(run_at(NOW, FakeApi(MISSING), rec))["status"] == "failed"


def test_a_person_who_takes_for_ever_and_a_deadline_end_it() -> None:
    outputs, _, _ = poll(decision_reply("In Review"), now=NOW + 31 * 86_400_000)
    assert final(outputs)["error"]["code"] == "not_settled_in_time"
    rec = following(deadline="2025-11-24T16:00:05Z")
    hop = read_hop(rec)
    assert hop.due_ms == NOW + 5000, "the last look is at the deadline"
    outputs, _, _ = poll(decision_reply("In Progress"), rec=rec, now=NOW + 6000)
    assert (final(outputs)["status"], final(outputs)["error"]["code"]) == ("expired", "deadline_passed")


def test_an_unopened_session_is_looked_at_when_it_expires() -> None:
    rec = following()
    rec = Record(rec.source, rec.key, rec.value, (*(h for h in rec.headers if h[0] != "vp-polls"), ("vp-polls", b"9")), NOW)
    (retry,), _, _ = poll(decision_reply("Not Started", expires_at="2025-11-24T16:02:00Z"), rec=rec)
    hop = read_hop(Record(Source("v.retry.10s", 0, 9), None, retry.value, retry.headers, NOW))
    assert hop.due_ms is not None
    assert NOW + 120_000 <= hop.due_ms <= NOW + 126_000


def poll_again(rec: Record, now: int, *answers: Answer) -> Outcome:
    """One look where later final results are enabled, for an hour."""
    engine = Engine(
        load_settings(follow={"later_finals_s": 3600}), FakeApi(*answers), Shelf(), OpenBudget(), clock_ms=lambda: now, draw=lambda: 0.5
    )
    return asyncio.run(engine.handle(rec, Work(rec)))


def again(outputs: Sequence[Output], now: int) -> Record:
    (retry,) = outputs_of(OutputKind.RETRY, outputs)
    return Record(Source("v.retry.10s", 0, 9), retry.key, retry.value, retry.headers, now)


def test_later_final_results_come_only_where_they_are_wished_for_and_each_is_another_one() -> None:
    rec = following(deadline="2025-11-24T16:10:00Z")
    outputs = records(poll_again(rec, NOW + 20_000, decision_reply("Approved")))
    ids = [final(outputs)["result_id"]]
    same = records(poll_again(again(outputs, NOW), NOW + 900_000, decision_reply("Approved")))
    assert not outputs_of(OutputKind.RESULT, same), "nothing new, and the deadline was kept"
    reopened = records(poll_again(again(same, NOW), NOW + 1_000_000, decision_reply("Resubmitted")))
    assert not outputs_of(OutputKind.RESULT, reopened)
    changed = records(poll_again(again(reopened, NOW), NOW + 1_100_000, decision_reply("Declined")))
    ids.append(final(changed)["result_id"])
    repeated = records(poll_again(again(reopened, NOW), NOW + 1_100_500, decision_reply("Declined")))
    assert final(repeated)["result_id"] == ids[1], "the same for every copy"
    assert len(set(ids)) == 2
    for late in (decision_reply("Declined"), decision_reply("Resubmitted"), json_reply(404, {"detail": "Not found."})):
        assert poll_again(again(changed, NOW), NOW + 4_000_000, late) == NothingToPublish("published_before")
    outputs, _, _ = poll(decision_reply("Approved"))
    assert not outputs_of(OutputKind.RETRY, outputs), "by default the first one is the only one"


# ---- files


def check_record(operation: str = "face_match") -> Record:
    return record(operation=operation, input={"user_image": "https://h/a", "ref_image": "https://h/b", "vendor_data": "u"})


def test_files_go_out_with_the_call_and_their_names_do_not() -> None:
    answer = json_reply(200, {"request_id": "q", "face_match": {"status": "Approved"}})
    api, budget = FakeApi(answer), OpenBudget()
    assert final(run(api, check_record(), budget, shelf=Shelf(user_image=b"A", ref_image=b"B")))["status"] == "succeeded"
    assert [(f.name, f.content) for f in api.files[0]] == [("user_image", b"A"), ("ref_image", b"B")]
    (call,) = api.calls
    assert dict(call.fields).keys() == {"vendor_data", "metadata"}
    assert "https://h" not in str(call.fields)
    assert budget.asks[0].timeout_s == 30 + 2 * 15
    assert budget.asks[0].announced


def test_a_file_that_cannot_be_sent_is_rejected_and_costs_no_call() -> None:
    api, budget = FakeApi(), OpenBudget()
    outputs = run(
        api, check_record(), budget, shelf=Shelf(user_image=b"A", ref_image=FileError(ErrorCode.FILE_MISSING, "there is no such file"))
    )
    result = final(outputs)
    assert (result["status"], result["error"]["code"], result["error"]["field"]) == ("rejected", "file_missing", "input.ref_image")
    assert len(outputs_of(OutputKind.DEAD_LETTER, outputs)) == 1
    assert (api.calls, budget.fates) == ([], [Fate.NOT_SENT])


@pytest.mark.parametrize("refused", [True, False])
def test_a_call_that_may_have_been_made_and_cannot_be_made_again_is_a_doubt(refused: bool) -> None:
    """Its caller wants it repeated; "rejected" says that nothing was called, "failed" that another one may be asked for."""
    rec = record(operation="face_search", input={"user_image": "https://h/a"}, on_doubt="repeat")
    fine, gone = Shelf(user_image=b"A"), Shelf(user_image=FileError(ErrorCode.FILE_MISSING, "there is no such file"))
    (retry,) = run(FakeApi(NoReply(sent=True, code=ErrorCode.RESET)), rec, shelf=fine)
    again = Record(Source("v.retry.10s", 0, 8), None, retry.value, retry.headers, NOW)
    body = {"detail": "x"}
    told = final(run(FakeApi(json_reply(400, body)), again, shelf=fine) if refused else run(FakeApi(), again, shelf=gone))
    assert (told["status"], told["error"]["code"], told["attempts"]) == ("in_doubt", "call_unanswered", 1 + refused)
    assert (told["output"], told["error"]["http_status"]) == ((body, 400) if refused else (None, None))


def test_a_file_that_cannot_be_had_now_is_tried_again() -> None:
    outputs = run(FakeApi(), check_record(), shelf=Shelf(user_image=FileError(ErrorCode.FILE_UNAVAILABLE, "later", lasting=False)))
    (retry,) = outputs_of(OutputKind.RETRY, outputs)
    assert dict(retry.headers)["vp-last-error"] == b"file_unavailable"


LATER = (("vp-of-a-later-version", b"1"),)


def waiting_for_a_later_version(**hop: Any) -> Record:
    """A record of a delay topic with a header that a later version has written."""
    known = Hop(Source("v.requests", 3, 41), NOW - 9000, hop=2, attempt=1, **hop)
    return replace(record(operation="verification"), headers=(*hop_headers(known), *LATER), source=Source("v.retry.10s", 0, 7))


def test_a_waiting_record_of_a_later_version_ends_as_its_own_request_and_loses_nothing() -> None:
    """It was taken for another record with the same id, so a conflict, and its request had no result at all."""
    rec = waiting_for_a_later_version(session_id=SESSION, polls=2, replay=1)
    budget = OpenBudget()
    outputs = run(FakeApi(), rec, budget)
    result = final(outputs)
    assert (result["request_id"], result["status"], result["error"]["code"]) == ("r", "rejected", "header_unknown")
    assert (result["source"], result["replay"]) == ({"topic": "v.requests", "partition": 3, "offset": 41}, 1)
    assert budget.claims[0].first == run_first_digest(), "no copy: it is the record that has asked before"
    (dead,) = [o for o in outputs if o.kind is OutputKind.DEAD_LETTER]
    letter = dead_letter_of(Record(Source("v.dead-letters", 0, 0), dead.key, dead.value, dead.headers, NOW))
    again = redriven_hop(letter, NOW)
    assert (again.session_id, again.polls, again.replay, again.first) == (SESSION, 2, 2, Source("v.requests", 3, 41))


def run_first_digest() -> str:
    """As the first delivery of the request names its place."""
    budget = OpenBudget()
    run(FakeApi(json_reply(201, CREATED)), record(), budget)
    identity = budget.asks[0].identity
    assert identity is not None
    return identity.first


def test_a_call_that_a_later_version_has_made_is_a_doubt_of_the_dead_letter() -> None:
    budget = OpenBudget()
    budget.prior = InDoubt(NOW - 500, NOW)
    outputs = run(FakeApi(), waiting_for_a_later_version(), budget)
    (dead,) = [o for o in outputs if o.kind is OutputKind.DEAD_LETTER]
    assert dict(dead.headers)["vp-doubt-ms"] == str(NOW - 500).encode()
    assert (final(outputs)["status"], final(outputs)["error"]["code"]) == ("in_doubt", "call_unanswered")


def test_a_request_is_not_told_as_never_called_that_was_called_before_its_workflow_was_forbidden() -> None:
    """Its processor was killed, and started again with other settings: "rejected" says that nothing was called."""
    for operation, ends in (("session.create", ("in_doubt", "call_unanswered")), ("session.decision", ("rejected", "unknown_field"))):
        budget = OpenBudget()
        budget.prior = InDoubt(NOW - 500, NOW)
        only = {"workflows": ["99999999-0000-4000-8000-1234567890ab"], "workflows_only": True}
        extra: dict[str, Any] = {} if operation == "session.create" else {"more": 1}  # a read leaves no doubt
        told = final(run(FakeApi(), record(operation=operation, **extra), budget, didit=only))
        assert (told["status"], told["error"]["code"]) == ends


@pytest.mark.parametrize("forged", [(("vp-session-id", SESSION.encode()), *LATER), (("vp-attempt", b"5"), ("vp-attempt", b"5"))])
def test_of_a_broken_header_in_the_topic_of_callers_nothing_is_believed(forged: tuple[tuple[str, bytes], ...]) -> None:
    rec = replace(record(headers=forged), source=Source("verification.requests", 3, 41))
    outputs = run(FakeApi(), rec)
    assert final(outputs)["error"]["code"] == ("header_unknown" if forged[1:] == LATER else "header_repeated")
    (dead,) = [o for o in outputs if o.kind is OutputKind.DEAD_LETTER]
    assert not {"vp-session-id", "vp-attempt"} & dict(dead.headers).keys()


@pytest.mark.parametrize("prior", [Duplicate(), Conflict()])
def test_a_copy_that_comes_after_its_deadline_is_no_request_that_has_expired(prior: Duplicate | Conflict) -> None:
    """Its first record has a result, which it contradicted under the same ``result_id``."""
    budget = OpenBudget()
    budget.prior = prior
    outputs = run(FakeApi(), record(deadline="2020-01-01T00:00:00Z"), budget)
    assert [final(outputs)["status"] for _ in outputs[:1]] == ([] if prior == Duplicate() else ["conflict"])
    assert len(budget.claims) == 1, "and copies of one that has expired are known from here on"


def test_a_deadline_that_passes_after_a_call_of_unknown_fate_is_a_doubt() -> None:
    budget = OpenBudget()
    budget.prior = InDoubt(NOW - 500, NOW)
    assert final(run(FakeApi(), record(deadline="2020-01-01T00:00:00Z"), budget))["status"] == "in_doubt"
