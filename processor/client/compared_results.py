"""Results of other records under an id that is waited for: ours if these records had the same content. For one event loop."""

from __future__ import annotations

import asyncio
import logging

from processor.client.known_results import Place, of_same_content, place_of
from processor.client.result_router import Waiter
from processor.client.results import Answer
from processor.settings import Settings
from processor.stream.errors import KafkaFailedError, NotAuthorizedError
from processor.stream.topic_reader import KeptTopicReader, OnUnread
from processor.stream.topics import topic_names

_WITHIN_S = 30.0
_AGAIN_S = 1.0

_log = logging.getLogger(__name__)


class ComparedResults:
    """Gives a waiter what another record under its id was answered, if that one had its content. ``run`` reads the requests topic for it.

    Who may not read that topic gets all of them: a request that is under way has one result, for all who ask for the same.
    """

    def __init__(self, settings: Settings, on_unread: OnUnread) -> None:
        self._topic = topic_names(settings).requests
        self._reader = KeptTopicReader(settings, on_unread)
        self._pending: dict[Waiter, list[Answer]] = {}
        self._asked = asyncio.Event()
        self._may_read = True

    def ask(self, waiter: Waiter, result: Answer) -> None:
        """Give it to the waiter if it is its own."""
        if not self._may_read:
            waiter.give(result)
            return
        self._pending.setdefault(waiter, []).append(result)
        self._asked.set()

    def forget(self, waiter: Waiter) -> None:
        """It waits no more."""
        self._pending.pop(waiter, None)

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                try:
                    await self._compare()
                except NotAuthorizedError:
                    self._give_all()
                except KafkaFailedError:
                    self._asked.set()
                    await asyncio.sleep(_AGAIN_S)
        finally:
            await self._reader.close()

    async def _compare(self) -> None:
        asked = [(waiter, result) for waiter, results in self._pending.items() for result in results]
        async with self._reader.use(_WITHIN_S) as reader:
            same = await of_same_content(reader, self._topic, [(_place(result), waiter.content) for waiter, result in asked])
        for (waiter, result), is_same in zip(asked, same, strict=True):
            left = self._pending.get(waiter, [])  # whoever waits no more was forgotten meanwhile
            if result in left:
                left.remove(result)
                if is_same:
                    waiter.give(result)
            if not left:
                self.forget(waiter)

    def _give_all(self) -> None:
        self._may_read = False
        _log.warning(
            "no right to read topic %s: results of requests that others publish under the same request_id are taken by their id alone, "
            "whatever these have asked for; grant Read, or use ids that nobody else uses",
            self._topic,
        )
        for waiter, results in self._pending.items():
            for result in results:
                waiter.give(result)
        self._pending.clear()


def _place(result: Answer) -> Place | None:
    return None if result.source is None else place_of(result.source)
