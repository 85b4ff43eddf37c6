"""`--dry-run` of `processor publish` and `processor batch`: what a file comes to, without Kafka and without a call."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
import typer

from processor.cli.options import write_json
from processor.client.estimate import estimate
from processor.contract.amounts import count
from processor.contract.times import duration
from processor.settings import Settings

DRY_RUN = "only check the file, and say what it costs and how long it takes"


def print_estimate(settings: Settings, operations: Mapping[str, int], *, as_json: bool) -> None:
    """Say what so many requests come to, by operation."""
    limits = {scope: (limit.limit, limit.window_s) for scope, limit in settings.rate_limits.items()}
    found = estimate(operations, settings.didit.prices, limits)
    if as_json:
        document = {
            "dry_run": True,
            "requests": sum(operations.values()),
            "operations": found.operations,
            "billed": found.billed,
            "cost": str(found.cost),
            "unpriced": found.unpriced,
            "time_s": round(found.time_s, 3),
        }
        write_json(orjson.dumps(document))
        return
    counts = ", ".join(f"{number} {name}" for name, number in found.operations.items())
    typer.echo(f"{count(sum(operations.values()), 'valid request')}: {counts or 'none'}; nothing was published")
    typer.echo(f"billed, at most: {found.billed}, less those that were asked before and those that Didit refuses")
    cost = f"cost, at most: {found.cost}" if found.billed else "cost: none"
    if found.unpriced:
        cost += f", without {', '.join(found.unpriced)}: give VP_DIDIT__PRICES their price"
    typer.echo(cost)
    typer.echo(f"time: the budget makes it last {duration(found.time_s)} at least, if nobody else uses it")
