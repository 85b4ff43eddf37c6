"""`processor run`: the processor itself."""

from __future__ import annotations

import typer

from processor.cli.options import fail, settings_or_fail
from processor.observe.logs import configure_logs
from processor.settings import ConfigurationError
from processor.worker import service

app = typer.Typer()


@app.command()
def run() -> None:
    """Process requests until SIGTERM or SIGINT. Settings come from the environment (VP_...)."""
    settings = settings_or_fail()
    if settings.didit.key() is None:
        fail("the configuration is not usable:\n  VP_DIDIT__API_KEY: is missing (or set VP_DIDIT__API_KEY_FILE)")
    configure_logs(settings.log)
    try:
        raise typer.Exit(service.run(settings))
    except ConfigurationError as exc:
        fail(str(exc))
