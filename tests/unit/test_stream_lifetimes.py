"""How long records of persons are there, by what the topics are like."""

from __future__ import annotations

import pytest
from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.settings import load_settings
from processor.stream.lifetimes import CHECK_INTERVAL_S, kept_s, lifetime_line, lifetime_warnings, lifetimes, longest_wait_s
from processor.stream.topics import TopicFound, topic_specs

DAY_S = 86_400


def as_created(**more: object) -> dict[str, TopicFound]:
    return {s.name: TopicFound(s.partitions, s.configs, 3) for s in topic_specs(load_settings(**more), partitions=4, replication=3)}


def test_what_is_created_is_gone_within_the_time_that_is_stated() -> None:
    ours, found = load_settings(), as_created()
    times = lifetimes(ours, found)
    assert lifetime_warnings(ours, times) == []
    longest = max(time.longest_s or float("inf") for time in times if not time.ids_only)
    assert 29 * DAY_S < longest <= ours.privacy.longest_days * DAY_S, "one month, and no day more than is needed for it"
    assert {time.topic.removeprefix("verification.") for time in times if time.ids_only} == {"repairs", "budget"}
    assert len(times) == len(found) - 1, "the pauses name no person"


@pytest.mark.parametrize(
    ("topic", "wrong", "named"),
    [
        ("results", {"retention.ms": "-1"}, "be there for never"),
        ("results", {"cleanup.policy": "compact"}, "be there for never"),
        ("dead-letters", {"segment.ms": str(7 * DAY_S * 1000)}, "there for 35 d"),
        ("retry.1h", {"retention.ms": str(30 * DAY_S * 1000)}, "then 31 d"),
    ],
)
def test_a_topic_that_keeps_for_longer_is_named(topic: str, wrong: dict[str, str], named: str) -> None:
    ours, found = load_settings(), as_created()
    name = f"verification.{topic}"
    found[name] = TopicFound(1, {**found[name].configs, **wrong}, 3)
    (text,) = lifetime_warnings(ours, lifetimes(ours, found))
    assert text.startswith(f"{name}: ")
    assert named in text
    assert "VP_PRIVACY__LONGEST_DAYS" in text


def test_what_is_stated_and_what_is_waited_for_are_settings() -> None:
    patient = load_settings(follow={"longest_s": 40 * DAY_S})
    assert len(lifetime_warnings(patient, lifetimes(patient, as_created()))) > 3
    stated = load_settings(follow={"longest_s": 40 * DAY_S}, privacy={"longest_days": 60})
    assert lifetime_warnings(stated, lifetimes(stated, as_created())) == []
    tries = load_settings(retry={"attempts_max": 1000})
    assert longest_wait_s(tries) == 1000 * tries.retry.retry_after_max_s


def test_a_topic_of_kafkas_own_defaults_keeps_for_two_weeks() -> None:
    assert kept_s({}) == 14 * DAY_S + 60 + CHECK_INTERVAL_S
    line = lifetime_line(lifetimes(load_settings(), {"verification.results": TopicFound(1, {"retention.ms": "-1"})})[0])
    assert line == "verification.results: personal data, gone never after a record was written, never after its request came"


_MS = st.integers(1, 10**6)


@given(
    times=st.lists(st.integers(0, 10**6), min_size=1, max_size=30).map(sorted), retention=_MS, segment=_MS, interval=st.integers(1, 10**6)
)
@settings(max_examples=full(300))
def test_no_record_outlives_what_is_computed(times: list[int], retention: int, segment: int, interval: int) -> None:
    """A broker as its source has it: it rolls at an append, and deletes whole segments, the last one as well, when it looks."""
    segments: list[list[int]] = []
    for at in times:
        if not segments or at - segments[-1][0] > segment:
            segments.append([])
        segments[-1].append(at)
    configs = {"retention.ms": str(retention), "segment.ms": str(segment), "file.delete.delay.ms": "0"}
    most_ms = (kept_s(configs, interval / 1000) or 0) * 1000
    for records in segments:
        looks_at = (records[-1] + retention) // interval * interval + interval  # the first look at which it is too old
        assert looks_at - records[0] <= most_ms + 1e-3
