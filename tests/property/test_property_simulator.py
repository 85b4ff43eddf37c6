"""The simulator's pure parts against naive models: the judge must be right."""

from __future__ import annotations

import asyncio
import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from processor.simulator.applications import ApplicationDirectory
from processor.simulator.config import (
    DOCUMENTED_LIMITS,
    Behaviour,
    Config,
    FaultPlan,
    RateLimit,
    SimulatorOptionError,
    Switches,
    WebhookOptions,
    faults_from_json,
    limits_from_json,
)
from processor.simulator.faults import FaultInjector
from processor.simulator.ledger import Ledger, RecordedCall
from processor.simulator.limits import RateLimiter, max_in_window
from processor.simulator.multipart import MultipartError, boundary_of, read_form
from processor.simulator.options import SimulatorOptions, behaviour_from_json, config_of, switches_from_json, webhook_options_from_json
from processor.simulator.routes import ROUTES, scopes_of
from processor.simulator.session import Session
from processor.simulator.sessions import Sessions
from processor.simulator.statuses import TRANSITIONS, user_path
from processor.simulator.tokens import sign, verified_claims
from processor.simulator.webhooks import canonical, next_attempt_at, wire
from processor.simulator.workflows import Workflows

gaps = st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0]), max_size=60)


def times_of(steps: list[float]) -> list[float]:
    now, times = 1000.0, []
    for step in steps:
        now += step
        times.append(now)
    return times


@given(gaps, st.sampled_from([0.5, 1.0, 3.0]))
def test_the_most_of_any_window_is_the_naive_most(steps: list[float], window_s: float) -> None:
    times = times_of(steps)
    naive = max((sum(1 for other in times if time - window_s < other <= time) for time in times), default=0)
    assert max_in_window(times, window_s) == naive


@given(gaps, st.integers(1, 5), st.booleans())
def test_no_window_ever_holds_more_admitted_calls_than_the_limit(steps: list[float], limit: int, rejected_count: bool) -> None:
    windows = RateLimiter({"a": RateLimit(limit, 3.0), "b": RateLimit(limit + 1, 1.0)}, rejected_count=rejected_count)
    admitted: list[float] = []
    counted: list[float] = []
    for now in times_of(steps):
        rejection = windows.admit("k", ("a", "b"), now)
        if rejection is None:
            admitted.append(now)
        else:
            assert rejection.retry_after_s >= 1
            assert rejection.reset_at > now
        if rejection is None or rejected_count:
            counted.append(now)
    assert max_in_window(admitted, 3.0) <= limit
    assert max_in_window(admitted, 1.0) <= limit + 1
    if not rejected_count:
        assert counted == admitted


def test_a_wait_of_retry_after_is_enough() -> None:
    windows = RateLimiter({"session-create": RateLimit(2, 10.0)}, rejected_count=False)
    assert windows.admit("k", ("session-create",), 100.0) is None
    assert windows.admit("k", ("session-create",), 103.2) is None
    rejection = windows.admit("k", ("session-create",), 104.0)
    assert rejection is not None
    assert rejection.retry_after_s == 6
    assert windows.admit("k", ("session-create",), 104.0 + rejection.retry_after_s) is None


def test_options_that_make_no_sense_are_named() -> None:
    limits = ('{"limit":0}', '{"limit":-1}', '{"limit":2.9}', '{"limit":true}', '{"limit":2,"window_s":0}', '{"limit":2,"window":9}')
    for text in (
        *("[]", "{", '{"x":{"limit":1}}', '{"session-create":{}}', '{"session-create":7}'),
        *(f'{{"session-create":{limit}}}' for limit in limits),
    ):
        with pytest.raises(SimulatorOptionError):
            limits_from_json(text)
    for text in (
        *('{"rates":{"x":1}}', '{"latency_s":7}', '{"rates":{"reset":"often"}}', '{"rates":{"reset":-1}}', '{"rates":{"reset":7}}'),
        *('{"rates":{"reset":0.7,"hang":0.7}}', '{"rate":{}}', '{"latency_s":{"mean":1}}', '{"latency_s":{"median":-1}}', '{"hang_s":-1}'),
        *('{"routes":"aml"}', '{"retry_after_s":-4}', '{"retry_after_s":"2"}'),
    ):
        with pytest.raises(SimulatorOptionError):
            faults_from_json(text)
    assert limits_from_json(None)["generic-write"] == RateLimit(300)


def test_the_ledger_file_is_readable_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger({"a": RateLimit(1)}, str(path))
    call = RecordedCall(1.0, "k", "GET", "/", "r", ["a"], counted=True, reference=None)
    ledger.add_call(call)
    ledger.finish_call(call)
    ledger.add_session({"session_id": "s"})
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["kind"] for line in lines] == ["call", "session"]
    ledger.close()


