"""Hands each result to the tasks that wait for it. For one event loop; reads and publishes nothing itself."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager

from processor.client.errors import ClientClosedError, ClientError, InvalidRequestError, TooManyWaitingError, UnreadableResultError
from processor.client.requests import OutgoingRequest
from processor.client.results import Answer, UnreadableResult, VerificationResult
from processor.contract.codes import ErrorCode
from processor.contract.records import Headers, Source, Status
from processor.contract.result_copies import copy_for

WAITING_MAX = 100_000
KEPT_MAX = 10_000  # results in a stream that nobody has taken yet; then reading stops until one is taken
_SEEN_MAX = 100_000


class Waiter:
    """The results of one request, for the task that waits for them.

    What answers our record is ours. A conflict or a copy answers one record and no other one with its request id. Any other result of
    another record is ours if that one had our content, which is for ``compare`` to find out: it gives the result back by ``give``, or not.
    """

    def __init__(self, request: OutgoingRequest, compare: Compare) -> None:
        self.content = request.content
        self._compare = compare
        self._results: asyncio.Queue[VerificationResult | ClientError] = asyncio.Queue()  # a progress and a final result, as a rule
        self._source: Source | None = None
        self.heard = False  # a result has come
        self._early: list[tuple[Answer, str | None]] = []  # read before the position of our own record was known

    def published(self, source: Source) -> None:
        """Our record is at ``source``."""
        self._source = source
        for result, copied_for in self._early:
            self.take(result, copied_for)
        self._early.clear()

    def take(self, result: Answer, copied_for: str | None = None) -> None:
        """A result of our request id; of a copy, with the position of the record that it answers."""
        if self._source is None:
            self._early.append((result, copied_for))
        elif copied_for is not None:
            if copied_for == str(self._source) and not self.heard:
                self.give(result)
        elif result.source in (self._source, None):
            self.give(result)
        elif result.status != Status.CONFLICT:
            self._compare(self, result)

    def give(self, result: Answer) -> None:
        """A result that is ours. One that cannot be read ends the wait."""
        self.heard = True
        self._results.put_nowait(result if isinstance(result, VerificationResult) else UnreadableResultError(result.request_id))

    def fail(self, error: ClientError) -> None:
        """Nothing more comes that could be read."""
        self._results.put_nowait(error)

    async def next(self) -> VerificationResult:
        """The next result.

        Raises:
            ClientClosedError: if no more can come.
            UnreadableResultError: if it came, and is of a newer version.
        """
        found = await self._results.get()
        if isinstance(found, ClientError):
            raise found
        return found


Compare = Callable[[Waiter, Answer], None]


class ResultRouter:
    """Who waits for which results. ``compare``: see ``Waiter``."""

    def __init__(self, compare: Compare) -> None:
        self._compare = compare
        self._waiting: dict[str, list[Waiter]] = {}
        self._count = 0
        self._streams: set[asyncio.Queue[VerificationResult | None]] = set()
        self._seen: OrderedDict[str, None] = OrderedDict()  # result ids that the streams have had
        self._ended: tuple[str, BaseException | None] | None = None

    @contextmanager
    def waiting(self, request: OutgoingRequest) -> Iterator[Waiter]:
        """Take up the results of a request, from now on. Begin before it is published: its result may be quick.

        Raises:
            ClientClosedError: if no results come any more.
            InvalidRequestError: if another content is being waited for under its id: the results could not be told apart.
            TooManyWaitingError: if ``WAITING_MAX`` wait already.
        """
        self._raise_if_ended()
        others = self._waiting.get(request.request_id, [])
        if any(other.content != request.content for other in others):
            raise InvalidRequestError(
                ErrorCode.REQUEST_ID_REUSED, "request_id", "is being waited for with another content; give this one its own id"
            )
        if self._count >= WAITING_MAX:
            raise TooManyWaitingError(f"{WAITING_MAX} requests wait for their results already; wait for some of them first")
        waiter = Waiter(request, self._compare)
        others = self._waiting.setdefault(request.request_id, others)
        others.append(waiter)
        self._count += 1
        try:
            yield waiter
        finally:
            self._count -= 1
            others.remove(waiter)
            if not others:
                del self._waiting[request.request_id]

    async def stream(self) -> AsyncGenerator[VerificationResult, None]:
        """All results from the first step on, each once; ends when no more come.

        Raises:
            ClientClosedError: at the first step, if none come any more.
        """
        self._raise_if_ended()
        queue: asyncio.Queue[VerificationResult | None] = asyncio.Queue(KEPT_MAX)
        self._streams.add(queue)
        try:
            while (self._ended is None or not queue.empty()) and (result := await queue.get()) is not None:
                yield result
        finally:
            self._streams.discard(queue)
            while not queue.empty():  # reading may wait for room in it
                queue.get_nowait()

    async def take(self, value: bytes | None, headers: Headers = ()) -> None:
        """A record of the results topic.

        A final result that cannot be read ends the waits of those whose result it is: no other one will come. What else cannot be read is
        skipped.
        """
        try:
            result = VerificationResult.parse(value)
        except ValueError:
            if (unreadable := UnreadableResult.parse(value)) is not None:
                for waiter in self._waiting.get(unreadable.request_id, ()):
                    waiter.take(unreadable, copy_for(headers))
            return
        await self.hand_out(result, copy_for(headers))

    async def hand_out(self, result: VerificationResult, copied_for: str | None = None) -> None:
        """Give a result to all who wait for it. Waits for the slowest stream, once ``KEPT_MAX`` results are untaken there.

        A copy for somebody who asks again is for those who wait alone: the streams have had the result, or came later.
        """
        for waiter in self._waiting.get(result.request_id or "", ()):
            waiter.take(result, copied_for)
        if copied_for is not None or result.result_id in self._seen:
            return
        self._seen[result.result_id] = None
        if len(self._seen) > _SEEN_MAX:
            self._seen.popitem(last=False)
        for queue in list(self._streams):
            await queue.put(result)

    def close(self, why: str, cause: BaseException | None = None) -> None:
        """No more results come: every wait ends, now and later. Only the first reason is kept."""
        if self._ended is not None:
            return
        self._ended = (why, cause)
        for waiters in self._waiting.values():
            for waiter in waiters:
                waiter.fail(self._error())
        for queue in self._streams:
            if not queue.full():  # else its reader waits for nothing, and will see that it has ended
                queue.put_nowait(None)

    def _raise_if_ended(self) -> None:
        if self._ended is not None:
            raise self._error()

    def _error(self) -> ClientClosedError:
        """A fresh one for each task: a traceback is written into it."""
        why, cause = self._ended or ("", None)
        error = ClientClosedError(why)
        error.__cause__ = cause
        return error
