"""What comes back from a call, as values."""

from __future__ import annotations

from collections.abc import Mapping

from processor.contract.codes import ErrorCode
from processor.contract.values import value


@value(frozen=True, slots=True)
class Reply:
    """An HTTP response. ``headers`` takes lower-case names; ``truncated`` if the body was longer than we read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool = False


@value(frozen=True, slots=True)
class NoReply:
    """No response. ``sent`` is False only if provably nothing of the request has left."""

    sent: bool
    code: ErrorCode
    open: bool = False  # the server may still be at work on it


Answer = Reply | NoReply
