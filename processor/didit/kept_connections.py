"""Requests whose body is in memory, on aiohttp's connections: its TLS, DNS and parser, without what its session does for each.

A session builds a URL, three multidicts of headers, a payload, a writer and its task, and looks for cookies, proxies, redirects and
middlewares, none of which we want: half of the CPU of a call (docs/benchmarks.md). Its pool would hand out a connection on which
something has come unasked since, and that would be taken for the next answer; here such a one is closed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http_parser import RawResponseMessage
from multidict import CIMultiDictProxy
from yarl import URL

from processor.didit.answers import Reply
from processor.didit.egress_proxy import EgressProxy, arguments

ReadBody = Callable[[aiohttp.StreamReader, int | None], Awaitable[tuple[bytes, bool]]]  # content, its length if told; body, whether cut
ReadMessage = Callable[[], Awaitable[tuple[RawResponseMessage, aiohttp.StreamReader]]]
_KEEP_S = 30.0
_INTERIMS_MAX = 20  # before one answer: who sends them without end keeps the event loop from everybody else
_LAST_INTERIM, _SWITCHING = 199, 101  # RFC 9110, 15.2: an interim answer is followed by the final one, but for a change of protocol


class KeptConnections:
    """One origin, reached over a connector that somebody else closes, after ``close``. The connection that was used last is used first.

    Args:
        connector: makes connections.
        origin: scheme, host and port.
        timeout: bounds the making of a connection.
        proxy: makes a tunnel to the origin, which is https then.
    """

    def __init__(
        self, connector: aiohttp.BaseConnector, origin: str, timeout: aiohttp.ClientTimeout, proxy: EgressProxy | None = None
    ) -> None:
        self._connector, self._timeout = connector, timeout
        # what the pool wants to know of a request
        self._origin = aiohttp.ClientRequest("GET", URL(origin), **arguments(proxy))
        self._host = self._origin.headers["Host"]
        self._head = b""
        self._kept: deque[tuple[Connection, float]] = deque()  # and since when, the longest kept first
        self._closed = False

    def close(self) -> None:
        """Close what is kept, and keep nothing any more."""
        self._closed = True
        while self._kept:
            self._kept.pop()[0].close()

    def set_headers(self, headers: Mapping[str, str]) -> None:
        """What every request carries from now on. The values are the caller's to check."""
        self._head = _lines({"Host": self._host, **headers})

    async def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, on_leave: Callable[[], None], read: ReadBody
    ) -> Reply:
        """Make one request, and read its answer. Has no deadline of its own beyond the connection.

        Args:
            method: of HTTP.
            target: path and query, encoded; like the headers' values checked by the caller.
            headers: of this request alone.
            body: all of it, or None.
            on_leave: called just before the head is written: from here on the server may have seen it.
            read: reads the answer's body.

        Raises:
            aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError, TimeoutError: there is no whole answer.
        """
        head = f"{method} {target} HTTP/1.1\r\n".encode() + self._head + _lines(headers)
        if body is not None or method != "GET":
            head += b"Content-Length: %d\r\n" % len(body or b"")
        connection = self._take() or await self._connector.connect(self._origin, traces=[], timeout=self._timeout)
        try:
            reply = await _exchange(connection, head + b"\r\n" + (body or b""), on_leave, read)
        except BaseException:
            connection.close()
            raise
        self._keep(connection)
        return reply

    def _take(self) -> Connection | None:
        while self._kept:
            connection, since = self._kept.pop()
            if _is_usable(connection) and time.monotonic() - since <= _KEEP_S:
                return connection
            connection.close()
        return None

    def _keep(self, connection: Connection) -> None:
        """Close it, unless the answer was read to its end and lets it be kept. Others that nobody has wanted for long are closed, too."""
        now = time.monotonic()
        if self._closed or not _is_usable(connection):
            connection.close()
        else:
            self._kept.append((connection, now))
        while self._kept and now - self._kept[0][1] > _KEEP_S:
            self._kept.popleft()[0].close()


def _is_usable(connection: Connection) -> bool:
    protocol = connection.protocol
    return protocol is not None and protocol.is_connected() and not protocol.should_close


async def _exchange(connection: Connection, request: bytes, on_leave: Callable[[], None], read: ReadBody) -> Reply:
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or transport.is_closing():
        raise aiohttp.ClientConnectionResetError("the connection was closed before the request")
    protocol.set_response_params(read_until_eof=True, auto_decompress=False)
    on_leave()
    transport.write(request)
    message, content = await read_final(protocol.read)
    body, truncated = await read(content, _content_length(message.headers))
    return Reply(message.code, message.headers, body, truncated)


async def read_final(read: ReadMessage) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
    """The first message that is no interim one.

    Raises:
        aiohttp.ClientPayloadError: there are too many of those.
    """
    for _ in range(_INTERIMS_MAX + 1):
        message, content = await read()
        if not _is_interim(message):
            return message, content
    raise aiohttp.ClientPayloadError("interim answers, and no final one")


def _lines(headers: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


def _is_interim(message: RawResponseMessage) -> bool:
    return message.code <= _LAST_INTERIM and message.code != _SWITCHING


def _content_length(headers: CIMultiDictProxy[str]) -> int | None:
    text = headers.get("Content-Length")
    return int(text) if text is not None else None