def test_a_fault_for_a_route_that_does_not_exist_is_refused() -> None:
    """Else a test that misspells the name passes without its fault."""
    injector = FaultInjector(FaultPlan(), random.Random(1))
    with pytest.raises(SimulatorOptionError, match=r"no route 'session.crate'; did you mean session.create"):
        injector.plan = faults_from_json('{"routes":["session.crate"]}')
    with pytest.raises(SimulatorOptionError, match="script: no route"):
        injector.add_script("amll", [{"status": 200}])
    assert injector.add_script("*", [{"status": 200}]) == injector.add_script("aml", [{"status": 200}]) == 1


@given(st.sampled_from(sorted(DOCUMENTED_LIMITS)), gaps)
def test_every_documented_scope_admits_its_limit_and_not_one_more(scope: str, steps: list[float]) -> None:
    limit = DOCUMENTED_LIMITS[scope]
    windows = RateLimiter({scope: RateLimit(limit)}, rejected_count=False)
    now = 1000.0
    for step in steps:  # calls that have left the window by the end
        now += step
        windows.admit("k", (scope,), now)
    now += 61.0
    assert all(windows.admit("k", (scope,), now) is None for _ in range(limit))
    rejection = windows.admit("k", (scope,), now)
    assert rejection is not None
    assert (rejection.headers["X-RateLimit-Limit"], rejection.headers["X-RateLimit-Remaining"]) == (str(limit), "0")
    assert rejection.body["detail"]
    assert windows.admit("other", (scope,), now) is None


def test_every_scope_that_a_route_counts_in_has_a_limit() -> None:
    for create in (True, False):
        for decision in (True, False):
            switches = Switches(create_counts_in_generic_write=create, v3_decision_counts_in_decision_scope=decision)
            for route in ROUTES:
                scopes = scopes_of(route, "v3", switches)
                assert set(scopes) <= set(DOCUMENTED_LIMITS)
                assert len(set(scopes)) == len(scopes)
                assert bool(scopes) == (route.auth == "key")


outcomes = st.integers(100, 599) | st.sampled_from(["timeout", "connection_error"])


@given(st.lists(outcomes, min_size=1, max_size=6), st.lists(st.floats(0, 1000), max_size=4))
def test_a_webhook_is_tried_until_it_is_taken_refused_or_given_up(answers: list[Any], waits: list[float]) -> None:
    now, attempt, retry_s = 5000.0, 1, tuple(waits)
    for answer in answers:
        due = next_attempt_at(attempt, answer, now, retry_s)
        retried = not isinstance(answer, int) or answer == 404 or 500 <= answer <= 599
        assert (due is not None) == (retried and attempt <= len(retry_s))
        assert not (isinstance(answer, int) and 200 <= answer <= 299 and due is not None), "it was delivered"
        if due is None:
            break
        assert due == now + retry_s[attempt - 1]
        now, attempt = due, attempt + 1
    assert attempt <= len(retry_s) + 1


def test_a_receiver_that_is_out_for_five_minutes_loses_the_event() -> None:
    starts = [0.0]
    while (due := next_attempt_at(len(starts), 503, starts[-1], WebhookOptions().retry_s)) is not None:
        starts.append(due)
    assert starts == [0.0, 60.0, 300.0]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=15,
)


