"""One broker of a local cluster, by handle."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from processor.devkit.child_process import ChildProcess

_STOP_S = 15.0
_FORMAT_S = 180.0
_LOG4J = """rootLogger.level=WARN
rootLogger.appenderRef.c.ref=c
appender.c.type=Console
appender.c.name=c
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d %p %c{1} %m%n
"""


class BrokerError(Exception):
    """A broker did not start; the text holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Of one broker: for clients, for the controllers, and, if there is one, for clients behind a proxy."""

    client: int
    controller: int
    chaos: int | None = None
    chaos_proxy: int | None = None


class Broker:
    """A broker process with its own folder; keeps ports and data over a restart."""

    def __init__(
        self,
        number: int,
        ports: Ports,
        properties: Mapping[str, str],
        folder: Path,
        java: str,
        library: Path,
        environment: Mapping[str, str],
        log_levels: Mapping[str, str],
    ) -> None:
        self.number, self.ports, self.folder = number, ports, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._properties = folder / "server.properties"
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        levels = [f"logger.{n}.name={name}\nlogger.{n}.level={level}\n" for n, (name, level) in enumerate(log_levels.items())]
        (folder / "log4j2.properties").write_text("".join([_LOG4J, *levels]))
        options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        self._java = [java, *options, f"-Dlog4j2.configurationFile={folder}/log4j2.properties", "-cp", f"{library}/*"]
        argv = [*self._java, "kafka.Kafka", str(self._properties)]
        self.process = ChildProcess(f"broker {number}", argv, environment, folder / "server.log")

    @property
    def address(self) -> str:
        """host:port for clients."""
        return f"127.0.0.1:{self.ports.client}"

    def format(self, cluster_id: str, options: Sequence[str] = ()) -> None:
        """Prepare the storage; once, before the first start. ``options`` go to Kafka's tool, e.g. ``--add-scram=...``.

        Raises:
            BrokerError: if Kafka refuses.
        """
        command = [*self._java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(self._properties), *options]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_FORMAT_S)
        except subprocess.TimeoutExpired:
            raise BrokerError(
                f"Kafka did not format its storage within {_FORMAT_S:.0f} s; does this machine have a core to spare?"
            ) from None
        if done.returncode:
            raise BrokerError(f"Kafka could not format its storage:\n{(done.stdout + done.stderr)[-2000:]}")

    def start(self) -> None:
        """Start it, or start it again; does not wait until it is ready."""
        self.process.start()

    def stop(self) -> None:
        """An orderly stop; after 15 s a kill."""
        self.process.stop(_STOP_S)

    def move(self, port: int) -> None:
        """Have another port for clients from the next start on; while it is stopped."""
        settings = self._properties.read_text()
        self._properties.write_text(re.sub(rf":{self.ports.client}(?=[,\n])", f":{port}", settings))
        self.ports = replace(self.ports, client=port)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def freeze(self) -> None:
        """SIGSTOP: its sockets stay open and answer nothing."""
        self.process.freeze()

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.thaw()
