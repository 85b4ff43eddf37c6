"""Which application a command is about: `--application`, or the variable `VP_APPLICATION`. One option for all commands."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Annotated, Any

import typer
from typer.main import get_command

from processor.settings.applications import CHOICE

_NAMED: ContextVar[str | None] = ContextVar("named application", default=None)
_NOTED = "processor.application"


def named_application() -> str | None:
    """What the option of the command says that runs; None if nothing."""
    return _NAMED.get()


def add_application_option(command: Any) -> None:
    """Give the option to a command, or to each one of a group, and to the group itself where it is a command, too."""
    inner = getattr(command, "commands", {})
    if not inner or getattr(command, "invoke_without_command", False):
        command.params.append(_option())
    for each in inner.values():
        add_application_option(each)


def _note(context: typer.Context, name: str | None) -> None:
    found = context.meta[_NOTED] = name or context.meta.get(_NOTED)  # what the group before it was told
    _NAMED.set(found)


_HELP = "an application of VP_APPLICATIONS (docs/applications.md); default: the one without a name"
_Named = Annotated[str | None, typer.Option("--application", envvar=CHOICE, metavar="NAME", help=_HELP, expose_value=False, callback=_note)]


def _owner(*, application: _Named = None) -> None:
    """Has the option, for others to take."""
    del application


def _option() -> Any:
    app = typer.Typer(add_completion=False)
    app.command()(_owner)
    return get_command(app).params[0]
