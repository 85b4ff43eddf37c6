"""Field cases of kind retry-time, as far as the policy decides them: how long is waited, and what it costs."""

from __future__ import annotations

import json
import re
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from processor.contract.codes import ErrorCode
from processor.contract.records import Hop, Source
from processor.didit.answers import Reply
from processor.didit.catalog import OPERATIONS
from processor.didit.verdicts import Throttled, classify
from processor.retry.policy import Again, next_attempt
from processor.settings import RetrySettings

NOW_MS = 1_763_000_000_000
POLICY = RetrySettings()
DRAWS = (0.0, 0.5, 0.999_999)


def case(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(__file__).parent / "data" / f"{name}.json").read_text())
    return found


def http_date(match: re.Match[str]) -> str:
    return formatdate(NOW_MS // 1000 + int(match[1]), usegmt=True)


def throttled(case_: dict[str, Any], response: dict[str, Any]) -> Throttled:
    headers = {name.lower(): re.sub(r"\{\{imf:([+-]\d+)\}\}", http_date, value) for name, value in response["headers"]}
    verdict = classify(OPERATIONS[case_["operation"]], Reply(response["status"], headers, response["body"].encode()))
    assert isinstance(verdict, Throttled)
    return verdict


def after(verdict: Throttled, hop: Hop, draw: float) -> Again:
    step = next_attempt(
        hop,
        error_code=ErrorCode.THROTTLED,
        counted=False,
        floor_s=verdict.wait_s,
        doubt_ms=None,
        now_ms=NOW_MS,
        draw=draw,
        deadline_ms=None,
        policy=POLICY,
    )
    assert isinstance(step, Again)
    return step


def fresh() -> Hop:
    return Hop(Source("v.requests", 0, 0), first_ms=NOW_MS)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("name", ["R01", "R02"])
def test_the_wait_is_what_the_server_asked_for(name: str, draw: float) -> None:
    given = case(name)
    assert given["responses"]
    for response in given["responses"]:
        step = after(throttled(given, response), fresh(), draw)
        assert step.hop.due_ms is not None
        wait_s = (step.hop.due_ms - NOW_MS) / 1000
        assert response["expected"]["min_wait_s"] <= wait_s <= response["expected"]["max_wait_s"]
        assert not step.cut


@pytest.mark.parametrize("draw", DRAWS)
def test_a_wait_of_a_day_is_kept_in_kafka_and_a_longer_one_is_cut_with_a_word(draw: float) -> None:
    given = case("R04")
    day, longer = (after(throttled(given, response), fresh(), draw) for response in given["responses"])
    assert day.hop.due_ms is not None
    assert longer.hop.due_ms is not None
    assert day.hop.due_ms >= NOW_MS + 86_400_000
    assert day.delay_s == POLICY.delays_s[-1]  # a record of the longest delay topic outlives a restart
    assert not day.cut
    assert longer.cut
    assert longer.hop.due_ms >= NOW_MS + POLICY.retry_after_max_s * 1000


@pytest.mark.parametrize("draw", DRAWS)
def test_twenty_refusals_cost_no_attempt(draw: float) -> None:
    given = case("R12")
    refusals = [r for r in given["responses"] if isinstance(r, dict)]
    assert len(refusals) == 20
    hop = fresh()
    for response in refusals:
        hop = after(throttled(given, response), hop, draw).hop
    assert hop.hop == 20
    assert hop.attempt == 0
    assert hop.doubt_ms is None
    assert hop.attempt + 1 == given["expected"]["attempts"]  # the success that follows is the only one
