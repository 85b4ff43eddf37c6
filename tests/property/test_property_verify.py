"""Worlds of any stories, with any faults planted: what the judge names is what was planted, in whatever parts it reads."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from verify_plants import PLANTS
from verify_world import REQUESTS, World, judge_world, place

from processor.contract.codes import ErrorCode
from processor.contract.records import Record, Status
from processor.verify.facts import FACT_BYTES, Fact, FactKind, pack, unpack
from processor.verify.findings import BrokenPromise

APART_S = 1000  # so that no window and no pause of one story reaches into the next


def _retried(w: World, name: str, hops: int) -> None:
    record = w.request(name, partition=hops % 2)
    for _ in range(hops):
        record = w.retry(record)
        w.wait(15)
        w.call(record)
    w.succeed(record)


def _rejected(w: World, name: str, _: int) -> None:
    w.fail(w.append(REQUESTS, 0, b'{"request_id": "%s"}' % name.encode(), b"key"), Status.REJECTED)


def _redriven(w: World, name: str, rounds: int) -> None:
    record = w.request(name)
    for _ in range(rounds):
        _, letter = w.fail(record)
        following = w.redrive(letter, record)
        assert following is not None
        record = following
    w.succeed(record)


def _copied(w: World, name: str, copies: int) -> None:
    owner = w.request(name)
    for _ in range(copies):
        w.finish(w.request(name))
    w.succeed(owner)


def _conflicting(w: World, name: str, others: int) -> None:
    w.succeed(w.request(name))
    for number in range(others):
        w.fail(w.request(name, vendor=f"other-{number}"), Status.CONFLICT)


def _waiting(w: World, name: str, hops: int) -> None:
    record = w.request(name, partition=1)
    for _ in range(hops):
        record = w.retry(record, 90_000)


def _released(w: World, name: str, end: int) -> None:
    record = w.retry(w.request(name), 3600)
    w.release(record, end=bool(end % 2))
    if end % 2:
        w.fail(record, Status.FAILED, ErrorCode.ENDED_BY_HAND)
    else:
        w.call(record)
        w.succeed(record)


STORIES: tuple[Callable[[World, str, int], None], ...] = (_retried, _rejected, _redriven, _copied, _conflicting, _waiting, _released)


@given(
    stories=st.lists(st.tuples(st.sampled_from(STORIES), st.integers(0, 3)), max_size=12),
    plants=st.lists(st.sampled_from(PLANTS), unique=True, max_size=4),
    parts=st.integers(1, 6),
    planted_first=st.booleans(),
)
def test_what_is_planted_is_found_and_nothing_else(
    stories: list[tuple[Callable[[World, str, int], None], int]],
    plants: list[Callable[[World], list[tuple[BrokenPromise, Record]]]],
    parts: int,
    planted_first: bool,
) -> None:
    world = World()
    expected: list[tuple[BrokenPromise, Record]] = []

    def plant() -> None:
        for fault in plants:
            world.wait(APART_S)
            expected.extend(fault(world))

    if planted_first:
        plant()
    for number, (story, size) in enumerate(stories):
        world.wait(APART_S)
        story(world, f"story-{number}", size)
    if not planted_first:
        plant()
    assert judge_world(world, parts=parts).named == {(kind.value, place(record)) for kind, record in expected}


def _facts() -> st.SearchStrategy[Fact]:
    digest = st.binary(min_size=15, max_size=15)
    stamp = st.integers(-(2**63), 2**63 - 1)
    return st.builds(
        Fact,
        st.sampled_from([int(kind) for kind in FactKind]),
        digest,
        digest,
        st.integers(0, 255),
        st.integers(0, 2**31 - 1),
        st.integers(0, 2**63 - 1),
        stamp,
        stamp,
        st.integers(0, 2**31 - 1),
        st.integers(0, 2**31 - 1),
        st.integers(-1, 2**31 - 1),
        st.integers(0, 2**16 - 1),
        st.integers(0, 255),
        st.binary(min_size=16, max_size=16),
    )


@given(st.lists(_facts(), max_size=5))
def test_facts_come_back_from_disk_as_they_were(facts: list[Fact]) -> None:
    packed = b"".join(map(pack, facts))
    assert len(packed) == FACT_BYTES * len(facts)
    assert list(unpack(packed)) == facts
