"""The simulator needs nothing of this project but itself, and nothing of others but two distributions and what these need."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from didit_api import KEY, WORKFLOW, ended, started

ROOT = Path(__file__).parent.parent.parent
OWN = {"aiohttp", "orjson"}  # distributions; docs/simulator.md names them
# hides all modules but those of the standard library, the simulator, and the names in the first argument
GUARD = """
import json, sys

visible = {*sys.stdlib_module_names, *json.loads(sys.argv.pop(1))}

class Guard:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        ours = name == "processor" or f"{name}.".startswith("processor.simulator.")
        return self.finder.find_spec(name, path, target) if ours or name.partition(".")[0] in visible else None

sys.meta_path[:] = [Guard(finder) for finder in sys.meta_path]
"""
START = GUARD + "import runpy; runpy.run_module('processor.simulator', run_name='__main__', alter_sys=True)"
PROBE = GUARD + "import importlib\nfor name in sys.argv[1:]:\n    try: importlib.import_module(name)\n    except ImportError: print(name)"


def needed(distributions: set[str]) -> set[str]:
    """These distributions and, in turn, all that they need; not their extras, and not what this Python does not need."""
    found: set[str] = set()
    waiting = set(distributions)
    while waiting:
        name = waiting.pop()
        found.add(name)
        for line in metadata.requires(name) or ():
            other = re.split(r"[^\w.-]", line)[0].lower().replace("_", "-")
            if "extra ==" not in line and other not in found and _installed(other):
                waiting.add(other)
    return found


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def modules_of(distributions: set[str]) -> set[str]:
    normal = {name: {d.lower().replace("_", "-") for d in owners} for name, owners in metadata.packages_distributions().items()}
    return {name for name, owners in normal.items() if owners & distributions}


def test_it_imports_two_distributions_and_itself() -> None:
    imported = set()
    for path in (ROOT / "processor" / "simulator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            imported |= {".".join(name.split(".")[:2]) if name.startswith("processor") else name.split(".")[0] for name in names}
    assert imported - set(sys.stdlib_module_names) == OWN | {"processor.simulator"}
    text = (ROOT / "docs" / "simulator.md").read_text()
    assert all(name in text for name in OWN)


def test_the_guard_hides_what_the_project_needs_and_the_simulator_does_not() -> None:
    allowed = sorted(modules_of(needed(OWN)))
    hidden = [
        "jinja2",
        "structlog",
        "pydantic",
        "typer",
        "aiokafka",
        "uvloop",
        "prometheus_client",
        "processor.settings",
        "processor.cli.app",
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(allowed), *hidden, "asyncio", "aiohttp", "orjson", "processor.simulator.server"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == hidden


async def test_it_starts_and_serves_with_its_own_dependencies_only(tmp_path: Path) -> None:
    allowed = json.dumps(sorted(modules_of(needed(OWN))))
    async with started(tmp_path, "-c", START, allowed, "--ledger", str(tmp_path / "ledger.jsonl")) as (child, url):
        async with aiohttp.ClientSession() as http:
            body = {"workflow_id": WORKFLOW, "vendor_data": "u"}
            async with http.post(f"{url}/v3/session/", json=body, headers={"x-api-key": KEY}) as response:
                created = await response.json()
                assert response.status == 201, created
            async with http.get(f"{url}/_sim/ledger") as response:
                ledger: dict[str, Any] = await response.json()
        assert [entry["session_id"] for entry in ledger["sessions"]] == [created["session_id"]]
        assert [(call["route"], call["status"]) for call in ledger["calls"]] == [("session.create", 201)]
        assert await ended(child) == 0, child.log_tail()
        assert f"Didit simulator on {url}" in child.log_tail()


@pytest.mark.parametrize("name", ["processor", "processor.simulator"])
def test_a_package_above_it_imports_nothing(name: str) -> None:
    path = ROOT.joinpath(*name.split(".")) / "__init__.py"
    assert not [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
