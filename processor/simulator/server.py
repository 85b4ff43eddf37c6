"""Start and stop a simulator: inside a running event loop (tests), or as a process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import orjson
from aiohttp import web

from processor.simulator.app import build_app
from processor.simulator.config import Config, SimulatorOptionError
from processor.simulator.options import SimulatorOptions, config_of
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


async def serve(options: SimulatorOptions) -> None:
    """Serve until SIGTERM or SIGINT.

    Once it listens there is one line of JSON on stdout, ``{"url": "http://127.0.0.1:8080", "port": 8080}``, and the port in ``port_file``.

    Raises:
        SimulatorOptionError: if an option cannot be used, or it cannot listen there.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.until_stdin_closes:
        _set_at_end_of_stdin(stop)
    async with _listening(Simulator(config_of(options)), options.host, options.port) as (_, url, background):
        port = int(url.rsplit(":", 1)[1])
        sys.stderr.write(f"Didit simulator on {url}\n")
        sys.stdout.write(f"{orjson.dumps({'url': url, 'port': port}).decode()}\n")
        sys.stdout.flush()
        if options.port_file is not None:
            temporary = options.port_file.with_suffix(".tmp")
            temporary.write_text(str(port))
            temporary.replace(options.port_file)
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(stop.wait())
            await asyncio.wait({stopping, background}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()


def _set_at_end_of_stdin(stop: asyncio.Event) -> None:
    """A process that ends closes its pipes, however it ends: nobody's simulator is left over then."""
    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()

    def read() -> None:
        if not os.read(stdin, 4096):
            loop.remove_reader(stdin)
            stop.set()

    try:
        loop.add_reader(stdin, read)
    except OSError:  # EPERM: a file or /dev/null cannot be waited for (epoll_ctl(2))
        raise SimulatorOptionError("until-stdin-closes: standard input must be a pipe that the starting process holds open") from None


@asynccontextmanager
async def _listening(simulator: Simulator, host: str, port: int) -> AsyncIterator[tuple[Simulator, str, asyncio.Task[None]]]:
    background = asyncio.create_task(simulator.run(), name="simulator")
    runner = web.AppRunner(
        build_app(simulator),
        access_log=None,
        shutdown_timeout=_SHUTDOWN_S,
        keepalive_timeout=75.0,
        auto_decompress=False,  # Django looks at no Content-Encoding of a request: it parses the bytes that came
    )
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
