"""Every way to log in to Kafka on a real broker: sessions that end, secrets that rotate under load, and each fault told by its cause."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from login_kafka import CLIENT_SECRET, PLAIN_SECRET, SCRAM_SECRET, LoginKafka, login_kafka

from processor.devkit.processes import ProcessorProcess, processor_environment
from processor.settings import Settings, load_settings
from processor.stream import aiokafka_connection
from processor.stream.clients import build_log_producer
from processor.stream.connect_faults import ConnectFaultCode
from processor.stream.errors import AuthenticationError, KafkaFailedError, KafkaUnavailableError
from processor.stream.login import login_of
from processor.stream.topics_admin import apply_topics, check_topics

pytestmark = pytest.mark.broker
NEW_SECRET = "second-secret"


@pytest.fixture(scope="module")
def logins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginKafka]:
    if os.environ.get("KAFKA_BOOTSTRAP"):
        pytest.skip("KAFKA_BOOTSTRAP is set: its brokers are not ours (unset it, and a local one is started)")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here (apt-get install openssl)")
    with login_kafka(tmp_path_factory.mktemp("logins")) as found:
        yield found


def password(k: LoginKafka, mechanism: str = "SCRAM-SHA-512", secret: str = SCRAM_SECRET, **more: Any) -> dict[str, Any]:
    login = {"bootstrap": k.at("LOGIN"), "security_protocol": "SASL_SSL", "sasl_mechanism": mechanism, "ssl_ca_file": k.folder / "ca.pem"}
    return login | {"sasl_username": "app", "sasl_password": secret} | more


def client_certificate(k: LoginKafka, name: str = "client", **more: Any) -> dict[str, Any]:
    files = {"ssl_certificate_file": k.folder / f"{name}.pem", "ssl_key_file": k.folder / f"{name}.key"}
    return {"bootstrap": k.at("MTLS"), "security_protocol": "SSL", "ssl_ca_file": k.folder / "ca.pem"} | files | more


def token_file(k: LoginKafka, file: Path) -> dict[str, Any]:
    return {
        "bootstrap": k.at("OAUTH"),
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "ssl_ca_file": k.folder / "ca.pem",
        "oauth_token_file": file,
    }


def token_url(k: LoginKafka, secret: str = CLIENT_SECRET, **more: Any) -> dict[str, Any]:
    login = token_file(k, Path()) | {"oauth_token_url": f"{k.issuer.url}/token", "oauth_client_id": "processor"}
    del login["oauth_token_file"]
    return login | {"oauth_client_secret": secret, "oauth_ca_file": k.folder / "ca.pem"} | more


def faulty(k: LoginKafka, wrong_token: Path) -> dict[str, tuple[dict[str, Any], ConnectFaultCode | None]]:
    """Each fault, and its code; None: the brokers are told not to answer."""
    tls = {"security_protocol": "SSL", "ssl_ca_file": k.folder / "ca.pem"}
    return {
        "scram password": (password(k, secret="wrong"), ConnectFaultCode.CREDENTIALS_REFUSED),
        "plain password": (password(k, "PLAIN", "wrong"), ConnectFaultCode.CREDENTIALS_REFUSED),
        "token for others": (token_file(k, wrong_token), ConnectFaultCode.CREDENTIALS_REFUSED),
        "mechanism": (password(k, bootstrap=k.at("OAUTH")), ConnectFaultCode.MECHANISM_NOT_OFFERED),
        "client secret": (token_url(k, "wrong"), ConnectFaultCode.TOKEN_REFUSED),
        "issuer": (token_url(k, oauth_ca_file=k.folder / "stranger.pem"), ConnectFaultCode.TOKEN_REFUSED),
        "issuer away": (token_url(k, oauth_token_url="https://127.0.0.1:1/token"), ConnectFaultCode.TOKEN_UNAVAILABLE),
        "authority": (password(k, ssl_ca_file=k.folder / "stranger.pem"), ConnectFaultCode.BROKER_NOT_TRUSTED),
        "name": (tls | {"bootstrap": k.at("OTHERNAME")}, ConnectFaultCode.BROKER_NAME_WRONG),
        "expired": (client_certificate(k, "expired"), ConnectFaultCode.CLIENT_CERTIFICATE_EXPIRED),
        "other authority": (client_certificate(k, "client2"), ConnectFaultCode.CLIENT_CERTIFICATE_REFUSED),
        "no certificate": (tls | {"bootstrap": k.at("MTLS")}, ConnectFaultCode.CLIENT_CERTIFICATE_REFUSED),
        "TLS to a port in the clear": (tls | {"bootstrap": k.at("PLAINTEXT")}, ConnectFaultCode.TLS_CUT),
        "in the clear to TLS": ({"bootstrap": k.at("MTLS")}, ConnectFaultCode.TLS_EXPECTED),
        "SASL in the clear to TLS": (password(k, security_protocol="SASL_PLAINTEXT"), ConnectFaultCode.TLS_EXPECTED),
    }


async def test_each_fault_of_a_login_has_a_text_of_its_own(logins: LoginKafka, tmp_path: Path) -> None:
    (wrong := tmp_path / "token").write_text(logins.issuer.token(audience="others"))
    texts: dict[ConnectFaultCode | None, set[str]] = {}
    for name, (kafka, code) in faulty(logins, wrong).items():
        settings = load_settings(kafka=kafka)
        with pytest.raises(KafkaFailedError) as raised:
            await check_topics(settings)
        fault = login_of(settings.kafka).fault
        assert fault is not None, (name, raised.value)
        assert (fault.code, fault.text in str(raised.value)) == (code, True), name
        assert isinstance(raised.value, AuthenticationError if fault.lasting else KafkaUnavailableError), name
        assert not [secret for secret in ("wrong,", SCRAM_SECRET, CLIENT_SECRET) if secret in fault.text]
        texts.setdefault(fault.code, set()).add(fault.text)
    assert set(texts) == set(ConnectFaultCode) - {ConnectFaultCode.BROKER_CERTIFICATE_EXPIRED, ConnectFaultCode.TLS_FAILED}


async def test_a_start_that_is_not_let_in_ends_with_its_reason(logins: LoginKafka, tmp_path: Path) -> None:
    environment = environment_of(logins, password(logins, secret="wrong"))
    processor = ProcessorProcess("wrong", environment, tmp_path)
    processor.start()
    assert await asyncio.to_thread(processor.child.wait, 60.0) == 2
    (line,) = processor.events("kafka_login_refused")
    assert line["code"] == ConnectFaultCode.CREDENTIALS_REFUSED
    assert "VP_KAFKA__SASL_PASSWORD" in line["detail"]


def environment_of(k: LoginKafka, kafka: dict[str, Any]) -> dict[str, str]:
    return processor_environment(k.at("PLAINTEXT"), "http://127.0.0.1:1", "v", **variables(kafka))


def variables(kafka: dict[str, Any]) -> dict[str, str]:
    return {f"KAFKA__{name.upper()}": str(value) for name, value in kafka.items()}


async def test_a_session_is_renewed_before_the_broker_ends_it(logins: LoginKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    connect = aiokafka_connection.Connection.connect

    async def counted(self: aiokafka_connection.Connection) -> Any:
        opened.append(self._sasl_mechanism)
        return await connect(self)

    monkeypatch.setattr(aiokafka_connection.Connection, "connect", counted)
    (file := tmp_path / "token").write_text(logins.issuer.token())
    ways = [password(logins), password(logins, "PLAIN", PLAIN_SECRET), token_url(logins), token_file(logins, file)]
    await apply_topics(load_settings(kafka={"bootstrap": logins.at("PLAINTEXT"), "topic_prefix": "renewed"}), partitions=1, replication=1)
    opened.clear()
    await asyncio.gather(*(write_for(load_settings(kafka=kafka | {"topic_prefix": "renewed"}), 7.0) for kafka in ways))
    assert len(opened) == 2 * len(ways)  # to ask, and to write: none was cut


async def write_for(settings: Settings, seconds: float) -> None:
    """More than two sessions long."""
    producer, end = build_log_producer(settings), asyncio.get_running_loop().time() + seconds
    await producer.start()
    try:
        while asyncio.get_running_loop().time() < end:
            await producer.send_and_wait("renewed.events", b"x")
            await asyncio.sleep(0.02)
    finally:
        await producer.stop()
