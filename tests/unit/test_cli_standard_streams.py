"""A stdout that is full, closed, or read by nobody any more ends every command with one sentence, or as it ends other Unix tools."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_cli import COMMANDS

DRIVER = """
import gc, json, os, sys
import typer.rich_utils
from typer.main import get_command
from typer.testing import CliRunner
from processor.cli.app import app

for words in ["--help"], ["operations", "--json"], ["settings"], ["acls"], ["check", "--json"]:
    CliRunner().invoke(app, words)  # imported once
for command in get_command(app).commands.values():
    command.load()
gc.freeze()
for number, (kind, words, out, err) in enumerate(json.load(sys.stdin)):
    if not (child := os.fork()):
        os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT), 2)
        if kind == "full":
            os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        elif kind == "pipe":
            reader, writer = os.pipe()
            os.dup2(writer, 1)
            os.close(reader)
        elif kind == "closed":
            os.close(1)
            sys.stdout = sys.__stdout__ = None
        else:
            os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT), 1)
        if kind == "deaf":
            os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
        app(words)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
PRINTING = [
    ["--version"],
    ["operations"],
    ["operations", "--json"],
    ["example", "aml", "--csv"],
    ["settings"],
    ["settings", "--json"],
    ["acls", "--json"],
    ["check", "--json"],
]


def _leaves() -> Iterator[list[str]]:
    for name, lazy in COMMANDS.items():
        subcommands: dict[str, Any] = getattr(lazy.load(), "commands", {})
        yield from ([name, sub, "--help"] for sub in subcommands)
        if not subcommands:
            yield [name, "--help"]


ALL = [["--help"], *PRINTING, *_leaves()]
CASES = [("full", words) for words in ALL] + [(kind, words) for kind in ("well", "deaf", "closed", "pipe") for words in PRINTING]
Ended = tuple[int, bytes, str]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Ended]:
    """Status, stdout and stderr of each command, by kind; each is a process of its own."""
    folder = tmp_path_factory.mktemp("streams")
    cases = [(kind, words, str(folder / f"{at}.out"), str(folder / f"{at}.err")) for at, (kind, words) in enumerate(CASES)]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("VP_")} | {"VP_KAFKA__BOOTSTRAP": "no bootstrap"}
    driver = [sys.executable, "-c", DRIVER]
    done = subprocess.run(driver, input=json.dumps(cases), env=variables, capture_output=True, text=True, check=True, timeout=300)
    found: dict[tuple[str, str], Ended] = {}
    for (kind, words, out, err), status in zip(cases, done.stdout.split(), strict=True):
        told = Path(out).read_bytes() if Path(out).exists() else b""
        found[kind, " ".join(words)] = int(status), told, Path(err).read_text()
    return found


@pytest.mark.parametrize("words", [" ".join(words) for words in ALL])
def test_a_full_disk_is_told_by_every_command(words: str, ended: dict[tuple[str, str], Ended]) -> None:
    status, _, err = ended["full", words]
    assert (status, err.count("\n")) == (1, 1), err
    assert err.startswith("standard output cannot be written (No space left on device)")


@pytest.mark.parametrize("words", [" ".join(words) for words in PRINTING])
def test_what_nobody_reads_ends_a_command_as_other_tools(words: str, ended: dict[tuple[str, str], Ended]) -> None:
    status, out, told = ended["well", words]
    assert out
    failed, _, err = ended["closed", words]
    assert (failed, err.count("\n")) == (1, told.count("\n") + 1), err
    assert "standard output cannot be written (Bad file descriptor)" in err
    assert ended["pipe", words] == (141, b"", told)
    assert ended["deaf", words] == (status, out, ""), "what nobody can be told on stderr ends nothing"
