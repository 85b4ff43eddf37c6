"""`processor status` and `top` of a deployment with several applications: a line for each, as often as it is asked for."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from processor.cli.render_applications import as_table
from processor.cli.top import keys_of
from processor.monitoring.application_lines import ApplicationLine, line_of
from processor.monitoring.factories import monitor_for_command
from processor.monitoring.model import Overview
from processor.monitoring.monitor import GroupMonitor
from processor.settings import Settings
from processor.stream.errors import KafkaFailedError

_LOOKS_MAX = 4  # at a time; each opens clients
_ENDING = {"q", "\x03", "\x04"}


class EachApplication:
    """Looks at all applications. What cannot be read of one stands as it was, and holds up no other.

    Attributes:
        lines: what the last look has found.
    """

    def __init__(self, monitors: Mapping[str, GroupMonitor]) -> None:
        self._monitors = monitors
        self.lines: list[ApplicationLine] = []
        self._known: dict[str, Overview] = {}
        self._seats = asyncio.Semaphore(_LOOKS_MAX)

    async def look(self) -> list[ApplicationLine]:
        """A line for each, in their order."""
        self.lines = await asyncio.gather(*(self._line(name, monitor) for name, monitor in self._monitors.items()))
        return self.lines

    async def _line(self, name: str, monitor: GroupMonitor) -> ApplicationLine:
        async with self._seats:
            try:
                self._known[name] = await monitor.overview()
            except KafkaFailedError as exc:
                return line_of(name, self._known.get(name), str(exc))
        return line_of(name, self._known[name])


@asynccontextmanager
async def each_application(installations: Iterable[Settings]) -> AsyncIterator[EachApplication]:
    """Of these settings, one for each application."""
    async with AsyncExitStack() as stack:
        yield EachApplication({each.application: await stack.enter_async_context(monitor_for_command(each)) for each in installations})


async def follow_each(applications: EachApplication, every_s: float) -> None:
    """Show them until somebody ends it; the last screen stays. What is no terminal gets one table after the other."""
    console = Console()
    if not console.is_terminal:
        while True:
            console.print(as_table(await applications.look(), "top"))
            await asyncio.sleep(every_s)
    ended = False
    with keys_of(sys.stdin.fileno()) as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        drawing = asyncio.create_task(_draw(applications, every_s, live))
        try:
            while not ended and not drawing.done():
                await keys.wait(every_s)
                ended = bool(_ENDING & set(keys.take()))
        finally:
            drawing.cancel()
            await asyncio.wait({drawing}, timeout=1.0)
    console.print(as_table(applications.lines, "top"))
    if not drawing.cancelled():
        drawing.result()  # it never ends by itself but by a fault


async def _draw(applications: EachApplication, every_s: float, live: Live) -> None:
    while True:
        live.update(Group(as_table(await applications.look(), "top"), Text("q quit", "reverse")), refresh=True)
        await asyncio.sleep(every_s)
