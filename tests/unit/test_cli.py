"""The commands' listing, which is made without them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from processor.cli import check
from processor.cli.app import LazyCommand, app
from processor.didit.account_checks import CheckState, SetupCheck

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


ROWS = {
    CheckState.OK: SetupCheck("key", CheckState.OK, "Didit takes it"),
    CheckState.FAILED: SetupCheck("workflow w", CheckState.FAILED, '"\x1b[31mlabel" is a draft', "publish it"),
    CheckState.UNKNOWN: SetupCheck("credits", CheckState.UNKNOWN, "no answer came in time", "try again"),
    CheckState.SKIPPED: SetupCheck("workflows", CheckState.SKIPPED, "none is configured"),
}


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ((CheckState.OK, CheckState.SKIPPED), 0),
        ((CheckState.OK, CheckState.UNKNOWN), 1),
        ((CheckState.UNKNOWN, CheckState.FAILED), 2),
    ],
)
def test_a_check_ends_as_its_worst_row(states: tuple[CheckState, ...], status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def found(*_: object, **__: object) -> list[SetupCheck]:
        return [ROWS[state] for state in states]

    monkeypatch.setattr(check, "check_setup", found)
    monkeypatch.setattr(check, "_quiet", lambda _settings: None)  # logs of other tests stay as they are
    shown = CliRunner().invoke(app, ["check"])
    assert shown.exit_code == status
    assert "settings" in shown.output
    assert "\x1b" not in shown.output
    told = CliRunner().invoke(app, ["check", "--json"])
    document = json.loads(told.output)
    assert (told.exit_code, document["ok"]) == (status, status == 0)
    assert [row["state"] for row in document["checks"]] == ["ok", *states]
    assert set(document["checks"][0]) == {"name", "state", "found", "remedy"}


def test_a_check_names_the_settings_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VP_DIDIT__WORKFLOWS", '["not-a-uuid"]')
    told = CliRunner().invoke(app, ["check", "--json"])
    (row,) = json.loads(told.output)["checks"]
    assert (told.exit_code, row["name"], row["state"]) == (2, "settings", "failed")
    assert "VP_DIDIT__WORKFLOWS" in row["found"]
    assert "not-a-uuid" not in row["found"]
    monkeypatch.delenv("VP_DIDIT__WORKFLOWS")
    wrong = CliRunner().invoke(app, ["check", "--workflow", "x"])
    assert (wrong.exit_code, "--workflow must be the UUID" in wrong.output) == (2, True)
