"""Looks at the topics again while requests are processed: what somebody changes would be told by the next start only, which it refuses."""

from __future__ import annotations

import asyncio

import structlog

from processor.settings import Settings
from processor.stream.errors import KafkaFailedError
from processor.stream.topics_admin import check_topics

_EVERY_S = 300.0  # the time between two looks of a broker for what is to be deleted, by default

log = structlog.get_logger(__name__)


class TopicChecks:
    """Says what is wrong with the topics for as long as it is. Work goes on: what was read before is not lost by it.

    Args:
        settings: where, and what they must be like.
        every_s: between two looks.
    """

    def __init__(self, settings: Settings, every_s: float = _EVERY_S) -> None:
        self._settings, self._every_s = settings, every_s

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            await self._look()

    async def _look(self) -> None:
        try:
            faults = (await check_topics(self._settings)).faults
        except KafkaFailedError:
            return  # whoever reads and writes the topics says so
        for fault in faults:
            log.critical("topic_unusable", detail=fault, hint="set it back before a processor starts again: the start is refused")
