"""Brokers that tests share: one for all workers of a run, and one that a test may break, and that is whole again for the next.

A broker takes seconds of CPU to start and some of it for as long as it runs, and two cores serve everything here.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from processor.devkit.kafka_cluster import LocalKafka


class JoinedKafka(LocalKafka):
    """A cluster that another worker has started: to be used, not to be stopped."""

    def __init__(self, bootstrap: str, folders: Sequence[str]) -> None:
        super().__init__()
        self._external = bootstrap
        self._folders = [Path(folder) for folder in folders]

    @property
    def external(self) -> bool:
        return False

    @property
    def folders(self) -> list[Path]:
        return self._folders


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, how)
        yield


@contextmanager
def kafka_of_the_run(folder: Path) -> Iterator[LocalKafka]:
    """The broker that whoever comes first starts, told to the others in this folder, and stopped when nobody uses it any more."""
    told, door = folder / "kafka.json", folder / "kafka.door"
    with ExitStack() as stack:
        users = stack.enter_context((folder / "kafka.users").open("a"))
        with _locked(door, fcntl.LOCK_EX):
            fcntl.flock(users, fcntl.LOCK_SH)
            cluster = JoinedKafka(**json.loads(told.read_text())) if told.exists() else LocalKafka()
            stack.enter_context(cluster)
            if not isinstance(cluster, JoinedKafka) and not cluster.external:
                told.write_text(json.dumps({"bootstrap": cluster.bootstrap, "folders": [str(folder) for folder in cluster.folders]}))
                stack.callback(_close, told, door, users.fileno())
        yield cluster


def _close(told: Path, door: Path, users: int) -> None:
    """Nobody comes in any more, and everybody else has left: their tests have ended, or their processes."""
    with _locked(door, fcntl.LOCK_EX):
        fcntl.flock(users, fcntl.LOCK_EX)
        told.unlink()


def mend(cluster: LocalKafka) -> None:
    """Every broker runs, and is not frozen."""
    for broker in cluster.brokers:
        broker.thaw()
        if not broker.process.alive:
            broker.start()
    cluster.wait_ready()
