"""A broker as companies run one: TLS, logins, ACLs, nobody allowed anything that is not granted, and an audit of what was asked.

A listener is a row of ``LISTENERS``: how the broker secures it, and how a client of ours gets in. All principals of a test are made when
the broker starts; what they may do is granted by Kafka's own tool.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from certificates import authority, broker_store, certificate, need_openssl
from example_programs import missing

from processor.devkit.held_ports import HeldPorts
from processor.devkit.jars import KAFKA_VERSION, Jar, cache_folder, ensure_jars
from processor.devkit.java import find_java
from processor.devkit.kafka_cluster import LocalKafka
from processor.settings import KafkaSettings

_TOOLS = Jar("org.apache.kafka", "kafka-tools", KAFKA_VERSION, "62f3c5dd7aa3442d4c5bc6a95f86e2502178ea09de8e27f74d9563bf955e253c")
_JAVA_S = 120
ADMIN = "admin"
SCRAM, MTLS = "PLAINTEXT", "MTLS"  # names of listeners; the first one is named by the local Kafka
Variables = dict[str, str]


def certificates(folder: Path, names: Sequence[str]) -> None:
    """``ca.pem``; of the broker and of each name a certificate and a key, ``<name>.pem`` and ``<name>.key``, signed by it."""
    authority(folder)
    for name in ("broker", *names):
        certificate(folder, name)


def _scram(folder: Path, user: str) -> Variables:
    (folder / f"{user}.password").write_text(f"{user}-secret\n")
    return {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "SCRAM-SHA-512",
        "SASL_USERNAME": user,
        "SASL_PASSWORD_FILE": str(folder / f"{user}.password"),
        "SSL_CA_FILE": str(folder / "ca.pem"),
    }


def _mtls(folder: Path, user: str) -> Variables:
    return {
        "SECURITY_PROTOCOL": "SSL",
        "SSL_CA_FILE": str(folder / "ca.pem"),
        "SSL_CERTIFICATE_FILE": str(folder / f"{user}.pem"),
        "SSL_KEY_FILE": str(folder / f"{user}.key"),
    }


@dataclass(frozen=True)
class Listener:
    """One way in."""

    protocol: str  # of the broker's listener.security.protocol.map
    client: Callable[[Path, str], Variables]  # VP_KAFKA__ variables, without that prefix, of a user
    properties: Mapping[str, str] = field(default_factory=dict)  # the broker's own, without ``listener.name.<name>.``


LISTENERS = {
    SCRAM: Listener(
        "SASL_SSL",
        _scram,
        {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required "
            f'username="{ADMIN}" password="{ADMIN}-secret";',  # how the broker logs in to itself
        },
    ),
    MTLS: Listener("SSL", _mtls, {"ssl.client.auth": "required"}),
}


class Asked(NamedTuple):
    """One line of the broker's audit."""

    allowed: bool
    user: str
    operation: str  # as Kafka's enum, e.g. DESCRIBE_CONFIGS
    resource: str  # e.g. Topic
    name: str
    request: str  # what was asked with it, e.g. Fetch


_ASKED = re.compile(
    r"Principal = User:(?P<user>\S+) is (?P<word>Allowed|Denied) operation = (?P<operation>\w+) from host = \S+ "
    r"on resource = (?P<resource>\w+):LITERAL:(?P<name>\S*) for request = (?P<request>\w+)"
)


