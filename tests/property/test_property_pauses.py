"""What operators have paused: any order of acts comes to what a plain list of them says."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.contract.pauses import EVERYTHING, UNREAD, PauseAct, PauseFormatError, PauseKind, Pauses, encode_pause, read_pause

NAMES = ("aml", "session.create", "face_match")
RUN = "11111111-2222-4333-8444-555555555555"
ACTS = st.builds(
    PauseAct,
    st.sampled_from(PauseKind),
    st.sampled_from((None, *NAMES)),
    st.text("ann@host", min_size=1, max_size=10),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50),
    st.integers(0, 2**53),
    st.just(RUN),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("kind", "operation", "by", "x")), inner, max_size=4),
    max_leaves=8,
)


def folded(acts: list[PauseAct | None]) -> Pauses:
    found = Pauses()
    for offset, act in enumerate(acts):
        found = found.after(act, offset)
    return found


@given(st.lists(ACTS | st.none(), max_size=12))
def test_the_last_act_of_each_operation_counts_and_that_of_everything_beside_them(acts: list[PauseAct | None]) -> None:
    found = folded(acts)
    last: dict[str | None, PauseAct] = {act.operation: act for act in acts if act is not None}
    paused = {name for name, act in last.items() if act.kind is PauseKind.PAUSED}
    for name in NAMES:
        assert found.stops(name) == (name in paused or None in paused)
        assert found.names(name) == (name in paused)
    assert {act.name for act in found.in_force} == {name or EVERYTHING for name in paused}
    assert all(last[act.operation] is act for act in found.in_force), "who and why are those of the last act"
    assert found.read_to == len(acts)


@given(st.lists(ACTS, max_size=8), st.integers(0, 8))
def test_what_is_read_again_from_the_beginning_comes_to_the_same(acts: list[PauseAct], cut: int) -> None:
    assert folded([*acts[:cut], *acts[cut:]]) == folded(list(acts))


def test_before_the_topic_is_read_nothing_may_call() -> None:
    assert all(UNREAD.stops(name) and not UNREAD.names(name) for name in NAMES)
    assert not UNREAD.in_force
    assert not any(Pauses().stops(name) for name in NAMES)


@given(ACTS)
def test_a_record_is_read_as_it_was_written(act: PauseAct) -> None:
    assert read_pause(encode_pause(act)) == act


@given(JSON)
def test_any_value_is_read_skipped_or_refused(document: Any) -> None:
    try:
        found = read_pause(orjson.dumps(document))
    except PauseFormatError:
        return
    assert found is None, "only a whole record is an act"


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"{", b'{"kind":"paused"}', b"x" * 70_000])
def test_what_is_no_record_of_ours_is_refused_with_a_text_that_quotes_nothing(value: bytes | None) -> None:
    with pytest.raises(PauseFormatError) as caught:
        read_pause(value)
    assert len(str(caught.value)) < 80


def test_a_kind_of_a_later_version_is_skipped() -> None:
    assert read_pause(b'{"kind":"slowed","operation":"aml"}') is None


def test_an_act_without_a_reason_is_not_written() -> None:
    with pytest.raises(ValueError, match="reason"):
        encode_pause(PauseAct(PauseKind.PAUSED, "aml", "ann", "", 0, RUN))