def naive_canonical(value: Any) -> str:
    """The canonical form, put together by hand."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{naive_canonical(name)}:{naive_canonical(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(naive_canonical(item) for item in value) + "]"
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)


@given(st.dictionaries(st.text(), json_values, max_size=4))
@example({"a": -0.0, "b": [1.0, {"c": 2.5, "\u2028": "\U0001f469"}], "10": {}, "9": []})
def test_wire_and_canonical_forms_are_those_of_the_document(document: dict[str, Any]) -> None:
    assert json.loads(wire(document)) == document
    assert wire(document).isascii()
    assert canonical(document).decode() == naive_canonical(document)
    assert canonical(json.loads(wire(document))) == canonical(document), "a verifier sees the wire alone"


names = st.from_regex(r"[A-Za-z0-9_.\[\]-]{1,8}", fullmatch=True)


@given(st.dictionaries(names, st.text(), max_size=4), st.dictionaries(names, st.binary(max_size=200), max_size=4))
@example({}, {"f": b"\r\n--b\r\n\r\n"})
def test_a_form_that_aiohttp_writes_is_read_back(fields: dict[str, str], files: dict[str, bytes]) -> None:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, text in fields.items():
        form.add_field(name, text)
    for name, raw in files.items():
        form.add_field(name, raw, filename="x.jpg", content_type="image/jpeg")
    if not fields and not files:
        form.add_field("one", "")
        fields = {"one": ""}
    content_type, raw = asyncio.run(_written(form))
    boundary = boundary_of(content_type)
    assert boundary is not None
    found = read_form(boundary, raw)
    assert (found.fields, found.files) == (fields, files)


async def _written(form: aiohttp.FormData) -> tuple[str, bytes]:
    written = bytearray()

    class Writer:
        async def write(self, chunk: bytes) -> None:
            written.extend(chunk)

    payload = form()
    await payload.write(Writer())  # type: ignore[arg-type]
    return payload.headers["Content-Type"], bytes(written)


@given(st.binary(max_size=300))
def test_any_other_bytes_are_no_form_or_some_form_but_never_a_crash(raw: bytes) -> None:
    try:
        read_form(b"b", raw)
        read_form(b"b", b"--b\r\n" + raw + b"\r\n--b--\r\n")
    except MultipartError:
        pass


paths = st.lists(st.sampled_from(sorted(TRANSITIONS)), min_size=1, max_size=5)


@given(paths)
def test_a_path_of_a_user_takes_documented_steps_only(steps: list[str]) -> None:
    try:
        found = user_path(" > ".join(steps))
    except ValueError:
        return
    assert all(after in TRANSITIONS[before] for before, after in pairwise(("Not Started", *found)))


possible = ["Approved", "Declined", "In Review", "Abandoned", "Expired", "In Review > Approved", "In Review > Declined", "Not Started"]


def history(seed: int, odds: dict[str, float], polls: list[float]) -> list[tuple[int, str, float]]:
    """All changes of ten sessions, if time is looked at in these steps."""
    config = Config(behaviour=Behaviour(50.0, odds), session_expiration_s=120.0, abandon_after_s=40.0, kyc_valid_s=200.0)
    sessions = Sessions(config, Workflows(None, random.Random(seed)), random.Random(seed))
    application = ApplicationDirectory(config).live
    seen: list[tuple[int, str, float]] = []

    def listen(session: Session, _kind: str, at: float) -> None:
        assert session.changed_at == at
        seen.append((session.session_number, session.status, at))

    sessions.listener = listen
    for number in range(10):
        sessions.create(application, {"workflow_id": "w", "vendor_data": str(number)}, 1000.0)
    for now in [*sorted(polls), 2000.0]:
        sessions.advance(1000.0 + now)
    return seen


@given(
    st.integers(0, 9), st.dictionaries(st.sampled_from(possible), st.floats(0.1, 10), min_size=1), st.lists(st.floats(0, 2000), max_size=8)
)
def test_what_time_does_does_not_depend_on_who_looks(seed: int, odds: dict[str, float], polls: list[float]) -> None:
    seen = history(seed, odds, polls)
    assert seen == history(seed, odds, []), "in one step"
    assert [at for _, _, at in seen] == sorted(at for _, _, at in seen)
    last: dict[int, str] = {}
    for number, status, _ in seen:
        assert status in TRANSITIONS[last.get(number, "Not Started")]
        last[number] = status
    assert len(last) == 10, "every session has left its first status"


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-1000, 1000) | st.text()), st.text(), st.text(max_size=60))
def test_a_token_says_what_was_signed_and_nothing_else_does(claims: dict[str, Any], secret: str, other: str) -> None:
    token = sign(claims, secret)
    assert verified_claims(token, secret) == claims
    assert verified_claims(token, secret + "x") is None
    assert verified_claims(token[:-2], secret) is None
    assert verified_claims(other, secret) is None


def test_options_of_the_command_line_become_a_configuration() -> None:
    config = config_of(
        SimulatorOptions(
            seed=7,
            behaviour='{"after_s": 2, "odds": {"Approved": 3, "In Review > Declined": 1}}',
            switches='{"auth_status": 401, "headers_on_success": true}',
            webhook_url="http://localhost:9/hook",
            webhook_secret="s",
            webhook_retry_s="1,2.5",
            webhook_faults='{"lost": 0.1, "doubled": 1, "drop_headers": ["X-Timestamp"], "event_id": "stable"}',
        )
    )
    assert config.behaviour == Behaviour(2.0, {"Approved": 3.0, "In Review > Declined": 1.0})
    assert (config.switches.auth_status, config.switches.headers_on_success, config.switches.delete_status) == (401, True, 200)
    expected = WebhookOptions(
        url="http://localhost:9/hook",
        secret="s",
        retry_s=(1.0, 2.5),
        event_id="stable",
        lost=0.1,
        doubled=1.0,
        drop_headers=("X-Timestamp",),
    )
    assert config.webhooks == expected
    assert config_of(SimulatorOptions()) == Config()
    assert config_of(SimulatorOptions(webhook_retry_s="")).webhooks.retry_s == ()


@pytest.mark.parametrize(
    ("read", "texts"),
    [
        (behaviour_from_json, ("[]", '{"odds":[]}', '{"odds":{"Never":1}}', '{"odds":{"Approved":-1}}', '{"after":1}', '{"after_s":"x"}')),
        (switches_from_json, ('{"auth_status":402}', '{"auth_status":true}', '{"x":1}', '{"headers_on_success":1}')),
        (webhook_options_from_json, ('{"lost":-1}', '{"lost":true}', '{"url":7}', '{"retry_s":"60"}', '{"version":"v4"}', "7")),
    ],
)
def test_options_that_make_no_sense_are_refused(read: Any, texts: tuple[str, ...]) -> None:
    for text in texts:
        with pytest.raises(SimulatorOptionError):
            read(text)
    with pytest.raises(SimulatorOptionError):
        config_of(SimulatorOptions(webhook_retry_s="soon"))
    for port in (-1, 65_536):
        with pytest.raises(SimulatorOptionError, match="port"):
            SimulatorOptions(port=port)
