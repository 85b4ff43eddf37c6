"""The command line of the simulator: the standard library's parser over the table of options."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from processor.simulator.config import SimulatorOptionError
from processor.simulator.options import SimulatorOptions, option_rows
from processor.simulator.server import serve


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; ends the process with exit status 2 for an option that cannot be used."""
    try:
        run(parse(argv))
    except SimulatorOptionError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(2)


def parse(argv: Sequence[str] | None = None) -> SimulatorOptions:
    """The options in ``argv``; None: the arguments of this process.

    Raises:
        SimulatorOptionError: if an option is out of range.
        SystemExit: if an option is unknown, or ``--help`` is given.
    """
    description = "The Didit simulator (docs/simulator.md)."
    parser = argparse.ArgumentParser(prog="python -m processor.simulator", description=description, allow_abbrev=False)
    for row in option_rows():
        text = row.help if row.default is None else f"{row.help} (default: {row.default})"
        kind: dict[str, Any] = {"action": "store_true"} if row.kind is bool else {"type": row.kind}
        parser.add_argument(f"--{row.name.replace('_', '-')}", default=row.default, help=text.replace("%", "%%"), **kind)
    return SimulatorOptions(**vars(parser.parse_args(argv)))


def run(options: SimulatorOptions) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SimulatorOptionError: if an option cannot be used.
    """
    asyncio.run(serve(options))
