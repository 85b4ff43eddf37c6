"""Asking for a topic must not make it.

aiokafka lets the broker create a topic that it asks for, and a broker does so unless ``auto.create.topics.enable`` is false: a
look under a wrong prefix would leave topics behind, a record for a topic that nobody reads would be taken, and ``topics apply``
would find its topics made with the broker's defaults.
"""

from __future__ import annotations

from aiokafka.protocol.metadata import MetadataRequest


class AskingRequest(MetadataRequest):  # type: ignore[misc]
    """A question alone; stands in for aiokafka's MetadataRequest."""

    def __init__(self, topics: list[str] | None = None) -> None:
        super().__init__(topics, allow_auto_topic_creation=False)
