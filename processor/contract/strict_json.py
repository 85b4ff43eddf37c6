"""The one JSON reader and writer, for requests and for Didit's answers (RFC 8259, read strictly).

Refused, because two readers could see two things in one text: bytes that are not UTF-8, a byte order mark, a key twice,
NaN, Infinity and every number that a double reads as Infinity (RFC 8259, 6), half surrogates, trailing data, deep nesting.
Other numbers keep their value whatever their size: what a float cannot hold becomes a ``Decimal``. Text is never trimmed,
normalised or reinterpreted. Fault texts hold no input.

Time is bounded: values are counted before anything is built of them, so that a text of a megabyte that is full of small
values costs about a millisecond, and one within the bound some tens at most (``make bench NAME=judging``).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import orjson

from processor.contract.codes import ErrorCode

_NUMBER_CHARS_MAX = 1000
_LONGEST_DOUBLE = 25  # characters: sign, 17 digits, point and exponent; a longer number is kept as it is without a look
_LONG_DIGITS = 300  # a shorter integer is no Infinity to anybody
_WORD_BITS = 64
_WHITE = " \t\n\r"
_SALVAGE_DEPTH_MAX = 64
_NAMED_TOKENS_MAX = 5000  # a text with more values is not read again to name the place of a fault
TOKENS_MAX = 50_000  # values, members and brackets of one text
_STRINGS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)  # possessive: no way back to remember for a long string
_BRACKETS = re.compile(r"[\[\]{}]")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class JsonError(ValueError):
    """Why a text is refused.

    Attributes:
        code: stable, e.g. ``duplicate_key``.
        message: what was wrong and what to do; holds no part of the text.
        path: where, e.g. ``input.items[2].x``; None if the place cannot be named.
    """

    def __init__(self, code: ErrorCode, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.path = code, message, path


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written, for the search of a fault."""


class _DuplicateKeyError(Exception):
    pass


class _BadNumberError(Exception):
    pass


def loads(data: bytes, *, depth_max: int = 32, size_bytes_max: int | None = None, tokens_max: int = TOKENS_MAX) -> Any:
    """Read one JSON text.

    Args:
        data: UTF-8.
        depth_max: levels of nesting.
        size_bytes_max: a longer text is refused; None: the caller has looked.
        tokens_max: commas, colons and opening brackets outside of strings, which bounds the time that reading takes.

    Raises:
        JsonError: if it is refused.
    """
    if size_bytes_max is not None and len(data) > size_bytes_max:
        raise JsonError(ErrorCode.TOO_LARGE, f"the text is {len(data)} bytes long; at most {size_bytes_max} are read")
    found = _compact_object(data, depth_max, tokens_max)
    return _read(data, depth_max, tokens_max) if found is None else found


def _read(data: bytes, depth_max: int, tokens_max: int) -> Any:
    if data.startswith(b"\xef\xbb\xbf"):
        raise JsonError(ErrorCode.BYTE_ORDER_MARK, "the text begins with a byte order mark; send UTF-8 without one")
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise JsonError(ErrorCode.NOT_UTF8, f"not UTF-8 at byte {exc.start}; send UTF-8") from None
    text = text.strip(_WHITE)
    tokens = _check_shape(text, depth_max, tokens_max)
    try:
        value, end = _SCAN(text, 0)
        if end != len(text):
            raise JsonError(ErrorCode.NOT_JSON, f"not JSON: more data at character {end} after the end of the text")
    except StopIteration as exc:
        raise JsonError(ErrorCode.NOT_JSON, f"not JSON: expecting a value at character {exc.value}") from None
    except json.JSONDecodeError as exc:
        raise JsonError(ErrorCode.NOT_JSON, f"not JSON at character {exc.pos}: {exc.msg}") from None
    except _DuplicateKeyError:
        _raise_fault(text, tokens, JsonError(ErrorCode.DUPLICATE_KEY, "a key stands twice in one object; keep one"))
    except _BadNumberError:
        _raise_fault(text, tokens, JsonError(ErrorCode.NOT_FINITE, "a number cannot be read as one; send a string or null"))
    if "\\u" in text:  # only an escape can bring half a surrogate into valid UTF-8
        _check_surrogates(text, value)
    return value


