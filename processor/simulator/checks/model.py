"""What a check is defined by, what goes into it, and what comes out; and the documented 400 bodies of single fields. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from processor.simulator.session import StoredCheck

_SCORE = re.compile(rb"SCORE=(\d{1,3}(?:\.\d{1,2})?)")
_AGE = re.compile(rb"AGE=(\d{1,3})")
_RISK = re.compile(rb"RISK:([a-z_]+)")
GOOD_SCORE, BAD_SCORE, GOOD_AGE = 97.0, 12.5, 34.0


@dataclass(slots=True)
class CheckInputs:
    """Fields and files of one check. Markers in them choose its result; in a sandbox they are ignored, and every check is approved."""

    fields: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    file_names: Mapping[str, str] = field(default_factory=dict)
    form: bool = False  # sent as a form: all fields are text
    sandbox: bool = False

    def has_marker(self, marker: bytes, file: str | None = None) -> bool:
        """Whether the bytes of a file contain a marker; ``file`` None: of any file."""
        return not self.sandbox and any(marker in raw for raw in self._raw(file))

    def score(self, file: str | None = None) -> float:
        """The score by the markers in a file: ``SCORE=55``; low with ``DECLINE``, high without a marker."""
        marked = self._marked_number(_SCORE, file)
        if marked is not None:
            return min(100.0, marked)
        return BAD_SCORE if self.has_marker(b"DECLINE", file) else GOOD_SCORE

    def age(self, file: str | None = None) -> float:
        """The age by the marker ``AGE=17`` in a file."""
        marked = self._marked_number(_AGE, file)
        return GOOD_AGE if marked is None else marked

    def risks(self) -> list[str]:
        """Risks by markers such as ``RISK:invalid_mrz``; the field ``invalid_mrz_action`` decides whether such a risk declines."""
        return [] if self.sandbox else [risk.decode() for raw in self._raw(None) for risk in _RISK.findall(raw)]

    def has_word(self, word: str) -> bool:
        """Whether any text field contains a word."""
        return not self.sandbox and any(word in value for value in self.fields.values() if isinstance(value, str))

    @property
    def is_saved(self) -> bool:
        """Whether the check is kept as a session, which is the default."""
        return str(self.fields.get("save_api_request", "true")).lower() not in {"false", "0"}

    def number(self, name: str, default: float) -> float:
        """The number in a field that has been validated."""
        return float(self.fields.get(name, default))

    def _marked_number(self, pattern: re.Pattern[bytes], file: str | None) -> float | None:
        match = next((match for raw in self._raw(file) if (match := pattern.search(raw))), None)
        return float(match[1]) if match is not None and not self.sandbox else None

    def _raw(self, file: str | None) -> list[bytes]:
        return list(self.files.values()) if file is None else [self.files.get(file, b"")]


@dataclass(frozen=True, slots=True)
class CheckDefinition:
    """A check: its input is rejected with a 400, or its result is the ``member`` of the response."""

    name: str
    member: str  # of the response
    service: str  # of the session that it is kept as
    array: str  # of the decision that has the result too
    validate: Callable[[CheckInputs], Any]  # returns the 400 body, or None
    evaluate: Callable[[CheckInputs], dict[str, Any]]  # returns the result
    risk: bool = False  # its status is repeated beside the member, and it is always kept
    fail: Callable[[CheckInputs], tuple[int, Any] | None] | None = None  # returns status and body of a failure after validation


@dataclass(slots=True)
class CheckResponse:
    """The response to a check, what it costs, and what is kept of it."""

    status: int
    body: Any
    acted: bool = False
    credit_count: int = 0
    stored: StoredCheck | None = None  # to be kept as a session
    retry_after_s: int | None = None


def number_error(fields: Mapping[str, Any], name: str, least: float, most: float) -> Any:
    """The 400 body for a field that is not a number, or out of bounds; None if it is absent or valid."""
    if name not in fields:
        return None
    number = _to_number(fields[name])
    if number is None:
        return {name: ["A valid integer is required."]}
    if not least <= number <= most:
        bound = f"greater than or equal to {least:g}" if number < least else f"less than or equal to {most:g}"
        return {name: [f"Ensure this value is {bound}."]}
    return None


def choice_error(fields: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> Any:
    """The 400 body for a field whose value is not one of ``choices``; None if it is absent or valid."""
    if name not in fields or fields[name] in choices:
        return None
    return {name: [f'"{fields[name]}" is not a valid choice.']}


def action_error(fields: Mapping[str, Any]) -> Any:
    """The 400 body for a field ``..._action`` that is neither NO_ACTION nor DECLINE; None if all are valid."""
    errors = (choice_error(fields, name, ("NO_ACTION", "DECLINE")) for name in fields if name.endswith("_action"))
    return next((error for error in errors if error is not None), None)


IMAGES = ("tiff", "jpg", "jpeg", "png", "webp")


def file_error(inputs: CheckInputs, name: str, most_mb: int, extensions: tuple[str, ...], *, required: bool = True) -> Any:
    """The 400 body for a file that is missing, empty or too large, or whose name has another extension; None if it is valid.

    In the order and the words of Django's ``FileField`` and ``FileExtensionValidator``, as Didit's OpenAPI 3.0.0 shows them.
    """
    raw = inputs.files.get(name)
    if raw is None:
        if name in inputs.fields:
            return {name: ["The submitted data was not a file. Check the encoding type on the form."]}
        return {name: ["No file was submitted."]} if required else None
    if not raw:
        return {name: ["The submitted file is empty."]}
    extension = PurePosixPath(inputs.file_names.get(name, "")).suffix[1:].lower()
    if extension not in extensions:
        return {name: [f"File extension “{extension}” is not allowed. Allowed extensions are: {', '.join(extensions)}."]}
    return {name: [f"File size should not exceed {most_mb} MB"]} if len(raw) > most_mb * 1024 * 1024 else None


def first_error(*errors: Any) -> Any:
    """The first that is not None."""
    return next((error for error in errors if error is not None), None)


def _to_number(value: Any) -> float | None:
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except ValueError:
        return None
