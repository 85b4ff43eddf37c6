"""``processor.client`` is a library: its wheel has types, its documents' examples are right, and importing it is cheap and harmless."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from page_examples import examples

ROOT = Path(__file__).parent.parent.parent
# what the client needs: Kafka's client, JSON and its schemas, settings, and what these need themselves
NEEDED = {"aiokafka", "cramjam", "jsonschema_rs", "orjson", "pydantic", "pydantic_settings"}
NEEDED_BY_THOSE = {"annotated_types", "async_timeout", "dotenv", "packaging", "pydantic_core", "typing_extensions", "typing_inspection"}
IMPORTED = """
import json, sys
before = set(sys.modules)
import processor.client
found = {m for m in set(sys.modules) - before if "site-packages" in str(getattr(sys.modules[m], "__spec__", None))}
print(json.dumps(sorted({m.partition(".")[0] for m in found})))
"""
PATCHED = """
import importlib, pkgutil, sys
import aiokafka
for module in pkgutil.walk_packages(aiokafka.__path__, "aiokafka."):
    try:
        importlib.import_module(module.name)
    except ImportError:
        pass  # it needs an extra

def held():
    spaces = {name: dict(vars(module)) for name, module in sys.modules.items() if name.partition(".")[0] == "aiokafka"}
    classes = {value for names in spaces.values() for value in names.values() if isinstance(value, type)}
    spaces |= {f"{cls.__module__}.{cls.__qualname__}": dict(vars(cls)) for cls in classes}
    return {f"{space}.{name}": value for space, names in spaces.items() for name, value in names.items()}

before = held()
import processor.client
print(*(name for name, value in held().items() if before.get(name) is not value))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the built wheel, and this environment's packages, but not this source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    built = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(built, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", symlinks=True)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))  # its own .pth files, the editable install's too, are not read
    return folder / "env" / "bin" / "python"


def python(installed: Path, code: str) -> str:
    """What code prints there; -I, because the working directory is the source tree."""
    return subprocess.run([installed, "-I", "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_wheel_has_types(installed: Path) -> None:
    (site,) = installed.parent.parent.glob("lib/python*/site-packages")
    assert (site / "processor" / "py.typed").is_file()
    assert python(installed, "import processor.client as c; print(c.__file__)").startswith(str(site)), (
        "the source tree was used, and not the wheel"
    )


@pytest.mark.slow  # a whole run of mypy
def test_the_examples_and_the_api_are_typed_as_callers_see_them(installed: Path, tmp_path: Path) -> None:
    assert set(examples()) == {"readme_0", "clients_0", "clients_1"}
    for name, text in examples().items():
        (tmp_path / f"{name}.py").write_text(text + "\n")
    (tmp_path / "client_api.py").write_text((ROOT / "tests" / "typing" / "client_api.py").read_text())
    (tmp_path / "mypy.ini").write_text("[mypy]\n")  # a caller has our types and none of our settings
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "mypy.ini", "--python-executable", str(installed), "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_the_client_brings_only_what_it_needs(installed: Path) -> None:
    found = set(json.loads(python(installed, IMPORTED))) - {"processor"}
    assert found >= NEEDED, "the list is out of date"
    assert found <= NEEDED | NEEDED_BY_THOSE, "the client has become heavier"


def test_importing_the_client_changes_nothing_of_aiokafka(installed: Path) -> None:
    assert python(installed, PATCHED).split() == [], "a service that imports the client would get another Kafka client than it has chosen"
