"""Somebody changes a topic while a processor runs: it is named for as long as it is so, not by the next start alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from rig import running
from structlog.testing import capture_logs

from processor.devkit.kafka_cluster import LocalKafka
from processor.worker.topic_checks import TopicChecks

pytestmark = pytest.mark.broker

KEPT = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "2000000"}


@pytest.mark.parametrize("wrong", [{"cleanup.policy": "compact"}, {"retention.ms": "60000"}])
async def test_a_delay_topic_that_would_lose_what_waits_is_named_until_it_is_set_back(
    kafka: LocalKafka, tmp_path: Path, wrong: dict[str, str]
) -> None:
    async with running(kafka, tmp_path, partitions=1) as rig:
        topic = f"{rig.prefix}.retry.5s"
        checks = TopicChecks(rig.settings, every_s=0.05)
        with capture_logs() as logs:
            watching = asyncio.create_task(checks.run())
            try:
                await alter(rig.admin, topic, KEPT | wrong)
                await rig.until(lambda: len(logs) >= 2, "the topic is named, and again")
                assert {entry["event"] for entry in logs} == {"topic_unusable"}
                (name,) = wrong
                assert all(entry["detail"].startswith(f"{topic}: {name} is {wrong[name]}") for entry in logs)
                await alter(rig.admin, topic, KEPT)
                while logs:
                    logs.clear()
                    await asyncio.sleep(1)
                assert not watching.done()
            finally:
                watching.cancel()


async def alter(admin: Callable[[], AbstractAsyncContextManager[AIOKafkaAdminClient]], topic: str, configs: dict[str, str]) -> None:
    async with admin() as client:
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=configs)])
