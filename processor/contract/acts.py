"""Records of the repairs and controls topics that say what people and callers did: written and read by their kind. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from processor.contract import schemas

_VALUE_BYTES_MAX = 65_536


def encode_act(schema: str, value: Mapping[str, Any], what: str) -> bytes:
    """The value of a record.

    Raises:
        ValueError: if it is not as its schema says; ``what`` names it.
    """
    if found := schemas.faults(schema, value):
        raise ValueError(f"the {what} is not valid: {found[0][1]}: {found[0][2]}")
    return orjson.dumps(value)


def find_act(value: bytes | None, kind: str) -> dict[str, Any] | None:
    """The document of a record of one kind, not checked yet; None for anything else."""
    try:
        found = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and found.get("kind") == kind else None


def check_act(schema: str, found: Mapping[str, Any], error: type[ValueError]) -> None:
    """See that a document is as its schema says; ``error`` is raised if not, with a text that is safe to show."""
    if faults := schemas.faults(schema, found):
        code, path, _ = faults[0]
        raise error(f"{path or 'it'}: {code}")


def read_act(value: bytes | None, schema_of: Mapping[str, str], error: type[ValueError]) -> dict[str, Any] | None:
    """The document of a record of one of several kinds; None for another kind.

    Args:
        value: of the record.
        schema_of: the schema, by kind.
        error: raised for what is no record of any kind, with a text that is safe to show.
    """
    if value is None or len(value) > _VALUE_BYTES_MAX:
        raise error("it has no value" if value is None else f"its value is longer than {_VALUE_BYTES_MAX} bytes")
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise error("its value is not JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        raise error("it has no kind")
    if (schema := schema_of.get(found["kind"])) is None:
        return None
    check_act(schema, found, error)
    return found
