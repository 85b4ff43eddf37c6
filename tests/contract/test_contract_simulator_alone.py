"""The simulator needs nothing of this project but itself, and nothing of others but two distributions and what these need."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from didit_api import KEY, WORKFLOW, ended, started
from standing_alone import GUARD, OWN, modules_of, needed

ROOT = Path(__file__).parent.parent.parent
START = GUARD + "import runpy; runpy.run_module('processor.simulator', run_name='__main__', alter_sys=True)"
PROBE = GUARD + "import importlib\nfor name in sys.argv[1:]:\n    try: importlib.import_module(name)\n    except ImportError: print(name)"


def test_it_imports_two_distributions_and_itself() -> None:
    imported = set()
    paths = set((ROOT / "processor" / "simulator").rglob("*.py"))
    for path in paths - {ROOT / "processor" / "simulator" / "pytest_plugin.py"}:  # loaded by pytest alone
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            imported |= {".".join(name.split(".")[:2]) if name.startswith("processor") else name.split(".")[0] for name in names}
    assert imported - set(sys.stdlib_module_names) == OWN | {"processor.simulator"}
    text = (ROOT / "docs" / "simulator.md").read_text()
    assert all(name in text for name in OWN)


def test_the_plug_in_imports_pytest_and_no_distribution_more() -> None:
    """Every pytest run of an environment loads it. The fixture imports the rest when it is asked for."""
    path = ROOT / "processor" / "simulator" / "pytest_plugin.py"
    loaded = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in loaded}
    assert names == {"__future__", "collections.abc", "typing", "pytest"}


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
