"""Apache Kafka from its published jars, each pinned by checksum. Fetched by Maven, or where there is none by a Python resolver."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KAFKA_VERSION = "4.3.1"
_LIST = Path(__file__).parent / "kafka-jars.txt"
_FETCH_S = 300
_THREADS = 4


class JarsError(Exception):
    """The jars are not to be had; the text says what is missing and how to get it."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned artifact."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """As Maven names it."""
        return f"{self.artifact}-{self.version}.jar"


def pinned_jars(path: Path = _LIST) -> list[Jar]:
    """The list: ``group:artifact:version sha256`` a line."""
    jars = []
    for line in path.read_text().splitlines():
        coordinates, sha256 = line.split()
        group, artifact, version = coordinates.split(":")
        jars.append(Jar(group, artifact, version, sha256))
    return jars


def cache_folder() -> Path:
    """Where the jars are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / f"verification-processor-kafka-{KAFKA_VERSION}"


def ensure_jars(folder: Path | None = None, jars: list[Jar] | None = None) -> Path:
    """The folder with every jar, fetched if need be. Safe when several processes do it at once.

    Raises:
        JarsError: if a jar cannot be fetched, or is not the pinned one.
    """
    folder, jars = folder or cache_folder(), jars or pinned_jars()
    library = folder / "lib"
    library.mkdir(parents=True, exist_ok=True)
    with _locked(folder / ".lock"):
        missing = [jar for jar in jars if not _is_pinned(library / jar.file_name, jar)]
        if missing:
            _fetch(missing, folder, library)
        bad = [jar.file_name for jar in missing if not _is_pinned(library / jar.file_name, jar)]
    if bad:
        raise JarsError(f"{bad[0]} is missing or does not have its pinned checksum; delete {folder} and try again")
    return library


def _fetch(jars: list[Jar], folder: Path, library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        target = Path(temporary)
        if shutil.which("mvn"):
            _fetch_by_maven(jars, target)
        else:
            _fetch_by_python(jars, folder, target)
        for jar in jars:
            fetched = target / jar.file_name
            if _is_pinned(fetched, jar):
                fetched.replace(library / jar.file_name)  # atomic: a reader sees the whole jar or none


def _fetch_by_maven(jars: list[Jar], target: Path) -> None:
    exclusions = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
    dependencies = "".join(
        f"<dependency><groupId>{j.group}</groupId><artifactId>{j.artifact}</artifactId><version>{j.version}</version>{exclusions}</dependency>"
        for j in jars
    )
    pom = target / "pom.xml"
    pom.write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>local</groupId>'
        f"<artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"
    )
    command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={target}"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_FETCH_S)
    except subprocess.TimeoutExpired:
        raise JarsError(f"Maven did not fetch Kafka's jars within {_FETCH_S} s; is its repository reachable?") from None
    if done.returncode:
        raise JarsError(
            f"Maven could not fetch Kafka's jars; is its repository reachable, and named in ~/.m2/settings.xml?\n{done.stdout[-1000:]}"
        )


def _fetch_by_python(jars: list[Jar], folder: Path, target: Path) -> None:
    try:
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - only where Maven is absent
    except ImportError:
        raise JarsError("Kafka's jars need Maven (`apt-get install maven`) or the Python package jgo (`pip install jgo==3.2.0`)") from None
    context = MavenContext(repo_cache=folder / "m2", resolver=PythonResolver())

    def fetch(jar: Jar) -> None:
        found = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
        shutil.copyfile(found, target / jar.file_name)

    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            list(threads.map(fetch, jars))
        except Exception as exc:
            raise JarsError(f"Kafka's jars could not be fetched: {exc}") from exc


def _is_pinned(path: Path, jar: Jar) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
