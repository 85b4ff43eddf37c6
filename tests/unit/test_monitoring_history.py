"""The ring of samples behind the chart."""

from __future__ import annotations

import pytest

from processor.budget.view import BudgetView, ScopeView
from processor.monitoring.history import BACKLOG_SAMPLES_MAX, BACKLOG_SPAN_MS, BacklogHistory, BacklogSample, History, Sample


def view(*names: str, used: int = 1) -> BudgetView:
    scopes = tuple(ScopeView(name, 600, 500, 60.0, used + 2, used, 2, 7, 0.0, 0, {}) for name in names)
    return BudgetView(scopes, (), (), 0.0)


def test_a_sample_of_each_scope_is_kept() -> None:
    history = History()
    assert history.add(view("a", "b", used=3), 10_000)
    assert history.samples() == {name: (Sample(10_000, 3, 500, 5, 7),) for name in ("a", "b")}


def test_samples_come_at_their_interval() -> None:
    history = History(span_ms=10_000, every_ms=2_000)
    assert [history.add(view("a"), at) for at in (0, 1, 1_999, 2_000, 3_999, 4_000)] == [True, False, False, True, False, True]
    assert [s.at_ms for s in history.samples()["a"]] == [0, 2_000, 4_000]


def test_it_is_bounded_and_forgets_what_is_old() -> None:
    history = History(span_ms=10_000, every_ms=2_000)
    for at in range(0, 100_000, 2_000):
        history.add(view("a"), at)
        assert len(history.samples()["a"]) <= 5
    assert [s.at_ms for s in history.samples()["a"]] == [90_000, 92_000, 94_000, 96_000, 98_000]
    history.add(view("a"), 200_000)
    assert [s.at_ms for s in history.samples()["a"]] == [200_000], "after a silence only what is of the span"


def test_a_scope_that_is_gone_leaves_with_its_last_sample() -> None:
    history = History(span_ms=10_000, every_ms=2_000)
    history.add(view("a", "b"), 0)
    history.add(view("a"), 8_000)
    assert set(history.samples()) == {"a", "b"}
    history.add(view("a"), 10_000)
    assert set(history.samples()) == {"a"}


def test_a_clock_that_was_set_back_starts_anew() -> None:
    history = History()
    history.add(view("a"), 100_000)
    assert history.add(view("a"), 50_000)
    assert [s.at_ms for s in history.samples()["a"]] == [50_000]


def test_what_was_given_out_does_not_change() -> None:
    history = History()
    history.add(view("a"), 0)
    given = history.samples()
    history.add(view("a"), 2_000)
    assert len(given["a"]) == 1


@pytest.mark.parametrize(("span", "every"), [(10, 0), (10, 11), (0, 1)])
def test_an_interval_outside_the_span_is_refused(span: int, every: int) -> None:
    with pytest.raises(ValueError, match="every_ms"):
        History(span, every)


def test_the_backlog_is_bounded_forgets_what_is_old_and_starts_again_with_its_clock() -> None:
    history = BacklogHistory()
    for n in range(2 * BACKLOG_SAMPLES_MAX):
        history.add(BacklogSample(n * 1000, n, 0, None))
    kept = history.samples()
    assert [kept[0].unfinished, kept[-1].unfinished, len(kept)] == [BACKLOG_SAMPLES_MAX, 2 * BACKLOG_SAMPLES_MAX - 1, BACKLOG_SAMPLES_MAX]
    later_ms = kept[-1].at_ms + BACKLOG_SPAN_MS - 1000
    history.add(BacklogSample(later_ms, 1, 0, 2))
    assert [sample.at_ms for sample in history.samples()] == [kept[-1].at_ms, later_ms]
    history.add(BacklogSample(5, 0, 0, 0))
    assert history.samples() == (BacklogSample(5, 0, 0, 0),)
    assert len(kept) == BACKLOG_SAMPLES_MAX, "what was given out does not change"
