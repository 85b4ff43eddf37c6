"""The budget log for people: one line, or one JSON object, for each record. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from typing import Any

import orjson

from processor.budget.log import Entry
from processor.budget.log_records import decode_entry
from processor.contract.times import iso


def as_objects(entries: list[Entry]) -> Iterator[dict[str, Any]]:
    """Each record: where it stands, when it was appended (UTC), its kind, and what of it is not as usual. Digests only, as in the log."""
    for entry in entries:
        for index, record in enumerate(decode_entry(entry.value)):
            kind = "malformed" if record is None else type(record).__name__.lower()
            yield {
                "offset": entry.offset,
                "index": index,
                "at": f"{iso(entry.stamp_ms)[:-1]}.{entry.stamp_ms % 1000:03}Z",
                "kind": kind,
                **_told(record),
            }


def as_text(entries: list[Entry]) -> Iterator[str]:
    """The same as lines; the first record of an entry shows its offset, the others how many stand before them in it."""
    for found in as_objects(entries):
        offset, index, at, kind = (found.pop(name) for name in ("offset", "index", "at", "kind"))
        where = str(offset) if index == 0 else f"+{index}"
        yield f"{where:>10} {at} {kind:<8} " + " ".join(f"{name}={_short(value)}" for name, value in found.items())


def _told(record: Any) -> dict[str, Any]:
    return (
        {f.name: _plain(value) for f in fields(record) if (value := getattr(record, f.name)) != _usual(f)} if is_dataclass(record) else {}
    )


def _usual(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _told(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    return dict(value) if isinstance(value, Mapping) else value


def _short(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
