"""Worlds find what is planted: a judge that never complains is worth nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(("fault", "theme", "rule"), [("K1", "rolling", "twice"), ("F6", "other log", "over the limit")])
def test_a_planted_fault_is_found_at_once(fault: str, theme: str, rule: str) -> None:
    """Both show in each of the first 16 small worlds of their themes (docs/simulation.md)."""
    environment = {**os.environ, "PYTHONPATH": f"{_ROOT / 'tests'}{os.pathsep}{_ROOT}", "PYTHONHASHSEED": "0"}
    options = ["--theme", theme, "--size", "small", "--seeds", "3", "--jobs", "1"]
    run = subprocess.run(
        [sys.executable, "-m", "simulation.planted", fault, *options],
        cwd=_ROOT, env=environment, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert run.stdout, run.stderr[-2000:]
    found = json.loads(run.stdout)
    assert run.returncode == 0, found
    assert found["violations"] == 1, found
    assert rule in found["how"], found