def _compact_object(data: bytes, depth_max: int, tokens_max: int) -> dict[str, Any] | None:
    """The object of a text that is, byte by byte, what a writer makes of it again; None for any other text.

    Then no key stands twice in it, and no number is another one than it was written as: it would have come out otherwise. Most programs
    write so, Didit's too, and this takes a third of the time.
    """
    brackets = data.count(b"[") + data.count(b"{")
    if brackets > depth_max or brackets + data.count(b",") + data.count(b":") > tokens_max or b'": ' in data:  # spaced: not compact
        return None
    try:
        found = orjson.loads(data)
        return found if type(found) is dict and orjson.dumps(found) == data else None
    except (ValueError, TypeError):  # the reader proper says what is wrong with it
        return None


def count_exact(value: Any) -> int:
    """How many numbers of a read value no double and no machine word holds. Reading them is cheap, asking a schema about them is not."""
    left, count = [value], 0
    while left:
        node = left.pop()
        if isinstance(node, dict):
            left.extend(node.values())
        elif isinstance(node, list):
            left.extend(node)
        elif isinstance(node, Decimal) or (isinstance(node, int) and node.bit_length() > _WORD_BITS):
            count += 1
    return count


def dumps(value: Any, *, ordered: bool = False) -> bytes:
    """Compact UTF-8 JSON; every number keeps its value. ``ordered``: the members of every object in the order of their names."""
    option = orjson.OPT_SORT_KEYS if ordered else None
    try:
        return orjson.dumps(value, default=_fragment, option=option)
    except TypeError:
        return orjson.dumps(_with_fragments(value), option=option)  # an int of more than 64 bits is refused before ``default`` is asked


def salvage_members(data: bytes, names: tuple[str, ...]) -> dict[str, Any]:
    """Members of the top object of a text that ``loads`` refuses, where they stand there once and are beyond doubt.

    For telling a caller about a bad record under its own id; never for working on it.
    """
    try:
        text = data.decode()
        _check_shape(text, _SALVAGE_DEPTH_MAX, _NAMED_TOKENS_MAX)
        pairs = json.JSONDecoder(object_pairs_hook=_Pairs, parse_int=_Literal, parse_float=_Literal, parse_constant=_Literal).decode(text)
    except ValueError:
        return {}
    if not isinstance(pairs, _Pairs):
        return {}
    times = Counter(name for name, _ in pairs)
    sure = [(name, value) for name, value in pairs if name in names and times[name] == 1]
    return {name: value for name, value in sure if type(value) is str and not _has_surrogate(value)}  # a number is a ``_Literal``


def _check_shape(text: str, depth_max: int, tokens_max: int) -> int:
    """Refuse what is too deep or holds too many values, before anything is built. Returns about how many values there are."""
    brackets = text.count("[") + text.count("{")
    tokens = brackets + text.count(",") + text.count(":")
    if brackets <= depth_max and tokens <= tokens_max:
        return tokens
    if tokens > tokens_max and text.count('"') > 2 * tokens_max:  # at least so many strings, or so many quotes within one
        raise JsonError(ErrorCode.TOO_MANY_VALUES, f"the text holds more than {tokens_max} values")
    bare = _STRINGS.sub("", text)
    tokens = sum(bare.count(char) for char in "[{,:")
    if tokens > tokens_max:
        raise JsonError(ErrorCode.TOO_MANY_VALUES, f"the text holds more than {tokens_max} values")
    depth = 0
    for match in _BRACKETS.finditer(bare):
        depth += 1 if match[0] in "[{" else -1
        if depth > depth_max:
            raise JsonError(ErrorCode.TOO_DEEP, f"nested deeper than {depth_max} levels")
    return tokens


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DuplicateKeyError
    return found


def _int(literal: str) -> int:
    if len(literal) <= _LONG_DIGITS:
        return int(literal)
    if len(literal) > _NUMBER_CHARS_MAX or math.isinf(float(literal)):
        raise _BadNumberError
    return int(literal)


