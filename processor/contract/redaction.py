"""A caller's document as it may be shown: its shape, and what is ours to know, but nothing that could be personal. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from processor.contract import strict_json
from processor.contract.decode import DEPTH_MAX, TOKENS_MAX, VALUE_BYTES_MAX, parse_deadline, read_request_id
from processor.contract.records import OnDoubt, Priority
from processor.contract.schemas import input_schema, operations
from processor.contract.strict_json import JsonError

MASK = "***"
_ITEMS_MAX = 100


def masked_request(value: bytes | None) -> dict[str, Any] | None:
    """The document with every value masked but those that say how it is treated; None if it is no JSON object.

    Below ``input`` the names that the operation's schema knows are kept, others are masked too. Of each object and array the first
    hundred members are shown.
    """
    if value is None or len(value) > VALUE_BYTES_MAX:
        return None
    try:
        document = strict_json.loads(value, depth_max=DEPTH_MAX, tokens_max=TOKENS_MAX)
    except JsonError:
        return None
    if not isinstance(document, dict):
        return None
    operation = document.get("operation")
    schema = input_schema(operation) if isinstance(operation, str) and operation in operations() else {}
    shown: dict[str, Any] = {}
    for name, found in list(document.items())[:_ITEMS_MAX]:
        if name == "input":
            shown[name] = _masked(found, schema)
        elif name in _KEPT:
            shown[name] = found if _KEPT[name](found) else MASK
        else:
            _put(shown, MASK, MASK)
    return shown


def _is_text_of(words: tuple[str, ...]) -> Any:
    return lambda found: isinstance(found, str) and found in words


_KEPT: dict[str, Any] = {
    "schema_version": lambda found: found == 1,
    "request_id": lambda found: read_request_id(found) is not None,
    "operation": lambda found: isinstance(found, str) and found in operations(),
    "deadline": lambda found: isinstance(found, str) and parse_deadline(found) is not None,
    "priority": _is_text_of(tuple(str(p) for p in Priority)),
    "on_doubt": _is_text_of(tuple(str(d) for d in OnDoubt)),
}


def _masked(found: Any, schema: Any) -> Any:
    known = schema.get("properties", {}) if isinstance(schema, dict) else {}
    if isinstance(found, dict):
        shown: dict[str, Any] = {}
        for name, value in list(found.items())[:_ITEMS_MAX]:
            if name in known:
                shown[name] = _masked(value, known[name])
            else:
                _put(shown, MASK, _masked(value, {}))
        return shown
    if isinstance(found, list):
        items = schema.get("items", {}) if isinstance(schema, dict) else {}
        return [_masked(value, items) for value in found[:_ITEMS_MAX]]
    return MASK


def _put(shown: dict[str, Any], name: str, value: Any) -> None:
    """Under the next name that is free: masked names are alike."""
    free = next(chosen for number in range(1, len(shown) + 2) if (chosen := name if number == 1 else f"{name} {number}") not in shown)
    shown[free] = value


def as_text(document: dict[str, Any]) -> str:
    """Indented JSON."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
