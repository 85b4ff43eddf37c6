"""Answers to fetches that would leave a partition where it is for ever name it instead, and no others do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from processor.stream.aiokafka_answers import UNREADABLE, FetchAnswers

CORRUPT, NOT_LEADER = 2, 6


class Scene:
    """A client that fetches partition 0 of a topic, and may be given something of partition 1 too."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.answers = FetchAnswers(lambda: self.now_s)

    def told(
        self, offset: int, records: bytes | None, *, error: int = 0, stable: int = 9, beside: bytes = b"", version: int = 11
    ) -> tuple[Any, ...]:
        """What is made of an answer for partition 0, 0.1 s later."""
        self.now_s += 0.1
        request = SimpleNamespace(topics=[("t", [(0, offset, 1_000_000), (1, 5, 1_000_000)])])
        ends = (stable + 1, stable) if error == 0 else (-1, -1)
        answer = [(0, error, *ends, 0, None, -1, records), (1, 0, 5, 5, 0, None, -1, beside)]
        response = SimpleNamespace(API_VERSION=version, topics=[("t", answer)])
        ((_, (found, other)),) = self.answers.corrected(request, response).topics
        assert other == answer[1], "nobody else is touched"
        return tuple(found)

    def until_unreadable(self, offset: int = 3, **more: Any) -> float | None:
        """Seconds until an empty answer is one with a batch that cannot be read; None if it never is."""
        began = self.now_s
        for _ in range(200):
            if self.told(offset, b"", **more)[-1] == UNREADABLE:
                return self.now_s - began
        return None


def test_a_log_that_the_broker_calls_corrupt_is_a_batch_that_cannot_be_read_and_its_ends_stay_known() -> None:
    scene = Scene()
    assert scene.told(2, b"records") == (0, 0, 10, 9, 0, None, -1, b"records")
    assert scene.told(3, None, error=CORRUPT) == (0, 0, 10, 9, 0, None, -1, UNREADABLE)
    assert Scene().told(3, None, error=CORRUPT) == (0, 0, 3, 3, 0, None, -1, UNREADABLE), "nothing was told before"
    assert scene.told(3, None, error=NOT_LEADER)[1] == NOT_LEADER, "aiokafka knows what to do about that"


def test_a_log_that_gives_nothing_although_there_is_more_is_one_after_five_seconds() -> None:
    assert 5 <= (Scene().until_unreadable(beside=b"x" * 1000) or 0) < 5.5, "others may be busy"
    scene = Scene()
    assert 5 <= (scene.until_unreadable() or 0) < 5.5
    assert (scene.until_unreadable() or 0) < 0.2, "and stays one"
    assert scene.told(3, b"records")[-1] == b"records"
    assert 5 <= (scene.until_unreadable() or 0) < 5.5, "until it gives something"


@pytest.mark.parametrize(
    "answer",
    [
        {"stable": 3},  # an idle partition, or an open transaction
        {"beside": b"x" * 1_048_576},  # there may have been no room
        {"version": 3},
        {"error": NOT_LEADER},
    ],
)
def test_an_empty_answer_with_another_reason_is_left_as_it_is(answer: dict[str, Any]) -> None:
    assert Scene().until_unreadable(**answer) is None


@pytest.mark.parametrize("between", [{"offset": 3, "records": b"records"}, {"offset": 4, "records": b""}])
def test_what_moves_in_between_begins_again(between: dict[str, Any]) -> None:
    scene = Scene()
    for _ in range(40):
        assert scene.told(3, b"")[-1] == b""
    scene.told(**between)
    assert 5 <= (scene.until_unreadable() or 0) < 5.5


def refused(*partitions: tuple[int, bytes | None]) -> Any:
    """An answer with these errors and records."""
    return SimpleNamespace(
        API_VERSION=11, topics=[("t", [(n, error, 9, 9, 0, None, -1, data) for n, (error, data) in enumerate(partitions)])]
    )


def test_a_broker_that_gives_nothing_but_errors_is_asked_ten_times_a_second_and_not_thousands_of_times() -> None:
    now_s = 100.0
    answers = FetchAnswers(lambda: now_s)
    assert answers.rest_s(1, refused((NOT_LEADER, None))) == 0, "the next leader may be known in a moment"
    assert answers.rest_s(1, refused((NOT_LEADER, None), (0, b""))) == 0.1, "an error is answered at once, whatever else is asked for"
    assert answers.rest_s(2, refused((NOT_LEADER, None))) == 0, "that is another broker"
    now_s += 0.9
    assert answers.rest_s(1, refused((NOT_LEADER, None))) == 0.1
    now_s += 1.1
    assert answers.rest_s(1, refused((NOT_LEADER, None))) == 0, "nobody has asked for long"


@pytest.mark.parametrize("between", [refused((NOT_LEADER, None), (0, b"records")), refused((0, b""))])
def test_a_broker_that_gives_something_is_asked_again_at_once(between: Any) -> None:
    answers = FetchAnswers(lambda: 100.0)
    assert answers.rest_s(1, refused((NOT_LEADER, None))) == 0
    assert answers.rest_s(1, between) == 0
    assert answers.rest_s(1, refused((NOT_LEADER, None))) == 0
