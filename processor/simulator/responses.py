"""Answers on the wire: JSON, literal bytes, broken ones."""

from __future__ import annotations

import asyncio

import orjson
from aiohttp import web

from processor.simulator.faults import Scripted
from processor.simulator.ledger import Call
from processor.simulator.messages import Told

_JSON = "application/json"
_HTML_404 = b"<!doctype html><html lang='en'><head><title>Not Found</title></head><body><h1>Not Found</h1></body></html>"
_HTML_500 = b"<html>\n<head><title>500 Internal Server Error</title></head>\n<body><h1>Internal Server Error</h1></body>\n</html>\n"
_TRICKLE_PARTS = 5


def not_found() -> web.Response:
    """What never reaches a view."""
    return web.Response(status=404, body=_HTML_404, content_type="text/html")


def broken(call: Call) -> web.Response:
    """A 500 that is not JSON."""
    call.status = 500
    return web.Response(status=500, body=_HTML_500, content_type="text/html")


def answer(call: Call, status: int, body: object, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer, or one without a body."""
    return told(call, Told(status, body, headers=headers))


def told(call: Call, found: Told) -> web.Response:
    """What an endpoint says."""
    call.status = found.status
    return web.Response(
        status=found.status, body=_raw(found), headers=found.headers, content_type=None if found.body is None else found.content_type
    )


def scripted(call: Call, ordered: Scripted) -> web.Response:
    """A literal answer."""
    call.status = ordered.status
    response = web.Response(status=ordered.status, body=ordered.body)
    for name, value in ordered.headers:
        response.headers[name] = value
    return response


def reset(request: web.Request, call: Call, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """Close the connection with RST; the returned response never reaches anybody."""
    if response is None:
        call.status = 0
    if request.transport is not None:
        request.transport.abort()
    return response if response is not None else web.Response()


async def send(request: web.Request, call: Call, found: Told, fault: str | None) -> web.StreamResponse:
    """What an endpoint says, as the fault lets it through."""
    if fault not in {"slow_body", "truncated"}:
        return told(call, found)
    call.status = found.status
    raw = _raw(found) or b""
    response = web.StreamResponse(status=found.status, headers={"Content-Type": found.content_type, "Content-Length": str(len(raw))})
    await response.prepare(request)
    if fault == "truncated":
        await response.write(raw[: len(raw) // 2])
        return reset(request, call, response)
    size = max(1, len(raw) // _TRICKLE_PARTS)
    for begin in range(0, len(raw), size):
        await response.write(raw[begin : begin + size])
        await asyncio.sleep(0.05)
    await response.write_eof()
    return response


def _raw(found: Told) -> bytes | None:
    if found.body is None or isinstance(found.body, bytes):
        return found.body
    return orjson.dumps(found.body)
