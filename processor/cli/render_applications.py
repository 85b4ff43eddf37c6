"""What `processor status` and `top` show of several applications: a line for each, at a terminal and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import orjson
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from processor.cli.render_status import STYLES
from processor.contract.times import time_of_day
from processor.monitoring.application_lines import ApplicationLine
from processor.monitoring.diagnosis import Tone

_TEXTS = {"name", "done_in", "done_at"}  # for people


def as_json(lines: Sequence[ApplicationLine]) -> bytes:
    """One JSON object: ``applications`` by name; seconds, calls, records and epoch ms; an endless time is null."""
    found = {line.name: {field: value for field, value in asdict(line).items() if field not in _TEXTS} for line in lines}
    return orjson.dumps({"applications": found})


def as_table(lines: Sequence[ApplicationLine], command: str) -> RenderableType:
    """A line for each, what is not well of each below, and how to look at one.

    Args:
        lines: of the applications.
        command: that shows them; with an application it shows that one.
    """
    table = Table(pad_edge=False, box=None)
    table.add_column("application", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for header in ("owed", "done in", "at", "waiting", "dead letters"):
        table.add_column(header, justify="right", no_wrap=True)
    for line in lines:
        verdict = Text(line.headline, STYLES[line.tone])
        if line.at_ms is None:
            table.add_row(Text(line.name), verdict, *["-"] * 5)
            continue
        done_in = line.done_in.removesuffix(" until resumed")
        dead = Text(f"{line.dead_letters}{'' if line.dead_letters_complete else ' or more'}", "yellow" if line.dead_letters else "")
        table.add_row(Text(line.name), verdict, str(line.owed), done_in, line.done_at or "-", str(line.waiting), dead)
    hint = Text(f"`processor {command} --application NAME` shows one of them", "dim")
    return Group(table, *filter(None, map(_about, lines)), hint)


def _about(line: ApplicationLine) -> Text | None:
    """What is not well, or not of now."""
    if line.at_ms is not None and line.trouble:
        return Text(f"{line.name}: not of now, but of {time_of_day(line.at_ms)} UTC: {line.trouble}", "bold red")
    return None if line.tone is Tone.GOOD else Text(f"{line.name}: {line.title}", STYLES[line.tone])
