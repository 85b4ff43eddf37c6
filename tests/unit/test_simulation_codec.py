"""The quick codec of the simulation against aiokafka's own: the same bytes, the same values, the same errors."""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import aiokafka.protocol
import pytest
from aiokafka.protocol.api import Response
from aiokafka.protocol.struct import Struct
from aiokafka.protocol.types import Array, Boolean, Bytes, CompactBytes, Schema, String, TaggedFields
from simulation.kafka import quick_codec

import processor.stream.clients  # noqa: F401 - with structures of its own

for _module in pkgutil.iter_modules(aiokafka.protocol.__path__):
    importlib.import_module(f"aiokafka.protocol.{_module.name}")


def _below(kind: type[Any]) -> Iterator[type[Any]]:
    for found in kind.__subclasses__():
        yield found
        yield from _below(found)


GENERAL = Struct.encode  # of the few structures with one of their own nothing is changed
STRUCTURES = [found for found in _below(Struct) if found.SCHEMA.fields and found.encode is GENERAL]


def _value(draw: random.Random, field: Any) -> Any:
    if isinstance(field, Array):
        return draw.choice([None, [_value(draw, field.array_of) for _ in range(draw.randrange(4))]])
    if isinstance(field, Schema):
        return tuple(_value(draw, one) for one in field.fields)
    if isinstance(field, String):
        return draw.choice([None, "", "a topic", "\u00e4"])
    if field in (Bytes, CompactBytes):
        return draw.choice([None, b"", b"\0value"])
    if field is TaggedFields:
        return {}
    return draw.random() < 0.5 if field is Boolean else draw.randrange(100)


def test_all_that_aiokafka_can_say_is_there() -> None:
    assert len(STRUCTURES) > 150
    assert {found.SCHEMA for found in STRUCTURES} > {found.SCHEMA for found in _below(Response) if found.SCHEMA.fields}


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda found: found.__name__)
def test_bytes_and_values_are_those_of_the_general_codec(structure: type[Any]) -> None:
    draw = random.Random(structure.__name__)
    for _ in range(20):
        values = [_value(draw, field) for field in structure.SCHEMA.fields]
        item: Any = object.__new__(structure)
        item.__dict__.update(zip(structure.SCHEMA.names, values, strict=True))
        encoded = item.encode()
        assert quick_codec._encode(item) == encoded  # noqa: SLF001 - what ``install`` puts in the place of the other
        general, stream = BytesIO(encoded), BytesIO(b"head" + encoded + b"tail")
        wanted = [field.decode(general) for field in structure.SCHEMA.fields]
        stream.seek(4)
        quick_codec.prepare([structure.SCHEMA])
        found, end = quick_codec._readers[id(structure.SCHEMA)](stream.getvalue(), 4, stream)  # noqa: SLF001 - as above
        assert (list(found), end) == (wanted, 4 + len(encoded))


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda found: found.__name__)
def test_what_cannot_be_written_or_read_is_told_as_the_general_codec_tells_it(structure: type[Any]) -> None:
    item: Any = object.__new__(structure)
    item.__dict__.update({name: object() for name in structure.SCHEMA.names})
    assert _told(lambda: quick_codec._encode(item)) == _told(lambda: Struct.encode(item))  # noqa: SLF001 - as above
    short = b"\0"
    assert _told(lambda: quick_codec._decode(structure, short)) == _told(lambda: structure.decode(short))  # noqa: SLF001 - as above


def _told(run: Any) -> tuple[str, str]:
    try:
        return "value", repr(run())
    except Exception as exc:  # noqa: BLE001 - its kind is what is compared
        return type(exc).__name__, str(exc)[:60].partition(" at 0x")[0]
