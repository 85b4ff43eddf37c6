"""Field cases of the kind kyc-session and retry-time that are about answers: K07, K12, R07."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from processor.contract.codes import ErrorCode
from processor.didit.answers import Reply
from processor.didit.catalog import OPERATIONS
from processor.didit.verdicts import Ambiguous, Deferred, OurFault, Refused, Success, Throttled, Transient, classify

DATA = Path(__file__).parent / "data"


def replies(name: str) -> list[tuple[Reply, dict[str, Any]]]:
    found = json.loads((DATA / f"{name}.json").read_text())["responses"]
    return [(Reply(r["status"], {k.lower(): v for k, v in r["headers"]}, r["body"].encode()), r["expected"]) for r in found]


@pytest.mark.parametrize(("reply", "expected"), replies("K07"))
def test_k07_answers_of_a_strange_shape(reply: Reply, expected: dict[str, Any]) -> None:
    verdict = classify(OPERATIONS["session.create"], reply)
    assert not isinstance(verdict, Success)
    if expected["treated_as"] == "permanent":
        assert isinstance(verdict, Refused)
    else:
        assert isinstance(verdict, Ambiguous | Transient)


@pytest.mark.parametrize(("reply", "expected"), replies("K12"))
def test_k12_a_redirect_is_our_fault(reply: Reply, expected: dict[str, Any]) -> None:
    assert expected
    assert classify(OPERATIONS["session.create"], reply) == OurFault(ErrorCode.REDIRECTED, reply.status)


def test_r07_a_429_that_is_not_about_the_rate_pauses_no_scope() -> None:
    phone, job, bare = [classify(OPERATIONS["session.create"], reply) for reply, _ in replies("R07")]
    assert isinstance(phone, Deferred)
    assert isinstance(job, Deferred)
    assert isinstance(bare, Throttled)
    assert bare.scopes == (), "only this request waits"
