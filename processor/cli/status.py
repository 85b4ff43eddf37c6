"""Commands that show everything: `processor status`, `top`, `lag`. They join no group and change nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import orjson
import typer
from rich.console import Console

from processor.cli import render_applications, render_status
from processor.cli.application_option import named_application
from processor.cli.each_application import EachApplication, each_application, follow_each
from processor.cli.kafka import kafka_or_fail
from processor.cli.options import settings_or_fail, write_json
from processor.cli.top import follow
from processor.contract.amounts import count
from processor.monitoring.factories import monitor_for_command
from processor.monitoring.monitor import GroupMonitor
from processor.runtime.event_loop import run_loop

app = typer.Typer()
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object instead of a screen")]


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """One screen: what the bottleneck is, budgets, backlog and its time to drain, replicas, what waits, dead letters.

    With several applications one line each; --application shows one of them in full.
    """

    async def show(monitor: GroupMonitor) -> None:
        seen = await monitor.overview()
        if as_json:
            write_json(render_status.as_json(seen))
        else:
            Console().print(render_status.screen(seen))

    async def show_each(applications: EachApplication) -> None:
        lines = await applications.look()
        if as_json:
            write_json(render_applications.as_json(lines))
        else:
            Console().print(render_applications.as_table(lines, "status"))

    _with_monitor(show, show_each)


@app.command()
def lag(*, as_json: AsJson = False) -> None:
    """Unfinished records of every input partition, who owns it, and what blocks it."""

    async def show(monitor: GroupMonitor) -> None:
        survey = await monitor.survey()
        partitions = survey.partitions
        if as_json:
            write_json(orjson.dumps({"partitions": partitions, "blocked": survey.blocked}))
        else:
            Console().print(render_status.lag_table(partitions, survey.blocked))
            left = sum(p.unfinished for p in partitions)
            told = f"{'at most ' if left else ''}{count(left, 'record is', 'records are')}"
            typer.echo(f"{told} not done; `processor status` says how long that takes")

    _with_monitor(show)


@app.command()
def top(every_s: Annotated[float, typer.Option("--every", min=1.0, help="seconds between two refreshes")] = 2.0) -> None:
    """Live: what the bottleneck is, operations, replicas, what waits, dead letters. Keys switch and scroll; q ends.

    With several applications one line each; --application shows one of them in full.
    """
    try:
        _with_monitor(lambda monitor: follow(monitor, every_s), lambda applications: follow_each(applications, every_s))
    except KeyboardInterrupt:
        raise typer.Exit from None


def _with_monitor(
    show: Callable[[GroupMonitor], Awaitable[None]], show_each: Callable[[EachApplication], Awaitable[None]] | None = None
) -> None:
    """Show one application; or each, where there are several, none is named and the command can."""

    async def render() -> None:
        if show_each is not None and settings.applications and named_application() is None:
            async with each_application(settings.installations) as applications:
                await show_each(applications)
        else:
            async with monitor_for_command(settings) as monitor:
                await show(monitor)

    settings = settings_or_fail()
    with kafka_or_fail():
        run_loop(render())
