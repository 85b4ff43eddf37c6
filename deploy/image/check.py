"""`make image-check`: build the image without a container engine, start it as a cluster would, and say what it weighs.

Needs root, buildah and debootstrap. The base is a bare Debian with its own Python, made here: nothing is pulled. The container runs
as the manifests ask for it: uid 10001, read-only root, no capability, no new privileges, process 1 of its own pid namespace.
Everything is made in a folder that is removed at the end. Exit status 1 if something is not as promised.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent.parent
SUITE = "bookworm"
UID = "10001"
STOP_LIMIT_S = 31.0  # LaneSettings.shutdown_s by default; the manifests give more
START_LIMIT_S = 20.0
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


def _run(command: list[str], log: IO[str]) -> str:
    log.write(f"\n$ {' '.join(command)}\n")
    log.flush()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT, check=False)
    log.write(done.stdout)
    log.flush()
    if done.returncode:
        raise CheckError(f"`{' '.join(command[:6])} ...` ended with status {done.returncode}")
    return done.stdout.strip()


@contextmanager
def _timed(what: str) -> Iterator[None]:
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
        return _run(["buildah", "--root", str(self.folder / "store"), "--runroot", str(self.folder / "run"), *arguments], self.log)

    def make_base(self) -> None:
        """A Debian with Python, as `localhost/base`."""
        base = self.folder / "base"
        _run(["debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", SUITE, str(base)], self.log)
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
        base = ["--build-arg", "PYTHON_IMAGE=localhost/base"]
        self.buildah("bud", "--isolation", "chroot", "--format", "docker", *base, "-t", "localhost/processor", ".")
        found: dict[str, Any] = json.loads(self.buildah("inspect", "--type", "image", "localhost/processor"))
        config: dict[str, Any] = found["Docker"]["config"]
        return config


@dataclass(frozen=True, slots=True)
class Container:
    """How to start a process in the image."""

    root: str
    config: dict[str, Any]
    log: IO[str]

    def start(self, arguments: list[str], environment: dict[str, str], stdout: int | IO[str]) -> subprocess.Popen[str]:
        """A process of the image, as its entry point starts it; its standard error goes to the log."""
        given = [*self.config["Env"], *(f"{name}={value}" for name, value in environment.items())]
        inside = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            CONTAINER,
            "container",
            self.root,
            *given,
            *arguments,
        ]
        return subprocess.Popen(inside, stdout=stdout, stderr=self.log, text=True)

    def output(self, *arguments: str) -> str:
        """What a command prints.

        Raises:
            CheckError: if it fails.
        """
        process = self.start(list(arguments), {}, subprocess.PIPE)
        text, _ = process.communicate(timeout=60)
        if process.returncode:
            raise CheckError(f"`{' '.join(arguments)}` ended with status {process.returncode} in the image")
        return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _get(port: int, path: str) -> int | None:
    """Status of an answer; None if nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def _first_process(parent: int) -> int:
    """Process 1 of the namespace that ``unshare`` with this pid has made, as we number it."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(children[0])


def _resident_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _await(port: int, path: str, status: int, limit_s: float) -> float:
    began = time.monotonic()
    while (found := _get(port, path)) != status:
        if time.monotonic() - began > limit_s:
            raise CheckError(f"{path} answered {found} instead of {status} for {limit_s:.0f} s")
        time.sleep(0.02)
    return time.monotonic() - began


def check_identity(container: Container) -> None:
    """The image says who runs it and what, and the kernel agrees."""
    config = container.config
    if config["User"] != f"{UID}:{UID}" or config["Entrypoint"] != ["processor"] or config["Cmd"] != ["run"]:
        raise CheckError(f"the image runs {config['Entrypoint']} {config['Cmd']} as {config['User']}")
    if (uid := container.output("id", "-u").strip()) != UID:
        raise CheckError(f"it runs as uid {uid}")
    if "read-only" not in container.output("sh", "-c", "cd /tmp && touch x 2>&1 || true").lower():
        raise CheckError("the root is not read-only here: this check would prove nothing")
    for command in (["--help"], ["run", "--help"], ["topics", "apply", "--help"]):
        if "Usage:" not in container.output("processor", *command):
            raise CheckError(f"`processor {' '.join(command)}` shows no help")


def check_service(container: Container, name: str, environment: dict[str, str]) -> str:
    """A service starts on a read-only root, answers on its port while Kafka is away, and ends on SIGTERM in time."""
    port = _free_port()
    common = {"VP_KAFKA__BOOTSTRAP": "127.0.0.1:1", "VP_OBSERVE__PORT": str(port), "VP_OBSERVE__HOST": "0.0.0.0"}  # noqa: S104 - as in a pod
    process = container.start(["processor", name], common | environment, container.log)
    try:
        started_s = _await(port, "/livez", 200, START_LIMIT_S)
        first = _first_process(process.pid)
        memory = _resident_mb(first)
        # as the manifests count on: waiting for Kafka is no reason to be restarted, and nothing to send work to
        for path, status in (("/startupz", 200), ("/readyz", 503), ("/metrics", 200)):
            _await(port, path, status, 5)
        if _get(port, "/") == 200:  # noqa: PLR2004 - HTTP's OK
            raise CheckError(f"`processor {name}` shows its page to everybody, without a token")
        began = time.monotonic()
        os.kill(first, signal.SIGTERM)
        ended = process.wait(timeout=STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise CheckError(f"`processor {name}` did not end within {STOP_LIMIT_S:.0f} s of SIGTERM") from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
    if ended:
        raise CheckError(f"`processor {name}` ended with status {ended} after SIGTERM")
    ended_s = time.monotonic() - began
    return f"processor {name}: /livez after {started_s:.1f} s, {memory:.0f} MB resident, ended {ended_s:.1f} s after SIGTERM"


def check(store: Store) -> None:
    """The whole check."""
    with _timed("base"):
        store.make_base()
    with _timed("image"):
        config = store.build()
    working = store.buildah("from", "localhost/processor")
    container = Container(store.buildah("mount", working), config, store.log)
    try:
        with _timed("uid, read-only root, help"):
            check_identity(container)
        with _timed("run and webhooks"):
            receiver = {"VP_WEBHOOKS__SECRETS": '["no-real-secret"]', "VP_WEBHOOKS__PORT": str(_free_port())}
            told = [check_service(container, "run", {"VP_DIDIT__API_KEY": "no-key"}), check_service(container, "webhooks", receiver)]
        app_mb, all_mb = (int(_run(["du", "-sm", place], store.log).split()[0]) for place in (f"{container.root}/opt/app", container.root))
    finally:
        store.buildah("rm", working)
    print("\n".join([*told, f"image: {app_mb} MB of ours, {all_mb} MB with a bare Debian and its Python"]))


def _fail(text: str, log: Path | None = None) -> NoReturn:
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:]) + "\n" if log is not None else ""
    print(f"{tail}image-check: {text}", file=sys.stderr)
    raise SystemExit(1)


def main() -> None:
    """Check, and clean up."""
    missing = [tool for tool in ("buildah", "debootstrap", "unshare", "setpriv") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        _fail(f"needs root and {', '.join(missing or ['nothing else'])}")
    folder = Path(tempfile.mkdtemp(prefix="vp-image-"))
    path = folder / "log"
    try:
        with path.open("w") as log, _timed("image-check"):
            store = Store(folder, log)
            try:
                check(store)
            finally:
                store.buildah("rm", "--all")
                store.buildah("rmi", "--all", "--force")
    except CheckError as error:
        _fail(str(error), path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
