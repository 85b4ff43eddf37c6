"""Commands that look at everything: `processor status`, `top`, `lag`. They join no group and change nothing."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from processor.cli.batch import fail, settings_or_fail

if TYPE_CHECKING:
    from processor.monitoring.monitor import GroupMonitor

AsJson = Annotated[bool, typer.Option("--json", help="one JSON object instead of a screen")]


def status(*, as_json: AsJson = False) -> None:
    """One screen: what holds things up, budgets, backlog and its time to drain, replicas, what waits, dead letters."""
    from rich.console import Console  # noqa: PLC0415

    from processor.cli import render_status  # noqa: PLC0415

    async def show(monitor: GroupMonitor) -> None:
        seen = await monitor.overview()
        if as_json:
            sys.stdout.buffer.write(render_status.as_json(seen) + b"\n")
        else:
            Console().print(render_status.screen(seen))

    _look(show)


def lag(*, as_json: AsJson = False) -> None:
    """Unfinished records of every input partition, and who owns it."""
    from rich.console import Console  # noqa: PLC0415

    from processor.cli import render_status  # noqa: PLC0415

    async def show(monitor: GroupMonitor) -> None:
        partitions = (await monitor.survey()).partitions
        if as_json:
            import orjson  # noqa: PLC0415

            sys.stdout.buffer.write(orjson.dumps({"partitions": partitions}) + b"\n")
        else:
            Console().print(render_status.lag_table(partitions))
            typer.echo(f"{sum(p.unfinished for p in partitions)} records are not done; `processor status` says how long they take")

    _look(show)


def top(every_s: Annotated[float, typer.Option("--every", min=1.0, help="seconds between two looks")] = 2.0) -> None:
    """The screen of `processor status`, live, until interrupted."""
    from rich.console import Console, RenderableType  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from processor.cli import render_status  # noqa: PLC0415
    from processor.stream.errors import KafkaFailedError  # noqa: PLC0415

    async def look(monitor: GroupMonitor) -> RenderableType:
        try:
            return render_status.screen(await monitor.overview())
        except KafkaFailedError as exc:  # the brokers may come back
            return Text(str(exc), "bold red")

    async def show(monitor: GroupMonitor) -> None:
        console = Console()
        with Live(Text("looking ..."), console=console, screen=True, auto_refresh=False) as live:
            while True:
                seen = await look(monitor)
                if console.is_terminal:
                    live.update(seen, refresh=True)
                else:  # a pipe or a file gets one screen after the other
                    console.print(seen)
                await asyncio.sleep(every_s)

    _look(show)


def _look(show: Callable[[GroupMonitor], Awaitable[None]]) -> None:
    from processor.monitoring.factories import monitor_for_command  # noqa: PLC0415
    from processor.stream.errors import KafkaFailedError  # noqa: PLC0415

    async def look() -> None:
        async with monitor_for_command(settings) as monitor:
            await show(monitor)

    settings = settings_or_fail()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what does not answer is said once, in our words
    try:
        asyncio.run(look())
    except KafkaFailedError as exc:
        fail(str(exc), 1)
    except KeyboardInterrupt:
        raise typer.Exit from None
