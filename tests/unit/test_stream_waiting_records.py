"""Waiting records leave by their time, their session or their request, each once, and nothing is remembered of those that have left."""

from __future__ import annotations

from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.contract.headers import hop_headers
from processor.contract.records import Hop, Record, Source
from processor.stream.waiting_records import WaitingRecords

SESSIONS = [None, *(f"00000000-0000-4000-8000-00000000000{n}" for n in range(2))]
VALUES = [b"{", b"[]", b'{"request_id":7}', b'{"request_id":"a"}', b'{"request_id":"\\u0061"}', b'{"request_id":"b"}', None]
IDS = [None, None, None, "a", "a", "b", None]
STEPS = st.one_of(
    st.tuples(st.just("push"), st.integers(0, 5), st.sampled_from(range(len(VALUES))), st.sampled_from(SESSIONS)),
    st.tuples(st.just("due"), st.integers(0, 5), st.integers(1, 3)),
    st.tuples(st.just("remove"), st.lists(st.integers(0, 20), max_size=3)),
    st.tuples(st.just("session"), st.sampled_from(SESSIONS[1:])),
    st.tuples(st.just("request"), st.sampled_from(["a", "b", "unknown"])),
)


@given(st.lists(STEPS, max_size=25))
@settings(max_examples=full(200))
def test_records_leave_once_by_whatever_comes_first(steps: list[tuple[object, ...]]) -> None:
    waiting, model, offset = WaitingRecords(), dict[int, tuple[int, str | None, str | None]](), 0
    for what, *given_ in steps:
        match what, *given_:
            case "push", int(due), int(number), session:
                assert session is None or isinstance(session, str)
                headers = hop_headers(Hop(Source("t", 0, 0), 1, due_ms=due, session_id=session))
                waiting.push(due, Record(Source("t", 0, offset), None, VALUES[number], headers))
                model[offset] = (due, session, IDS[number])
                offset += 1
                continue
            case "due", int(now), int(most):
                gone = waiting.pop_due(now, most)
                wanted = sorted((due, o) for o, (due, _, _) in model.items() if due <= now)[:most]
                assert [r.source.offset for r in gone] == [o for _, o in wanted]
            case "remove", list(offsets):
                gone = waiting.remove(offsets)
                assert {r.source.offset for r in gone} == model.keys() & set(offsets)
            case "session", str(session):
                gone = waiting.remove_of_session(session)
                assert {r.source.offset for r in gone} == {o for o, (_, named, _) in model.items() if named == session}
            case "request", str(request_id):
                gone = waiting.remove_of_request(request_id)
                assert {r.source.offset for r in gone} == {o for o, (_, _, named) in model.items() if named == request_id}
            case _:
                raise AssertionError(what)
        for record in gone:
            del model[record.source.offset]
        assert len(waiting) == len(model)
        assert waiting.next_due_ms == min((due for due, _, _ in model.values()), default=None)
        names = {("s", s) for _, s, _ in model.values() if s} | {("r", r) for _, _, r in model.values() if r}
        assert waiting.names_count == len(names)
    waiting.clear()
    assert (len(waiting), waiting.names_count, waiting.next_due_ms) == (0, 0, None)
