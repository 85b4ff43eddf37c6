"""What brokers say of quotas is kept for a minute, and explains answers that come too late."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from aiokafka import errors

from processor.settings import load_settings
from processor.stream import errors as stream_errors
from processor.stream.errors import KafkaUnavailableError, failure_of
from processor.stream.throttling import Throttling


def answer(throttle_time_ms: int) -> SimpleNamespace:
    return SimpleNamespace(throttle_time_ms=throttle_time_ms)


def test_the_longest_time_is_told_until_it_has_been_over_for_a_minute() -> None:
    now = [100.0]
    throttling = Throttling(lambda: now[0])
    assert [throttling.note(told) for told in (answer(0), None, SimpleNamespace())] == [0.0, 0.0, 0.0]
    assert (throttling.recent_s, throttling.total_s) == (0.0, 0.0)
    assert throttling.note(answer(30_000)) == 30.0
    now[0] = 110.0
    assert throttling.note(answer(500)) == 0.0, "it is said already"
    assert (throttling.recent_s, throttling.total_s) == (30.0, 30.5)
    now[0] = 190.0
    assert throttling.recent_s == 30.0
    now[0] = 190.1
    assert throttling.recent_s == 0.0
    assert throttling.note(answer(2_000)) == 2.0
    assert (throttling.recent_s, throttling.total_s) == (2.0, 32.5), "what was before is forgotten"


@pytest.mark.parametrize(
    ("error", "throttled"),
    [
        (TimeoutError(), True),
        (errors.RequestTimedOutError(), True),
        (errors.KafkaTimeoutError(), True),
        (ConnectionRefusedError(111, "refused"), False),
        (errors.NodeNotReadyError(), False),
    ],
)
def test_an_answer_that_a_quota_makes_late_is_told_as_such(error: Exception, throttled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, throttling = load_settings(), Throttling(lambda: 0.0)
    monkeypatch.setattr(stream_errors, "THROTTLING", throttling)
    assert "quota" not in str(failure_of(error, settings))
    throttling.note(answer(12_000))
    found = failure_of(error, settings)
    assert type(found) is KafkaUnavailableError
    assert ("a quota of its own holds our requests back, for up to 12 s. Raise it for our user" in str(found)) is throttled
