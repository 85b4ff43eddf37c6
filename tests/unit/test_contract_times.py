"""The one printer and the one parser of durations and times."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from typer.testing import CliRunner

import processor
from processor.cli.app import app
from processor.console.forms import BadInputError, read_selection
from processor.contract.times import DURATION_FORM, duration, is_duration, iso, parse_duration, relative, short_duration, time_of_day, utc
from processor.repair.parsing import read_moment
from processor.settings import load_settings
from processor.stream.topics import unread_topics

NOW_MS = 1_764_072_185_000  # 2025-11-25 12:03:05 UTC
GOOD = {"30s": 30, "5m": 300, "6h": 21_600, "2d": 172_800, "999999s": 999_999}
BAD = ["", "5", "m", "0m", "05m", "-1h", "1.5h", "1h30m", "2 h", "2H", "5w", "1000000s", "\u0663s", "soon"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "less than 1 s"),
        (0.4, "less than 1 s"),
        (5, "5 s"),
        (59.6, "1 min"),
        (125, "2 min 5 s"),
        (725, "12 min"),
        (3700, "1 h 1 min"),
        (11_400, "3 h 10 min"),
        (180_000, "2 d 2 h"),
        (float("inf"), "without end"),
    ],
)
def test_a_duration_has_one_spelling(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("away_ms", "words"),
    [(0, "now"), (-999, "now"), (5_000, "in 5 s"), (185_000, "in 3 min 5 s"), (-7_300_000, "2 h 1 min ago"), (-200_000_000, "2 d 7 h ago")],
)
def test_times_relative_to_now(away_ms: int, words: str) -> None:
    assert relative(NOW_MS + away_ms, NOW_MS) == words


def test_times_are_utc() -> None:
    assert (utc(NOW_MS), time_of_day(NOW_MS), iso(NOW_MS)) == ("2025-11-25 12:03:05Z", "12:03:05", "2025-11-25T12:03:05Z")
    assert utc(None) == "never"
    assert utc(-5) == "1970-01-01 00:00:00Z"
    assert utc(10**18) == "9999-12-31 23:59:59Z", "nonsense in a record is no fault of the reader"


@pytest.mark.parametrize(
    ("seconds", "name"), [(10, "10s"), (60, "1m"), (90, "90s"), (600, "10m"), (3600, "1h"), (86_400, "1d"), (7200, "2h")]
)
def test_a_short_duration_has_the_largest_unit_without_a_remainder(seconds: int, name: str) -> None:
    assert short_duration(seconds) == name


@given(st.integers(1, 999_999))
def test_what_is_printed_short_is_read_back(seconds: int) -> None:
    assert parse_duration(short_duration(seconds)) == seconds


def test_every_reader_takes_the_same_durations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VP_KAFKA__BOOTSTRAP", "127.0.0.1:1")
    settings = load_settings()
    for text, seconds in GOOD.items():
        assert parse_duration(text) == seconds
        assert read_moment(text, NOW_MS) == NOW_MS - 1000 * seconds
        assert read_selection(MultiDict({"since": text}), NOW_MS).selection.since_ms == NOW_MS - 1000 * seconds
        assert unread_topics(settings, [f"verification.retry.{text}"])
    for text in BAD:
        assert not is_duration(text)
        with pytest.raises(ValueError, match=DURATION_FORM):
            parse_duration(text)
        with pytest.raises(ValueError, match=DURATION_FORM):
            read_moment(text, NOW_MS)
        if text:
            with pytest.raises(BadInputError, match=DURATION_FORM):
                read_selection(MultiDict({"since": text}), NOW_MS)
        assert not unread_topics(settings, [f"verification.retry.{text}"])
        done = CliRunner().invoke(app, ["retry", "list", "--due-within", text])
        assert (done.exit_code, DURATION_FORM in done.output) == (2, True), done.output


def test_nobody_else_spells_or_reads_durations() -> None:
    for path in Path(processor.__file__).parent.rglob("*.py"):
        if path.name != "times.py" and "simulator" not in path.parts:
            assert not re.search(r"timedelta\(seconds|\[smhd\]|\[mhd\]|s\|m\|h\|d|86_400, *\"h\"", path.read_text()), path
