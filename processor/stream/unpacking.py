"""Unpacking what a producer has packed, up to a bound: the broker bounds the packed size alone, and 1 MB can hide gigabytes. Pure.

The formats are those of Kafka's record batches (https://kafka.apache.org/documentation/#recordbatch, attribute bits 0 to 2).
"""

from __future__ import annotations

import mmap
import zlib
from typing import Any

import cramjam

UNPACKED_BYTES_MAX = 16 * 1024 * 1024
"""Of one batch. Java, Go and librdkafka clients put 1 MB at most into one unless told otherwise; one is open for each partition read."""

_GZIP_WINDOW_BITS = 31  # the largest window, with gzip's header
_XERIAL_MAGIC = b"\x82SNAPPY\x00"  # snappy-java's frame; other clients send one raw block
_XERIAL_HEADER_BYTES = 16
_BLOCK_LENGTH_BYTES = 4
_OUTPUT_FULL = "failed to write whole buffer"  # cramjam has one error for all


class UnpackError(ValueError):
    """It cannot be unpacked."""


class UnpackTooLargeError(UnpackError):
    """It would grow beyond the bound; nothing beyond was kept."""


def unpack(codec: int, packed: bytes, bytes_max: int = UNPACKED_BYTES_MAX) -> bytes:
    """The content of a packed batch, at most ``bytes_max`` long. ``codec``: 1 gzip, 2 snappy, 3 lz4, 4 zstd.

    Raises:
        UnpackTooLargeError: if it is longer.
        UnpackError: if the codec is not known, or the bytes are not of it.
    """
    match codec:
        case 1:
            return _gzip(packed, bytes_max)
        case 2:
            return _snappy(packed, bytes_max)
        case 3:
            return _framed(cramjam.lz4, packed, bytes_max)
        case 4:
            return _framed(cramjam.zstd, packed, bytes_max)
        case _:
            raise UnpackError(f"codec {codec} is not known")


def _gzip(packed: bytes, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    left = bytes_max
    while packed:  # RFC 1952, 2.2: members follow one another
        member = zlib.decompressobj(_GZIP_WINDOW_BITS)
        try:
            part = member.decompress(packed, left + 1)
        except zlib.error as exc:
            raise UnpackError("it is not gzip") from exc
        if len(part) > left:
            raise UnpackTooLargeError
        if not member.eof:
            raise UnpackError("its gzip is cut")
        parts.append(part)
        left -= len(part)
        packed = member.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _snappy(packed: bytes, bytes_max: int) -> bytes:
    if not packed.startswith(_XERIAL_MAGIC):
        return _snappy_block(packed, bytes_max)
    parts: list[bytes] = []
    at, left = _XERIAL_HEADER_BYTES, bytes_max
    while at < len(packed):
        begin = at + _BLOCK_LENGTH_BYTES
        at = begin + int.from_bytes(packed[at:begin], "big")
        if at > len(packed):
            raise UnpackError("its snappy is cut")
        parts.append(_snappy_block(packed[begin:at], left))
        left -= len(parts[-1])
    return b"".join(parts)


def _snappy_block(block: bytes, bytes_max: int) -> bytes:
    try:
        if cramjam.snappy.decompress_raw_len(block) > bytes_max:  # declared, and allocated as declared
            raise UnpackTooLargeError
        return bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as exc:
        raise UnpackError("it is not snappy") from exc


def _framed(codec: Any, packed: bytes, bytes_max: int) -> bytes:
    """Unpacked into memory of a fixed size; the system gives only the pages that are written to."""
    with mmap.mmap(-1, bytes_max) as room:
        try:
            size_bytes = codec.decompress_into(packed, room)
        except cramjam.DecompressionError as exc:
            if _OUTPUT_FULL in str(exc):
                raise UnpackTooLargeError from exc
            raise UnpackError("its frames are broken") from exc
        return room[:size_bytes]
