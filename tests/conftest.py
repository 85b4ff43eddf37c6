"""Fixtures for all tests: one real Kafka for the whole run."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from processor.local.cluster import LocalKafka


@pytest.fixture(scope="session")
def kafka() -> Iterator[LocalKafka]:
    """One broker; KAFKA_BOOTSTRAP set means that one."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with LocalKafka() as cluster:
        yield cluster
