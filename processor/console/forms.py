"""Query and form fields to a selection and back. Pure. Text is taken as it is: a request id may begin with a space."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from multidict import MultiMapping

from processor.contract.pauses import PauseKind
from processor.contract.times import DURATION_FORM, duration, is_duration, parse_duration
from processor.repair.delayed import FOLLOWING, DelayedSelection
from processor.repair.model import REPLAYS_MAX, Selection
from processor.repair.parsing import read_position
from processor.repair.recent_result import ResultSelection

_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_DIGEST = re.compile(r"[0-9A-Fa-f]{8,64}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_WAITING_POSITION = re.compile(r"([A-Za-z0-9._-]{1,249}):([0-9]{1,9}):([0-9]{1,18})")
_VALUES_MAX = 500
_REQUEST_ID_MAX = 128
_NAME_MAX, _NOTE_MAX = 60, 500
_ANY_REPLAYS = 1_000_000
_NEVER_MS = 10**16 - 1

SPANS = (("", "any time"), *((text, duration(parse_duration(text))) for text in ("15m", "1h", "6h", "1d", "7d")))


class BadInputError(ValueError):
    """A field is not as it must be. The text says which and how, and quotes nothing."""


@dataclass(frozen=True, slots=True)
class SelectionForm:
    """A selection and how it was asked for."""

    selection: Selection
    since: str = ""  # one of SPANS, or another span, for the form


def read_selection(fields: MultiMapping[str], now_ms: int) -> SelectionForm:
    """What a query or form names.

    Raises:
        BadInputError: if a field is malformed or out of range.
    """
    since, since_ms = _since(fields, now_ms)
    selection = Selection(
        reasons=_words(fields, "reason"),
        operations=_words(fields, "operation"),
        request_ids=frozenset(filter(None, [read_request_id(fields, "request_id")])),
        positions=_positions(fields),
        since_ms=since_ms,
        until_ms=_number(fields, "until_ms"),
        count_max=_number(fields, "count_max"),
        in_doubt=_ticked(fields, "in_doubt"),
        replays_max=_ANY_REPLAYS if _ticked(fields, "replayed") else REPLAYS_MAX,
    )
    return SelectionForm(selection, since)


@dataclass(frozen=True, slots=True)
class ResultForm:
    """A filter of results and how it was asked for."""

    wanted: ResultSelection
    since: str  # a span, for the form
    fields: tuple[tuple[str, str], ...]  # the same again, for links


def read_result_filter(fields: MultiMapping[str], now_ms: int) -> ResultForm:
    """What a query names of the results.

    Raises:
        BadInputError: if a field is malformed.
    """
    since, since_ms = _since(fields, now_ms)
    given = {name: _one(fields, name) for name in ("operation", "status", "person")}
    given |= {name: _word(name, text) for name, text in given.items() if text and name != "person"}
    if given["person"] and not _DIGEST.fullmatch(given["person"]):
        raise BadInputError("A digest is 8 to 64 characters of 0-9 and a-f: the SHA-256 of the vendor_data, or the beginning of it.")
    asked = (*given.items(), ("since", since))
    return ResultForm(ResultSelection(**given, since_ms=since_ms), since, tuple((name, text) for name, text in asked if text))


def selection_fields(selection: Selection) -> list[tuple[str, str]]:
    """The fields that ``read_selection`` takes, with absolute times: for links and hidden inputs."""
    fields = [("reason", word) for word in sorted(selection.reasons)]
    fields += [("operation", word) for word in sorted(selection.operations)]
    fields += [("request_id", word) for word in sorted(selection.request_ids)]
    fields += [("position", f"{partition}:{offset}") for partition, offset in sorted(selection.positions)]
    for name in ("since_ms", "until_ms", "count_max"):
        value = getattr(selection, name)
        fields += [] if value is None else [(name, str(value))]
    fields += [("in_doubt", "1")] if selection.in_doubt else []
    return fields + ([("replayed", "1")] if selection.replays_max > REPLAYS_MAX else [])


def frozen(selection: Selection, now_ms: int) -> Selection:
    """The same without what fails from now on: what is confirmed later is at most what was shown.

    Positions name what was shown by themselves, also where the clock of another replica is ahead.
    """
    until_ms = _NEVER_MS if selection.positions else now_ms + 1
    return selection if selection.until_ms is not None else replace(selection, until_ms=until_ms)


def read_request_id(fields: MultiMapping[str], name: str) -> str:
    """A request id, verbatim; empty where none is given.

    Raises:
        BadInputError: if it cannot be one.
    """
    text = _one(fields, name)
    if len(text) > _REQUEST_ID_MAX or any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in text):  # noqa: PLR2004 - control characters
        raise BadInputError(f"A request id has 1 to {_REQUEST_ID_MAX} characters and no control characters; this one is not of that form.")
    return text


def read_reason(fields: MultiMapping[str]) -> str | None:
    """The reason of the waiting list: ``-`` is "without one", and so is the word that counts show for it; empty is "any".

    Raises:
        BadInputError: if it cannot be one.
    """
    text = _one(fields, "reason")
    if not text:
        return None
    return "" if text in {"-", FOLLOWING} else _word("reason", text)


def read_waiting_selection(fields: MultiMapping[str]) -> DelayedSelection:
    """Which waiting records are meant: those with a reason, or those at the positions that the list shows.

    Raises:
        BadInputError: if a field is malformed.
    """
    found = [_WAITING_POSITION.fullmatch(text) for text in _many(fields, "position")]
    if not all(found):
        raise BadInputError("position is topic:partition:offset of a delay topic, such as verification.retry.1m:3:1042.")
    reason = read_reason(fields)
    return DelayedSelection(
        reasons=frozenset() if reason is None else frozenset({reason or FOLLOWING}),
        positions=frozenset((match[1], int(match[2]), int(match[3])) for match in found if match),
        count_max=_VALUES_MAX,
    )


def read_page(fields: MultiMapping[str]) -> int:
    """The page of a list, from 1.

    Raises:
        BadInputError: if it is no number.
    """
    return max(1, _number(fields, "page") or 1)


def read_name(fields: MultiMapping[str]) -> str:
    """Who acts.

    Raises:
        BadInputError: if nobody says so.
    """
    text = _one(fields, "by").strip()
    if not 1 <= len(text) <= _NAME_MAX or not text.isprintable():
        raise BadInputError(f"Say who you are: a name or initials of 1 to {_NAME_MAX} characters. It is written beside what you do.")
    return text


def read_pause_target(fields: MultiMapping[str]) -> tuple[PauseKind, str]:
    """What is to be done with which operation; ``all`` is every call.

    Raises:
        BadInputError: if it is not said.
    """
    kind, name = _one(fields, "kind"), _one(fields, "operation")
    if kind not in set(PauseKind) or not name:
        raise BadInputError("Choose an operation, and whether to pause or to resume it.")
    return PauseKind(kind), _word("operation", name)


def read_pause_note(fields: MultiMapping[str]) -> str:
    """Why somebody pauses or resumes.

    Raises:
        BadInputError: if nothing is said.
    """
    return _reasoned(fields, "whoever finds the calls waiting has only your note.")


def read_note(fields: MultiMapping[str]) -> str:
    """Why something is discarded.

    Raises:
        BadInputError: if nothing is said.
    """
    return _reasoned(fields, "whoever looks at these requests later has only your note.")


def _reasoned(fields: MultiMapping[str], what_for: str) -> str:
    text = " ".join(_one(fields, "note").split())
    if not 1 <= len(text) <= _NOTE_MAX or not text.isprintable():
        raise BadInputError(f"Say why, in 1 to {_NOTE_MAX} characters: {what_for}")
    return text


def _since(fields: MultiMapping[str], now_ms: int) -> tuple[str, int | None]:
    text = _one(fields, "since")
    if not text:
        return "", _number(fields, "since_ms")
    if not is_duration(text):
        raise BadInputError(f"since is a length of time, {DURATION_FORM}; leave it out for any time.")
    return text, now_ms - parse_duration(text) * 1000


def _positions(fields: MultiMapping[str]) -> frozenset[tuple[int, int]]:
    try:
        return frozenset(read_position(text) for text in _many(fields, "position"))
    except ValueError:  # its text quotes what was given
        raise BadInputError("position is partition:offset of the dead-letter topic, such as 3:1042.") from None


def _words(fields: MultiMapping[str], name: str) -> frozenset[str]:
    return frozenset(_word(name, text) for text in _many(fields, name) if text)


def _word(name: str, text: str) -> str:
    if not _WORD.fullmatch(text):
        raise BadInputError(f"{name} is a name such as those in its list: letters, digits, and _ . : - only.")
    return text


def _number(fields: MultiMapping[str], name: str) -> int | None:
    text = _one(fields, name)
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise BadInputError(f"{name} is a whole number of at most 16 digits.")
    return int(text)


def _ticked(fields: MultiMapping[str], name: str) -> bool:
    text = _one(fields, name)
    if text not in {"", "1"}:
        raise BadInputError(f"{name} is 1 or left out.")
    return text == "1"


def _one(fields: MultiMapping[str], name: str) -> str:
    values = _many(fields, name)
    if len(values) > 1:
        raise BadInputError(f"{name} is given more than once.")
    return values[0] if values else ""


def _many(fields: MultiMapping[str], name: str) -> list[str]:
    values = fields.getall(name, [])
    if len(values) > _VALUES_MAX or not all(isinstance(value, str) for value in values):
        raise BadInputError(f"{name} is text, {_VALUES_MAX} times at most.")
    return list(values)
