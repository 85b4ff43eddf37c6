"""The `processor` command: which commands there are, and their modules. A module is imported when its command is used."""

from __future__ import annotations

import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from processor import __version__
from processor.cli.standard_streams import told_stdout

_COMMANDS = [  # name, module of this room, and what it does: the first sentence of its own help
    ("run", "run", "Process requests until SIGTERM or SIGINT."),
    ("webhooks", "webhooks", "Receive Didit's webhooks and publish them to the events topic (docs/webhooks.md)."),
    ("topics", "topics", "Create and check the topics."),
    ("acls", "acls", "Print the rights that each principal needs in Kafka, as commands or for Strimzi (docs/deploy.md)."),
    ("check", "check", "Check settings, topics, API key, application, workflows and credits, before the start or while processors run."),
    ("operations", "operations", "List what a request can ask for; or explain one operation."),
    ("example", "operations", "Print a small valid request, as a line for `processor publish`, or as CSV."),
    ("publish", "publish", "Publish requests from a file or from standard input."),
    ("results", "results", "Print results, one JSON object a line (read_committed); or find everything about one request."),
    ("batch", "batch", "Run a file of requests and write a file of results."),
    ("status", "status", "One screen: what the bottleneck is, budgets, backlog and its time to drain, replicas, what waits, dead letters."),
    ("top", "status", "Live: what the bottleneck is, operations, replicas, what waits, dead letters."),
    ("lag", "status", "Unfinished records of every input partition, who owns it, and what blocks it."),
    ("budget", "budget", "Show the shared budget."),
    ("retry", "retry", "List requests that wait for a later attempt, start them now, or end them."),
    ("pause", "pause", "Stop the calls of an operation, or all calls, until `processor resume`."),
    ("resume", "pause", "End a pause."),
    ("partitions", "partitions", "Skip an unreadable batch that blocks a partition."),
    ("deadletters", "dead_letters", "List dead letters, redrive or discard them (docs/repair.md)."),
    ("person", "person", "Find the records of one person, and erase what can be erased."),
    ("verify", "verify", "Audit a running or stopped installation from its topics alone."),
    ("settings", "settings", "Show the settings that are in effect, with where each comes from."),
    ("register", "register", "Make an account and an application at Didit, and get its API key."),
    ("kafka", "local_kafka", "Run a Kafka of one broker on this machine until Ctrl-C."),
    ("simulate", "simulate", "Run the Didit simulator (docs/simulator.md)."),
    ("demo", "demo", "Demonstration: a real Kafka, the simulator with faults, three processors, one killed half-way."),
]

_OF_NO_APPLICATION = {"operations", "example", "register", "kafka", "simulate", "demo"}


class LazyCommand(TyperCommand):
    """Stands for a command until it is used: the listing needs no module, and a command none of the others'."""

    def __init__(self, name: str, module: str, listed: str) -> None:
        super().__init__(name, help=listed)
        self._module = module

    def load(self) -> Any:
        """The command itself: the one of this name in its module's ``app``, or the whole of it."""
        group = get_group(import_module(f"processor.cli.{self._module}").app)
        command = group.commands.get(str(self.name), group)
        if self.name not in _OF_NO_APPLICATION:
            import_module("processor.cli.application_option").add_application_option(command)
        return command

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the command itself, in which it is then invoked."""
        return self.load().make_context(info_name, args, parent, **extra)


class _Commands(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, module, listed in _COMMANDS:
            self.add_command(LazyCommand(name, module, listed))

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command, and end the process."""
        with told_stdout():
            return super().main(*args, **extra)


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, pretty_exceptions_show_locals=False, context_settings={"help_option_names": ["--help", "-h"]}
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"verification-processor {__version__}")
        raise typer.Exit


@app.callback()
def options_of_all(
    *,
    _version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version, and end")] = False,
) -> None:
    """Pushes identity verifications from Kafka through Didit's API."""
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # ISO 8859-1 has no narrow blank, and a command that acts must not fail over it
