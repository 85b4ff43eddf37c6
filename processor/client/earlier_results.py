"""Looks for the results of requests that were done before this client asked for them. One pass over the topic for all who wait."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

from processor.client.known_results import read_known_results
from processor.client.requests import OutgoingRequest
from processor.client.result_router import Waiter
from processor.settings import Settings
from processor.stream.errors import KafkaFailedError, NotAuthorizedError
from processor.stream.topic_reader import OnUnread

ASKED_AGAIN_S = 3.0  # a request that is not known gets a result, or waits for its turn; looking costs a pass over an hour of results
_PAUSE_S = 10.0  # between two passes


class EarlierResults:
    """Who waits under an id that was chosen, and has heard nothing. ``run`` looks once for each of them."""

    def __init__(self, settings: Settings, on_unread: OnUnread) -> None:
        self._settings, self._on_unread = settings, on_unread
        self._wanted: dict[Waiter, OutgoingRequest] = {}
        self._asked = asyncio.Event()

    def ask(self, waiter: Waiter, request: OutgoingRequest) -> None:
        """Look for its result, and give it to the waiter."""
        self._wanted[waiter] = request
        self._asked.set()

    def forget(self, waiter: Waiter) -> None:
        """It waits no more."""
        self._wanted.pop(waiter, None)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            looked = dict(self._wanted)
            try:
                with suppress(NotAuthorizedError):  # to read the requests topic, to compare: processors give the results of then again
                    await self._look(looked)
            except KafkaFailedError:
                self._asked.set()  # again, after the pause
            else:
                for waiter in looked:
                    self.forget(waiter)
            await asyncio.sleep(_PAUSE_S)

    async def _look(self, looked: dict[Waiter, OutgoingRequest]) -> None:
        wanted = {request.request_id: request.content for request in looked.values()}
        if not wanted:
            return
        known = read_known_results(self._settings, wanted, on_unread=self._on_unread, within_s=self._settings.budget.memory_s)
        async with aclosing(known) as results:
            async for result, _ in results:
                for waiter, request in looked.items():
                    if request.request_id == result.request_id:
                        waiter.give(result)
