"""A real Apache Kafka on this machine: one to three brokers on loopback. ``KAFKA_BOOTSTRAP`` set means: use that one."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from processor.devkit.broker import Broker, BrokerError, Ports
from processor.devkit.held_ports import HeldPorts
from processor.devkit.jars import JarsError, ensure_jars
from processor.devkit.java import JavaError, find_java
from processor.stream.admin import broker_ids

_READY_S = 180.0  # a second where nothing else runs; a minute where a dozen others start as well


class LocalKafkaError(Exception):
    """There is no Kafka; the text says what is missing and the command that brings it."""


class LocalKafka:
    """A cluster as a context manager.

    Args:
        brokers: 1; 2, of which the first alone is a controller (replication 2, min.insync 1); or 3 (replication 3, min.insync 2).
        port: of the first broker; 0 takes a free one.
        chaos_port: port of a proxy that stands before broker 1; clients that bootstrap there are kept behind it.
        overrides: broker properties.
        format_options: for Kafka's storage tool, e.g. users.
        client_options: how an admin client connects, where the listeners are secured.
        environment: variables of the brokers' processes.
        more_listeners: of a single broker, beside the one named PLAINTEXT: name and port. ``overrides`` say how they are secured.
        log_levels: by logger; everything else is WARN.

    Raises:
        LocalKafkaError: on entering, if it cannot be started.
    """

    def __init__(
        self,
        brokers: int = 1,
        *,
        port: int = 0,
        chaos_port: int | None = None,
        overrides: dict[str, str] | None = None,
        format_options: Sequence[str] = (),
        client_options: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        more_listeners: Mapping[str, int] | None = None,
        log_levels: Mapping[str, str] | None = None,
    ) -> None:
        self._count, self._port, self._chaos_port, self._overrides = brokers, port, chaos_port, overrides or {}
        self._format_options, self._client_options, self._environment = format_options, dict(client_options or {}), dict(environment or {})
        self._more_listeners, self._log_levels = dict(more_listeners or {}), dict(log_levels or {})
        self._external = os.environ.get("KAFKA_BOOTSTRAP")
        self._brokers: list[Broker] = []
        self._folder: Path | None = None
        self._held: HeldPorts | None = None

    @property
    def external(self) -> bool:
        """Whether it is somebody else's, by ``KAFKA_BOOTSTRAP``."""
        return self._external is not None

    @property
    def bootstrap(self) -> str:
        """host:port of every broker."""
        return self._external or ",".join(broker.address for broker in self._brokers)

    @property
    def brokers(self) -> list[Broker]:
        """Handles, to stop, kill and freeze.

        Raises:
            LocalKafkaError: for somebody else's cluster.
        """
        if self._external is not None:
            raise LocalKafkaError("KAFKA_BOOTSTRAP is set: its brokers are not ours to stop; unset it to let a local one be started")
        return self._brokers

    @property
    def folders(self) -> list[Path]:
        """Home of each broker: its properties, its log, and below ``data`` its records."""
        return [broker.folder for broker in self.brokers]

    def __enter__(self) -> Self:
        if self._external is not None:
            return self
        try:
            library, java = ensure_jars(), find_java()
            self._folder = Path(tempfile.mkdtemp(prefix="processor-kafka-"))
            self._brokers = self._make(self._folder, java, library)
            cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
            for broker in self._brokers:
                broker.format(cluster_id, self._format_options)
            for broker in self._brokers:
                broker.start()
            self.wait_ready()
        except (JarsError, JavaError, BrokerError) as exc:
            self.__exit__()
            raise LocalKafkaError(str(exc)) from exc
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for broker in self._brokers:
            broker.process.stop(5.0)
        if self._held is not None:
            self._held.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def wait_ready(self, within_s: float = _READY_S) -> None:
        """Wait until every broker that runs is a member of the cluster.

        Raises:
            BrokerError: if one ended, or they are not ready in time.
        """
        wanted = {broker.number for broker in self._brokers if broker.process.alive}
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            for broker in self._brokers:
                if broker.number in wanted and not broker.process.alive:
                    raise BrokerError(f"{broker.process.name} ended:\n{broker.process.log_tail()}")
            if wanted <= _in_thread(self.bootstrap, self._client_options):
                return
            time.sleep(0.1)
        raise BrokerError(f"Kafka was not ready after {within_s:.0f} s:\n{self._brokers[0].process.log_tail()}")

    def _make(self, folder: Path, java: str, library: Path) -> list[Broker]:
        try:
            self._held = HeldPorts(3 * self._count, first=self._port)
        except OSError as exc:
            raise LocalKafkaError(f"port {self._port} is taken ({exc.strerror}); name another one, or 0 for a free one") from None
        free = self._held.numbers
        ports = [
            Ports(free[3 * i], free[3 * i + 1], free[3 * i + 2] if self._chaos_port else None, self._chaos_port) for i in range(self._count)
        ]
        controllers = ports[: self._count - 1 + self._count % 2]  # of an even number, one more may not fail than of the odd one below
        voters = ",".join(f"{i + 1}@127.0.0.1:{p.controller}" for i, p in enumerate(controllers))
        made = []
        for number, own in enumerate(ports, 1):
            home = folder / f"broker-{number}"
            properties = self._properties(number, own, voters, home)
            made.append(Broker(number, own, properties, home, java, library, self._environment, self._log_levels))
        return made

    def _properties(self, number: int, ports: Ports, voters: str, folder: Path) -> dict[str, str]:
        replicas, insync = str(self._count), "2" if self._count >= 3 else "1"  # noqa: PLR2004 - Kafka's usual pair
        chaos = f",CHAOS://127.0.0.1:{ports.chaos}" if ports.chaos else ""
        advertised = f",CHAOS://127.0.0.1:{ports.chaos_proxy}" if ports.chaos else ""
        more = "".join(f",{name}://127.0.0.1:{port}" for name, port in self._more_listeners.items())
        controller = f",CONTROLLER://127.0.0.1:{ports.controller}" if f"{number}@" in voters else ""
        return {
            "process.roles": "broker,controller" if controller else "broker",
            "node.id": str(number),
            "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://127.0.0.1:{ports.client}{controller}{chaos}{more}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{ports.client}{advertised}{more}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CHAOS:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(folder / "data"),
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": insync,
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": insync,
            "default.replication.factor": replicas,
            "min.insync.replicas": insync,
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
            **self._overrides,
        }


def _in_thread(bootstrap: str, options: Mapping[str, Any]) -> set[int]:
    """Broker ids that answer; in a thread of its own, because the caller may be inside a running loop."""
    found: set[int] = set()

    def ask() -> None:
        found.update(asyncio.run(broker_ids({"bootstrap_servers": bootstrap, **options}, 5.0)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(10.0)
    return set(found)
