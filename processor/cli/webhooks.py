"""`processor webhooks`: the receiver of Didit's webhooks."""

from __future__ import annotations

import typer

from processor.bounds.open_files import allow_open_files
from processor.cli.options import fail, settings_or_fail
from processor.observe.logs import configure_logs
from processor.runtime.shutdown import end_process
from processor.settings import ConfigurationError
from processor.webhooks import service

app = typer.Typer()


@app.command()
def webhooks() -> None:
    """Receive Didit's webhooks and publish them to the events topic (docs/webhooks.md). Ends at SIGTERM or SIGINT."""
    settings = settings_or_fail()
    configure_logs(settings.log)
    allow_open_files()
    try:
        end_process(service.run(settings))
    except ConfigurationError as exc:
        fail(str(exc))
