"""`processor register`: an account and an application at Didit, for the first API key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from processor.cli.options import fail
from processor.didit import registration
from processor.monitoring.formatting import verbatim
from processor.runtime.event_loop import run_loop

AUTH_URL = "https://apx.didit.me/auth/v2"
_FAILED = 1

app = typer.Typer()


@app.command()
def register(
    email: Annotated[str, typer.Argument(help="of the account; Didit sends it a code")],
    key_file: Annotated[Path | None, typer.Option(help="write the API key there, for its owner alone, instead of showing it")] = None,
    url: Annotated[str, typer.Option(help="base of Didit's account API")] = AUTH_URL,
) -> None:
    """Make an account and an application at Didit, and get its API key. It is shown once, or written to a file with mode 600."""
    if key_file is not None and key_file.exists():
        fail(f"{key_file} is there already; nothing was done")
    if key_file is not None and not key_file.parent.is_dir():
        fail(f"{key_file.parent} is no folder; nothing was done")
    password = typer.prompt("Password (8 characters, upper, lower, digit, special)", hide_input=True, confirmation_prompt=True)
    try:
        run_loop(registration.register(url, email, password))
        code = typer.prompt("Code from the e-mail")
        made = run_loop(registration.verify(url, email, code.strip()))
    except registration.RegistrationError as exc:
        fail(str(exc), _FAILED)
    typer.echo(verbatim(f"application {made.application} of {made.organization}"), err=True)
    if key_file is None:
        typer.echo(made.api_key)
        typer.echo("the key is shown this once; keep it where only the processor can read it", err=True)
        return
    try:
        registration.write_key(key_file, made.api_key)
    except OSError as exc:
        fail(f"{key_file} cannot be written ({type(exc).__name__}); get the key from Didit's console", _FAILED)
    typer.echo(f"the key is in {key_file}; set VP_DIDIT__API_KEY_FILE={key_file}", err=True)
