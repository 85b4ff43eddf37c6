"""The image, its build, the compose file and the wheel; what is built from them is checked by `make image-check`."""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

from deploy_files import ROOT, run, tool

from processor.settings import LaneSettings


def test_the_compose_file_is_valid() -> None:
    done = run(tool("docker-compose"), "-f", "deploy/compose.yaml", "config")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("VP_KAFKA__INSTANCE_ID") == 3
    ports = re.findall(r"VP_OBSERVE__PORT: '(\d+)'", done.stdout)
    assert len(ports) == len(set(ports)) == 4  # processors and the receiver share one network


def test_the_dockerfile_is_clean() -> None:
    done = run(tool("hadolint"), "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_the_image_runs_as_nobody_special() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "USER 10001:10001" in text
    assert text.rindex("USER") > text.rindex("FROM")


def test_the_wheel_carries_the_schemas(tmp_path: Path) -> None:
    done = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"processor/_schemas/{p.name}" for p in (ROOT / "schemas").iterdir()} <= names
    assert "processor/devkit/kafka-jars.txt" in names


def test_the_image_check_waits_as_long_as_a_stop_may_take() -> None:
    text = (ROOT / "deploy" / "image" / "check.py").read_text()
    (limit_s,) = re.findall(r"^STOP_LIMIT_S = ([\d.]+)", text, re.MULTILINE)
    assert float(limit_s) == LaneSettings().shutdown_s


def test_ci_installs_what_the_checks_need_and_starts_no_service() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    for name in ("docker-compose", "promtool", "chromium", "buildah", "debootstrap"):
        assert name in text, name
    assert not re.search(r"install .*\bprometheus\b", text)
    assert re.findall(r"^make ([\w-]+)", text, re.MULTILINE) == ["check", "image-check", "simulate", "test"]
    assert text.splitlines()[-1] == 'exit "$status"', "a failure of either, also of the one beside, is the end's status"
