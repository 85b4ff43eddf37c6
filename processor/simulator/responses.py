"""HTTP responses: JSON, literal bytes, and broken ones."""

from __future__ import annotations

import asyncio

from aiohttp import web

from processor.simulator.faults import ScriptedResponse
from processor.simulator.json_numbers import dumps
from processor.simulator.ledger import RecordedCall
from processor.simulator.messages import ApiResponse

_HTML_404 = b"<!doctype html><html lang='en'><head><title>Not Found</title></head><body><h1>Not Found</h1></body></html>"
_HTML_500 = b"<html>\n<head><title>500 Internal Server Error</title></head>\n<body><h1>Internal Server Error</h1></body>\n</html>\n"
_HTML_502 = b"<html>\n<head><title>502 Bad Gateway</title></head>\n<body><center><h1>502 Bad Gateway</h1></center></body>\n</html>\n"
_HTML_403 = b"<html>\n<head><title>403 Forbidden</title></head>\n<body><center><h1>403 Forbidden</h1></center></body>\n</html>\n"
_SLOW_BODY_PARTS = 5
_SLOW_BODY_PAUSE_S = 0.05


def not_found() -> web.Response:
    """A 404 in HTML, as for a path without a route."""
    return web.Response(status=404, body=_HTML_404, content_type="text/html")


def not_allowed(method: str, allowed: list[str]) -> web.Response:
    """A 405 of Django REST framework, with the methods that the path has (RFC 9110, 15.5.6)."""
    body = dumps({"detail": f'Method "{method}" not allowed.'})
    return web.Response(status=405, body=body, content_type="application/json", headers={"Allow": ", ".join(allowed)})


def server_error(call: RecordedCall) -> web.Response:
    """A 500 in HTML."""
    call.status = 500
    return web.Response(status=500, body=_HTML_500, content_type="text/html")


def gave_up(call: RecordedCall) -> web.Response:
    """A 502 in HTML by a gateway, which does not know what became of the call."""
    call.status = 502
    return web.Response(status=502, body=_HTML_502, content_type="text/html")


def blocked(call: RecordedCall) -> web.Response:
    """A 403 in HTML, which Didit's API never writes."""
    call.status = 403
    return web.Response(status=403, body=_HTML_403, content_type="text/html")


def to_http(call: RecordedCall, response: ApiResponse) -> web.Response:
    """An endpoint's response."""
    call.status = response.status
    content_type = None if response.body is None else response.content_type
    return web.Response(status=response.status, body=_body_bytes(response), headers=response.headers, content_type=content_type)


def scripted(call: RecordedCall, script: ScriptedResponse) -> web.Response:
    """A literal response."""
    call.status = script.status
    response = web.Response(status=script.status, body=script.body)
    for name, value in script.headers:
        response.headers[name] = value
    return response


def reset_connection(http_request: web.Request, call: RecordedCall, started: web.StreamResponse | None = None) -> web.StreamResponse:
    """Close the connection with RST. What is returned satisfies aiohttp and is never sent; ``started`` has sent a part of its body."""
    if started is None:
        call.status = 0
    if http_request.transport is not None:
        http_request.transport.abort()
    return started if started is not None else web.Response()


async def send(http_request: web.Request, call: RecordedCall, response: ApiResponse, fault: str | None) -> web.StreamResponse:
    """An endpoint's response; with the fault ``slow_body`` in parts, with ``truncated`` half of its body and a reset."""
    if fault not in {"slow_body", "truncated"}:
        return to_http(call, response)
    call.status = response.status
    raw = _body_bytes(response) or b""
    headers = {"Content-Type": response.content_type, "Content-Length": str(len(raw))}
    stream = web.StreamResponse(status=response.status, headers=headers)
    await stream.prepare(http_request)
    if fault == "truncated":
        await stream.write(raw[: len(raw) // 2])
        return reset_connection(http_request, call, stream)
    size = max(1, len(raw) // _SLOW_BODY_PARTS)
    for begin in range(0, len(raw), size):
        await stream.write(raw[begin : begin + size])
        await asyncio.sleep(_SLOW_BODY_PAUSE_S)
    await stream.write_eof()
    return stream


def _body_bytes(response: ApiResponse) -> bytes | None:
    if response.body is None or isinstance(response.body, bytes):
        return response.body
    return dumps(response.body)
