"""`make image-check`: build the image, start it as a cluster would, let it work, and say what it weighs.

Needs root, buildah and debootstrap; nothing is pulled but the packages of the lock. The Kafka is the one of the tests. Everything is made
in a folder that is removed at the end. Exit status 1 if something is not as promised.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from container import COMMIT, UID, CheckError, Container, Store, free_port, get, run, timed, wait_answer
from processor import __version__
from processor.devkit.kafka_cluster import LocalKafka

STOP_LIMIT_S = 31.0  # LaneSettings.shutdown_s by default; the manifests give more
START_LIMIT_S = 120.0  # it is built and started beside the tests, on two cores
RESULT_LIMIT_S = 60.0
OK, UNAVAILABLE = 200, 503
NOWHERE = "127.0.0.1:1"
REQUEST = {"request_id": "image-check", "operation": "session.list", "input": {}}


def check_identity(container: Container) -> None:
    """The image says who runs it and what, and the kernel agrees."""
    config = container.config
    if config["User"] != f"{UID}:{UID}" or config["Entrypoint"] != ["processor"] or config["Cmd"] != ["run"]:
        raise CheckError(f"the image runs {config['Entrypoint']} {config['Cmd']} as {config['User']}")
    told, label = container.output("processor", "--version").strip(), (config["Labels"] or {}).get("org.opencontainers.image.revision")
    if (told, label) != (f"verification-processor {__version__}+g{COMMIT}", COMMIT):
        raise CheckError(f"the image calls itself {told} and is labelled {label}, not as what it was built from")
    if (uid := container.output("id", "-u").strip()) != str(UID):
        raise CheckError(f"it runs as uid {uid}")
    if "read-only" not in container.output("sh", "-c", "cd /tmp && touch x 2>&1 || true").lower():
        raise CheckError("the root is not read-only here: this check would prove nothing")
    for command in (["--help"], ["run", "--help"], ["topics", "apply", "--help"]):
        if "Usage:" not in container.output("processor", *command):
            raise CheckError(f"`processor {' '.join(command)}` shows no help")


def check_waiting(container: Container, name: str, environment: dict[str, str]) -> str:
    """While Kafka is away a service starts, answers as the manifests count on, shows nothing to strangers, and ends on SIGTERM in time."""
    port = free_port()
    common = {"VP_KAFKA__BOOTSTRAP": NOWHERE, "VP_OBSERVE__PORT": str(port), "VP_OBSERVE__HOST": "0.0.0.0"}  # noqa: S104 - as in a pod
    with container.running(["processor", name], common | environment) as service:
        started_s = wait_answer(port, "/livez", OK, START_LIMIT_S)
        for path, status in (("/startupz", OK), ("/readyz", UNAVAILABLE), ("/metrics", OK)):
            wait_answer(port, path, status, 5)
        if get(port, "/") == OK:
            raise CheckError(f"`processor {name}` shows its page to everybody, without a token")
        memory_mb = service.resident_mb
        stopped_s = service.stop(STOP_LIMIT_S)
    return f"processor {name}: /livez after {started_s:.1f} s, {memory_mb:.0f} MB resident, ended {stopped_s:.1f} s after SIGTERM"


def check_work(container: Container, bootstrap: str) -> str:
    """Topics, simulator, processor, receiver, a request and its result: all out of the image, on its read-only root."""
    didit, watch, hooks, hooks_watch = (free_port() for _ in range(4))
    common = {"VP_KAFKA__BOOTSTRAP": bootstrap, "VP_KAFKA__TOPIC_PREFIX": "image-check", "VP_KAFKA__GROUP": "image-check"}
    key = {"VP_DIDIT__API_KEY": "sim-key", "VP_DIDIT__BASE_URL": f"http://127.0.0.1:{didit}", "VP_OBSERVE__PORT": str(watch)}
    secret = {"VP_WEBHOOKS__SECRETS": '["no-real-secret"]', "VP_WEBHOOKS__PORT": str(hooks), "VP_OBSERVE__PORT": str(hooks_watch)}
    container.output("processor", "topics", "apply", "--partitions", "2", "--replication", "1", environment=common)
    with (
        container.running(["processor", "simulate", "--host=127.0.0.1", f"--port={didit}"], {}),
        container.running(["processor", "run"], common | key) as processor,
        container.running(["processor", "webhooks"], common | secret) as receiver,
    ):
        ready_s = wait_answer(watch, "/readyz", OK, START_LIMIT_S)
        wait_answer(hooks_watch, "/readyz", OK, START_LIMIT_S)
        container.output("processor", "publish", "/dev/stdin", environment=common, given=json.dumps(REQUEST) + "\n")
        status = _result(container, common)
        if status != "succeeded":
            raise CheckError(f"the request ended as {status}")
        stopped_s = max(processor.stop(STOP_LIMIT_S), receiver.stop(STOP_LIMIT_S))
    return (
        f"a request through Kafka and the simulator: ready after {ready_s:.1f} s, result succeeded, ended {stopped_s:.1f} s after SIGTERM"
    )


def _result(container: Container, environment: dict[str, str]) -> str:
    began = time.monotonic()
    while time.monotonic() - began < RESULT_LIMIT_S:
        for line in container.output("processor", "results", environment=environment).splitlines():
            found = json.loads(line)
            if found["request_id"] == REQUEST["request_id"]:
                return str(found["status"])
    raise CheckError(f"no result within {RESULT_LIMIT_S:.0f} s")


def check(store: Store) -> None:
    """The whole check."""
    with timed("base"):
        store.make_base()
    with timed("image"):
        config = store.build()
    working = store.buildah("from", "localhost/processor")
    container = Container(store.buildah("mount", working), config, store.log)
    try:
        with timed("uid, read-only root, help"):
            check_identity(container)
        with timed("without Kafka"):
            receiver = {"VP_WEBHOOKS__SECRETS": '["no-real-secret"]', "VP_WEBHOOKS__PORT": str(free_port())}
            told = [check_waiting(container, "run", {"VP_DIDIT__API_KEY": "no-key"}), check_waiting(container, "webhooks", receiver)]
        with timed("at work"), LocalKafka() as kafka:
            told.append(check_work(container, kafka.bootstrap))
        app_mb, all_mb = (int(run(["du", "-sm", place], store.log).split()[0]) for place in (f"{container.root}/opt/app", container.root))
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
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells of every try until the broker is there
    folder = Path(tempfile.mkdtemp(prefix="vp-image-"))
    path = folder / "log"
    try:
        with path.open("w") as log, timed("image-check"):
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
