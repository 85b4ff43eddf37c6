"""Deployment files are checked by the tools that read them; in CI these tools must be there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def _tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is needed in CI")
        pytest.skip(f"{name} is not here")
    return found


def test_the_compose_file_is_valid() -> None:
    done = subprocess.run(
        [_tool("docker-compose"), "-f", "deploy/compose.yaml", "config"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("VP_KAFKA__INSTANCE_ID") == 3


def test_the_dockerfile_is_clean() -> None:
    done = subprocess.run([_tool("hadolint"), "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_runs_as_nobody_special() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "USER 10001:10001" in text
    assert text.rindex("USER") > text.rindex("FROM")


def test_the_wheel_carries_the_schemas(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"processor/_schemas/{p.name}" for p in (ROOT / "schemas").iterdir()} <= names
    assert "processor/local/kafka-jars.txt" in names
