"""The client is a library: its wheels have types, its documents' examples are right, and importing it is cheap and harmless.

``processor.client`` comes with the processor, ``verification_client`` alone: both are held to the same.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from library_wheels import CLIENT, PROCESSOR, ROOT, Installed, Wheel, install
from packaging.requirements import Requirement
from page_examples import examples

import processor.client

# what the client needs: Kafka's client, JSON and its schemas, settings, and what these need themselves
NEEDED = {
    PROCESSOR: {"aiokafka", "cramjam", "jsonschema_rs", "orjson", "processor", "pydantic", "pydantic_settings"},
    CLIENT: {"aiokafka", "cramjam", "jsonschema_rs", "orjson", "pydantic", "verification_client"},
}
NEEDED_BY_THOSE = {"annotated_types", "async_timeout", "dotenv", "packaging", "pydantic_core", "typing_extensions", "typing_inspection"}
IMPORTED = """
import json, sys
before = set(sys.modules)
import {module}
found = {{m for m in set(sys.modules) - before if "site-packages" in str(getattr(sys.modules[m], "__spec__", None))}}
print(json.dumps(sorted({{m.partition(".")[0] for m in found}})))
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
    spaces = {{name: dict(vars(module)) for name, module in sys.modules.items() if name.partition(".")[0] == "aiokafka"}}
    classes = {{value for names in spaces.values() for value in names.values() if isinstance(value, type)}}
    spaces |= {{f"{{cls.__module__}}.{{cls.__qualname__}}": dict(vars(cls)) for cls in classes}}
    return {{f"{{space}}.{{name}}": value for space, names in spaces.items() for name, value in names.items()}}

before = held()
import {module}
print(*(name for name, value in held().items() if before.get(name) is not value))
"""


@pytest.fixture(scope="module", params=[PROCESSOR, CLIENT], ids=lambda wheel: wheel.module)
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An environment with one of the wheels."""
    wheel: Wheel = request.param
    return install(wheel, tmp_path_factory.mktemp(wheel.module))


def test_the_wheel_has_types(installed: Installed) -> None:
    module = installed.wheel.module
    assert (installed.site / module.partition(".")[0] / "py.typed").is_file()
    told = installed.run(f"import {module} as c; print(c.__file__)")
    assert told.startswith(str(installed.site)), "the source tree was used, and not the wheel"


@pytest.mark.slow  # a whole run of mypy
def test_the_examples_and_the_api_are_typed_as_callers_see_them(installed: Installed, tmp_path: Path) -> None:
    module = installed.wheel.module
    found = examples(module)
    assert set(found) == {"readme_0", "clients_0", "clients_1"}
    for name, text in found.items():
        (tmp_path / f"{name}.py").write_text(text + "\n")
    (tmp_path / "client_api.py").write_text((ROOT / "tests" / "typing" / "client_api.py").read_text().replace("processor.client", module))
    if installed.wheel is CLIENT:
        shutil.copy(ROOT / "examples" / "python" / "ask.py", tmp_path)
    (tmp_path / "mypy.ini").write_text("[mypy]\n")  # a caller has our types and none of our settings
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "mypy.ini", "--python-executable", str(installed.python), "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_the_client_brings_only_what_it_needs(installed: Installed) -> None:
    found = set(json.loads(installed.run(IMPORTED.format(module=installed.wheel.module))))
    assert found >= NEEDED[installed.wheel], "the list is out of date"
    assert found <= NEEDED[installed.wheel] | NEEDED_BY_THOSE, "the client has become heavier"


def test_importing_the_client_changes_nothing_of_aiokafka(installed: Installed) -> None:
    patched = installed.run(PATCHED.format(module=installed.wheel.module)).split()
    assert patched == [], "a service that imports the client would get another Kafka client than it has chosen"


def test_the_two_wheels_have_no_file_in_common_and_the_same_public_names(installed: Installed) -> None:
    wheel = installed.wheel
    own = {path.name for path in installed.site.iterdir() if not path.is_symlink()} - {"__pycache__"}
    version = metadata.version("verification-processor")
    assert own == {wheel.module.partition(".")[0], f"{wheel.distribution.replace('-', '_')}-{version}.dist-info"}, "one version"
    assert installed.run(f"import {wheel.module} as c; print(*c.__all__)").split() == processor.client.__all__


def test_the_client_alone_pins_as_the_processor_does() -> None:
    own = {r.name: r for r in map(Requirement, _project(CLIENT)["dependencies"])}
    of_processor = {r.name: r for r in map(Requirement, _project(PROCESSOR)["dependencies"])}
    assert set(own) - set(of_processor) == {"pydantic"}, "which comes to the processor with pydantic-settings"
    for name in set(own) & set(of_processor):
        assert own[name] == of_processor[name], name
    assert metadata.version("pydantic") in own["pydantic"].specifier, "what it is tested with"


def _project(wheel: Wheel) -> dict[str, list[str]]:
    found: dict[str, list[str]] = tomllib.loads((wheel.folder / "pyproject.toml").read_text())["project"]
    return found
