"""Start and stop a simulator: inside a running event loop (tests), or as a process."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web

from processor.simulator.app import build_app
from processor.simulator.config import Config, SimulatorOptionError
from processor.simulator.simulator import Simulator

_SHUTDOWN_S = 1.0


@asynccontextmanager
async def running(
    config: Config, host: str = "127.0.0.1", port: int = 0, *, clock: Callable[[], float] = time.time
) -> AsyncIterator[tuple[Simulator, str]]:
    """A listening simulator and its base URL; port 0 takes a free one. Users act and webhooks are sent for as long as it listens.

    Raises:
        SimulatorOptionError: if it cannot listen there.
        ExceptionGroup: at the end, if something that happens without a call has failed.
    """
    async with _listening(Simulator(config, clock=clock), host, port) as (simulator, url, _):
        yield simulator, url


async def serve(config: Config, host: str, port: int, port_file: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT. The address goes to stderr, the port to ``port_file``.

    Raises:
        SimulatorOptionError: if it cannot listen there.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with _listening(Simulator(config), host, port) as (_, url, background):
        sys.stderr.write(f"Didit simulator on {url}\n")
        if port_file is not None:
            temporary = port_file.with_suffix(".tmp")
            temporary.write_text(url.rsplit(":", 1)[1])
            temporary.replace(port_file)
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(stop.wait())
            await asyncio.wait({stopping, background}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()


@asynccontextmanager
async def _listening(simulator: Simulator, host: str, port: int) -> AsyncIterator[tuple[Simulator, str, asyncio.Task[None]]]:
    background = asyncio.create_task(simulator.run(), name="simulator")
    runner = web.AppRunner(build_app(simulator), access_log=None, shutdown_timeout=_SHUTDOWN_S, keepalive_timeout=75.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as exc:
            raise SimulatorOptionError(f"cannot listen on {host}:{port}: {exc.strerror}; --port 0 takes a free port") from None
        yield simulator, f"http://{host}:{runner.addresses[0][1]}", background
    finally:
        background.cancel()
        try:
            with suppress(asyncio.CancelledError):
                await background
        finally:
            await runner.cleanup()
            simulator.ledger.close()
