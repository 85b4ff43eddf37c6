"""``Retry-After`` in every form that RFC 9110 names, and in those that servers send all the same."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from processor.didit.retry_after import is_unusable, wait_s

DATE = "Sun, 06 Nov 1994 08:49:07 GMT"  # the RFC's own example, half a minute before


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("9" * 19, 1e19),  # any number of digits is a time (RFC 9110, 10.2.3); the longest wait is cut elsewhere
        ("9" * 400, inf),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 30.0),  # the three forms, as the RFC prints them
        ("Sunday, 06-Nov-94 08:49:37 GMT", 30.0),
        ("Sun Nov  6 08:49:37 1994", 30.0),
        ("Sun, 06 Nov 1994 08:49:37 UTC", 30.0),
        ("Sun, 06 Nov 1994 08:49:37 +0000", 30.0),
        ("Sun, 06 Nov 1994 08:49:37 -0000", 30.0),
        ("Sun, 06 Nov 1994 10:49:37 +0200", 30.0),
        ("Sunday, 06-Nov-94 08:49:37 UTC", 30.0),
        ("Sun, 06 Nov 1994 08:49:60 GMT", 53.0),  # a leap second
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),  # in the past
        ("5, 60, 7", 60.0),
        ("5, Sun, 06 Nov 1994 08:49:37 GMT", 30.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT,Sunday, 06-Nov-94 08:50:07 GMT", 60.0),
    ],
)
def test_what_can_be_read(text: str, seconds: float) -> None:
    headers = CIMultiDict({"Date": DATE, "Retry-After": text})
    assert wait_s(headers) == seconds
    assert not is_unusable(headers)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "-1",
        "1e3",
        "0x10",
        "+5",
        "\u0663\u0660",  # Arabic-Indic digits are digits to Python
        "5 seconds",
        "12,345;6",
        "Sun, 32 Nov 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 +9900",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 EST",
        "1994-11-06T08:49:37Z",
    ],
)
def test_what_cannot_be_read_is_known_as_such(text: str) -> None:
    headers = CIMultiDict({"Date": DATE, "Retry-After": text})
    assert is_unusable(headers)
    assert wait_s(headers) in (None, 12.0)  # what stands before the unreadable part still counts


def test_of_several_headers_the_longest_counts() -> None:
    headers = CIMultiDict([("Date", DATE), ("Retry-After", "10"), ("retry-after", "Sun Nov  6 08:50:07 1994"), ("RETRY-AFTER", "x")])
    assert wait_s(headers) == 60.0
    assert is_unusable(headers)
    assert wait_s({"date": DATE, "retry-after": "3"}) == 3.0


def test_a_date_needs_the_servers_own_clock() -> None:
    assert wait_s({"retry-after": DATE}) is None
    assert is_unusable({"retry-after": DATE})
    assert wait_s({"date": "120", "retry-after": DATE}) is None


def test_the_reset_header_is_the_second_choice() -> None:
    reset = str(int(datetime(1994, 11, 6, 8, 50, 7, tzinfo=UTC).timestamp()))
    assert wait_s({"date": DATE, "x-ratelimit-reset": reset}) == 60.0
    assert wait_s({"date": DATE, "x-ratelimit-reset": reset, "retry-after": "1"}) == 1.0
    assert not is_unusable({"date": DATE})


@given(st.integers(2000, 2090), st.integers(-49, 50))
def test_a_year_of_two_digits_is_near_the_servers_own(now: int, ahead: int) -> None:
    year = now + ahead
    date = format_datetime(datetime(now, 6, 1, tzinfo=UTC), usegmt=True)
    text = f"Sunday, 01-Jun-{year % 100:02} 00:00:00 GMT"
    expected = max(0.0, (datetime(year, 6, 1, tzinfo=UTC) - datetime(now, 6, 1, tzinfo=UTC)).total_seconds())
    assert wait_s({"date": date, "retry-after": text}) == expected


@given(st.text(max_size=40))
def test_nothing_breaks_it(text: str) -> None:
    found = wait_s({"date": DATE, "retry-after": text, "x-ratelimit-reset": text})
    assert found is None or found >= 0


def test_a_flood_of_values_is_bounded() -> None:
    headers = CIMultiDict([("Retry-After", ",".join(["1"] * 5000))] * 50)
    assert wait_s(headers) == 1.0