def _float(literal: str) -> float | Decimal:
    if len(literal) > _NUMBER_CHARS_MAX:
        raise _BadNumberError
    number = float(literal)
    written = repr(number)
    if written == literal:
        return number
    if math.isinf(number):
        raise _BadNumberError
    try:
        exact = Decimal(literal)
    except InvalidOperation:  # its exponent has more digits than any arithmetic takes
        raise _BadNumberError from None
    if len(literal) > _LONGEST_DOUBLE:
        return exact
    return number if Decimal(written) == exact else exact


def _constant(_literal: str) -> NoReturn:
    raise _BadNumberError


# the scanner alone: ``decode`` looks for white space twice with a regular expression
_SCAN = json.JSONDecoder(object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_constant).scan_once  # type: ignore[attr-defined]  # documented in the source only


def _raise_fault(text: str, tokens: int, placeless: JsonError) -> NoReturn:
    """Read again, slowly, to name the place; not where that would take long."""
    if tokens > _NAMED_TOKENS_MAX:
        raise placeless from None
    searcher = json.JSONDecoder(object_pairs_hook=_Pairs, parse_int=_Literal, parse_float=_Literal, parse_constant=_Literal)
    try:
        pairs = searcher.decode(text)
    except json.JSONDecodeError as exc:  # the first reader stopped before it came to this
        raise JsonError(ErrorCode.NOT_JSON, f"not JSON at character {exc.pos}: {exc.msg}") from None
    for path, node in _walk(pairs, ""):
        if isinstance(node, _Pairs):
            times = Counter(name for name, _ in node)
            twice = next((name for name, count in times.items() if count > 1), None)
            if twice is not None:
                raise JsonError(ErrorCode.DUPLICATE_KEY, "a key stands twice in one object; keep one", _join(path, twice))
        elif isinstance(node, _Literal):
            _check_number(node, path or None)
    raise JsonError(ErrorCode.NOT_JSON, "not JSON")


class _Literal(str):
    __slots__ = ()


def _check_number(literal: str, path: str | None) -> None:
    if literal.endswith(("NaN", "Infinity")):
        raise JsonError(ErrorCode.NOT_FINITE, "NaN and Infinity are not JSON; send a number, a string or null", path)
    if len(literal) > _NUMBER_CHARS_MAX:
        raise JsonError(ErrorCode.NUMBER_TOO_LONG, f"a number has more than {_NUMBER_CHARS_MAX} characters", path)
    if not _is_number(literal):
        raise JsonError(ErrorCode.NUMBER_TOO_LARGE, "the exponent of a number is beyond any arithmetic; send a string", path)
    if math.isinf(float(literal)):
        raise JsonError(ErrorCode.NOT_FINITE, "a number is too large for a double, which reads it as Infinity; send a string", path)


def _is_number(literal: str) -> bool:
    try:
        Decimal(literal)
    except InvalidOperation:
        return False
    return True


def _check_surrogates(text: str, value: Any) -> None:
    try:
        # the cheap check first: one encode of everything that was escaped
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        pairs = json.JSONDecoder(object_pairs_hook=_Pairs).decode(text)
        for path, node in _walk(pairs, ""):
            names = [name for name, _ in node] if isinstance(node, _Pairs) else []
            if any(map(_has_surrogate, names)) or (isinstance(node, str) and _has_surrogate(node)):
                raise JsonError(
                    ErrorCode.LONE_SURROGATE, "a \\u escape is half of a surrogate pair and stands for no character", path or None
                ) from None
        raise


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def _walk(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every node with its path; the depth was checked before."""
    yield path, node
    if isinstance(node, _Pairs):
        for name, child in node:
            yield from _walk(child, _join(path, name))
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from _walk(child, f"{path}[{index}]")


def _join(path: str, name: str) -> str:
    name = plain_name(name)
    return f"{path}.{name}" if path else name


def plain_name(name: str) -> str:
    """A field name as it may be shown: short and plain, or a stand-in."""
    return name if _PLAIN_NAME.fullmatch(name) else "(unprintable)"


def _fragment(value: Any) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value))
    raise TypeError(f"{type(value).__name__} is not JSON")


def _with_fragments(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_fragments(child) for name, child in value.items()}
    if isinstance(value, list):
        return [_with_fragments(child) for child in value]
    if isinstance(value, Decimal) or (isinstance(value, int) and not isinstance(value, bool)):
        return orjson.Fragment(str(value))
    return value
