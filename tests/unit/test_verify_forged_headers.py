"""Whoever may write to the topic of callers can hide nothing from the audit by headers that only processors write, nor make anything up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from verify_world import BEGAN_MS, NAMES, REQUESTS, World, judge_world, place

from processor.contract.headers import hop_headers
from processor.contract.records import Headers, Hop, Record, Source, Status
from processor.stream.topics import TopicNames
from processor.verify.bills import Bills
from processor.verify.findings import BrokenPromise
from processor.verify.intake import Intake

LATER_MS = BEGAN_MS + 86_400_000
SESSION = "9f9b1234-0000-4000-8000-1234567890ac"


def forged(world: World, victim: Record, *, application: str | None = None, **hop: Any) -> Record:
    """The victim's own bytes, and that they stand for the record at the victim's place."""
    made = world.request("victim") if application is None else world.request("victim", application=application)
    headers = hop_headers(replace(Hop(victim.source, victim.timestamp_ms), **hop))
    world.topics[REQUESTS, 0][-1] = found = replace(made, headers=headers)
    return found


def rejected(world: World, record: Record) -> None:
    """As a processor ends one that says what only processors know: under its own place."""
    world.fail(replace(record, headers=()), Status.REJECTED)


@pytest.mark.parametrize("hop", [{"hop": 7}, {"hop": 7, "due_ms": LATER_MS}, {"hop": 7, "session_id": SESSION}, {"replay": 1}])
@pytest.mark.parametrize("processed", [False, True])
def test_a_missing_result_is_not_hidden_by_a_record_that_says_to_stand_for_the_request(hop: dict[str, Any], processed: bool) -> None:
    world = World()
    world.finish(victim := world.request("victim"))
    made = forged(world, victim, **hop)
    if processed:
        rejected(world, made)
    named = judge_world(world).named
    assert named == {(BrokenPromise.MISSING_RESULT.value, place(victim)), (BrokenPromise.OFFSET_BEYOND_WORK.value, place(victim))}


def test_a_result_of_nothing_is_not_covered_by_a_record_that_names_its_place() -> None:
    world = World()
    missing = replace(world.request("victim"), source=Source(REQUESTS, 0, 0))
    world.topics[REQUESTS, 0].pop()
    world.request("another")
    result = world.result(replace(missing, source=Source(REQUESTS, 0, 1)))
    forged(world, replace(missing, source=Source(REQUESTS, 0, 1)), application="shop")
    assert (BrokenPromise.RESULT_WITHOUT_REQUEST.value, place(result)) in judge_world(world).named


def test_a_round_is_not_begun_by_a_record_of_a_caller() -> None:
    world = World()
    world.fail(victim := world.request("victim"))
    result = world.result(replace(victim, headers=hop_headers(Hop(victim.source, victim.timestamp_ms, replay=1))))
    rejected(world, forged(world, victim, application="shop", replay=1))
    assert (BrokenPromise.RESULT_WITHOUT_ROUND.value, place(result)) in judge_world(world).named


def test_nobody_is_accused_of_a_result_that_was_not_given_for_a_forged_record() -> None:
    """Each ends under its own place, as a conflict with the request whose id it has."""
    world = World()
    world.succeed(victim := world.request("victim"))
    for _ in range(2):
        world.fail(replace(forged(world, victim, hop=3, replay=2), headers=()), Status.CONFLICT)
    assert judge_world(world).named == set()


COMMON: Headers = hop_headers(Hop(Source("v.requests", 3, 9), BEGAN_MS, hop=1, replay=2))
OWN: Headers = hop_headers(Hop(Source("v.shop.requests", 3, 9), BEGAN_MS, hop=1, replay=2))


@pytest.mark.parametrize(("headers", "believed"), [(COMMON, True), (OWN, False), ((), False)])
def test_of_a_named_application_the_first_place_in_another_installation_is_believed(headers: Headers, believed: bool) -> None:
    names = TopicNames("v.shop", (5,), "v.shop.budget")
    record = replace(World().request("r"), source=Source("v.shop.requests", 1, 4), headers=headers)
    (fact,) = Intake(names, Bills(), takes_handed_on=True).take(record)
    (plain,) = Intake(names, Bills()).take(replace(record, headers=()))
    assert (fact.first != plain.first, fact.replay) == (believed, 2 if believed else 0)


def test_in_a_delay_topic_a_record_says_whose_it_is() -> None:
    record = replace(World().request("r"), source=Source(NAMES.inputs[1], 1, 4), headers=COMMON)
    (fact,) = Intake(NAMES, Bills()).take(record)
    assert (fact.replay, fact.hop) == (2, 1)
