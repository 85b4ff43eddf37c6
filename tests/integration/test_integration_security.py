"""SASL, TLS and client certificates against a broker that insists on them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import authority, broker_store, certificate, need_openssl
from example_programs import BUILDERS, run_example
from rig import create_request, running

from processor.devkit.kafka_cluster import LocalKafka
from processor.settings import KafkaSettings

pytestmark = pytest.mark.broker

JAAS = 'org.apache.kafka.common.security.scram.ScramLoginModule required username="app" password="app-secret";'


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[LocalKafka]:
    if os.environ.get("KAFKA_BOOTSTRAP"):
        pytest.skip("KAFKA_BOOTSTRAP is set: its brokers are not ours (unset it, and a local one is started)")
    need_openssl()
    authority(tmp_path)
    for name in ("broker", "client"):
        certificate(tmp_path, name)
    overrides = {
        "listener.security.protocol.map": "PLAINTEXT:SASL_SSL,CONTROLLER:PLAINTEXT,CHAOS:PLAINTEXT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "listener.name.plaintext.scram-sha-512.sasl.jaas.config": JAAS,
        "ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": broker_store(tmp_path),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(tmp_path / "ca.pem"),
    }
    options = kafka_settings(tmp_path, "127.0.0.1:1").client_options()
    del options["bootstrap_servers"]
    scram = "--add-scram=SCRAM-SHA-512=[name=app,password=app-secret]"
    with LocalKafka(overrides=overrides, format_options=[scram], client_options=options) as cluster:
        yield cluster


def variables(folder: Path) -> dict[str, str]:
    (folder / "password").write_text("app-secret\n")
    return {
        "KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA__SASL_USERNAME": "app",
        "KAFKA__SASL_PASSWORD_FILE": str(folder / "password"),
        "KAFKA__SSL_CA_FILE": str(folder / "ca.pem"),
        "KAFKA__SSL_CERTIFICATE_FILE": str(folder / "client.pem"),
        "KAFKA__SSL_KEY_FILE": str(folder / "client.key"),
    }


def kafka_settings(folder: Path, bootstrap: str) -> KafkaSettings:
    fields = {name.split("__")[1].lower(): value for name, value in variables(folder).items()}
    return KafkaSettings(bootstrap=bootstrap, **fields)


async def test_every_client_of_ours_gets_through(secured: LocalKafka, tmp_path: Path) -> None:
    async with running(secured, tmp_path, partitions=2, more=variables(tmp_path)) as rig:
        (a,) = await rig.start("a")
        await rig.publish([create_request(n) for n in range(20)])
        await rig.wait_finals(20)
        judged = await rig.judge([f"r-{n:06d}" for n in range(20)])
        assert judged.ok, judged
        assert "app-secret" not in a.log_path.read_text()


async def test_every_example_gets_through(secured: LocalKafka, tmp_path: Path) -> None:
    programs = {language: await asyncio.to_thread(build, _folder(tmp_path, language)) for language, build in BUILDERS.items()}
    async with running(secured, tmp_path, partitions=2, more=variables(tmp_path)) as rig:
        await rig.start("a")
        asked = [
            asyncio.to_thread(run_example, words, rig.environment, "aml", '{"full_name": "Ann"}', f"{language}-1")
            for language, words in programs.items()
        ]
        told = dict(zip(programs, await asyncio.gather(*asked), strict=True))
    assert told == {language: (0, f"{language}-1 succeeded", "") for language in programs}


def _folder(parent: Path, name: str) -> Path:
    (folder := parent / name).mkdir()
    return folder
