"""Projects of the simulator's users: the examples of docs/testing-your-integration.md as they stand there, and the pytest plug-in."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from didit_api import WORKFLOW
from standing_alone import GUARD, OWN, modules_of, needed

from processor.devkit.java import find_java
from processor.simulator.testing import DiditSimulator, SimulatorControlError, started

PAGE = Path(__file__).parent.parent.parent / "docs" / "testing-your-integration.md"
_RUN_S = 120.0


def project(folder: Path, *kinds: str) -> Path:
    """The blocks of the page in these languages, each in the file that its first line names."""
    for kind, name, text in re.findall(r"^```(\w+)\n(?:#|//) ([\w.]+)(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        if kind in kinds:
            (folder / name).write_text(f"{'#' if kind == 'python' else '//'} {name}{text}")
    assert list(folder.iterdir())
    return folder


def run(folder: Path, *argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A user's command; `processor` is on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment: Mapping[str, str] = {"HOME": os.environ.get("HOME", str(folder)), "PATH": path, **variables}
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=_RUN_S)


def test_a_pytest_project_passes_with_what_the_simulator_itself_needs(tmp_path: Path) -> None:
    guard, user = tmp_path / "guard", tmp_path / "user"
    guard.mkdir()
    user.mkdir()
    allowed = json.dumps(sorted(modules_of(needed(OWN | {"pytest"})) | {"didit_client"}))
    (guard / "sitecustomize.py").write_text(GUARD.replace("sys.argv.pop(1)", repr(allowed)))
    project(user, "python")
    (user / "test_guard.py").write_text("import pytest\ndef test_it():\n    with pytest.raises(ImportError):\n        import pydantic\n")
    argv = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers", "-p", "didit_simulator")
    done = run(user, *argv, PYTHONPATH=str(guard), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert "3 passed, 1 xfailed" in done.stdout, done.stdout + done.stderr


def test_a_run_that_uses_no_fixture_of_it_loads_nothing_of_it(tmp_path: Path) -> None:
    heavy = {"aiohttp", "orjson", "processor.simulator.testing"}
    text = f"import sys\ndef test_it():\n    assert not {heavy} & set(sys.modules)\n"
    (tmp_path / "test_it.py").write_text(text)
    plain = [f"-pno:{found.name}" for found in entry_points(group="pytest11") if found.name != "didit_simulator"]
    done = run(tmp_path, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *plain, "--trace-config")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert re.search(r"didit_simulator\s*:.*processor/simulator/pytest_plugin.py", done.stdout), "the entry point is installed: `make`"


def create(simulator: DiditSimulator, vendor: str, **extra: object) -> None:
    post(simulator, "/v3/session/", {"workflow_id": WORKFLOW, "vendor_data": vendor, **extra})


def post(simulator: DiditSimulator, path: str, body: object) -> None:
    headers = {"x-api-key": simulator.api_key, "Content-Type": "application/json"}
    with contextlib.suppress(urllib.error.HTTPError):
        request = urllib.request.Request(simulator.url + path, json.dumps(body).encode(), headers)  # noqa: S310 - loopback, our own url
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310 - as above


def test_what_a_client_did_wrong_is_said_in_plain_words(tmp_path: Path) -> None:
    with started(["--ledger", str(tmp_path / "ledger.jsonl")]) as simulator:
        create(simulator, "u1")
        create(simulator, "u1")
        post(simulator, "/v3/aml/", {"full_name": "Ann Example", "vendor_data": "1"})
        post(simulator, "/v3/aml/", {"full_name": "Ann Example", "vendor_data": "2"})
        simulator.assert_each_call_once()  # an unfinished session came back, and another person was screened
        simulator.assert_nothing_billed_twice()
        simulator.assert_within_limits()
        post(simulator, "/v3/aml/", {"vendor_data": "1", "full_name": "Ann Example"})
        twice = r"POST /v3/aml/ {} 2 times: at [\d.]+ answered 200, at [\d.]+ answered 200$"
        with pytest.raises(AssertionError, match=twice.format("took effect")):
            simulator.assert_each_call_once()
        with pytest.raises(AssertionError, match=twice.format("was billed")):
            simulator.assert_nothing_billed_twice()
        simulator.reset()
        create(simulator, "nobody opens it")
        simulator.control("clock", {"advance_s": 8 * 86_400})
        create(simulator, "nobody opens it")
        assert len(simulator.ledger()["sessions"]) == 2
        simulator.assert_nothing_billed_twice()
        simulator.reset(limits={"session-create": {"limit": 1, "window_s": 60}})
        simulator.assert_nothing_billed_twice()
        create(simulator, "u1")
        create(simulator, "u2")
        with pytest.raises(AssertionError, match="session-create: 2 calls within 60 s, and 1 are allowed"):
            simulator.assert_within_limits()
        assert [call["status"] for call in simulator.calls("session.create")] == [201, 429]
        with pytest.raises(SimulatorControlError, match="mood"):
            simulator.reset(mood=1)


def test_a_simulator_that_does_not_start_says_why() -> None:
    with pytest.raises(SimulatorControlError, match="unknown scope 'x'"), started(["--limits", '{"x": 1}']):
        pass


def test_it_ends_with_the_process_that_has_started_it() -> None:
    program = (
        "import sys, time\nfrom processor.simulator.testing import started\nwith started() as s: print(s.url, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        address = parent.stdout.readline().strip().removeprefix("http://").split(":")
        parent.kill()
        end = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((address[0], int(address[1]))) != 0:
                    break
            assert time.monotonic() < end, "the simulator is left over"
            time.sleep(0.02)


@pytest.mark.slow
def test_the_node_example_passes(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on PATH: `apt-get install nodejs`, 18 or newer")
    done = run(project(tmp_path, "js"), node, "--test", "didit.test.mjs")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_java_example_passes(tmp_path: Path) -> None:
    java = find_java()
    if "jdk.compiler" not in run(tmp_path, java, "--list-modules").stdout:
        pytest.skip(f"{java} has no compiler (jdk.compiler): `apt-get install default-jdk-headless`")
    done = run(project(tmp_path, "java"), java, "-XX:TieredStopAtLevel=1", "DiditTest.java")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_go_example_passes(tmp_path: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("no go on PATH: `apt-get install golang`, 1.26 or newer")
    done = run(project(tmp_path, "go"), go, "test", "-vet=off", "didit_test.go")
    assert done.returncode == 0, done.stdout + done.stderr
