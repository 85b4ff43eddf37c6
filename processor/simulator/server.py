"""Start and stop: in a test's own loop, or as a process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web

from processor.simulator.app import build_app
from processor.simulator.config import Config
from processor.simulator.simulator import Simulator

_SHUTDOWN_S = 1.0


@asynccontextmanager
async def running(config: Config, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[tuple[Simulator, str]]:
    """A listening simulator and its base URL; port 0 takes a free one. Its users and webhooks live as long as it listens."""
    simulator = Simulator(config)
    simulator.living = living = asyncio.create_task(simulator.run(), name="simulator")
    runner = web.AppRunner(build_app(simulator), access_log=None, shutdown_timeout=_SHUTDOWN_S, keepalive_timeout=75.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        address = runner.addresses[0]
        yield simulator, f"http://{host}:{address[1]}"
    finally:
        living.cancel()
        try:
            with suppress(asyncio.CancelledError):
                await living
        finally:
            await runner.cleanup()
            simulator.ledger.close()


async def serve(config: Config, host: str, port: int, port_file: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT; the port taken is written to ``port_file``."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(config, host, port) as (simulator, url):
        if port_file is not None:
            temporary = port_file.with_suffix(".tmp")
            temporary.write_text(url.rsplit(":", 1)[1])
            temporary.replace(port_file)
        told = asyncio.create_task(stop.wait())
        await asyncio.wait({told, *([simulator.living] if simulator.living else [])}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