@dataclass(frozen=True)
class SecuredKafka:
    """The broker, and how to be one of its users."""

    cluster: LocalKafka
    folder: Path
    addresses: Mapping[str, str]  # host:port by listener
    listeners: Mapping[str, Listener]

    def variables(self, user: str, listener: str = SCRAM) -> Variables:
        """Environment of a process that is to be this user on that listener."""
        own = {"BOOTSTRAP": self.addresses[listener], **self.listeners[listener].client(self.folder, user)}
        return {f"VP_KAFKA__{name}": value for name, value in own.items()}

    def run_acls(self, script: str) -> str:
        """Run a script of ``kafka-acls`` commands: read by a shell, done by Kafka's own tool. What that says."""
        (self.folder / "bin").mkdir(exist_ok=True)
        asked = self.folder / "asked.tsv"
        asked.unlink(missing_ok=True)
        stand_in = self.folder / "bin" / "kafka-acls"
        stand_in.write_text(f"#!/bin/sh\nIFS=\"$(printf '\\t')\"; printf '%s\\n' \"$*\" >> {shlex.quote(str(asked))}\n")
        stand_in.chmod(0o700)
        path = f"{stand_in.parent}:{os.environ['PATH']}"
        subprocess.run(["sh", "-e"], input=script, text=True, check=True, env={**os.environ, "PATH": path})
        return _kafka_tool(asked)

    def admin_config(self) -> Path:
        """The administrator's login, for ``--command-config``."""
        path = self.folder / "admin.properties"
        login = f'org.apache.kafka.common.security.scram.ScramLoginModule required username="{ADMIN}" password="{ADMIN}-secret";'
        lines = ["security.protocol=SASL_SSL", "sasl.mechanism=SCRAM-SHA-512", f"sasl.jaas.config={login}"]
        lines += ["ssl.truststore.type=PEM", f"ssl.truststore.location={self.folder / 'ca.pem'}"]
        path.write_text("\n".join(lines))
        return path

    def audit(self) -> Iterator[Asked]:
        """What was asked, each once. Questions what a user may do are not among it: Kafka logs them at TRACE."""
        seen = set()
        for broker in self.cluster.brokers:
            for line in (broker.folder / "server.log").read_text().splitlines():
                if (found := _ASKED.search(line)) is not None:
                    seen.add(Asked(found["word"] == "Allowed", *found.group("user", "operation", "resource", "name", "request")))
        yield from sorted(seen)


def _kafka_tool(asked: Path) -> str:
    java = find_java()
    modules = subprocess.run([java, "--list-modules"], check=True, capture_output=True, text=True, timeout=_JAVA_S).stdout
    if "jdk.compiler" not in modules:
        missing(f"{java} has no compiler (jdk.compiler): `apt-get install default-jdk-headless`")
    tools = ensure_jars(cache_folder().with_name(f"verification-processor-kafka-tools-{KAFKA_VERSION}"), [_TOOLS])
    program = Path(__file__).parent / "foreign" / "AclCommands.java"
    command = [java, "-XX:TieredStopAtLevel=1", "-cp", f"{tools}/*:{ensure_jars()}/*", str(program), str(asked)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_JAVA_S)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@contextmanager
def secured_kafka(folder: Path, users: Sequence[str], listeners: Mapping[str, Listener] | None = None) -> Iterator[SecuredKafka]:
    """One broker with every listener; ``users`` get a password and a certificate, and no right."""
    if os.environ.get("KAFKA_BOOTSTRAP"):
        pytest.skip("KAFKA_BOOTSTRAP is set: its brokers are not ours (unset it, and a local one is started)")
    need_openssl()
    listeners = LISTENERS if listeners is None else listeners
    certificates(folder, (ADMIN, *users))
    more = [name for name in listeners if name != SCRAM]
    with HeldPorts(len(more)) as held:
        ports = dict(zip(more, held.numbers, strict=True))
        login = KafkaSettings(bootstrap="127.0.0.1:1", **{k.lower(): v for k, v in _scram(folder, ADMIN).items()})
        options = login.client_options()
        del options["bootstrap_servers"]
        scram = [f"--add-scram=SCRAM-SHA-512=[name={user},password={user}-secret]" for user in (ADMIN, *users)]
        with LocalKafka(
            overrides=_properties(folder, listeners),
            format_options=scram,
            client_options=options,
            more_listeners=ports,
            log_levels={"kafka.authorizer.logger": "DEBUG"},
        ) as cluster:
            addresses = {SCRAM: cluster.bootstrap, **{name: f"127.0.0.1:{port}" for name, port in ports.items()}}
            yield SecuredKafka(cluster, folder, addresses, listeners)


def _properties(folder: Path, listeners: Mapping[str, Listener]) -> dict[str, str]:
    protocols = {"CONTROLLER": "SSL", **{name: listener.protocol for name, listener in listeners.items()}}
    return {
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": broker_store(folder),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
        "listener.name.controller.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": f"User:{ADMIN};User:CN=broker",  # the latter: the broker itself, at its controller
        **{
            f"listener.name.{name.lower()}.{key}": value
            for name, listener in listeners.items()
            for key, value in listener.properties.items()
        },
    }
