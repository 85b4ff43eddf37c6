"""The client: publishes requests, reads all results, and gives each task its own."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from processor.client.compared_results import ComparedResults
from processor.client.earlier_results import ASKED_AGAIN_S, EarlierResults
from processor.client.errors import (
    BrokersUnavailableError,
    ClientClosedError,
    InvalidRequestError,
    InvalidSettingsError,
    ResultTimeoutError,
)
from processor.client.requests import OutgoingRequest, build_request
from processor.client.result_router import ResultRouter, Waiter
from processor.client.results import VerificationResult
from processor.client.topics import request_producer, topic_reader
from processor.client.unread_batches import UnreadBatches
from processor.contract.codes import ErrorCode
from processor.contract.records import OnDoubt, Priority, Source
from processor.settings import ConfigurationError, KafkaSettings, Settings, load_settings
from processor.stream.aiokafka_stop import end_task
from processor.stream.errors import KafkaFailedError, KafkaRequestError, kafka_deadline
from processor.stream.reader import PartitionReader
from processor.stream.topics import topic_names
from processor.stream.writer import RecordWriter

_log = logging.getLogger(__name__)
_ACK_S = 30.0
_READ_S = 1.0
_AGAIN_S = 1.0
_CLOSE_S = 5.0


class VerificationClient:
    """Publishes requests and waits for their results; an async context manager.

    Example::

        async with VerificationClient("kafka:9092") as client:
            result = await client.request("aml", {"full_name": "Ann Example"}, timeout_s=120)

    Make one for the whole process and keep it open: it reads every result of the topic, whoever has asked, and holds one consumer without
    a group and one producer. Any number of tasks of one event loop may use it at once; it is not for several threads or loops, and cannot
    be opened again once it is closed.

    **What it promises.** A request is checked before it is published, by the same schemas as a processor's. Once ``submit`` has returned,
    the brokers have the request, and it ends in exactly one final result (docs/guarantees.md), whether or not anybody waits for it. Only
    committed results are read. From opening to closing no result is missed, but those in a batch that the brokers' disks have broken: it is
    skipped, with a warning in the log that names its offsets. Partitions that are added to the results topic are read within 30 s.

    **Time.** ``timeout_s`` is in seconds, from the call to the final result. When it is over, ``ResultTimeoutError`` is raised and nothing
    is taken back: the request goes on. Cancelling the task has the same effect. To have a request end, give it a ``deadline``, or
    ``cancel`` it.

    **One id, one content.** Requests with the same ``request_id`` and content are one request: one call is made, one final result comes,
    and every task that waits for it gets that one. A task that waits under a ``request_id`` of its own and hears nothing for 3 s gets the
    result that the topic holds from the last hour (``VP_BUDGET__MEMORY_S``), if the request that it answers had the same content.
    The same id with another content ends as ``Status.CONFLICT``, or raises ``InvalidRequestError`` while this client waits for the first.
    A result of another process under the id is taken if its request had the same content; what had another one is nobody's answer. Without
    Read on the requests topic nobody can tell: it is taken, whatever that one asked for, and the first time a warning is logged.

    Args:
        bootstrap: comma-separated host:port of the brokers; default ``VP_KAFKA__BOOTSTRAP``.
        topic_prefix: begins the topics' names; default ``VP_KAFKA__TOPIC_PREFIX``.
        kafka: everything about the connection, e.g. how to log in, instead of the two and of all ``VP_KAFKA__`` variables.

    Raises:
        InvalidSettingsError: if the client cannot be built with these.
        BrokersUnavailableError: on opening, if Kafka does not answer within 30 s, or refuses, or has no results topic.
    """

    def __init__(self, bootstrap: str | None = None, topic_prefix: str | None = None, *, kafka: KafkaSettings | None = None) -> None:
        self._settings = _settings(bootstrap, topic_prefix, kafka)
        self._names = topic_names(self._settings)
        self._unread = UnreadBatches(_log.warning)
        self._earlier = EarlierResults(self._settings, self._unread.note)
        self._compared = ComparedResults(self._settings, self._unread.note)
        self._router = ResultRouter(self._compared.ask)
        self._stack = AsyncExitStack()
        self._producer: RecordWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._comparing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._reading is not None:
            raise ClientClosedError("a client is opened once; make another one")
        async with AsyncExitStack() as stack:
            with self._kafka_errors():
                reader = await stack.enter_async_context(topic_reader(self._settings, [self._names.results], from_end=True))
                self._producer = await stack.enter_async_context(request_producer(self._settings))
            self._stack = stack.pop_all()
        self._reading = asyncio.get_running_loop().create_task(self._read(reader), name="verification results")
        self._looking = asyncio.get_running_loop().create_task(self._look(self._earlier.run), name="earlier verification results")
        self._comparing = asyncio.get_running_loop().create_task(self._look(self._compared.run), name="compared verification results")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._producer = None
        try:
            if self._reading is not None:
                await end_task(self._reading, _CLOSE_S)
            if self._looking is not None:
                await end_task(self._looking, _CLOSE_S)
            if self._comparing is not None:
                await end_task(self._comparing, _CLOSE_S)
        finally:  # also for whoever is cancelled meanwhile
            self._router.close("the client is closed")
            await self._stack.aclose()

    async def submit(
        self,
        operation: str,
        request_input: Mapping[str, Any],
        *,
        request_id: str | None = None,
        key: str | None = None,
        priority: Priority | None = None,
        deadline: datetime | None = None,
        on_doubt: OnDoubt | None = None,
        tenant: str | None = None,
    ) -> str:
        """Publish a request, and wait until the brokers have it, for 30 s at most. Does not wait for its result.

        Args:
            operation: one of docs/contract.md, e.g. ``verification``.
            request_input: the request's ``input``; its schema is ``schemas/input.<operation>.v1.json``.
            request_id: unique, 1 to 128 characters, no personal data; default a new UUID. Choose it yourself where the request has to
                survive your process: the same id again makes no second call.
            key: of the Kafka record; default the input's ``vendor_data``, else the request id.
            priority: who goes first when the budget is short; default ``Priority.NORMAL``.
            deadline: with its time zone; afterwards the request ends as ``Status.EXPIRED``. Default none.
            on_doubt: what to do if nobody can know whether a billed call took place; default ``OnDoubt.FAIL``.
            tenant: whose request it is; tenants that wait share the budget by weights (docs/pacing.md). No personal data. Default none.

        Returns:
            The request id.

        Raises:
            InvalidRequestError: if it breaks the contract; nothing was published.
            BrokersUnavailableError: if it was not acknowledged; submit it again under ``error.request_id``.
            ClientClosedError: if the client is not open.
        """
        request = build_request(
            operation,
            request_input,
            request_id=_chosen(request_id),
            key=key,
            priority=priority,
            deadline=deadline,
            on_doubt=on_doubt,
            tenant=tenant,
        )
        await self._publish(request, _ACK_S)
        return request.request_id

    async def cancel(self, request_id: str) -> str:
        """Take a request back, whoever has published it; return once the brokers have the word. Does not wait for what comes of it.

        If it still waits (for its turn, a later attempt, a person), it ends with its one final result, ``Status.FAILED`` with the code
        ``cancelled``, or ``Status.IN_DOUBT`` if an earlier call may have been done. A call that is under way goes on, and what is done
        stays done: look at the request's own final result, not at that of the cancel (docs/contract.md, "Taking a request back").

        Args:
            request_id: of the request, exactly as it was written.

        Returns:
            The id of the cancel itself, a request of operation ``cancel`` with a final result of its own.

        Raises:
            InvalidRequestError: if that cannot be a request id; nothing was published.
            BrokersUnavailableError: if it was not acknowledged; cancel again.
            ClientClosedError: if the client is not open.
        """
        return await self.submit("cancel", {"request_id": request_id})

    async def request(
        self,
        operation: str,
        request_input: Mapping[str, Any],
        *,
        timeout_s: float,
        request_id: str | None = None,
        key: str | None = None,
        priority: Priority | None = None,
        deadline: datetime | None = None,
        on_doubt: OnDoubt | None = None,
        tenant: str | None = None,
    ) -> VerificationResult:
        """Publish a request and wait for its final result, whatever it says: look at ``status``, then at ``output`` or ``error``.

        Args:
            operation: as all the others, see ``submit``.
            request_input: see ``submit``.
            timeout_s: how long to wait for the final result, in seconds.
            request_id: see ``submit``.
            key: see ``submit``.
            priority: see ``submit``.
            deadline: see ``submit``.
            on_doubt: see ``submit``.
            tenant: see ``submit``.

        Raises:
            ResultTimeoutError: if none came in time; the request goes on.
            InvalidRequestError: if it breaks the contract, or its id is in use with another content; nothing was published.
            BrokersUnavailableError: if it was not acknowledged within the time, or 30 s; ask again under ``error.request_id``.
            UnreadableResultError: if the result is of a newer version than this client; the request is done.
            TooManyWaitingError: if 100 000 requests of this client wait already; nothing was published.
            ClientClosedError: if the client is not open, or was closed before the result came; the request goes on.
        """
        results = self.follow(
            operation,
            request_input,
            timeout_s=timeout_s,
            request_id=request_id,
            key=key,
            priority=priority,
            deadline=deadline,
            on_doubt=on_doubt,
            tenant=tenant,
        )
        async with aclosing(results):
            return [result async for result in results][-1]

    async def follow(
        self,
        operation: str,
        request_input: Mapping[str, Any],
        *,
        timeout_s: float,
        request_id: str | None = None,
        key: str | None = None,
        priority: Priority | None = None,
        deadline: datetime | None = None,
        on_doubt: OnDoubt | None = None,
        tenant: str | None = None,
    ) -> AsyncGenerator[VerificationResult, None]:
        """Publish a request at the first step; then its results as they come, the final one last.

        For ``verification`` the first result is ``Status.WAITING`` with the link in ``output["url"]``; other operations have only the final
        one. ``timeout_s`` runs from the first step and counts the time between the steps. Arguments and errors are those of ``request``.
        """
        request = build_request(
            operation,
            request_input,
            request_id=_chosen(request_id),
            key=key,
            priority=priority,
            deadline=deadline,
            on_doubt=on_doubt,
            tenant=tenant,
        )
        until = asyncio.get_running_loop().time() + timeout_s
        with self._router.waiting(request) as waiter:
            waiter.published(await self._publish(request, min(_ACK_S, timeout_s)))
            with self._asking_again(waiter, request, chosen=request_id is not None):
                while True:
                    try:
                        async with asyncio.timeout_at(until):
                            result = await waiter.next()
                    except TimeoutError:
                        raise ResultTimeoutError(request.request_id, timeout_s) from None
                    yield result
                    if result.is_final:
                        return

    async def results(self) -> AsyncGenerator[VerificationResult, None]:
        """All results that come from the first step on, whoever has asked, each once. Ends when the client is closed.

        Take them as fast as they come: once 10 000 are untaken, the client reads no more, and everybody else who waits on it waits too.

        Raises:
            ClientClosedError: if the client is not open.
        """
        self._open_producer()
        async with aclosing(self._router.stream()) as stream:
            async for result in stream:
                yield result

    async def _publish(self, request: OutgoingRequest, timeout_s: float) -> Source:
        producer = self._open_producer()
        with self._kafka_errors(request):
            async with kafka_deadline(self._settings, timeout_s):
                return await producer.send_and_wait(self._names.requests, request.value, request.key)

    @contextmanager
    def _asking_again(self, waiter: Waiter, request: OutgoingRequest, *, chosen: bool) -> Iterator[None]:
        """Somebody who hears nothing may have asked before, and the result came then."""
        timer = asyncio.get_running_loop().call_later(ASKED_AGAIN_S, self._look_for, waiter, request) if chosen else None
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            self._earlier.forget(waiter)
            self._compared.forget(waiter)

    def _look_for(self, waiter: Waiter, request: OutgoingRequest) -> None:
        if not waiter.heard:
            self._earlier.ask(waiter, request)

    def _open_producer(self) -> RecordWriter:
        if self._producer is None:
            raise ClientClosedError("the client is not open: use it inside `async with`")
        return self._producer

    @contextmanager
    def _kafka_errors(self, request: OutgoingRequest | None = None) -> Iterator[None]:
        """What Kafka says, as errors of ours."""
        try:
            yield
        except KafkaFailedError as exc:
            if request is None:
                raise BrokersUnavailableError(f"the client was not opened: {exc}") from exc
            if isinstance(exc, KafkaRequestError) and exc.name == "MessageSizeTooLargeError":
                raise InvalidRequestError(ErrorCode.TOO_LARGE, None, f"{len(request.value)} bytes are more than a record may have") from exc
            text = f"request {request.request_id} was not acknowledged; submit it again under this id: {exc}"
            raise BrokersUnavailableError(text, request.request_id) from exc

    async def _look(self, run: Callable[[], Awaitable[None]]) -> None:
        try:
            await run()
        except Exception as exc:  # noqa: BLE001 - as below
            self._router.close(f"results of others can be read no more ({type(exc).__name__}); make another client", exc)

    async def _read(self, reader: PartitionReader) -> None:
        try:
            while True:
                try:
                    records = await self._unread.read(reader, wait_s=_READ_S)
                except KafkaFailedError:
                    await asyncio.sleep(_AGAIN_S)  # the reader goes on where it was
                    continue
                for record in records:
                    await self._router.take(record.value, record.headers)
        except Exception as exc:  # noqa: BLE001 - all who wait are told, and nobody waits for what cannot come
            self._router.close(f"results can be read no more ({type(exc).__name__}); make another client", exc)


def _chosen(request_id: str | None) -> str:
    return request_id if request_id is not None else str(uuid.uuid4())


def _settings(bootstrap: str | None, topic_prefix: str | None, kafka: KafkaSettings | None) -> Settings:
    named = {name: value for name, value in (("bootstrap", bootstrap), ("topic_prefix", topic_prefix)) if value is not None}
    if named and kafka is not None:
        raise InvalidSettingsError(f"`kafka` holds {' and '.join(named)} already: give one or the other")
    try:
        return load_settings(kafka=kafka if kafka is not None else named)
    except ConfigurationError as exc:
        raise InvalidSettingsError(str(exc)) from None
