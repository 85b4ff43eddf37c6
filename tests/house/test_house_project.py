"""What a maintainer relies on: one version, a licence that is shipped, a changelog in form, and hooks that check what `make check` does."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from importlib.metadata import metadata
from pathlib import Path

import pytest
from deploy_files import run
from typer.testing import CliRunner

import processor
from processor.budget.replica_facts import ReplicaFacts, read_facts, write_facts
from processor.cli.app import app

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
RELEASED = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - ", CHANGELOG, re.MULTILINE)  # the newest first
SECTIONS = ["Before you upgrade", "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]  # in this order


def test_there_is_one_version() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert "version" not in PROJECT, "processor/__init__.py has it"
    told = CliRunner().invoke(app, ["--version"])
    assert (told.exit_code, told.output) == (0, f"verification-processor {processor.__version__}\n")
    assert metadata("verification-processor")["Version"] == processor.__version__, "installed before the change: run any make target"


def test_what_is_deployed_by_the_documents_is_the_newest_release() -> None:
    for name in ("docs/deploy.md", "deploy/k8s/overlays/prod/kustomization.yaml"):
        named = re.findall(r"(?:verification-processor:|newTag: )(\d[\w.]*)", (ROOT / name).read_text())
        assert named, f"{name}: the pattern finds nothing"
        assert set(named) == {RELEASED[0]}, name


def test_the_wheel_carries_licence_authors_and_version(tmp_path: Path) -> None:
    done = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        told = message_from_string(wheel.read(name).decode())
        licence = wheel.read(name.replace("METADATA", "licenses/LICENSE"))
    assert (told["License-Expression"], told["Author"]) == ("Apache-2.0", "Verification Processor developers")
    assert told["Version"] == processor.__version__
    assert licence == (ROOT / "LICENSE").read_bytes()


def test_the_image_is_built_from_all_that_the_wheel_is_made_of() -> None:
    needed = [PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "processor", "schemas"]
    copied = " ".join(re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)).split()
    allowed = (ROOT / ".dockerignore").read_text().split()
    for name in needed:
        assert (ROOT / name).exists(), name
        assert name in copied, f"the Dockerfile does not copy {name}"
        assert f"!{name}" in allowed, f".dockerignore leaves out {name}"


def test_the_forge_has_one_name() -> None:
    source = PROJECT["urls"]["Source"]
    for path in (ROOT / "pyproject.toml", *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for url in re.findall(r"https://git\.[\w./-]+", path.read_text()):
            assert url.startswith(source), f"{path.name}: {url}"


def _releases() -> list[str]:
    return re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_the_version_is_that_of_the_newest_section_of_the_changelog() -> None:
    """A release's own; what comes after it is the development version of the next one, and no release calls itself as another one did."""
    first, *earlier = _releases()
    if first == "[Unreleased]":
        following, _, development = processor.__version__.partition(".dev")
        assert development == "0", "with [Unreleased] on top, __version__ is the next release's with .dev0 behind it"
        assert _parts(following) > _parts(RELEASED[0]), f"{RELEASED[0]} is released"
    else:
        assert first.startswith(f"[{processor.__version__}] - ")
        earlier = [first, *earlier]
    for title in earlier:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", title), title
    assert sorted(RELEASED, key=_parts, reverse=True) == RELEASED


def test_an_image_says_the_commit_that_it_was_built_from(tmp_path: Path) -> None:
    """By the line of the Dockerfile itself, on a copy; the label, and the whole image: `make image-check`."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    (line,) = re.findall(r"^RUN (.*__version__.*)$", dockerfile, re.MULTILINE)
    assert dockerfile.index("\nARG COMMIT=\n") < dockerfile.index(line) < dockerfile.index("pip wheel"), "the wheel has it"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    for name in ("processor", "schemas"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for commit, version in (("", ""), ("1a2b3c4d5e6f.dirty", "+g1a2b3c4d5e6f.dirty")):
        done = run("sh", "-c", f"cd {tmp_path} && COMMIT={commit} && {line}")
        assert done.returncode == 0, done.stderr
        assert f'__version__ = "{processor.__version__}{version}"\n' in (tmp_path / "processor/__init__.py").read_text()
    built = subprocess.run([sys.executable, "-m", "hatchling", "version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert built.stdout.strip() == f"{processor.__version__}+g1a2b3c4d5e6f.dirty"
    assert read_facts(write_facts(ReplicaFacts(built.stdout.strip(), 1, 2))) is not None, "replicas tell each other"


@pytest.mark.parametrize("title", _releases())
def test_the_changelog_is_in_form(title: str) -> None:
    said = CHANGELOG.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"^### (.+)$", said, re.MULTILINE)
    assert found == [section for section in SECTIONS if section in found], f"{found} are not, or not in the order of, {SECTIONS}"
    name = title.split("]", maxsplit=1)[0].strip("[")
    assert re.search(rf"^\[{re.escape(name)}\]: https://", CHANGELOG, re.MULTILINE), f"no link for [{name}] at the end"


def _prerequisites(target: str) -> list[str]:
    (found,) = re.findall(rf"^{target}:(.*)$", MAKEFILE, re.MULTILINE)
    return [name for name in str(found).split() if not name.startswith("$")]


def test_the_hooks_check_what_make_check_does_and_fetch_nothing() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"repo: (.+)", hooks) == ["local"]
    assert re.findall(r"entry: make (.+)", hooks) == _prerequisites("check")
    assert set(re.findall(r"language: (.+)", hooks)) == {"system"}


def test_help_names_every_target() -> None:
    targets = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert targets is not None
    help_text = MAKEFILE.split("\nhelp:\n", 1)[1].split("\n\n", 1)[0]
    for target in targets[1].split():
        assert target == "help" or f"make {target}" in help_text, target
