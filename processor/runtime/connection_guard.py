"""Stands between a socket and aiohttp, which gives a peer all the time it likes for a header and reads a quarter of a megabyte at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Protocol, cast

from aiohttp import web

from processor.observe import metrics
from processor.runtime.connections import ConnectionLimits, ConnectionTable

_READ_BYTES = 32 * 1024
_LAST_TURNS = 10  # of the loop: from the connection to the handler of a request that is there it takes about five
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Turn(StrEnum):
    """What a connection waits for; the value is the reason it is closed for when it takes too long."""

    HEADER = "header"
    BODY = "body"
    IDLE = "idle"
    SERVED = "served"


class _Inner(Protocol):
    """What aiohttp's protocol offers to a transport."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def connection_lost(self, exc: BaseException | None) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class GuardedConnection(asyncio.BufferedProtocol):
    """One connection: hands everything on, and closes it when its peer takes too long or others need the room."""

    def __init__(self, inner: _Inner, table: ConnectionTable, limits: ConnectionLimits, buffer: memoryview) -> None:
        self._inner, self._table, self._limits = inner, table, limits
        self._buffer = buffer  # one for all: filled and emptied in one step of the loop
        self._transport: asyncio.Transport | None = None
        self._turn, self._requests = _Turn.HEADER, 0
        self._deadline: asyncio.TimerHandle | None = None
        self._makes_room = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it, and close whichever has to make room for it."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        peer = transport.get_extra_info("peername")
        self._inner.connection_made(transport)
        self._set_deadline(_Turn.HEADER, self._limits.header_s)
        victim = self._table.admit(self, str(peer[0]) if peer else "", asyncio.get_running_loop().time())
        if isinstance(victim, GuardedConnection):
            victim.make_room(0 if self._table.is_full else _LAST_TURNS)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        if self._turn is _Turn.IDLE:
            self._table.serve(self)  # an old connection, and a young request: it goes to the end of those that wait
            self._owes(_Turn.HEADER, self._limits.header_s)
        self._inner.data_received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> None:
        """The peer sends no more."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """The peer reads too slowly."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The peer has read on."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._stop_deadline()
        self._table.close(self)
        self._inner.connection_lost(exc)

    def request_begins(self, request: web.Request) -> None:
        """A header is whole."""
        self._requests += 1
        this = self._requests

        def whole() -> None:
            if self._turn is _Turn.BODY and self._requests == this:
                self._turn, self._makes_room = _Turn.SERVED, False
                self._stop_deadline()
                self._table.serve(self)

        self._owes(_Turn.BODY, self._limits.body_s)
        request.content.on_eof(whole)

    def request_ends(self) -> None:
        """Its answer is ready to be sent."""
        self._owes(_Turn.IDLE, self._limits.idle_s)

    def make_room(self, turns: int) -> None:
        """Close it, unless what its peer has sent turns out to be all it owed: a slow loop of ours has not looked at it yet.

        Args:
            turns: of the loop, in which that may show.
        """
        self._makes_room = True
        self._look_again(turns)

    def _look_again(self, turns: int) -> None:
        if not self._makes_room or self._transport is None or self._transport.is_closing():
            return
        if turns:
            asyncio.get_running_loop().call_soon(self._look_again, turns - 1)
        else:
            self.abort("crowded")

    def abort(self, reason: str) -> None:
        """Close it now; the peer sees a reset."""
        metrics.CONNECTIONS_CLOSED.labels(reason).inc()
        self._table.close(self)
        if self._transport is not None:
            self._transport.abort()

    def _owes(self, turn: _Turn, within_s: float) -> None:
        if not self._makes_room:
            self._table.wait(self, asyncio.get_running_loop().time())
        self._set_deadline(turn, within_s)

    def _set_deadline(self, turn: _Turn, within_s: float) -> None:
        self._stop_deadline()
        self._turn = turn
        self._deadline = asyncio.get_running_loop().call_later(within_s, self.abort, turn.value)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def guard(limits: ConnectionLimits) -> Callable[[_Inner], GuardedConnection]:
    """Wraps the protocols of one server."""
    table, buffer = ConnectionTable(limits), memoryview(bytearray(_READ_BYTES))
    return lambda inner: GuardedConnection(inner, table, limits, buffer)


@web.middleware
async def tell_guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tells a guarded connection where its request begins and ends."""
    protocol = request.transport.get_protocol() if request.transport is not None else None
    if not isinstance(protocol, GuardedConnection):
        return await handler(request)
    protocol.request_begins(request)
    try:
        return await handler(request)
    finally:
        protocol.request_ends()
