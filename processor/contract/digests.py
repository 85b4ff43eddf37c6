"""Digests that name a request in the budget log without revealing it. Pure."""

from __future__ import annotations

import binascii
import hashlib

from processor.contract.records import Request, Source
from processor.contract.strict_json import dumps

_URL_SAFE = bytes.maketrans(b"+/", b"-_")  # RFC 4648, 5
_BYTES = 15  # 20 characters; two of a billion requests are alike once in 10^18 runs


def request_digest(installation: str, request_id: str) -> str:
    """Of a request id of an installation: another one, with topics of its own, may share the log and use the same ids."""
    return _digest(b"request", installation.encode(), request_id.encode())


def content_digest(request: Request) -> str:
    """Of what is asked for, whatever the order of its members; salted with the id, so that equal inputs do not look equal."""
    return _digest(b"content", request.request_id.encode(), request.operation.encode(), dumps(request.input, ordered=True))


def rejected_digest(request_id: str, value: bytes | None, fault: str) -> str:
    """Of what a rejected record asks for: its bytes, and what is wrong with it. No accepted content has the same."""
    return _digest(b"rejected", request_id.encode(), value or b"", fault.encode())


def source_digest(source: Source) -> str:
    """Of the position of a caller's record."""
    return position_digest(str(source))


def position_digest(position: str) -> str:
    """The same of ``topic[partition]@offset``."""
    return _digest(b"source", position.encode())


def _digest(*parts: bytes) -> str:
    found = hashlib.sha256(b"\0".join([len(part).to_bytes(4, "big") + part for part in parts])).digest()
    return binascii.b2a_base64(found[:_BYTES], newline=False).translate(_URL_SAFE).decode()
