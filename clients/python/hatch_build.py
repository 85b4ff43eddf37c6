"""Fills the wheel: the modules that ``processor.client`` imports, as they are, under ``verification_client``; and the schemas.

Only their imports are rewritten, so that both distributions can be installed side by side. In the place of the processor's settings
stands ``caller_settings.py``, which knows those of a caller and no others.
"""

from __future__ import annotations

import ast
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PUBLIC = "verification_client"
PRIVATE = f"{PUBLIC}._processor"
REPLACED = {"processor.settings": HERE / "caller_settings.py"}
_IMPORT = re.compile(r"^(\s*(?:from|import) )processor\b", re.MULTILINE)
_PACKAGE = f'"""Parts of verification-processor that {PUBLIC} is made of. Private: they may change at any time."""\n'


class ClientWheelHook(BuildHookInterface[Any]):
    """Called by hatchling before and after it writes the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the files, and have them packed.

        Raises:
            RuntimeError: if the modules are not there, or it is to be installed in place.
        """
        if version == "editable" or not (ROOT / "processor").is_dir():
            raise RuntimeError("verification-client is built from a checkout, as a wheel: `pip wheel --no-deps clients/python`")
        self._made = Path(tempfile.mkdtemp())
        write_package(self._made)
        build_data["force_include"][str(self._made)] = PUBLIC

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatchling's signature
        """Remove them."""
        shutil.rmtree(self._made)


def write_package(folder: Path) -> None:
    """Everything that the wheel installs, written as ``verification_client/``."""
    private = folder / PRIVATE.rpartition(".")[2]
    for name, source in _modules("processor.client").items():
        *packages, last = name.split(".")[1:] or [""]
        if source.name == "__init__.py" or name in REPLACED:
            packages, last = [*packages, last], "__init__"
        target = private.joinpath(*packages, f"{last}.py")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_PACKAGE if name in {"processor", "processor.client"} else _rewritten(source))
    (folder / "__init__.py").write_text(_rewritten(ROOT / "processor" / "client" / "__init__.py"))
    (folder / "py.typed").touch()
    shutil.copy(ROOT / "LICENSE", folder)
    (private / "_schemas").mkdir()
    for schema in (ROOT / "schemas").glob("*.json"):
        shutil.copy(schema, private / "_schemas")


def _modules(name: str) -> dict[str, Path]:
    """The module, its packages, and all of ours that any of them imports, by name."""
    found: dict[str, Path] = {}
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name in found or (source := _source(name)) is None:
            continue
        found[name] = source
        if name != "processor":
            waiting += [name.rpartition(".")[0], *_imported(source)]
    return found


def _source(name: str) -> Path | None:
    """The file of a module; None if it is a name inside of one."""
    path = ROOT.joinpath(*name.split("."))
    places = (REPLACED.get(name), path / "__init__.py", path.with_suffix(".py"))
    return next((place for place in places if place is not None and place.is_file()), None)


def _imported(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names if alias.name.startswith("processor"))
            case ast.ImportFrom(module=str(module)) if module.startswith("processor"):
                yield from (module, *(f"{module}.{alias.name}" for alias in node.names))


def _rewritten(source: Path) -> str:
    return _IMPORT.sub(rf"\1{PRIVATE}", source.read_text())
