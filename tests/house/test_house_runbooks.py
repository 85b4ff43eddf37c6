"""What a runbook tells can be typed and found: commands, panels of the dashboard, names in the cluster, paths of the port."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from operating import Memory
from typer.exceptions import TyperException
from typer.main import get_command

from processor.cli.app import app
from processor.console import server
from processor.console.auth import Access
from processor.observe.http import build_app
from processor.settings import ObserveSettings

ROOT = Path(__file__).parent.parent.parent
RUNBOOKS = {path.stem: path.read_text() for path in (ROOT / "docs" / "runbooks").glob("*.md")}
# what stands for a value of the reader's, with one that the parser takes
PLACES = {"NAME": "aml", "REQUEST_ID": "r-1", "TOPIC": "verification.requests", "PARTITION": "0", "PARTITION:OFFSET": "0:1", "N": "1"}


def _typed() -> list[tuple[str, str]]:
    """Page and command line, without `processor`."""
    found = []
    for page, text in RUNBOOKS.items():
        codes = re.findall(r"`([^`\n]+)`", text) + [
            line for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
        ]
        lines = [code.rsplit("-- processor ", 1)[-1] if "-- processor " in code else code.removeprefix("processor ") for code in codes]
        found += [
            (page, line) for code, line in zip(codes, lines, strict=True) if line != code or code.startswith(("deadletters ", "retry "))
        ]
    return sorted(set(found))


def parse(line: str) -> None:
    """By the command's own parser; a group, or a command that is only named, needs no arguments."""
    words = [PLACES.get(word, word) for word in line.split()]
    command: Any = get_command(app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):  # `results` is a group that does something itself
        below = command.commands[words.pop(0)]
        command = below.load() if hasattr(below, "load") else below
    command.make_context(line, words, resilient_parsing=not words)


def test_there_are_commands_in_the_runbooks() -> None:
    assert len(_typed()) > 20


@pytest.mark.parametrize("line", sorted({line for _, line in _typed()}))
def test_every_command_line_of_a_runbook_is_one(line: str) -> None:
    parse(line)


@pytest.mark.parametrize("line", ["deadletters list --resaon x", "retry stop r-1", "lag --since", "partitions skip TOPIC"])
def test_a_command_line_that_is_none_is_noticed(line: str) -> None:
    with pytest.raises((KeyError, TyperException)):
        parse(line)


def test_every_panel_and_row_of_the_dashboard_that_a_runbook_names_exists() -> None:
    board = orjson.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_bytes())["panels"]
    titles = {panel["title"] for row in board for panel in (row, *(row.get("panels") or ()))}
    named = {
        (page, title)
        for page, text in RUNBOOKS.items()
        for sentence in re.findall(r"(?:[Dd]ashboard|panel)[^.\n]*(?:\n[^.\n]*)?", text)
        for title in re.findall(r'"([A-Z][^"]+)"', sentence)
    }
    assert len(named) > 4
    assert {each for each in named if each[1] not in titles} == set()


def test_every_name_in_the_cluster_that_a_runbook_names_exists() -> None:
    deployed = "\n".join(path.read_text() for path in (ROOT / "deploy").rglob("*.yaml"))
    text = "\n".join(RUNBOOKS.values())
    for name in (
        re.findall(r"statefulset/([a-z-]+)", text)
        + re.findall(r"kubectl -n ([a-z-]+)", text)
        + re.findall(r"NetworkPolicy `([a-z-]+)`", text)
    ):
        assert f"name: {name}\n" in deployed or f"namespace: {name}\n" in deployed, name
    for label, value in re.findall(r"-l ([a-z./]+)=([a-z-]+)", text):
        assert f"{label}: {value}" in deployed, label


def test_every_path_of_the_port_that_a_runbook_names_exists() -> None:
    unasked: Any = None
    port: Any = build_app(unasked, unasked)
    server.add_page(port, {"default": Memory()}, Access(ObserveSettings()))
    known = {resource.canonical for resource in port.router.resources()}
    named = {path for text in RUNBOOKS.values() for path in re.findall(r"`(/[a-z-]+(?:/[a-z-]+)?)`", text)}
    assert named
    assert named <= known


def test_every_file_that_a_runbook_names_exists() -> None:
    for page, text in RUNBOOKS.items():
        for name in re.findall(r"\b(?:deploy|docs)/[\w./-]+\.\w+", text):
            assert (ROOT / name).exists(), f"{page}: {name}"
