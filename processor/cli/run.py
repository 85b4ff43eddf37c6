"""`processor run`: the processor itself."""

from __future__ import annotations

import typer

from processor.bounds.open_files import allow_open_files
from processor.cli.options import fail, settings_or_fail
from processor.observe.logs import configure_logs
from processor.runtime.shutdown import end_process
from processor.settings import DEFAULT_APPLICATION, ConfigurationError
from processor.worker import service

app = typer.Typer()


@app.command()
def run() -> None:
    """Process requests until SIGTERM or SIGINT. Settings come from the environment (VP_...).

    With --application: those of that application alone.
    """
    settings = settings_or_fail()
    if missing := [_key_of(each.application) for each in settings.installations if each.didit.key() is None]:
        fail("\n".join(["the configuration is not usable:", *missing]))
    configure_logs(settings.log)
    allow_open_files()
    try:
        end_process(service.run(settings))
    except ConfigurationError as exc:
        fail(str(exc))


def _key_of(application: str) -> str:
    if application == DEFAULT_APPLICATION:
        return "  VP_DIDIT__API_KEY: is missing (or set VP_DIDIT__API_KEY_FILE)"
    return f"  VP_APPLICATIONS.{application}.api_key_file: is missing"
