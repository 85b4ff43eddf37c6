"""`processor settings`: what is in effect."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from processor.cli.options import settings_or_fail, write_json
from processor.settings.config_file import read_config_file, variables_of
from processor.settings.effective import EffectiveSetting, effective_settings

app = typer.Typer()


@app.command()
def settings(
    *,
    changed: Annotated[bool, typer.Option("--changed", help="only those that the environment or the file sets")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON array instead of a table")] = False,
) -> None:
    """Show the settings that are in effect, with where each comes from. Secrets are masked.

    Exit status: 0; 2 if the configuration is wrong, with every fault.
    """
    found = effective_settings(settings_or_fail(), os.environ, variables_of(read_config_file()))
    shown = [each for each in found if not changed or each.source != "default"]
    if as_json:
        write_json(orjson.dumps([asdict(each) for each in shown]))
    else:
        Console().print(_table(shown))


def _table(shown: list[EffectiveSetting]) -> Table:
    table = Table("variable", "value", "from", box=None, pad_edge=False)
    for each in shown:
        value = each.value if isinstance(each.value, str) else orjson.dumps(each.value).decode()
        table.add_row(each.variable, Text("-" if each.value is None else value, overflow="fold"), each.source)
    return table
