"""How long a response asks us to wait. Pure.

``Retry-After`` is a number of seconds or an HTTP date (RFC 9110, 10.2.3) in any of the three forms that a recipient must accept
(5.6.7). A date is compared with the response's own ``Date``, because the two clocks may differ. What the RFC does not allow but
servers and proxies send is read where it is clear: fractions of a second, ``UTC`` and numeric zones, several headers, several
values in one header. Of several values the longest is the floor. ``X-RateLimit-Reset`` is epoch seconds (Didit, "Rate limiting").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone

_SECONDS = r"(?P<seconds>[0-9]+(?:\.[0-9]{1,9})?)"
_TIME = r"(?P<{0}hour>[0-9]{{2}}):(?P<{0}minute>[0-9]{{2}}):(?P<{0}second>[0-9]{{2}})"
_ZONE = r"(?P<{0}zone>GMT|UTC|[+-][0-9]{{4}})"
_IMF = r"[A-Z][a-z]{2}, (?P<i_day>[0-9]{2}) (?P<i_month>[A-Z][a-z]{2}) (?P<i_year>[0-9]{4}) " + f"{_TIME} {_ZONE}".format("i_")
_RFC850 = r"[A-Z][a-z]{5,8}, (?P<r_day>[0-9]{2})-(?P<r_month>[A-Z][a-z]{2})-(?P<r_year>[0-9]{2}) " + f"{_TIME} {_ZONE}".format("r_")
_ASCTIME = r"[A-Z][a-z]{2} (?P<a_month>[A-Z][a-z]{2}) (?P<a_day>[ 0-9][0-9]) " + _TIME.format("a_") + r" (?P<a_year>[0-9]{4})"
_VALUE = re.compile(rf"(?:{_IMF}|{_RFC850}|{_ASCTIME}|{_SECONDS})")
_SEPARATOR = re.compile(r"[ \t]*,[ \t]*")
_EPOCH = re.compile(r"[0-9]{9,11}(\.[0-9]{1,9})?")
_MONTHS = {name: n for n, name in enumerate(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1)}
_CENTURY, _FUTURE_YEARS_MAX = 100, 50
_LEAP_SECOND = 60
_VALUES_MAX = 20  # of all headers together; more is no hint but an attack


def wait_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, never negative; None if the response names no time that can be read.

    Args:
        headers: of the response; a multidict if a name may occur several times, names in lower case or case-insensitive.
    """
    sent_at = _sent_at(headers)
    waits = [wait for wait in _waits(headers, sent_at) if wait is not None]
    if waits:
        return max(waits)
    reset = headers.get("x-ratelimit-reset", "").strip()
    if sent_at is not None and _EPOCH.fullmatch(reset):
        return max(0.0, float(reset) - sent_at)
    return None


def is_unusable(headers: Mapping[str, str]) -> bool:
    """Whether some ``Retry-After`` is there that cannot be read, so that nobody knows how long the server wants us to wait."""
    return "retry-after" in headers and None in _waits(headers, _sent_at(headers))


def _waits(headers: Mapping[str, str], sent_at: float | None) -> list[float | None]:
    """One entry a value; None for one that cannot be read."""
    found: list[float | None] = []
    for text in (value.strip(" \t") for value in _all(headers, "retry-after")):
        at = 0
        while len(found) < _VALUES_MAX:
            match = _VALUE.match(text, at)
            end = match.end() if match else at
            separator = _SEPARATOR.match(text, end)
            if match is None or not (separator or end == len(text)):
                found.append(None)  # the rest of the header cannot be told apart
                break
            found.append(_wait(match, sent_at))
            if separator is None:
                break
            at = separator.end()
    return found


def _wait(match: re.Match[str], sent_at: float | None) -> float | None:
    if match["seconds"] is not None:
        return float(match["seconds"])
    until = _moment(match, sent_at)
    return None if until is None or sent_at is None else max(0.0, until - sent_at)


def _sent_at(headers: Mapping[str, str]) -> float | None:
    match = _VALUE.fullmatch(headers.get("date", "").strip(" \t"))
    return None if match is None or match["seconds"] is not None else _moment(match, None)


def _moment(match: re.Match[str], near: float | None) -> float | None:
    """Epoch seconds of a date; None for one that is not in the calendar. ``near`` decides the century of a two-digit year."""
    form = next(form for form in ("i_", "r_", "a_") if match[f"{form}month"] is not None)
    year, second = int(match[f"{form}year"]), int(match[f"{form}second"])
    leap = second == _LEAP_SECOND
    try:
        zone = _zone(match[f"{form}zone"] if form != "a_" else "GMT")
        if form == "r_":
            year = _full_year(year, near)
        month, day = _MONTHS[match[f"{form}month"]], int(match[f"{form}day"])
        clock = int(match[f"{form}hour"]), int(match[f"{form}minute"]), second - leap
        return datetime(year, month, day, *clock, tzinfo=zone).timestamp() + leap
    except (ValueError, KeyError, OverflowError):
        return None


def _zone(text: str) -> timezone:
    if text in {"GMT", "UTC"}:
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[3:]))
    return timezone(-offset if text[0] == "-" else offset)


def _full_year(year: int, near: float | None) -> int:
    """A year of two digits that seems to be more than 50 years ahead is the last one in the past that ends so (RFC 9110, 5.6.7)."""
    if near is None:
        return year + (1900 if year >= 70 else 2000)  # noqa: PLR2004 - as POSIX reads it; only a Date header has no other to go by
    last = datetime.fromtimestamp(near, UTC).year + _FUTURE_YEARS_MAX
    return last - (last - year) % _CENTURY


def _all(headers: Mapping[str, str], name: str) -> list[str]:
    getall = getattr(headers, "getall", None)  # a multidict, as aiohttp gives it
    if getall is not None:
        return list(getall(name, []))
    return [headers[name]] if name in headers else []
