"""What the simulation draws from a seed: themes, plans, disturbances that wait for each other, and the search for those that are needed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from itertools import chain, combinations, islice
from types import SimpleNamespace
from typing import Any

import pytest
from simulation import seeds
from simulation.applications import SECOND, Addresses
from simulation.course import Course
from simulation.disturbances import Disturbance
from simulation.loop import START_S, SimulatedLoop
from simulation.operators import HOSTS
from simulation.seeds import fewest, plan_of
from simulation.stage import Stage
from simulation.themes import THEMES
from simulation.timeline import Timeline

from processor.contract.headers import APPLICATION_HEADER
from processor.settings import load_settings

DRAWN, SMALL = range(300), range(seeds.SMALL_FROM, seeds.SMALL_FROM + 150)


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    made = SimulatedLoop()
    yield made
    made.close()


def test_a_seed_means_the_same_world_each_time_and_every_theme_comes_up_soon() -> None:
    assert [seeds.disturbances_of(seed) for seed in range(50)] == [seeds.disturbances_of(seed) for seed in range(50)]
    assert {plan_of(seed).theme for seed in DRAWN} == {theme.name for theme in THEMES}


def test_a_commit_has_seeds_of_its_own_beyond_those_of_each_run() -> None:
    assert seeds.fresh_seed("0a1b") == seeds.fresh_seed("0a1b") != seeds.fresh_seed("0a1c")
    assert all(1_000_000 <= seeds.fresh_seed(str(n)) < 2_000_000 for n in range(50))


def test_small_worlds_have_seeds_of_their_own_and_the_themes_that_can_do_with_little() -> None:
    small = [plan_of(seed) for seed in SMALL]
    assert {plan.theme for plan in small} == {theme.name for theme in THEMES if theme.small is not None}
    assert {theme.name for theme in THEMES if theme.small is None} == {"overload", "full lines"}
    assert all(plan.replicas == 2 and plan.partitions <= 6 for plan in small)
    assert all(plan.requests <= 24 for plan in small if plan.theme != "late count")


def test_no_episode_goes_beyond_what_is_assumed() -> None:
    for seed in chain(DRAWN, SMALL):
        plan, drawn = plan_of(seed), seeds.disturbances_of(seed)
        for one in drawn:
            assert one.kind not in ("cut", "late calls") or one.other != "didit" or one.lasts_s < plan.timeout_s + plan.margin_s, (
                seed,
                str(one),
            )
            assert one.kind != "clock step" or abs(one.amount) < plan.skew_s / 2, (seed, str(one))
        if plan.brokers == 1 and plan.theme != "brokers away":
            assert not any(one.kind.startswith("broker") for one in drawn), (seed, "a single broker must stay")


def test_an_episode_names_replicas_that_are_there() -> None:
    stage = Stage(["replica-0", "replica-1"], 6.0, 7.5, brokers=("kafka-0",))
    for theme in THEMES:
        drawn = theme.episode(random.Random(1), stage) if theme.episode is not None else []
        kinds = {one.target for one in drawn if one.kind in ("kill", "stop", "freeze", "cut", "cut answers", "late calls")}
        assert kinds <= {*stage.replicas, *HOSTS, "caller"}, theme.name


class Topics:
    """As much of a world as an outage of the log needs."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.refused: set[str] = set()
        self.later = loop.call_later


def _run(
    loop: SimulatedLoop, disturbances: list[Disturbance], lines: dict[float, str], for_s: float
) -> tuple[list[tuple[float, str]], Course]:
    timeline = Timeline(loop)
    world: Any = SimpleNamespace(timeline=timeline, cluster=Topics(loop), log_topic="budget")
    course = Course(world, disturbances)

    async def main() -> None:
        course.start()
        for at_s, line in lines.items():
            loop.call_later(at_s, timeline.add, line)
        await asyncio.sleep(for_s)

    loop.run_until_complete(main())
    told = [(round(moment.at_s, 1), moment.text.split()[0]) for moment in timeline.moments if moment.text.startswith(("---", "over"))]
    assert loop.time() >= START_S + for_s
    return told, course


def outage(at_s: float, lasts_s: float, after: str = "") -> Disturbance:
    return Disturbance(at_s, "log outage", "of the budget log", lasts_s, after=after)


def test_a_disturbance_waits_for_a_line_that_follows_the_beginning_of_the_one_before(loop: SimulatedLoop) -> None:
    told, course = _run(loop, [outage(5.0, 1.0), outage(0.5, 2.0, "joined")], {1.0: "joined", 9.0: "it has joined", 20.0: "joined"}, 30.0)
    assert told == [(5.0, "---"), (6.0, "over:"), (9.5, "---"), (11.5, "over:")]
    assert course.over


def test_a_disturbance_whose_line_never_comes_begins_all_the_same(loop: SimulatedLoop) -> None:
    told, course = _run(loop, [outage(5.0, 1.0), outage(0.5, 1.0, "joined")], {}, 90.0)
    assert told == [(5.0, "---"), (6.0, "over:")]
    assert not course.over
    told, course = _run(SimulatedLoop(), [outage(5.0, 1.0), outage(0.5, 1.0, "joined")], {}, 120.0)
    assert len(told) == 4
    assert course.over


@pytest.mark.parametrize("needed", [[], [3], [0, 6], [1, 2, 5], list(range(7))])
def test_shrinking_finds_what_is_needed_and_nothing_else(needed: list[int]) -> None:
    tried = []

    def breaks(numbers: list[int]) -> bool:
        tried.append(numbers)
        return set(needed) <= set(numbers)

    assert fewest(7, breaks) == needed
    assert len(tried) < 30


def test_shrinking_ends_with_disturbances_none_of_which_can_be_left_out() -> None:
    """Also if several sets of them do it."""
    for pairs in islice(combinations(combinations(range(6), 2), 2), 40):
        left = fewest(6, lambda numbers, pairs=pairs: any(set(pair) <= set(numbers) for pair in pairs))  # type: ignore[misc]
        assert tuple(left) in pairs


def test_the_ways_of_a_request_lead_to_one_application() -> None:
    every = load_settings(applications={SECOND: {"api_key": "another", "limits": {}}}, didit={"api_key": "one"})
    addresses = Addresses(list(every.installations), seed=5)
    for number in range(40):
        request_id, ways = f"r-{number:04d}", set()
        for kind in ("r", "c", "w"):
            assert addresses.application_of(f"{kind}-{number:04d}") == addresses.application_of(request_id)
        for _ in range(20):
            one = addresses.addressed(b"key", {"request_id": request_id})
            named = {one.document.get("application"), dict(one.headers).get(APPLICATION_HEADER, b"").decode() or None} - {None}
            own = one.topic.startswith(f"verification.{SECOND}.")
            assert named <= {addresses.application_of(request_id)}
            assert own <= (addresses.application_of(request_id) == SECOND)
            assert one.key is not None or not own, "what is refused there is tried by its caller for ever"
            ways.add((one.topic, one.key, bool(named)))
        assert len(ways) > 2
