"""A broker with a listener for each way to log in, the certificates that it and its clients show, and an issuer of tokens."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from certificates import authority, broker_store, certificate, openssl

from processor.devkit.held_ports import HeldPorts
from processor.devkit.kafka_cluster import LocalKafka

REAUTH_MS = 3000
PLAIN_SECRET, SCRAM_SECRET, CLIENT_SECRET = "plain-secret", "scram-secret", "issuer-secret"
_LISTENERS = ("PLAINTEXT", "CONTROLLER", "LOGIN", "OAUTH", "MTLS", "OTHERNAME")
_MODULES = "org.apache.kafka.common.security"


def certificates(folder: Path) -> None:
    """Authorities ``ca``, ``ca2`` (of later client certificates) and ``stranger``, and what they have signed."""
    for name in ("ca", "ca2", "stranger"):
        authority(folder, name)
    for name in ("broker", "issuer", "client"):
        certificate(folder, name)
    certificate(folder, "othername", names="DNS:other.example")
    certificate(folder, "client2", by="ca2")
    certificate(folder, "expired", days=0)
    (folder / "cas.pem").write_text((folder / "ca.pem").read_text() + (folder / "ca2.pem").read_text())
    openssl(folder, "genrsa", "-out", "token.key", "2048")


@dataclass
class Issuer:
    """An OIDC issuer on loopback: client credentials in, signed tokens out, its key as a JWKS.

    Attributes:
        refuse: answers every question for a token with ``invalid_client``.
        life_s: of a token.
    """

    folder: Path
    port: int
    refuse: bool = False
    life_s: float = 60.0
    asked: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def token(self, *, subject: str = "app", audience: str = "kafka", life_s: float | None = None) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": audience, "sub": subject, "iat": now, "exp": now + int(life_s or self.life_s)}
        text = ".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "one", "typ": "JWT"}, claims))
        done = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", "token.key"], cwd=self.folder, input=text.encode(), check=True, capture_output=True
        )
        return f"{text}.{_base64(done.stdout)}"

    def keys(self) -> dict[str, Any]:
        modulus = openssl(self.folder, "rsa", "-in", "token.key", "-noout", "-modulus").decode().strip().partition("=")[2]
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one", "n": _base64(bytes.fromhex(modulus)), "e": "AQAB"}
        return {"keys": [key]}

    def answer(self, authorization: str, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        login = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        self.asked.append({"login": login, **form})
        if self.refuse or login != f"processor:{CLIENT_SECRET}" or form.get("grant_type") != ["client_credentials"]:
            return 401, {"error": "invalid_client", "error_description": f"no {login}"}
        return 200, {"access_token": self.token(), "token_type": "Bearer", "expires_in": self.life_s}


@contextmanager
def issuing(folder: Path) -> Iterator[Issuer]:
    """An issuer that listens. Its certificate is signed by ``ca``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(200, issuer.keys())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._reply(*issuer.answer(self.headers["Authorization"], parse_qs(body)))

        def log_message(self, *_: object) -> None:
            pass

        def _reply(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "issuer.pem", folder / "issuer.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    issuer = Issuer(folder, server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class LoginKafka:
    """The broker; ``at(listener)`` is where clients find it."""

    folder: Path
    cluster: LocalKafka
    issuer: Issuer
    ports: dict[str, int]

    def at(self, listener: str) -> str:
        return f"127.0.0.1:{self.ports[listener]}"

    def change_properties(self, **changed: tuple[str, str]) -> None:
        """Replace texts of the broker's properties, for its next start."""
        file = self.cluster.folders[0] / "server.properties"
        text = file.read_text()
        for old, new in changed.values():
            assert old in text
            text = text.replace(old, new)
        file.write_text(text)


@contextmanager
def login_kafka(folder: Path) -> Iterator[LoginKafka]:
    certificates(folder)
    with HeldPorts(len(_LISTENERS)) as held, issuing(folder) as issuer:
        ports = dict(zip(_LISTENERS, held.numbers, strict=True))
        scram = [f"--add-scram={name}=[name=app,password={SCRAM_SECRET}]" for name in ("SCRAM-SHA-256", "SCRAM-SHA-512")]
        environment = {"JAVA_TOOL_OPTIONS": f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={issuer.url}/jwks"}
        overrides = _properties(folder, ports, issuer)
        with LocalKafka(port=ports["PLAINTEXT"], overrides=overrides, format_options=scram, environment=environment) as cluster:
            yield LoginKafka(folder, cluster, issuer, ports)


def _properties(folder: Path, ports: dict[str, int], issuer: Issuer) -> dict[str, str]:
    clients = [name for name in _LISTENERS if name != "CONTROLLER"]
    oauth = f'ssl.truststore.location="{folder}/ca.pem" ssl.truststore.type="PEM" unsecuredLoginStringClaim_sub="broker"'
    return {
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items()),
        "advertised.listeners": ",".join(f"{name}://127.0.0.1:{ports[name]}" for name in clients),
        "controller.quorum.voters": f"1@127.0.0.1:{ports['CONTROLLER']}",
        "listener.security.protocol.map": ("PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_SSL,OAUTH:SASL_SSL,MTLS:SSL,OTHERNAME:SSL"),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": broker_store(folder, "broker"),
        "listener.name.othername.ssl.keystore.type": "PEM",
        "listener.name.othername.ssl.keystore.location": broker_store(folder, "othername"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
        "listener.name.mtls.ssl.truststore.type": "PEM",
        "listener.name.mtls.ssl.truststore.location": str(folder / "ca.pem"),
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.login.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.login.plain.sasl.jaas.config": f'{_MODULES}.plain.PlainLoginModule required user_app="{PLAIN_SECRET}";',
        "listener.name.login.scram-sha-256.sasl.jaas.config": f"{_MODULES}.scram.ScramLoginModule required;",
        "listener.name.login.scram-sha-512.sasl.jaas.config": f"{_MODULES}.scram.ScramLoginModule required;",
        "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.oauth.oauthbearer.sasl.jaas.config": f"{_MODULES}.oauthbearer.OAuthBearerLoginModule required {oauth};",
        "listener.name.oauth.oauthbearer.sasl.server.callback.handler.class": (
            f"{_MODULES}.oauthbearer.OAuthBearerValidatorCallbackHandler"
        ),
        "sasl.oauthbearer.jwks.endpoint.url": f"{issuer.url}/jwks",
        "sasl.oauthbearer.expected.audience": "kafka",
        "sasl.oauthbearer.expected.issuer": issuer.url,
        "connections.max.reauth.ms": str(REAUTH_MS),
    }


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
