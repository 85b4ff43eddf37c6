"""`python -m processor` is the same as the `processor` command."""

from processor.cli.app import app

app()
