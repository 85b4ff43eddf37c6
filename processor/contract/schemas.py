"""The JSON Schemas (2020-12) of ``schemas/``, compiled once. They are the contract; this module only finds and applies them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson

from processor.contract.codes import ErrorCode
from processor.contract.strict_json import plain_name

_PACKAGED = Path(__file__).parent.parent / "_schemas"
_SOURCE = Path(__file__).parent.parent.parent / "schemas"
_SHOWN_MAX = 3

Fault = tuple[ErrorCode, str, str]  # code, path, message


def schema_folder() -> Path:
    """Where the schemas are: inside the installed package, or beside it in a source tree."""
    return _PACKAGED if _PACKAGED.is_dir() else _SOURCE


@cache
def operations() -> tuple[str, ...]:
    """Every operation that a request may name, as ``request.v1`` lists them."""
    schema = orjson.loads((schema_folder() / "request.v1.json").read_bytes())
    return tuple(schema["properties"]["operation"]["enum"])


@cache
def request_members() -> tuple[str, ...]:
    """Every member of a request, as ``request.v1`` lists them."""
    return tuple(orjson.loads((schema_folder() / "request.v1.json").read_bytes())["properties"])


@cache
def input_schema(operation: str) -> dict[str, Any]:
    """The schema of an operation's ``input``."""
    found: dict[str, Any] = orjson.loads((schema_folder() / f"input.{operation}.v1.json").read_bytes())
    return found


@cache
def validator(name: str) -> Any:
    """The compiled validator of ``schemas/<name>.json``; formats are checked, values are masked in messages."""
    schema = orjson.loads((schema_folder() / f"{name}.json").read_bytes())
    return jsonschema_rs.validator_for(schema, validate_formats=True, mask="the value")


def faults(name: str, value: Any) -> list[Fault]:
    """What a schema has against a value: the most telling first. Empty if nothing."""
    compiled = validator(name)
    if compiled.is_valid(value):
        return []
    found = [_fault(error) for error in compiled.iter_errors(value)]
    return sorted(found, key=lambda fault: _RANK.get(fault[0], len(_RANK)))


_CODES = {
    "additionalProperties": ErrorCode.UNKNOWN_FIELD,
    "unevaluatedProperties": ErrorCode.UNKNOWN_FIELD,
    "required": ErrorCode.MISSING_FIELD,
    "type": ErrorCode.WRONG_TYPE,
    "maxLength": ErrorCode.TOO_LONG,
    "minLength": ErrorCode.TOO_SHORT,
    "maxItems": ErrorCode.TOO_LONG,
    "maxProperties": ErrorCode.TOO_LONG,
    "enum": ErrorCode.NOT_ALLOWED,
    "const": ErrorCode.NOT_ALLOWED,
    "not": ErrorCode.NOT_ALLOWED,
    "pattern": ErrorCode.WRONG_FORM,
    "format": ErrorCode.WRONG_FORM,
}
_RANK = {code: rank for rank, code in enumerate((ErrorCode.MISSING_FIELD, ErrorCode.WRONG_TYPE, ErrorCode.UNKNOWN_FIELD))}


def _fault(error: Any) -> Fault:
    name = error.kind.name
    path = path_text(error.instance_path)
    code = _CODES.get(name, ErrorCode.INVALID)
    if name in {"additionalProperties", "unevaluatedProperties"}:
        unexpected = sorted(plain_name(field) for field in error.kind.unexpected)
        shown = ", ".join(unexpected[:_SHOWN_MAX]) + (" ..." if len(unexpected) > _SHOWN_MAX else "")
        return code, _join(path, unexpected[0]), f"unknown field {shown}; remove it"
    if name == "required":
        return code, _join(path, error.kind.property), f"{error.kind.property} is missing"
    if name == "not":
        return code, path, "this combination is not allowed"
    return code, path, str(error.message)[:200]


def path_text(parts: list[str | int]) -> str:
    """``["input", "items", 2, "x"]`` -> ``input.items[2].x``."""
    text = ""
    for part in parts:
        text = f"{text}[{part}]" if isinstance(part, int) else _join(text, plain_name(part))
    return text


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
