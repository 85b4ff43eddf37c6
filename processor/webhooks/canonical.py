"""The text that an ``X-Signature-V2`` covers. Pure.

Source: the signing code in Didit's own WordPress plug-in (``tests/generate-fixtures.py`` of didit-protocol/plugin-wordpress) and
Didit's sample receiver (didit-full-demo). Whole floats become ints at every depth, keys are sorted by code point, nothing is
spaced, Unicode is not escaped, no timestamp stands before it.

They differ in one thing: the server is Python and the sample is JavaScript, which print some numbers differently (``5e-05`` and
``0.00005``; ``10000000000000000000000`` and ``1e+22``). So a text has at most two forms, the server's first. Either is what its
HMAC proves: whoever verifies must believe the form that was signed, never the body that it was made from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import orjson

_EXACT_INT_MAX = 2**53 - 1  # every language prints an int up to this in the same way
_POINT_MAX, _POINT_MIN = 21, -6  # outside of this JavaScript writes an exponent


class _NoFormError(Exception):
    """There is no such text: a number no double holds, or a form that is far longer than its body."""


def canonical_forms(value: Any, *, size_bytes_max: int) -> Iterator[bytes]:
    """The texts that a V2 signature of a strictly read JSON value may cover: one, or two, or none.

    Args:
        value: as ``contract.strict_json.loads`` returns it.
        size_bytes_max: a longer form is left out (``1e300`` takes 301 digits to write).
    """
    first = _form(value, server_number, size_bytes_max)
    if first is not None:
        yield first
    second = _form(value, script_number, size_bytes_max)
    if second is not None and second != first:
        yield second


def server_number(number: float | Decimal) -> str:
    """A number as Didit's server prints it: Python's ``json.dumps``, whole floats as ints."""
    if isinstance(number, int):
        return str(number)
    double = _double(number)
    return str(int(double)) if double.is_integer() else repr(double)


def script_number(number: float | Decimal) -> str:
    """A number as JavaScript's ``JSON.stringify`` prints it (ECMA-262, Number::toString)."""
    double = _double(number)
    if double == 0:
        return "0"
    sign = "-" if double < 0 else ""
    _, shortest, exponent = Decimal(repr(abs(double))).as_tuple()  # both languages print the shortest digits that read back
    point = len(shortest) + int(exponent)  # where the decimal point stands, counted from the first digit
    digits = "".join(map(str, shortest)).rstrip("0")
    if len(digits) <= point <= _POINT_MAX:
        return sign + digits.ljust(point, "0")
    if 0 < point <= _POINT_MAX:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if _POINT_MIN < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{point - 1:+d}"


def _form(value: Any, spell: Callable[[float | Decimal], str], size_bytes_max: int) -> bytes | None:
    try:
        text = orjson.dumps(_Spelling(spell, size_bytes_max).of(value), option=orjson.OPT_SORT_KEYS)  # UTF-8 order is code point order
    except _NoFormError:
        return None
    return text if len(text) <= size_bytes_max else None


class _Spelling:
    """A value with its numbers spelled; gives up before a few bytes become megabytes."""

    def __init__(self, spell: Callable[[float | Decimal], str], room_bytes: int) -> None:
        self._spell, self._room_bytes = spell, room_bytes

    def of(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.of(child) for name, child in value.items()}
        if isinstance(value, list):
            return [self.of(child) for child in value]
        if value is None or isinstance(value, bool | str) or (isinstance(value, int) and abs(value) <= _EXACT_INT_MAX):
            return value
        text = self._spell(value)
        self._room_bytes -= len(text)
        if self._room_bytes < 0:
            raise _NoFormError
        return orjson.Fragment(text)


def _double(number: float | Decimal) -> float:
    try:
        double = float(number)
    except OverflowError:
        raise _NoFormError from None
    if not math.isfinite(double):
        raise _NoFormError
    return double
