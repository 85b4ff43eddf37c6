"""What `processor budget` shows at a terminal, and as JSON."""

from __future__ import annotations

from dataclasses import asdict

import orjson
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from processor.budget.view import BudgetView, ScopeView
from processor.contract.times import duration


def as_json(view: BudgetView) -> bytes:
    """One JSON object; seconds and calls."""
    found = asdict(view)
    for scope, seen in zip(found["scopes"], view.scopes, strict=True):
        scope["foreign"] = seen.foreign
    return orjson.dumps(found)


def as_table(view: BudgetView) -> RenderableType:
    """A table of scopes and, below, whatever is out of the ordinary."""
    table = Table(caption=f"{len(view.replicas)} replica(s): {', '.join(view.replicas) or 'none has been heard for 45 s'}")
    for header in ("scope", "limit", "used", "live", "waiting", "paused", "foreign traffic", "open asks of"):
        table.add_column(header, justify="left" if header in ("scope", "open asks of") else "right")
    for scope in view.scopes:
        table.add_row(*_row(scope))
    notes = [
        Text(f"{c.name}: breaker open, {'a probe is on its way' if c.probing else f'next probe in {duration(c.probe_in_s)}'}", "bold red")
        for c in view.breakers
    ]
    if view.blocked_for_s:
        notes.append(Text(f"the log was lost: no call starts for {duration(view.blocked_for_s)}", "bold red"))
    return Group(table, *notes)


def _row(s: ScopeView) -> tuple[str | Text, ...]:
    limit = f"{s.limit} / {duration(s.window_s)}" if s.limit == s.configured else f"{s.limit} of {s.configured} / {duration(s.window_s)}"
    throttled = f" ({s.throttled_lately} x 429)" if s.foreign or s.throttled_lately else ""
    foreign = Text(f"{'yes' if s.foreign else 'no'}{throttled}", "bold red" if s.foreign else "")
    return (
        s.scope,
        Text(limit, "" if s.limit == s.configured else "bold red"),
        f"{s.used} ({s.used / s.configured:.0%})",
        str(s.live),
        str(s.waiting),
        duration(s.paused_for_s) if s.paused_for_s else "-",
        foreign,
        ", ".join(f"{name} {count}" for name, count in sorted(s.holders.items())) or "-",
    )
