"""What every command needs: the settings or the end, and who types."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from typing import NoReturn

import typer

from processor.monitoring.formatting import one_line_json
from processor.settings import ConfigurationError, Settings, load_settings

_UNUSABLE = 2
_REFUSED = 1


def fail(text: str, status: int = _UNUSABLE) -> NoReturn:
    """Say why, and end with a status."""
    typer.echo(text, err=True)
    raise typer.Exit(status)


def settings_or_fail() -> Settings:
    """The settings, or the end."""
    try:
        return load_settings()
    except ConfigurationError as exc:
        fail(str(exc))


def ask_or_fail(question: str, refused: str) -> None:
    """Ask on the terminal, and end where the answer is not yes: with status 1; with 2 where nobody answers, as ``--yes`` is missing."""
    try:
        agreed = typer.confirm(question)
    except typer.Abort:
        fail(f"{refused}: nobody answered; --yes does it without asking")
    if not agreed:
        fail(refused, _REFUSED)


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
