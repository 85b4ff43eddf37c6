"""`processor simulate`: its options are the rows of the simulator's own table."""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import Annotated, Any

import typer

from processor.cli.options import fail
from processor.simulator.command import run
from processor.simulator.config import SimulatorOptionError
from processor.simulator.options import OptionRow, SimulatorOptions, option_rows


def simulate(**options: Any) -> None:
    """Run the Didit simulator (docs/simulator.md). Its ledger is at /_sim/ledger, its keys are `sim-key` and `sim-sandbox-key`."""
    try:
        run(SimulatorOptions(**options))
    except SimulatorOptionError as exc:
        fail(str(exc))


def _parameter(row: OptionRow) -> Parameter:
    kind = row.kind if row.default is not None else row.kind | None
    return Parameter(row.name, Parameter.KEYWORD_ONLY, default=row.default, annotation=Annotated[kind, typer.Option(help=row.help)])


simulate.__signature__ = Signature([_parameter(row) for row in option_rows()])  # type: ignore[attr-defined]

app = typer.Typer()
app.command()(simulate)
