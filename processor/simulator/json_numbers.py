"""JSON whose numbers come back as they were sent, as in what Didit echoes. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

_UNUSUAL = re.compile(rb"\d[.eE]|\d{18}")  # a fraction, an exponent, or more digits than a machine word holds


class SentNumber(float):
    """A number with a fraction or an exponent, and the text that it was sent as."""

    def __init__(self, text: str) -> None:
        self.text = text


def loads(raw: bytes | str) -> Any:
    """Parse JSON.

    Raises:
        orjson.JSONDecodeError: if it is not JSON.
    """
    value = orjson.loads(raw)  # stricter than json: it takes no NaN and no half surrogates
    unusual = _UNUSUAL.search(raw if isinstance(raw, bytes) else raw.encode()) is not None
    return json.loads(raw, parse_float=SentNumber) if unusual else value


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON; a number that was sent goes out as it came."""
    try:
        return orjson.dumps(value, default=_as_sent)
    except TypeError:
        return orjson.dumps(_with_texts(value))  # an int of more than 64 bits is refused before ``default`` is asked


def _as_sent(value: Any) -> orjson.Fragment:
    if isinstance(value, SentNumber):
        return orjson.Fragment(value.text)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _with_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_texts(child) for name, child in value.items()}
    if isinstance(value, list | tuple):
        return [_with_texts(child) for child in value]
    if isinstance(value, SentNumber):
        return orjson.Fragment(value.text)
    return orjson.Fragment(str(value)) if isinstance(value, int) and not isinstance(value, bool) else value
