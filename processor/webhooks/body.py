"""Reads the body of a delivery within bounds: its own size, and for large ones the bytes of all of them together."""

from __future__ import annotations

from aiohttp import web

from processor.bounds.byte_budget import ByteReservation
from processor.webhooks.refusals import DeliveryRefusedError, RefusedReason
from processor.webhooks.signatures import given_signatures

_FREE_BYTES = 32 * 1024  # of a body may be read without a reservation; what others hold must not keep an honest delivery out
_IDENTITY = frozenset({"", "identity"})


def check_header(request: web.Request, *, size_bytes_max: int) -> None:
    """Refuse what the header alone rules out, before any of the body is read.

    Raises:
        DeliveryRefusedError: if so.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in _IDENTITY:
        raise DeliveryRefusedError(RefusedReason.COMPRESSED)
    if (request.content_length or 0) > size_bytes_max:
        raise DeliveryRefusedError(RefusedReason.TOO_LARGE)
    if not given_signatures(request.headers):
        raise DeliveryRefusedError(RefusedReason.UNSIGNED)


async def read_body(request: web.Request, reservation: ByteReservation, *, size_bytes_max: int) -> bytes:
    """The whole body. Small ones are bounded by the number of connections; a large one needs a reservation.

    Raises:
        DeliveryRefusedError: if it is too large, breaks off, or too many large ones are in hand.
    """
    body, expected_bytes = bytearray(), request.content_length or size_bytes_max
    try:
        while chunk := await request.content.readany():
            body += chunk
            if len(body) > size_bytes_max:
                raise DeliveryRefusedError(RefusedReason.TOO_LARGE)
            if len(body) > _FREE_BYTES and not reservation.try_grow_to(2 * expected_bytes):  # as it grows, and as it is judged
                raise DeliveryRefusedError(RefusedReason.BUSY)
    except (web.RequestPayloadError, ConnectionError):
        raise DeliveryRefusedError(RefusedReason.INCOMPLETE) from None
    return bytes(body)
