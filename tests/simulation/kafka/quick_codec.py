"""aiokafka's own structures to bytes and back, by functions that are written for each of them: the same bytes in a third of the time.

Half of a world's time went into aiokafka's general codec, which calls a method for each field of each message, on both ends. Whatever one
of these functions cannot do is left to the general one, and so are its errors. `test_simulation_codec.py` holds both to the same.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from aiokafka.protocol.struct import Struct
from aiokafka.protocol.types import Array, Boolean, Bytes, Int8, Int16, Int32, Int64, Schema, String, UInt32

_FIXED = {Int8: "b", Int16: "h", Int32: "i", UInt32: "I", Int64: "q", Boolean: "?"}
_general_encode, _general_decode, _general_init = Struct.encode, Struct.decode.__func__, Struct.__init__


def install() -> None:
    """From now on all structures go this way."""
    Struct.__init__ = _init
    Struct.encode = _encode
    Struct.decode = classmethod(_decode)


def prepare(schemas: Iterable[Any]) -> None:
    """Write the functions of these now: whoever forks has them in every child."""
    for schema in schemas:
        if id(schema) not in _writers:
            _prepare(schema)


def _init(self: Struct, *args: Any, **kwargs: Any) -> None:
    names = self.SCHEMA.names
    if len(args) == len(names):
        self.__dict__ = dict(zip(names, args, strict=True))
    else:
        _general_init(self, *args, **kwargs)


def _encode(self: Struct) -> bytes:
    schema = self.SCHEMA
    write = _writers.get(id(schema)) or _prepare(schema)[0]
    parts: list[bytes] = []
    try:
        write(list(map(self.__dict__.__getitem__, schema.names)), parts.append)
    except Exception:  # noqa: BLE001 - told as aiokafka tells it
        general: bytes = _general_encode(self)
        return general
    return b"".join(parts)


def _decode(cls: type[Struct], data: BytesIO | bytes) -> Any:
    schema = cls.SCHEMA
    read = _readers.get(id(schema)) or _prepare(schema)[1]
    stream = BytesIO(data) if isinstance(data, bytes) else data
    begin = stream.tell()
    try:
        values, end = read(stream.getvalue(), begin, stream)
        found: Any = object.__new__(cls)
        found.__dict__ = dict(zip(schema.names, values, strict=True))
    except Exception:  # noqa: BLE001 - told as aiokafka tells it
        stream.seek(begin)
        return _general_decode(cls, stream)
    stream.seek(end)
    return found


_Write = Callable[[Any, Callable[[bytes], None]], None]
_Read = Callable[[bytes, int, BytesIO], tuple[tuple[Any, ...], int]]
_writers: dict[int, _Write] = {}
_readers: dict[int, _Read] = {}
_kept: list[Any] = []  # the schemas of these functions, so that no other object gets their ids


def _prepare(schema: Any) -> tuple[_Write, _Read]:
    source = _Source()
    pair = source.write(schema), source.read(schema)
    _kept.append(schema)
    _writers[id(schema)], _readers[id(schema)] = pair
    return pair


class _Source:
    """Writes functions. ``names``: what they use."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"decoded": _text}
        self._lines: list[str] = []

    def _name(self, thing: Any) -> str:
        name = f"n{len(self.names)}"
        self.names[name] = thing
        return name

    def _made(self, head: str) -> Any:
        names = dict(self.names)
        exec("\n    ".join([head, *self._lines]), names)  # noqa: S102 - of our own text
        self._lines = []
        return names["run"]

    def write(self, schema: Any) -> _Write:
        """A function that encodes an item of a schema."""
        inner = {index: self.write(field.array_of) for index, field in enumerate(schema.fields) if _is_array_of_schema(field)}
        say = self._lines.append
        say(f"if len(item) != {len(schema.fields)}: raise ValueError")
        for index, field, fixed in _runs(schema.fields):
            if fixed:
                pack = self._name(struct.Struct(f">{fixed}").pack)
                say(f"out({pack}({', '.join(f'item[{index + n}]' for n in range(len(fixed)))}))")
                continue
            say(f"v = item[{index}]")
            self._write_one(say, field, inner.get(index))
        return self._made("def run(item, out):")  # type: ignore[no-any-return]

    def _write_one(self, say: Callable[[str], None], field: Any, inner: _Write | None) -> None:
        if type(field) is String or field is Bytes:
            size = "h" if field is not Bytes else "i"
            null, pack = self._name(struct.pack(f">{size}", -1)), self._name(struct.Struct(f">{size}").pack)
            say(f"if v is None: out({null})")
            say("else:")
            if field is not Bytes:
                say(f"    v = str(v).encode({field.encoding!r})")
            say(f"    out({pack}(len(v))); out(v)")
        elif type(field) is Array and (inner is not None or type(field.array_of) is String or field.array_of in _FIXED):
            null, pack = self._name(struct.pack(">i", -1)), self._name(struct.Struct(">i").pack)
            say(f"if v is None: out({null})")
            say("else:")
            say(f"    out({pack}(len(v)))")
            if inner is not None:
                say(f"    for x in v: {self._name(inner)}(x, out)")
            else:
                say(f"    for x in v: out({self._name(field.array_of.encode)}(x))")
        else:
            say(f"out({self._name(field.encode)}(v))")

    def read(self, schema: Any) -> _Read:
        """A function that decodes an item of a schema; where it begins goes in, where it ends comes out."""
        inner = {index: self.read(field.array_of) for index, field in enumerate(schema.fields) if _is_array_of_schema(field)}
        say = self._lines.append
        for index, field, fixed in _runs(schema.fields):
            if fixed:
                form, targets = struct.Struct(f">{fixed}"), ", ".join(f"v{index + n}" for n in range(len(fixed)))
                say(f"{targets}, = {self._name(form.unpack_from)}(data, at); at += {form.size}")
            else:
                self._read_one(say, f"v{index}", field, inner.get(index))
        found = "".join(f"v{index}, " for index in range(len(schema.fields)))
        say(f"return ({found}), at")
        return self._made("def run(data, at, stream):")  # type: ignore[no-any-return]

    def _read_one(self, say: Callable[[str], None], v: str, field: Any, inner: _Read | None) -> None:
        if type(field) is String or field is Bytes:
            form = struct.Struct(">h" if field is not Bytes else ">i")
            say(f"n, = {self._name(form.unpack_from)}(data, at); at += {form.size}")
            say(f"if n < 0: {v} = None")
            say("else:")
            say(f"    {v} = data[at:at + n]; at += n")
            say(f"    if len({v}) != n: raise ValueError")
            if field is not Bytes:
                say(f"    {v} = decoded({v}, {field.encoding!r})")
        elif type(field) is Array and inner is not None:
            say(f"n, = {self._name(struct.Struct('>i').unpack_from)}(data, at); at += 4")
            say(f"{v} = None if n == -1 else []")
            say("for _ in range(n):")
            say(f"    x, at = {self._name(inner)}(data, at, stream); {v}.append(x)")
        elif type(field) is Array and field.array_of in _FIXED:
            letter = _FIXED[field.array_of]
            say(f"n, = {self._name(struct.Struct('>i').unpack_from)}(data, at); at += 4")
            say(f"{v} = None if n == -1 else list({self._name(struct.unpack_from)}('>%d{letter}' % max(n, 0), data, at))")
            say(f"at += max(n, 0) * {struct.calcsize(f'>{letter}')}")
        else:
            say(f"stream.seek(at); {v} = {self._name(field.decode)}(stream); at = stream.tell()")


def _text(raw: bytes, encoding: str) -> str:
    return raw.decode(encoding)


def _is_array_of_schema(field: Any) -> bool:
    return type(field) is Array and isinstance(field.array_of, Schema)


def _runs(fields: tuple[Any, ...]) -> list[tuple[int, Any, str]]:
    """Fields with their places; those of fixed length that stand side by side as one, with their letters."""
    runs: list[tuple[int, Any, str]] = []
    for index, field in enumerate(fields):
        letter = _FIXED.get(field, "") if isinstance(field, type) else ""
        if letter and runs and runs[-1][2]:
            first, kind, letters = runs[-1]
            runs[-1] = first, kind, letters + letter
        else:
            runs.append((index, field, letter))
    return runs
