"""Builds the image without a container engine, and starts processes in it as a cluster would.

buildah builds in a chroot, on a bare Debian that debootstrap makes. A process gets what the manifests ask for: uid 10001, a read-only
root, no capability, no new privileges, and number 1 in a pid namespace of its own. It keeps the machine's network, so its ports can be
asked.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent.parent
SUITE = "bookworm"
UID = 10001
COMMIT = "0123456789ab"  # an image says which it was built from; any will do here
CA_FILE = Path("/etc/ssl/certs/ca-certificates.crt")
CA_IN_BASE = CA_FILE.relative_to("/")
# what a kubelet does with securityContext; a plain chroot keeps the machine's network, so the port can be asked from here
CONTAINER = """
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t proc -o nosuid,nodev,noexec proc "$1/proc"
mount --bind /dev "$1/dev"
root=$1; shift
exec setpriv --no-new-privs chroot --userspec=10001:10001 --groups= "$root" /usr/bin/env -i "$@"
"""


class CheckError(Exception):
    """The image, or this machine, is not as it must be."""


def run(command: list[str], log: IO[str]) -> str:
    """Standard output of a command of this machine.

    Raises:
        CheckError: if it fails; its words are in the log.
    """
    log.write(f"\n$ {' '.join(command)}\n")
    log.flush()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT, check=False)
    log.write(done.stdout)
    log.flush()
    if done.returncode:
        raise CheckError(f"`{' '.join(command[:6])} ...` ended with status {done.returncode}")
    return done.stdout.strip()


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long it took."""
    began = time.monotonic()
    yield
    print(f"{time.monotonic() - began:6.1f} s  {what}", flush=True)


@dataclass(frozen=True, slots=True)
class Store:
    """Images of this run only, apart from the machine's own."""

    folder: Path
    log: IO[str]

    def buildah(self, *arguments: str) -> str:
        """Standard output of a buildah command.

        Raises:
            CheckError: if it fails; its words are in the log.
        """
        return run(["buildah", "--root", str(self.folder / "store"), "--runroot", str(self.folder / "run"), *arguments], self.log)

    def make_base(self) -> None:
        """A Debian with Python, as `localhost/base`."""
        base = self.folder / "base"
        run(["debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", SUITE, str(base)], self.log)
        (base / "usr/bin/python").symlink_to("python3")
        for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
            shutil.rmtree(base / waste, ignore_errors=True)
        if CA_FILE.is_file():  # a machine behind an authority of its own: pip in the base must know it too
            shutil.copyfile(CA_FILE, base / CA_IN_BASE)
            (base / "etc/pip.conf").write_text(f"[global]\ncert = {CA_FILE}\n")
        container = self.buildah("from", "scratch")
        self.buildah("add", "-q", container, str(base), "/")
        self.buildah("config", "--env", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
        self.buildah("commit", "-q", container, "localhost/base")
        self.buildah("rm", container)
        shutil.rmtree(base)

    def build(self) -> dict[str, Any]:
        """The image from the Dockerfile, as `localhost/processor`; its configuration."""
        base = ["--build-arg", "PYTHON_IMAGE=localhost/base", "--build-arg", f"COMMIT={COMMIT}"]
        self.buildah("bud", "--isolation", "chroot", "--format", "docker", *base, "-t", "localhost/processor", ".")
        found: dict[str, Any] = json.loads(self.buildah("inspect", "--type", "image", "localhost/processor"))
        config: dict[str, Any] = found["Docker"]["config"]
        return config


class Running:
    """A process in the image."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name, self._process = name, process

    @property
    def _first(self) -> int:
        """Process 1 of its namespace, as we number it."""
        pid = self._process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    @property
    def resident_mb(self) -> float:
        """Memory of the process itself."""
        lines = Path(f"/proc/{self._first}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    def stop(self, limit_s: float) -> float:
        """End it as Kubernetes does; seconds that it took.

        Raises:
            CheckError: if it takes longer, or ends with another status than 0.
        """
        began = time.monotonic()
        os.kill(self._first, signal.SIGTERM)
        try:
            status = self._process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise CheckError(f"`{self.name}` did not end within {limit_s:.0f} s of SIGTERM") from None
        if status:
            raise CheckError(f"`{self.name}` ended with status {status} after SIGTERM")
        return time.monotonic() - began

    def kill(self) -> None:
        """End it, if it has not ended."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


@dataclass(frozen=True, slots=True)
class Container:
    """A working container of the image."""

    root: str
    config: dict[str, Any]
    log: IO[str]

    @contextmanager
    def running(self, arguments: list[str], environment: Mapping[str, str]) -> Iterator[Running]:
        """A process, while the block lasts; what it says goes to the log."""
        started = Running(" ".join(arguments), self._start(arguments, environment, subprocess.DEVNULL, self.log))
        try:
            yield started
        finally:
            started.kill()

    def output(self, *arguments: str, environment: Mapping[str, str] | None = None, given: str = "") -> str:
        """What a command prints. ``given``: its standard input, which belongs to its user, as container runtimes see to it.

        Raises:
            CheckError: if it fails.
        """
        reading, writing = os.pipe()
        os.fchown(reading, UID, UID)
        process = self._start(list(arguments), environment or {}, reading, subprocess.PIPE)
        os.close(reading)
        with os.fdopen(writing, "w") as pipe:
            pipe.write(given)
        text, _ = process.communicate(timeout=60)
        if process.returncode:
            raise CheckError(f"`{' '.join(arguments)}` ended with status {process.returncode} in the image")
        return text

    def _start(self, arguments: list[str], environment: Mapping[str, str], stdin: int, stdout: int | IO[str]) -> subprocess.Popen[str]:
        given = [*self.config["Env"], *(f"{name}={value}" for name, value in environment.items())]
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        inside = [*apart, "sh", "-c", CONTAINER, "container", self.root, *given, *arguments]
        return subprocess.Popen(inside, stdin=stdin, stdout=stdout, stderr=self.log, text=True)


def free_port() -> int:
    """One that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(port: int, path: str) -> int | None:
    """Status of an answer; None if nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def wait_answer(port: int, path: str, status: int, limit_s: float) -> float:
    """Seconds until an answer has this status.

    Raises:
        CheckError: after ``limit_s``.
    """
    began = time.monotonic()
    while (found := get(port, path)) != status:
        if time.monotonic() - began > limit_s:
            raise CheckError(f"{path} answered {found} instead of {status} for {limit_s:.0f} s")
        time.sleep(0.02)
    return time.monotonic() - began
