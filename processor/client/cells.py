"""What a cell of a spreadsheet says: its text, its value by the type of its field, and what the spreadsheet has made of it.

Texts about a cell never show it: it may be personal.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from processor.contract.strict_json import JsonError, loads

JSON_COLUMN, INPUT_COLUMN = ":json", "input."
_EDGES = " \t\r\n\ufeff\u200b\u200e\u200f\u2060\u00ad"
# not the two joiners (U+200C, U+200D): Persian and Hindi are written with them
_UNSEEN = re.compile("[\ufeff\u200b\u200e\u200f\u2060\u00ad\u202a-\u202e]")
_ERROR = re.compile(r"#(?:N/A|NV|DIV/0!|[^\W\d_]{3,}[!?]|#{2,})")
_SHORTENED = re.compile(r"-?[0-9](?:[.,][0-9]+)?E[+-][0-9]+", re.IGNORECASE)
_LOST_DIGITS = re.compile(r"[1-9][0-9]{14}0{3,}")
_MARKED_TEXT = re.compile(r"'[0-9=+@-]")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATE_AND_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:.]+Z?")
_SHOWN_DATE = re.compile(r"[0-9]{1,4}\.?[./ -](?:[0-9]{1,2}|[^\W\d_]{3,9}\.?)[./ -][0-9]{2,4}|[^\W\d_]{3,9}\.? [0-9]{1,2}, ?[0-9]{4}")
_SERIAL_DATE = re.compile(r"[1-9][0-9]{4}(?:[.,][0-9]+)?")
_DECIMAL_COMMA = re.compile(r"-?[0-9]+,[0-9]+")
_DATE_WORDS = ("date", "deadline", "_at")
DATE_IN_TEXT = "is a date or a time, which a spreadsheet makes of what looks like one; format the column as text and enter it again"
_BOOLEANS = {"true": True, "false": False}
_CURLY = "\u201c\u201d\u201e"


def cleaned(text: str) -> str:
    """A text without the blanks and invisible characters around it; no-break and other wide blanks within are plain ones."""
    plain = text if text.isascii() else "".join(" " if unicodedata.category(char) == "Zs" else char for char in text)
    return plain.strip(_EDGES)


def cell_value(column: str, text: str, spec: Mapping[str, Any]) -> Any:
    """The value of a cell without fault: of its field's type if that is one, or JSON by the column's name, else its text."""
    lowered = text.lower()
    if lowered in _BOOLEANS and (column.endswith(JSON_COLUMN) or _kinds(spec) & {"boolean"}):
        return _BOOLEANS[lowered]  # a spreadsheet writes TRUE
    if column.endswith(JSON_COLUMN) or _wants_number(spec):
        try:
            return loads(text.encode())
        except JsonError:
            return text  # its type is refused with the path
    return text


def cell_fault(column: str, text: str, spec: Mapping[str, Any]) -> str | None:
    """What is wrong with a cell and what to do, or None.

    Args:
        column: its name, for people.
        text: not empty, ``cleaned``.
        spec: JSON schema of the field; empty if that is not known.
    """
    plain = None if column.endswith(JSON_COLUMN) else next((said for fits, said in _PLAIN_FAULTS if fits(text)), None)
    found = plain or _everywhere(text) or _of_type(column, text, spec)
    return f"{column} {found}" if found else None


def takes_date(column: str, spec: Mapping[str, Any]) -> bool:
    """Whether a date is what a column is for, by its field or its name."""
    return str(spec.get("format", "")).startswith("date") or any(word in column for word in _DATE_WORDS)


def _everywhere(text: str) -> str | None:
    if "\ufffd" in text:
        return "has a character that was lost when the file was saved (shown as \ufffd); save it as CSV UTF-8 and enter it again"
    if hidden := _UNSEEN.search(text):
        return f"has a character that nobody sees (U+{ord(hidden[0]):04X}) at place {hidden.start() + 1}; delete it"
    if _misread(text):
        return "was saved as UTF-8 and opened as another code (like \u00c3\u00a9 for \u00e9); import the file as UTF-8 and save it again"
    return None


def _misread(text: str) -> bool:
    if text.isascii():
        return False
    try:
        return text.encode("cp1252").decode() != text
    except UnicodeError:
        return False


_PLAIN_FAULTS: tuple[tuple[Callable[[str], Any], str], ...] = (
    (_ERROR.fullmatch, "is an error of a formula (like #N/A) or of a column that is too narrow (###), and no value; repair the cell"),
    (lambda text: text.startswith("="), "is a formula and no value; copy the column and paste it as values"),
    (
        _SHORTENED.fullmatch,
        "is a long number that a spreadsheet has shortened (like 1.2E+11); format the column as text and enter it again",
    ),
    (
        _LOST_DIGITS.fullmatch,
        "is a long number of which a spreadsheet kept 15 digits and made the others 0; format the column as text and enter it again",
    ),
    (_MARKED_TEXT.match, "begins with the apostrophe by which a spreadsheet marks text; remove the apostrophe"),
)


def _of_type(column: str, text: str, spec: Mapping[str, Any]) -> str | None:
    if _kinds(spec) == {"boolean"}:
        return None if text.lower() in _BOOLEANS else "is neither true nor false; write one of them"
    if column.endswith(JSON_COLUMN):
        return _json_fault(text)
    if spec.get("format") == "date" or (not spec and "date" in column):
        return _date_fault(text)
    if _wants_number(spec):
        return "has a decimal comma; write a point, like 12.5" if _DECIMAL_COMMA.fullmatch(text) else None
    return _pattern_fault(text, str(spec.get("pattern", "")), str(spec.get("description", "")))


def _pattern_fault(text: str, pattern: str, description: str) -> str | None:
    if not description.startswith(("E.164", "ISO 3166-1")) or re.search(pattern, text):
        return None
    if description.startswith("E.164"):
        return "is no telephone number in international form; write it like +34600000000, and format the column as text to keep the +"
    letters = {"[A-Z]{2}": "2 capital letters like ES", "[A-Z]{3}": "3 capital letters like ESP"}
    form = next((words for form, words in letters.items() if form in pattern), "letters like ES or US-CA")
    return f"is no country code; write {form} ({description.split(',', maxsplit=1)[0].rstrip('.')})"


def _date_fault(text: str) -> str | None:
    if _DATE.fullmatch(text):
        return None
    if _SERIAL_DATE.fullmatch(text):
        return "is a date as the number of days that a spreadsheet counts (like 38446); format the column as a date like 1990-05-15"
    if _DATE_AND_TIME.fullmatch(text):
        return "is a date with a time of day; write it as 1990-05-15"
    if _SHOWN_DATE.fullmatch(text):
        return "is a date as a spreadsheet shows it; write it as 1990-05-15"
    return None


def _json_fault(text: str) -> str | None:
    try:
        loads((text.lower() if text.lower() in _BOOLEANS else text).encode())
    except JsonError:
        curly = any(char in text for char in _CURLY)
        return "is no JSON" + ("; its quotation marks are curly, write straight ones" if curly else "; a text stands in quotation marks")
    return None


def _kinds(spec: Mapping[str, Any]) -> set[str]:
    found = spec.get("type", ())
    return {found} if isinstance(found, str) else set(found)


def _wants_number(spec: Mapping[str, Any]) -> bool:
    return bool(_kinds(spec) & {"integer", "number"}) and "string" not in _kinds(spec)
