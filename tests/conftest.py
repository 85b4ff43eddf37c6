"""Fixtures for all tests: one real Kafka for the whole run."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from processor.devkit.kafka_cluster import LocalKafka


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that take long come first: workers that take one test at a time then end together."""
    items.sort(key=lambda item: item.get_closest_marker("broker") is None)


@pytest.fixture(scope="session")
def kafka() -> Iterator[LocalKafka]:
    """One broker; KAFKA_BOOTSTRAP set means that one."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with LocalKafka() as cluster:
        yield cluster
