"""Asking for a topic must not make it.

aiokafka lets the broker create a topic that it asks for, and a broker does so unless ``auto.create.topics.enable`` is false: a
look under a wrong prefix would leave topics behind, a record for a topic that nobody reads would be taken, and ``topics apply``
would find its topics made with the broker's defaults. Pinned to aiokafka 0.14 by tests/integration/test_integration_clients.py.
"""

from __future__ import annotations

import aiokafka.admin.client
import aiokafka.client
from aiokafka.protocol.metadata import MetadataRequest


class _Asking(MetadataRequest):  # type: ignore[misc]
    """A question alone."""

    def __init__(self, topics: list[str] | None = None) -> None:
        super().__init__(topics, allow_auto_topic_creation=False)


def install() -> None:
    """Let every client of this process ask so."""
    aiokafka.client.MetadataRequest = _Asking
    aiokafka.admin.client.MetadataRequest = _Asking
