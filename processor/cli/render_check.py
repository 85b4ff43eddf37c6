"""What `processor check` shows at a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from processor.didit.account_checks import CheckState, SetupCheck
from processor.monitoring.formatting import verbatim

_STYLES = {CheckState.OK: "green", CheckState.FAILED: "bold red", CheckState.UNKNOWN: "yellow", CheckState.SKIPPED: "dim"}


def as_table(rows: Iterable[SetupCheck]) -> RenderableType:
    """One row each check. A name of a workflow comes from Didit, and is shown without what a terminal would act on."""
    table = Table()
    for header in ("check", "state", "found", "what to do"):
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(row.name, Text(row.state, _STYLES[row.state]), Text(_lines(row.found)), row.remedy or "-")
    return table


def _lines(text: str) -> str:
    return "\n".join(verbatim(line) for line in text.split("\n"))
