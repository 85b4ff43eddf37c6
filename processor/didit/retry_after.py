"""How long a response asks us to wait. Pure.

``Retry-After`` is a number of seconds or an HTTP date (RFC 9110, 10.2.3); a date is compared with the response's own ``Date``,
because the two clocks may differ. Fractions are not in the RFC but are sent; they are read, never cut off.
``X-RateLimit-Reset`` is epoch seconds (Didit, "Rate limiting").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?")
_EPOCH = re.compile(r"\d{9,11}(\.\d{1,9})?")


def wait_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, never negative; None if the response names no time that can be read."""
    text = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    sent_at = _epoch(headers.get("date", ""))
    until = _epoch(text)
    if until is not None and sent_at is not None:
        return max(0.0, until - sent_at)
    reset = headers.get("x-ratelimit-reset", "").strip()
    if sent_at is not None and _EPOCH.fullmatch(reset):
        return max(0.0, float(reset) - sent_at)
    return None


def _epoch(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    if moment.tzinfo is None:  # "-0000": RFC 5322 says UTC without a local zone
        return None
    return moment.timestamp()
