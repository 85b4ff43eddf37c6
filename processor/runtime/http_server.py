"""Serves an HTTP application of ours: no access log, nothing foreign in a log, an end within seconds."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

_LINGER_S = 1.0  # reads this long on from somebody whom it has answered before the end of the body
_STOP_S = 5.0
CLOSE_S = _LINGER_S + _STOP_S + 1.0  # deadline of the end


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve an application of ours, and give the port; 0 takes a free one. Ends within some seconds.

    Raises:
        OSError: if the address cannot be listened on.
    """
    silent = logging.getLogger(f"{__name__}.http")
    silent.disabled = True  # it would quote what is no HTTP, and faults of ours never reach it
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=silent,
        auto_decompress=False,  # signatures cover the bytes as they came
        lingering_time=_LINGER_S,
        shutdown_timeout=_STOP_S,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
