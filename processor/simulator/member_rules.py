"""What one member of a request may be, and what Django REST framework says of one that is not. Pure.

A rule takes a value that is not null, and whether it comes from a form, whose values are all text. It returns what is wrong, or None.
Where the framework converts (a number sent as text, say) and Didit's OpenAPI 3.0.0 has one type, the document decides, but in forms.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

from processor.simulator.validation import date_error, is_uuid

Rule = Callable[[Any, bool], Any]
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S*")  # RFC 3986
_WORDS = frozenset({"true", "false", "t", "f", "yes", "no", "y", "n", "on", "off", "1", "0"})  # of the framework's BooleanField


def text(most: int | None = None, least: int = 0, form: str | None = None) -> Rule:
    """Text of so many characters; ``form``: a pattern for the whole of it."""
    pattern = re.compile(form) if form is not None else None

    def rule(value: Any, _: bool) -> Any:
        if not isinstance(value, str):
            return ["Not a valid string."]
        if most is not None and len(value) > most:
            return [f"Ensure this field has no more than {most} characters."]
        if len(value) < least:
            return [f"Ensure this field has at least {least} characters."]
        return ["Enter a valid value."] if pattern is not None and pattern.fullmatch(value) is None else None

    return rule


def choice(*words: str) -> Rule:
    """One of these words, in their case."""
    return lambda value, _: None if value in words else [f'"{value}" is not a valid choice.']


def flag(value: Any, form: bool) -> Any:
    """True or false."""
    valid = value.lower() in _WORDS if form and isinstance(value, str) else isinstance(value, bool)
    return None if valid else ["Must be a valid boolean."]


def number(least: float | None = None, most: float | None = None) -> Rule:
    """A number within bounds."""
    return _bounded(_number, "A valid number is required.", least, most)


def whole(least: int | None = None, most: int | None = None) -> Rule:
    """A whole number within bounds."""
    return _bounded(_whole, "A valid integer is required.", least, most)


def day(value: Any, _: bool) -> Any:
    """A date."""
    return date_error(value)


def moment(value: Any, _: bool) -> Any:
    """A date with a time."""
    try:
        datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return ["Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."]
    return None


def uri(value: Any, _: bool) -> Any:
    """A URI with any scheme, as of an application on a phone."""
    return None if isinstance(value, str) and _URI.fullmatch(value) else ["Enter a valid URL."]


def email(value: Any, _: bool) -> Any:
    """An address for mail."""
    return None if isinstance(value, str) and EMAIL.fullmatch(value) else ["Enter a valid email address."]


def url(value: Any, _: bool) -> Any:
    """A URL of the web."""
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and re.search(r"\s", value) is None
    except ValueError:  # such as half an address of IPv6
        valid = False
    return None if valid else ["Enter a valid URL."]


def ip_address(value: Any, _: bool) -> Any:
    """An address of IPv4 or IPv6."""
    try:
        ipaddress.ip_address(value if isinstance(value, str) else "")
    except ValueError:
        return ["Enter a valid IPv4 or IPv6 address."]
    return None


def uuid(value: Any, _: bool) -> Any:
    """A UUID."""
    return None if is_uuid(value) else ["Must be a valid UUID."]


def mapping(value: Any, form: bool) -> Any:
    """An object of any members; JSON text in a form."""
    if form:
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return ["Value must be valid JSON."]
    return None if isinstance(value, dict) else [f'Expected a dictionary of items but got type "{type(value).__name__}".']


def listed(rule: Rule, most: int | None = None) -> Rule:
    """A list whose items keep a rule."""

    def whole_list(value: Any, form: bool) -> Any:
        if not isinstance(value, list):
            return [f'Expected a list of items but got type "{type(value).__name__}".']
        if most is not None and len(value) > most:
            return [f"Ensure this field has no more than {most} elements."]
        wrong = {str(index): fault for index, item in enumerate(value) if (fault := rule(item, form)) is not None}
        return wrong or None

    return whole_list


def members(**rules: Rule) -> Rule:
    """An object whose members keep these rules; others are not looked at, as the framework does."""

    def rule(value: Any, form: bool) -> Any:
        if not isinstance(value, dict):
            return {"non_field_errors": [f"Invalid data. Expected a dictionary, but got {type(value).__name__}."]}
        return faults_of(rules, value, form)

    return rule


def faults_of(rules: Mapping[str, Rule], given: Mapping[str, Any], form: bool) -> dict[str, Any] | None:
    """What is wrong with each member that has a rule; None if nothing. One that is null is not looked at."""
    judged = ((name, given[name], rule) for name, rule in rules.items() if given.get(name) is not None)
    wrong = {name: fault for name, value, rule in judged if (fault := rule(value, form)) is not None}
    return wrong or None


def _bounded(read: Callable[[Any, bool], float | None], fault: str, least: float | None, most: float | None) -> Rule:
    def rule(value: Any, form: bool) -> Any:
        found = read(value, form)
        if found is None:
            return [fault]
        if least is not None and found < least:
            return [f"Ensure this value is greater than or equal to {least:g}."]
        return [f"Ensure this value is less than or equal to {most:g}."] if most is not None and found > most else None

    return rule


def _number(value: Any, form: bool) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str) if form else (int, float)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if found == found and abs(found) != float("inf") else None  # noqa: PLR0124 - NaN


def _whole(value: Any, form: bool) -> float | None:
    found = _number(value, form)
    return found if found is not None and found.is_integer() else None
