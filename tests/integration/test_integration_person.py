"""What lies about a person is found, erased, and gone by the time that is told; on a broker that deletes within seconds."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from commands import run_command
from rig import FAST, read_whole

from processor.client.topics import publish_requests
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import processor_environment, settings_of
from processor.stream.lifetimes import kept_s
from processor.stream.topics import topic_names
from processor.stream.topics_admin import apply_topics

pytestmark = pytest.mark.broker

SHORT = {"log.retention.check.interval.ms": "500", "log.initial.task.delay.ms": "500", "log.cleaner.backoff.ms": "500"}
KEPT = {"retention.ms": "4000", "segment.ms": "1500", "file.delete.delay.ms": "100"}


@pytest.fixture(scope="module")
def short_kafka() -> Iterator[LocalKafka]:
    with LocalKafka(overrides=SHORT) as cluster:
        yield cluster


async def shorten(kafka: LocalKafka, *topics: str) -> None:
    """Let topics keep their records for some seconds."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        configs = {**KEPT, "message.timestamp.type": "LogAppendTime"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=configs) for topic in topics])
    finally:
        await admin.close()


async def test_an_idle_partition_is_emptied_within_the_computed_time(short_kafka: LocalKafka) -> None:
    environment = processor_environment(short_kafka.bootstrap, "http://127.0.0.1:9", f"t-{uuid.uuid4().hex[:8]}", **FAST)
    settings = settings_of(environment)
    await apply_topics(settings, partitions=1, replication=1)
    checked = await run_command(environment, "topics", "check")
    assert checked.status == 0, checked.out + checked.err
    assert f"{topic_names(settings).dead_letters}: personal data, gone 15 d after a record was written, 29 d" in checked.text
    assert "assumed" not in checked.text, "the broker says how often it looks"
    await shorten(short_kafka, topic := topic_names(settings).requests)
    checked = await run_command(environment, "topics", "check")
    assert f"{topic}: personal data, gone 6 s after a record was written" in checked.text
    began = time.monotonic()
    await publish_requests(settings, [(b"k", b"the last record of its partition, and nothing comes after it")])
    assert len(await read_whole(settings, topic)) == 1
    within_s = kept_s(KEPT, 0.5)
    assert within_s is not None
    while await read_whole(settings, topic):
        assert time.monotonic() - began < within_s + 5, "the broker keeps it for longer than is told"
        await asyncio.sleep(0.2)
    assert time.monotonic() - began > 3.9, "retention has not been waited for"
