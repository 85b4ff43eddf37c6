"""What concerns a person is found whatever the order of records, and nothing of others; what an erasure asks for follows from it alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import orjson
from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.contract.decode import Accepted, decode
from processor.contract.headers import hop_headers
from processor.contract.records import Hop, Record, Source
from processor.repair.person import PersonMatcher, PersonRecord
from processor.repair.person_erase import ErasePlan, answer_in, deletions_of, ends_of, left_waiting, tombstones_of
from processor.repair.person_search import PersonFindings
from processor.stream.topics import TopicNames

NAMES = TopicNames("v", (10, 60), "v.budget")
PEOPLE = ("zoë / 1", 'quo"te\\d', "plain-17", "plain-1")  # the last one begins another one


@dataclass(frozen=True)
class Told:
    """A record, and whom it concerns."""

    record: Record
    person: str


def session_of(person: str, number: int) -> str:
    return f"00000000-0000-4000-8000-{PEOPLE.index(person):04d}{number:08d}"


def record(topic: str, document: object, key: bytes | None = None, *, escaped: bool = False, session: str | None = None) -> Record:
    value = json.dumps(document).encode() if escaped else orjson.dumps(document)
    hop = Hop(Source(NAMES.requests, 0, 0), 1, hop=1, due_ms=2, session_id=session)
    return Record(Source(topic, 0, 0), key, value, hop_headers(hop) if session else (), 1000)


@st.composite
def stories(draw: st.DrawFn, person: str, number: int) -> list[Record]:
    """A request of a person, and some of what may follow from it."""
    escaped, request_id, session = draw(st.booleans()), f"{PEOPLE.index(person)}-{number}", session_of(person, number)
    body = {"request_id": request_id, "operation": "verification", "input": {"workflow_id": session, "vendor_data": person}}
    found = [record(NAMES.requests, body, draw(st.sampled_from([None, b"k", person.encode()])), escaped=escaped)]
    result: dict[str, Any] = {"request_id": request_id, "operation": "verification", "kind": "final", "status": "succeeded", "error": None}
    if draw(st.booleans()):
        found.append(record(NAMES.results, {**result, "output": {"session_id": session}}, request_id.encode(), escaped=escaped))
        if draw(st.booleans()):
            look = {"request_id": f"look-{request_id}", "operation": "session.decision", "input": {"session_id": session.upper()}}
            answer = {**result, "request_id": f"look-{request_id}", "output": None}
            found += [record(NAMES.requests, look), record(NAMES.results, answer, b"x")]
        found += [record(NAMES.events, {"session_id": session, "payload": None})] * draw(st.integers(0, 1))
        found += [record(NAMES.retry(10), body, session=session, escaped=escaped)] * draw(st.integers(0, 1))
    if draw(st.booleans()):
        found.append(record(NAMES.dead_letters, body, escaped=escaped))
        found.append(replace(found[-1], value=(found[-1].value or b"")[:-3], key=person.encode()))  # cut
    return found


@st.composite
def worlds(draw: st.DrawFn) -> list[Told]:
    told = [Told(one, p) for p in PEOPLE for number in range(draw(st.integers(0, 2))) for one in draw(stories(p, number))]
    placed = enumerate(draw(st.permutations(told)))
    return [replace(one, record=replace(one.record, source=replace(one.record.source, offset=n))) for n, one in placed]


def found_of(person: str, records: list[Record]) -> tuple[PersonMatcher, list[PersonRecord]]:
    """Looks until one learns nothing new, as ``person_search`` does."""
    matcher = PersonMatcher(person, NAMES)
    while True:
        before = matcher.learned
        found = [one for one in map(matcher.take, records) if one is not None]
        if matcher.learned == before:
            return matcher, found


@given(worlds())
@settings(max_examples=full(200))
def test_all_of_a_person_is_found_in_any_order_and_nothing_of_another(world: list[Told]) -> None:
    for person in PEOPLE:
        matcher, found = found_of(person, [told.record for told in world])
        assert {one.offset for one in found} == {told.record.source.offset for told in world if told.person == person}
        assert all(request_id.removeprefix("look-").startswith(f"{PEOPLE.index(person)}-") for request_id in matcher.requests)
        assert all(int(session[24:28]) == PEOPLE.index(person) for session in matcher.sessions)


@given(st.binary(max_size=60), st.sampled_from([*NAMES.inputs, NAMES.results, NAMES.events, NAMES.dead_letters]), st.none() | st.binary())
@settings(max_examples=full(200))
def test_no_bytes_stop_the_search(value: bytes, topic: str, key: bytes | None) -> None:
    PersonMatcher("a", NAMES).take(Record(Source(topic, 0, 0), key, value, (("vp-session-id", value),), 1))
    deep = b'{"request_id":"r","input":' + b"[" * 1000 + b'{"vendor_data":"a"}' + b"]" * 1000 + b"}"
    assert PersonMatcher("a", NAMES).take(Record(Source(topic, 0, 0), key, deep)) is not None
    PersonMatcher("a", NAMES).take(Record(Source(topic, 0, 0), key, b'{"input":[%s],"output":7,"payload":"x","error":[]}' % b"1"))


def findings(matcher: PersonMatcher, found: list[PersonRecord], waiting: frozenset[str], **more: Any) -> PersonFindings:
    requests, sessions = frozenset(matcher.requests), frozenset(matcher.sessions)
    kept = dict.fromkeys([*NAMES.inputs, NAMES.results, NAMES.events, NAMES.dead_letters], 60.0)
    return PersonFindings(found, waiting, requests, sessions, dict(matcher.answered), frozenset(matcher.tombstoned), kept, **more)


@given(worlds(), st.sampled_from(PEOPLE))
@settings(max_examples=full(100))
def test_an_erasure_is_done_when_its_requests_are_answered_and_asks_for_nothing_of_others(world: list[Told], person: str) -> None:
    records = [told.record for told in world]
    matcher, found = found_of(person, records)
    waiting = frozenset(one.request_id for one in found if one.request_id)
    first = findings(matcher, found, waiting | {"somebody else's"}, compacted=frozenset({NAMES.results}))
    assert set(ends_of(first)) == waiting
    assert first.last_gone_ms == (61_000 if found else 0)
    deletions = deletions_of(first, person, "v")
    assert len(deletions) == len(matcher.sessions) + 1
    assert deletions == deletions_of(first, person, "v"), "run again it asks under the same ids"
    answers = []
    for request_id, value in deletions:
        assert isinstance(decode(Record(Source("t", 0, 0), None, value)), Accepted)
        asked = orjson.loads(value)
        answers.append(record(NAMES.requests, asked, request_id.encode()))
        gone = {
            "request_id": request_id,
            "operation": asked["operation"],
            "kind": "final",
            "status": "failed",
            "error": {"http_status": 404},
        }
        answers.append(record(NAMES.results, {**gone, "output": None}, request_id.encode()))
    later, all_found = found_of(person, [*records, *answers])
    after = findings(later, all_found, frozenset(request_id for request_id, _ in deletions), compacted=frozenset({NAMES.results}))
    assert deletions_of(after, person, "v") == (), "what Didit has no more is deleted"
    assert ends_of(after) == (), "an erasure does not end its own requests"
    places = tombstones_of(after, NAMES.results)
    assert {key for _, key in places} >= {request_id for request_id, _ in deletions}
    for moved, left in ((0, ()), (1, places)):  # one in another partition than the result removes nothing
        buried = [Record(Source(NAMES.results, p + moved, 10**6 + n), key.encode(), None) for n, (p, key) in enumerate(places)]
        last, last_found = found_of(person, [*records, *answers, *buried])
        assert tombstones_of(findings(last, last_found, frozenset(), compacted=frozenset({NAMES.results})), NAMES.results) == left


def test_one_that_waits_no_more_is_not_left_though_no_result_followed_its_end() -> None:
    """As a verification has none of which only later final results were looked for."""
    after = ErasePlan(("waits",), (), (), ())
    assert left_waiting(("settled", "waits"), after) == ("waits",)


def test_the_end_of_a_request_is_told_by_its_result_and_not_by_its_key() -> None:
    """Simulated seed 10080579: what stood for another content ended as a conflict, and the erasure waited for the end of its time."""
    ended = {"request_id": "r-1", "operation": "aml", "kind": "final", "status": "conflict", "output": None, "error": {"code": "x"}}
    assert answer_in(orjson.dumps(ended), {"r-1", "r-2"}) == ("r-1", "conflict")
    assert answer_in(orjson.dumps(ended), {"r-2"}) is None
    assert answer_in(orjson.dumps({**ended, "kind": "progress"}), {"r-1"}) is None
    for odd in (None, b"", b"[]", b"{", b'{"request_id":["r-1"]}', b"7"):
        assert answer_in(odd, {"r-1"}) is None
