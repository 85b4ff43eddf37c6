"""`python -m processor` is the same as the `processor` command."""

from processor.cli import app

app()
