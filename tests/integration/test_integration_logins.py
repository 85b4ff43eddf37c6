"""Every way to log in to Kafka on a real broker: sessions that end, secrets that rotate under load, and each fault told by its cause."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from certificates import need_openssl
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from login_kafka import CLIENT_SECRET, PLAIN_SECRET, SCRAM_SECRET, LoginKafka, login_kafka
from rig import Rig, create_request, running

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
    need_openssl()
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
    ways = [password(logins), password(logins, "SCRAM-SHA-256"), password(logins, "PLAIN", PLAIN_SECRET)]
    ways += [token_url(logins), token_file(logins, file)]
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


# the last one: it leaves the broker changed
async def test_every_secret_rotates_under_load(logins: LoginKafka, tmp_path: Path) -> None:
    for name, text in {"plain": PLAIN_SECRET, "scram": SCRAM_SECRET, "token": logins.issuer.token(life_s=60)}.items():
        (tmp_path / name).write_text(text)
    for end in ("pem", "key"):
        shutil.copy(logins.folder / f"client.{end}", tmp_path / f"client.{end}")
    files = {"sasl_password": None, "sasl_password_file": tmp_path / "scram"}
    own = {"ssl_certificate_file": tmp_path / "client.pem", "ssl_key_file": tmp_path / "client.key"}
    ways = {
        "plain": password(logins, "PLAIN") | files | {"sasl_password_file": tmp_path / "plain"},
        "scram": password(logins) | files,
        "mtls": client_certificate(logins) | own,
        "token-file": token_file(logins, tmp_path / "token"),
        "token-url": token_url(logins),
    }
    logins.issuer.life_s = 8.0
    given = {name: {n: v for n, v in kafka.items() if v is not None} for name, kafka in ways.items()}
    (tmp_path / "didit").write_text("sim-key")
    async with running(logins.cluster, tmp_path, partitions=12) as rig:
        del rig.environment["VP_DIDIT__API_KEY"]
        key = {"DIDIT__API_KEY_FILE": str(tmp_path / "didit")}
        await asyncio.gather(*(rig.start(name, **variables(kafka), **key) for name, kafka in given.items()))
        gate = asyncio.Lock()  # a caller of ours does not publish while the broker is away
        load = asyncio.create_task(publish_steadily(rig, done := asyncio.Event(), gate))
        kubelet = asyncio.create_task(keep_fresh(logins, tmp_path / "token", over := asyncio.Event()))
        await rotate(logins, rig, tmp_path, gate)
        await rotate_key(rig, tmp_path / "didit")
        published = len(rig.watch.seen.final_ids)
        await rig.until(lambda: len(rig.watch.seen.final_ids) >= published + 30, "results with the new secrets")
        done.set()
        count = await load
        await rig.wait_finals(count)
        over.set()
        await kubelet
        judged = await rig.judge([f"r-{number:06d}" for number in range(count)])
        assert judged.ok, judged
        assert all(replica.child.alive for replica in rig.processors)
        assert not [r.name for r in rig.processors if list(r.events("gave_up")) or len(list(r.events("started"))) > 1]
        for replica in rig.processors:
            replica.child.terminate()
        ended = await asyncio.gather(*(asyncio.to_thread(replica.child.wait, 60.0) for replica in rig.processors))
        assert set(ended) == {0}
        logs = "".join(replica.log_path.read_text() for replica in rig.processors)
        head_of_tokens = logins.issuer.token().partition(".")[0]
        assert not [s for s in (PLAIN_SECRET, SCRAM_SECRET, NEW_SECRET, CLIENT_SECRET, head_of_tokens) if s in logs]


async def publish_steadily(rig: Rig, done: asyncio.Event, gate: asyncio.Lock) -> int:
    """The number of requests that were published until then."""
    count = 0
    while not done.is_set():
        async with gate:
            await rig.publish([create_request(number) for number in range(count, count + 5)])
        count += 5
        await asyncio.sleep(0.25)
    return count


async def keep_fresh(logins: LoginKafka, file: Path, done: asyncio.Event) -> None:
    """As the kubelet does it: the file has another token before the one in it expires."""
    while not done.is_set():
        await asyncio.to_thread(lambda: file.write_text(logins.issuer.token(life_s=60)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), 5.0)


async def rotate(logins: LoginKafka, rig: Rig, folder: Path, gate: asyncio.Lock) -> None:
    """Every secret: first at the brokers, then here, as clumsily as it may be done."""
    await rig.wait_finals(30)
    scram = next(replica for replica in rig.processors if replica.name == "scram")
    await asyncio.to_thread(alter_scram, rig.bootstrap)
    await rig.until(lambda: ConnectFaultCode.CREDENTIALS_REFUSED in told_by(scram), "the reason in /readyz")
    (folder / "scram").write_text(NEW_SECRET)
    await rig.until(lambda: ConnectFaultCode.CREDENTIALS_REFUSED not in told_by(scram), "connections with the new password")
    for end in ("pem", "key"):
        shutil.copy(logins.folder / f"client2.{end}", folder / f"client.{end}")
    (folder / "plain").write_text(NEW_SECRET)
    async with gate:
        await restart(logins)


async def rotate_key(rig: Rig, file: Path) -> None:
    """Didit's own: the old one is withdrawn before the new one is here."""
    await asyncio.to_thread(rig.simulator.post, "/_sim/api-keys", {"keys": ["new-key"]})
    await rig.until(lambda: any(list(r.events("account_fault")) for r in rig.processors), "a refusal of the old key")
    await asyncio.to_thread(file.write_text, "new-key\n")


async def restart(logins: LoginKafka) -> None:
    """With another password of PLAIN, and another authority of client certificates."""
    broker = logins.cluster.brokers[0]
    await asyncio.to_thread(broker.stop)
    mtls = "listener.name.mtls.ssl.truststore.location="
    logins.change_properties(
        password=(f'user_app="{PLAIN_SECRET}"', f'user_app="{NEW_SECRET}"'),
        authority=(f"{mtls}{logins.folder}/ca.pem", f"{mtls}{logins.folder}/ca2.pem"),
    )
    await asyncio.to_thread(broker.start)
    await asyncio.to_thread(logins.cluster.wait_ready)


def alter_scram(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        change = UserScramCredentialUpsertion("app", ScramCredentialInfo(mechanism, 4096), NEW_SECRET.encode())
        for done in admin.alter_user_scram_credentials([change]).values():
            done.result(30)


def told_by(replica: ProcessorProcess) -> str:
    _, body = replica.get("/readyz")
    assert orjson.loads(body)
    return body.decode()
