"""`processor check`: is everything there that a processor needs?"""

from __future__ import annotations

import uuid
from typing import Annotated

import orjson
import typer
from rich.console import Console

from processor.cli.application_option import named_application
from processor.cli.kafka import quiet_clients
from processor.cli.options import fail, write_json
from processor.cli.render_check import as_table
from processor.didit.account_checks import CheckState, SetupCheck
from processor.observe.logs import configure_logs
from processor.runtime.event_loop import run_loop
from processor.settings import ConfigurationError, Settings, load_settings
from processor.worker.check import check_setup

_NOT_ASKED, _FAULTS = 1, 2

app = typer.Typer()


@app.command()
def check(
    *,
    workflow: Annotated[list[str] | None, typer.Option(help="a workflow to check, besides those of VP_DIDIT__WORKFLOWS")] = None,
    wait_s: Annotated[float, typer.Option("--wait", min=1.0, help="seconds that each call to Didit may wait for the budget")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of a table")] = False,
) -> None:
    """Check settings, topics, API key, application, workflows and credits, before the start or while processors run.

    Give it the environment of the processors. It makes three reads at Didit, inside the shared budget.
    Exit status: 0 if all is there, 2 if something is missing, 1 if something could not be found out.
    """
    rows = _rows([_uuid(one) for one in workflow or ()], wait_s)
    if as_json:
        write_json(orjson.dumps({"ok": exit_status(rows) == 0, "checks": rows}))
    else:
        Console().print(as_table(rows))
    raise typer.Exit(exit_status(rows))


def _rows(named: list[str], wait_s: float) -> list[SetupCheck]:
    try:
        settings = load_settings(application=named_application())
    except ConfigurationError as exc:
        return [SetupCheck("settings", CheckState.FAILED, str(exc), "correct these variables; docs/configuration.md has them all")]
    _quiet(settings)
    workflows = tuple(dict.fromkeys((*settings.didit.workflows, *named)))
    good = SetupCheck("settings", CheckState.OK, "they are usable")
    return [good, *run_loop(check_setup(settings, workflows, wait_s=wait_s))]


def _quiet(settings: Settings) -> None:
    """What happens to the budget log and its clients meanwhile is in the rows, not in lines between them."""
    quiet_clients()
    configure_logs(settings.log.model_copy(update={"level": "error"}))


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        fail("--workflow must be the UUID of a workflow, as Didit's console shows it")


def exit_status(rows: list[SetupCheck]) -> int:
    """0 if all is there, 2 if something is missing, 1 if something could not be found out."""
    states = {row.state for row in rows}
    return _FAULTS if CheckState.FAILED in states else _NOT_ASKED if CheckState.UNKNOWN in states else 0
