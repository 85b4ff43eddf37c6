"""What every command needs: the settings or the end, and who types."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections.abc import Mapping
from typing import Annotated, Any, NoReturn

import orjson
import typer
from rich.console import Console, RenderableType

from processor.cli.application_option import named_application
from processor.monitoring.formatting import one_line_json
from processor.settings import ConfigurationError, Settings, load_settings, secrets_in_file

_UNUSABLE = 2
_REFUSED = 1
_INTERRUPTED = 130
_WIDTH = 200  # of what nobody sees on a terminal


def fail(text: str, status: int = _UNUSABLE) -> NoReturn:
    """Say why, and end with a status."""
    typer.echo(text, err=True)
    raise typer.Exit(status)


def settings_or_fail() -> Settings:
    """The settings, or the end."""
    try:
        settings = load_settings(application=named_application())
    except ConfigurationError as exc:
        fail(str(exc))
    for secret in secrets_in_file():
        typer.echo(
            f"warning: the file of VP_CONFIG_FILE holds {secret} in clear; name a file of its own with {secret}_file instead", err=True
        )
    return settings


def ask_or_fail(question: str, refused: str, *, as_json: bool = False) -> None:
    """Ask on the terminal, and end where the answer is not yes: with status 1; with 2 where nobody answers, as ``--yes`` is missing.

    Ctrl-C ends it with status 130. With ``as_json`` the question goes to stderr, since stdout has the object alone.
    """
    try:
        agreed = typer.confirm(question, err=as_json)
    except typer.Abort as exc:
        if isinstance(exc.__context__, KeyboardInterrupt):
            fail(f"interrupted; {refused}", _INTERRUPTED)
        fail(f"{refused}: nobody answered; --yes does it without asking")
    if not agreed:
        fail(refused, _REFUSED)


class ActReport:
    """How an act is told: in sentences, or with ``--json`` as one object on stdout, and the sentences on stderr."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        stream = sys.stderr if as_json else sys.stdout
        width = None if stream.isatty() else _WIDTH
        self._console = Console(stderr=as_json, width=width, highlight=False, emoji=False, markup=False)

    def say(self, text: RenderableType) -> None:
        """A sentence, or something that is drawn."""
        if isinstance(text, str):
            typer.echo(text, err=self._as_json)
        else:
            self._console.print(text)

    def end(self, document: Mapping[str, Any]) -> None:
        """What came of it, for a program."""
        if self._as_json:
            write_json(orjson.dumps(document))


ActJson = Annotated[bool, typer.Option("--json", help="one JSON object on stdout; the sentences go to stderr")]


def write_json(text: bytes) -> None:
    """One JSON value as a line of stdout, with nothing in it that a terminal would act on."""
    sys.stdout.buffer.write(one_line_json(text) + b"\n")


def login() -> str:
    """Who types: login name and host."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
