"""Everything about one request."""

from __future__ import annotations

from processor.repair.model import Journey
from processor.settings import Settings


async def journey(settings: Settings, request_id: str) -> Journey:
    """What is known of a request, from the topics.

    Raises:
        KafkaError, TimeoutError, RepairError: if they cannot be read.
    """
    raise NotImplementedError((settings, request_id))
