"""What `processor budget` shows at a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import orjson
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from processor.budget.view import BudgetView, ScopeView
from processor.contract.times import duration
from processor.monitoring.formatting import verbatim


def as_json(view: BudgetView) -> bytes:
    """One JSON object; seconds and calls."""
    found = asdict(view)
    for scope, seen in zip(found["scopes"], view.scopes, strict=True):
        scope["foreign"] = seen.foreign
    return orjson.dumps(found)


def as_table(view: BudgetView) -> RenderableType:
    """A table of scopes and, below, whatever is out of the ordinary."""
    if not view.scopes:
        table: RenderableType = Text("No call has been asked for yet; a scope is shown from its first call on.")
    else:
        table = _scopes(view.scopes)
    replicas = Text(verbatim(f"replicas that are heard: {', '.join(view.replicas) or 'none for 45 s'}"))
    notes = [
        Text(
            f"{verbatim(c.name)}: breaker open, {'a probe is on its way' if c.probing else f'next probe in {duration(c.probe_in_s)}'}",
            "bold red",
        )
        for c in view.breakers
    ]
    if view.blocked_for_s:
        notes.append(Text(f"the log was lost: no call starts for {duration(view.blocked_for_s)}", "bold red"))
    return Group(table, replicas, *notes)


def _scopes(scopes: Sequence[ScopeView]) -> Table:
    """Fits 80 columns: names and numbers are never cut, the last columns go on in a second line."""
    windows = {s.window_s for s in scopes}
    caption = f"calls in {duration(windows.pop())}" if len(windows) == 1 else None
    table = Table(box=None, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
    for header in ("scope", "limit", "used", "live", "waiting"):
        table.add_column(header, justify="left" if header == "scope" else "right", no_wrap=True)
    for header in ("paused", "foreign traffic", "open asks of"):
        table.add_column(header, overflow="fold", min_width=7)
    for scope in scopes:
        table.add_row(*_row(scope, window=caption is None))
    return table


def _row(s: ScopeView, *, window: bool) -> tuple[str | Text, ...]:
    limit = str(s.limit) if s.limit == s.configured else f"{s.limit} of {s.configured}"
    limit += f" in {duration(s.window_s)}" if window else ""
    throttled = f" ({s.throttled_lately} x 429)" if s.foreign or s.throttled_lately else ""
    foreign = Text(f"{'yes' if s.foreign else 'no'}{throttled}", "bold red" if s.foreign else "")
    return (
        Text(verbatim(s.scope)),
        Text(limit, "" if s.limit == s.configured else "bold red"),
        f"{s.used} {s.used / s.configured:.0%}",
        str(s.live),
        str(s.waiting),
        duration(s.paused_for_s) if s.paused_for_s else "-",
        foreign,
        Text(verbatim(", ".join(f"{name} {count}" for name, count in sorted(s.holders.items())) or "-")),
    )
