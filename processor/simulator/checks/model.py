"""What a check is given and what it finds. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from processor.simulator.session import Finding

REQUIRED = ["This field is required."]
_SCORE = re.compile(rb"SCORE=(\d{1,3}(?:\.\d{1,2})?)")
_AGE = re.compile(rb"AGE=(\d{1,3})")
_RISK = re.compile(rb"RISK:([a-z_]+)")
GOOD_SCORE, BAD_SCORE, GOOD_AGE = 97.0, 12.5, 34.0


@dataclass(slots=True)
class Inputs:
    """Fields and files of one check. In a sandbox nothing in them decides: every check is approved."""

    fields: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    form: bool = False  # they came as a form: fields are text
    sandbox: bool = False

    def marked(self, marker: bytes, file: str | None = None) -> bool:
        """Whether the bytes of a file (of any, without a name) carry a marker."""
        return not self.sandbox and any(marker in raw for raw in self._raw(file))

    def score(self, file: str | None = None) -> float:
        """The score that the bytes ask for: ``SCORE=55``, low with ``DECLINE``, high without either."""
        asked = self._number(_SCORE, file)
        if asked is not None:
            return min(100.0, asked)
        return BAD_SCORE if self.marked(b"DECLINE", file) else GOOD_SCORE

    def age(self, file: str | None = None) -> float:
        """The age that the bytes ask for: ``AGE=17``."""
        asked = self._number(_AGE, file)
        return GOOD_AGE if asked is None else asked

    def risks(self) -> list[str]:
        """Risks that the bytes ask for, ``RISK:invalid_mrz``: each has an ``invalid_mrz_action`` that decides what it does."""
        return [] if self.sandbox else [found.decode() for raw in self._raw(None) for found in _RISK.findall(raw)]

    def says(self, word: str) -> bool:
        """Whether any text field carries a word."""
        return not self.sandbox and any(word in value for value in self.fields.values() if isinstance(value, str))

    def number(self, name: str, default: float) -> float:
        """A number that has been found valid."""
        return float(self.fields.get(name, default))

    def _number(self, pattern: re.Pattern[bytes], file: str | None) -> float | None:
        found = next((match for raw in self._raw(file) if (match := pattern.search(raw))), None)
        return float(found[1]) if found is not None and not self.sandbox else None

    def _raw(self, file: str | None) -> list[bytes]:
        return list(self.files.values()) if file is None else [self.files.get(file, b"")]


@dataclass(frozen=True, slots=True)
class Check:
    """A check of the usual form: refused with a 400, or answered under ``member`` with a status."""

    name: str
    member: str  # of the answer
    service: str  # of the API session
    array: str  # of the decision, where the finding stands too
    fault: Callable[[Inputs], Any]  # the 400 body, or None
    find: Callable[[Inputs], dict[str, Any]]
    risk: bool = False  # its status stands beside its member too, and it cannot be left unsaved
    failure: Callable[[Inputs], tuple[int, Any] | None] | None = None  # what ends it after that, unbilled


@dataclass(slots=True)
class Checked:
    """The answer to a check, and what became of it."""

    status: int
    body: Any
    acted: bool = False
    credit_count: int = 0
    stored: Finding | None = None  # to be kept as an API session
    retry_after_s: int | None = None


def number_fault(fields: Mapping[str, Any], name: str, least: float, most: float) -> Any:
    """The 400 of a number that is none, or out of its bounds; None if it is absent or right."""
    if name not in fields:
        return None
    number = _number(fields[name])
    if number is None:
        return {name: ["A valid integer is required."]}
    if not least <= number <= most:
        bound = f"greater than or equal to {least:g}" if number < least else f"less than or equal to {most:g}"
        return {name: [f"Ensure this value is {bound}."]}
    return None


def choice_fault(fields: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> Any:
    """The 400 of a value that is no choice; None if it is absent or one."""
    if name not in fields or fields[name] in choices:
        return None
    return {name: [f'"{fields[name]}" is not a valid choice.']}


def action_fault(fields: Mapping[str, Any]) -> Any:
    """The 400 of an ``..._action`` that is neither NO_ACTION nor DECLINE."""
    found = (choice_fault(fields, name, ("NO_ACTION", "DECLINE")) for name in fields if name.endswith("_action"))
    return next((fault for fault in found if fault is not None), None)


def file_fault(inputs: Inputs, name: str, most_mb: int, *, required: bool = True) -> Any:
    """The 400 of a file that is missing, empty or too large."""
    raw = inputs.files.get(name)
    if raw is None:
        if name in inputs.fields:
            return {name: ["The submitted data was not a file. Check the encoding type on the form."]}
        return {name: ["No file was submitted."]} if required else None
    if not raw:
        return {name: ["The submitted file is empty."]}
    kind = "Image" if name.endswith("image") else "File"
    return {name: [f"{kind} size exceeds {most_mb}MB."]} if len(raw) > most_mb * 1024 * 1024 else None


def first(*faults: Any) -> Any:
    """The first fault there is."""
    return next((fault for fault in faults if fault is not None), None)


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except ValueError:
        return None
