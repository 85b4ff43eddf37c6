"""The two wheels that a caller may install, each in an environment of its own: the processor's, and the client's alone."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from email import message_from_string
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from standing_alone import needed

ROOT = Path(__file__).parent.parent
CODECS = {"cramjam"}  # what the extras of aiokafka need


@dataclass(frozen=True)
class Wheel:
    """Where it is built, and the module that callers import."""

    distribution: str
    folder: Path
    module: str


PROCESSOR = Wheel("verification-processor", ROOT, "processor.client")
CLIENT = Wheel("verification-client", ROOT / "clients" / "python", "verification_client")


@dataclass(frozen=True)
class Installed:
    """An environment with one of them and what it names as its dependencies; the source tree is not in it."""

    wheel: Wheel
    python: Path
    requirements: tuple[Requirement, ...]

    @property
    def site(self) -> Path:
        """Its site-packages."""
        (site,) = self.python.parent.parent.glob("lib/python*/site-packages")
        return site

    def run(self, code: str) -> str:
        """What code prints there; -I, because the working directory is the source tree."""
        return subprocess.run([self.python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout


def install(wheel: Wheel, folder: Path) -> Installed:
    """Build it and install it. Its dependencies are linked to, as they are in this environment: nothing is fetched."""
    built = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(built, cwd=wheel.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    venv.create(folder / "env", symlinks=True)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    with zipfile.ZipFile(path) as packed:
        packed.extractall(site)
    (told,) = site.glob("*.dist-info/METADATA")
    requires = message_from_string(told.read_text()).get_all("Requires-Dist") or []
    requirements = tuple(r for r in map(Requirement, requires) if r.marker is None or r.marker.evaluate({"extra": ""}))
    for name in needed({r.name for r in requirements} | CODECS):
        _link(name, site)
    return Installed(wheel, folder / "env" / "bin" / "python", requirements)


def _link(name: str, site: Path) -> None:
    distribution = metadata.distribution(name)
    for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        target = site / top
        if not target.exists():
            target.symlink_to(Path(str(distribution.locate_file(top))).resolve())
