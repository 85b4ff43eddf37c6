"""The commands' listing, which is made without them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from processor.cli.app import LazyCommand, app

COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
LISTED = """
import sys
from processor.cli.app import app
try:
    app(["--help"])
except SystemExit:
    print(*sorted(m for m in sys.modules if m.startswith("processor")))
    print(*sorted(sys.modules.keys() & {"aiohttp", "aiokafka", "orjson", "pydantic"}))
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_listing_says_what_the_command_says_of_itself(name: str) -> None:
    command = COMMANDS[name]
    assert isinstance(command, LazyCommand)
    found = command.load()
    assert (command.help or "").endswith("."), "a whole sentence"
    assert found.help.startswith(command.help)
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0
    assert f"Usage: root {name} " in shown.output, "it is called by its own name"


def test_the_listing_imports_no_command() -> None:
    done = subprocess.run([sys.executable, "-c", LISTED], capture_output=True, text=True, check=True)
    *_, ours, heavy = done.stdout.splitlines()
    assert ours.split() == ["processor", "processor.cli", "processor.cli.app"]
    assert heavy == ""


def test_a_command_that_is_mistyped_is_suggested() -> None:
    done = CliRunner().invoke(app, ["stats"])
    assert done.exit_code == 2
    assert "Did you mean 'status'" in done.output
