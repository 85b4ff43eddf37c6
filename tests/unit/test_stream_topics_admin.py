"""What the brokers tell of topics, while not all of them have heard of a new one."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from processor.settings import load_settings
from processor.stream.topics import topic_specs
from processor.stream.topics_admin import _find

UNKNOWN_TOPIC_OR_PARTITION = 3  # https://kafka.apache.org/protocol.html#protocol_error_codes


class TwoBrokers:
    """An admin client of a cluster: one broker tells which topics there are, the other one their settings, and has heard of some only."""

    def __init__(self, heard_of: Sequence[str]) -> None:
        self._heard_of = heard_of

    async def describe_topics(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return [{"error_code": 0, "topic": name, "partitions": [{"replicas": [1, 2, 3]}]} for name in names]

    async def describe_configs(self, resources: Sequence[Any]) -> list[Any]:
        told = [
            (0, "", 2, r.name, [("retention.ms", "1")]) if r.name in self._heard_of else (UNKNOWN_TOPIC_OR_PARTITION, "", 2, r.name, [])
            for r in resources
        ]
        return [SimpleNamespace(resources=told)]


async def test_a_topic_whose_settings_no_broker_tells_is_not_taken_for_one_with_the_defaults() -> None:
    settings = load_settings()
    specs = topic_specs(settings, partitions=1, replication=3)
    found = await _find(settings, TwoBrokers([specs[0].name]), specs)  # type: ignore[arg-type]
    assert {name: topic.configs for name, topic in found.items()} == {specs[0].name: {"retention.ms": "1"}}
