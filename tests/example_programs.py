"""The programs of ``examples/``, compiled, as a caller runs them. In CI every toolchain must be there; elsewhere a missing one skips."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from library_wheels import CLIENT, ROOT, install

from processor.devkit.jars import cache_folder, ensure_jars
from processor.devkit.java import find_java

EXAMPLES = ROOT / "examples"
_BUILD_S, _ANSWER_S, _RUN_S = 300, 90, 120
_NO_NETWORK = ("dial", "no such host", "ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED")
Words = list[str]


def _python(folder: Path) -> Words:
    return [str(install(CLIENT, folder).python), "-I", str(EXAMPLES / "python" / "ask.py")]


def _java(folder: Path) -> Words:
    java = find_java()
    modules = subprocess.run([java, "--list-modules"], check=True, capture_output=True, text=True, timeout=_BUILD_S).stdout
    if "jdk.compiler" not in modules:
        missing(f"{java} has no compiler (jdk.compiler): `apt-get install default-jdk-headless`")
    jars = ":".join(str(path) for path in sorted(ensure_jars().glob("*.jar")))  # a wildcard is for the launcher alone
    _build([java, "-m", "jdk.compiler/com.sun.tools.javac.Main", "-cp", jars, "-d", str(folder), "Ask.java"], EXAMPLES / "java")
    return [java, "-XX:TieredStopAtLevel=1", "-cp", f"{folder}:{jars}", "Ask"]


def _node(_: Path) -> Words:
    """Packages as the lock file has them, installed once on each machine."""
    node, npm = _tool("node", "nodejs 20.19.4 or newer"), _tool("npm", "npm")
    lock = (EXAMPLES / "node" / "package-lock.json").read_bytes()
    program = cache_folder().with_name(f"verification-processor-node-{hashlib.sha256(lock).hexdigest()[:16]}")
    program.mkdir(parents=True, exist_ok=True)
    with (program / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for name in ("package.json", "package-lock.json", "ask.mjs"):
            shutil.copy(EXAMPLES / "node" / name, program)
        if not (program / ".complete").exists():
            _build([npm, "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"], program)
            (program / ".complete").touch()
    return [node, str(program / "ask.mjs")]


def _go(folder: Path) -> Words:
    _build([_tool("go", "go 1.26 or newer"), "build", "-o", str(folder / "ask"), "."], EXAMPLES / "go")
    return [str(folder / "ask")]


BUILDERS: dict[str, Callable[[Path], Words]] = {"python": _python, "java": _java, "node": _node, "go": _go}


def run_example(words: Words, variables: Mapping[str, str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, output, errors. ``variables``: those of a processor; what is not about Kafka is left out."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("VP_")}
    own |= {name: value for name, value in variables.items() if name.startswith("VP_KAFKA__")}
    own |= {"TIMEOUT_S": str(_ANSWER_S)}
    done = subprocess.run([*words, *arguments], check=False, capture_output=True, text=True, timeout=_RUN_S, env=own)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def missing(what: str) -> None:
    """Skip, or fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"needed in CI: {what}")
    pytest.skip(what)


def _tool(name: str, what: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing(f"no {name} on PATH: install {what}")
    assert found is not None
    return found


def _build(words: Words, folder: Path) -> None:
    done = subprocess.run(words, cwd=folder, check=False, capture_output=True, text=True, timeout=_BUILD_S)
    if done.returncode and any(word in done.stderr for word in _NO_NETWORK):
        missing(f"packages are not to be had: `{' '.join(words)}` in {folder.name}/ says why")
    assert done.returncode == 0, done.stderr[-3000:]
