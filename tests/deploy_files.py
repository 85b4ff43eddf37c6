"""Reads the deployment files as their own tools read them. In CI every tool must be there; elsewhere a missing one skips its tests."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from processor.observe.metrics import TABLE

ROOT = Path(__file__).parent.parent
K8S = ROOT / "deploy" / "k8s"
BY_PROMETHEUS = {"up"}  # made by Prometheus itself
BY_PROCESS = {"process_resident_memory_bytes"}  # the Prometheus client's own
METRIC = re.compile(r"\b(?:vp|process)_[a-z0-9_]+")
SELECTOR = re.compile(r"\b((?:vp|process)_[a-z0-9_]+)\{([^}]*)\}")
HOW_TO_GET = {"promtool": "from the package prometheus", "docker-compose": "apt-get install docker-compose"}  # of others: the lock
BY_SCRAPE = {"job", "instance", "namespace", "pod", "le"}  # labels that Prometheus and histograms add


def _missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what} is needed in CI")
    pytest.skip(f"{what} is not here ({HOW_TO_GET.get(what, '`make deploy-check` installs it')})")


def tool(name: str) -> str:
    """Path of a program, beside this Python or on the PATH."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        _missing(name)
    assert found is not None
    return found


def module(name: str) -> Any:
    """A module of the deployment checks, which are no part of the development lock."""
    try:
        return importlib.import_module(name)
    except ImportError:
        _missing(name)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@cache
def render(folder: str) -> tuple[str, list[dict[str, Any]]]:
    """What `kubectl apply -k` would send, as text and as objects. ``folder`` is below deploy/k8s."""
    done = run(tool("kubectl"), "kustomize", str(K8S / folder))
    assert done.returncode == 0, done.stderr
    return done.stdout, list(module("yaml").safe_load_all(done.stdout))


def load(path: str) -> Any:
    return module("yaml").safe_load((ROOT / path).read_text())


def exported() -> dict[str, set[str]]:
    """Every series that we export, with its labels."""
    series: dict[str, set[str]] = {name: set() for name in BY_PROCESS}
    for metric in TABLE:
        tails = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        series |= {metric.name + tail: set(metric.labels) for tail in tails}
    return series


def faults_of(expression: str) -> list[str]:
    """Metrics and labels in an expression that nothing exports."""
    series = exported()
    names = set(METRIC.findall(expression))
    faults = [f"{name} is no metric of ours" for name in names if name not in series]
    for name, matchers in SELECTOR.findall(expression):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', matchers)))
        faults += [f"{name} has no label {label}" for label in labels - series.get(name, set()) - BY_SCRAPE]
    known = set.union(BY_SCRAPE, *(series.get(name, set()) for name in names))
    for group in re.findall(r"\b(?:by|on|without)\s*\(([^)]*)\)", expression):
        faults += [f"nothing has the label {label}" for label in re.split(r"\s*,\s*", group.strip()) if label not in known]
    return faults
