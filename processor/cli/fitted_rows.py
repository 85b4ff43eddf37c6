"""A list of records for a terminal of any width: rows where there is room, else blocks of lines, so that no word is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_WIDTH_MAX = 10_000


@dataclass(frozen=True, slots=True)
class FittedRows:
    """The same records in both forms.

    Attributes:
        table: a row each.
        blocks: some lines each.
    """

    table: Table
    blocks: Sequence[Sequence[Text]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        if console.measure(self.table, options=options.update(max_width=_WIDTH_MAX)).maximum <= options.max_width:
            yield self.table
        else:
            yield from (line for block in self.blocks for line in block)
