"""Serves an HTTP application of ours: no access log, nothing foreign in a log, bounded peers, an end within seconds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from processor.runtime.connection_guard import GuardedConnection, guard, tell_guard
from processor.runtime.connections import ConnectionLimits

_LINGER_S = 1.0  # reads this long on from somebody whom it has answered before the end of the body
_STOP_S = 5.0
_READ_BYTES = 16 * 1024  # so much of a body may lie unread, twice, before the peer has to wait
_BACKLOG = 512
CLOSE_S = _LINGER_S + _STOP_S + 1.0  # deadline of the end


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int, *, limits: ConnectionLimits | None = None) -> AsyncIterator[int]:
    """Serve an application of ours, and give the port; 0 takes a free one. Ends within some seconds.

    Raises:
        OSError: if the address cannot be listened on.
    """
    silent = logging.getLogger(f"{__name__}.http")
    silent.disabled = True  # it would quote what is no HTTP, and faults of ours never reach it
    app.middlewares.insert(0, tell_guard)
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=silent,
        auto_decompress=False,  # signatures cover the bytes as they came
        lingering_time=_LINGER_S,
        read_bufsize=_READ_BYTES,
        shutdown_timeout=_STOP_S,
    )
    await runner.setup()
    make, wrap = runner.server, guard(limits or ConnectionLimits())
    assert make is not None

    def connection() -> GuardedConnection:
        return wrap(make())

    try:
        server = await asyncio.get_running_loop().create_server(connection, host, port, backlog=_BACKLOG)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
    finally:
        await runner.cleanup()
