"""For Python services that ask for verifications: publish requests, wait for results.

    async with VerificationClient(bootstrap="kafka:9092") as client:
        result = await client.request("aml", {"full_name": "Ann Example"}, timeout_s=120)

One client for a whole process; it is for one event loop and safe to share between tasks.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import orjson

from processor.client.topics import read_topics, record_key, request_producer, topic_reader
from processor.contract.decode import Rejected, decode
from processor.contract.records import Record, Source
from processor.settings import Settings, load_settings
from processor.stream.errors import KafkaFailedError, kafka_deadline
from processor.stream.reader import PartitionReader
from processor.stream.topics import topic_names
from processor.stream.writer import RecordWriter

_ACK_S = 30.0
_WAITING_MAX = 100_000
_KEPT_MAX = 10_000  # results that nobody has taken yet; then reading stops until somebody does
_SEEN_MAX = 100_000
_READ_S = 1.0
_AGAIN_S = 1.0


class InvalidRequestError(ValueError):
    """The request breaks the contract; nothing was published.

    Attributes:
        code: stable, e.g. ``missing_field``.
        field: path, e.g. ``input.workflow_id``; None if the whole is wrong.
    """

    def __init__(self, code: str, field: str | None, message: str) -> None:
        super().__init__(f"{field or 'request'}: {message}")
        self.code, self.field = code, field


class ResultTimeoutError(TimeoutError):
    """No final result came in time. It will still come: read it from the results topic by its ``request_id``."""


class ClientClosedError(Exception):
    """The client is closed, or was never opened."""


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """One record of the results topic, see docs/contract.md."""

    result_id: str
    request_id: str | None
    operation: str | None
    kind: str  # progress | final
    status: str  # waiting | succeeded | rejected | failed | expired | in_doubt | conflict
    output: Any
    error: Mapping[str, Any] | None
    attempts: int
    source: Mapping[str, Any]
    replay: int = 0  # times that its request was redriven before

    @property
    def succeeded(self) -> bool:
        """Whether Didit has answered; the answer may be a decline."""
        return self.status == "succeeded"

    @property
    def is_final(self) -> bool:
        """Whether nothing more comes for this request."""
        return self.kind == "final"

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> VerificationResult:
        """From the JSON of a record.

        Raises:
            KeyError: if it is no result.
        """
        return cls(**{name: document[name] for name in cls.__slots__ if name != "replay"}, replay=document.get("replay", 0))


class _Waiter:
    """Who waits for the results of one request."""

    def __init__(self) -> None:
        self.results: asyncio.Queue[VerificationResult] = asyncio.Queue()  # one progress and one final result at most
        self.source: tuple[str, int, int] | None = None
        self.conflicts: list[VerificationResult] = []  # read before the position of our own record was known

    def take(self, result: VerificationResult) -> None:
        """A result of this request id. A conflict is that of another record, unless it stands where ours does."""
        if result.status != "conflict":
            self.results.put_nowait(result)
        elif self.source is None:
            self.conflicts.append(result)
        elif self.source == (result.source["topic"], result.source["partition"], result.source["offset"]):
            self.results.put_nowait(result)


class VerificationClient:
    """Publishes requests and hands out their results. Use as an async context manager.

    Args:
        bootstrap: host:port of the brokers; default as in ``VP_KAFKA__BOOTSTRAP``.
        prefix: of the topics; default as in ``VP_KAFKA__TOPIC_PREFIX``.
        settings: everything else, e.g. how to log in; default from the environment.

    Raises:
        TopicMissingError: on entering, if the results topic does not exist.
        KafkaFailedError: on entering, if the brokers cannot be reached or do not let us in; see ``processor.stream.errors``.
    """

    def __init__(self, bootstrap: str | None = None, prefix: str | None = None, *, settings: Settings | None = None) -> None:
        base = settings or load_settings()
        changes = {name: value for name, value in (("bootstrap", bootstrap), ("topic_prefix", prefix)) if value is not None}
        self._settings = base.model_copy(update={"kafka": base.kafka.model_copy(update=changes)})
        self._names = topic_names(self._settings)
        self._stack = AsyncExitStack()
        self._producer: RecordWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[str, list[_Waiter]] = {}
        self._streams: set[asyncio.Queue[VerificationResult]] = set()
        self._seen: OrderedDict[str, None] = OrderedDict()

    async def __aenter__(self) -> Self:
        reader = await self._stack.enter_async_context(topic_reader(self._settings, [self._names.results], from_end=True))
        self._producer = await self._stack.enter_async_context(request_producer(self._settings))
        self._reading = asyncio.get_running_loop().create_task(self._read(reader), name="verification results")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._producer = None
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        await self._stack.aclose()

    async def submit(
        self,
        operation: str,
        given: Mapping[str, Any],
        *,
        request_id: str | None = None,
        key: str | None = None,
        priority: str | None = None,
        deadline: datetime | None = None,
        on_doubt: str | None = None,
    ) -> str:
        """Publish a request and wait until the brokers have it; its id.

        Args:
            operation: e.g. ``verification``.
            given: the ``input`` of the request.
            request_id: one of a kind; the same one again, with the same content, is not called again. Default a fresh UUID.
            key: of the record, e.g. the user; default ``vendor_data``, else the request id.
            priority: ``urgent``, ``normal`` or ``bulk``.
            deadline: an aware time.
            on_doubt: ``fail`` or ``repeat``.

        Raises:
            InvalidRequestError: if it breaks the contract.
            KafkaFailedError: if it was not acknowledged; submit it again under the same id.
            ClientClosedError: outside of the context.
        """
        chosen = request_id if request_id is not None else str(uuid.uuid4())
        extras = {"priority": priority, "on_doubt": on_doubt, "deadline": deadline.isoformat() if deadline is not None else None}
        body = {"request_id": chosen, "operation": operation, "input": dict(given)}
        await self._publish(body | {name: value for name, value in extras.items() if value is not None}, key)
        return chosen

    async def request(self, operation: str, given: Mapping[str, Any], *, timeout_s: float, **options: Any) -> VerificationResult:
        """Publish a request and wait for its final result, whatever it says. ``options`` are those of ``submit``.

        Raises:
            ResultTimeoutError: if none came in time; the request goes on.
            Exception: as ``submit``.
        """
        async for result in self.follow(operation, given, timeout_s=timeout_s, **options):
            if result.is_final:
                return result
        raise ClientClosedError("the client was closed")

    async def follow(
        self, operation: str, given: Mapping[str, Any], *, timeout_s: float, **options: Any
    ) -> AsyncGenerator[VerificationResult, None]:
        """Publish a request; its results as they come: for ``verification`` the link first. Ends with the final one.

        Raises:
            ResultTimeoutError, Exception: as ``request``.
        """
        chosen = options.pop("request_id", None) or str(uuid.uuid4())
        if sum(map(len, self._waiting.values())) >= _WAITING_MAX:
            raise ClientClosedError(f"{_WAITING_MAX} requests wait already")
        waiter = _Waiter()
        self._waiting.setdefault(chosen, []).append(waiter)  # before it is published: the result may be quick
        until = asyncio.get_running_loop().time() + timeout_s
        try:
            await self.submit(operation, given, request_id=chosen, **options)
            while True:
                try:
                    async with asyncio.timeout_at(until):
                        result = await waiter.results.get()
                except TimeoutError:
                    raise ResultTimeoutError(f"no final result of {chosen} within {timeout_s:g} s") from None
                yield result
                if result.is_final:
                    return
        finally:
            self._waiting[chosen].remove(waiter)
            if not self._waiting[chosen]:
                del self._waiting[chosen]

    async def results(self) -> AsyncGenerator[VerificationResult, None]:
        """All results that come from now on, of everybody's requests, each once. Whoever takes them too slowly holds up the others."""
        stream: asyncio.Queue[VerificationResult] = asyncio.Queue(_KEPT_MAX)
        self._streams.add(stream)
        try:
            while True:
                yield await stream.get()
        finally:
            self._streams.discard(stream)

    async def _publish(self, body: dict[str, Any], key: str | None) -> None:
        if self._producer is None:
            raise ClientClosedError("use the client inside `async with`")
        value = orjson.dumps(body)
        found = decode(Record(Source(self._names.requests, 0, 0), None, value))
        if isinstance(found, Rejected):
            raise InvalidRequestError(found.error.code, found.error.field, found.error.message)
        chosen_key = key.encode() if key else record_key(found.request)
        async with kafka_deadline(self._settings, _ACK_S):
            done = await self._producer.send_and_wait(self._names.requests, value, chosen_key)
        for waiter in self._waiting.get(body["request_id"], ()):
            if waiter.source is None:
                waiter.source = (done.topic, done.partition, done.offset)
                for conflict in waiter.conflicts:
                    waiter.take(conflict)

    async def _read(self, reader: PartitionReader) -> None:
        while True:
            try:
                for record in await read_topics(reader, wait_s=_READ_S):
                    await self._hand_out(record.value)
            except KafkaFailedError:
                await asyncio.sleep(_AGAIN_S)  # the client goes on where it was

    async def _hand_out(self, value: bytes | None) -> None:
        try:
            result = VerificationResult.of(orjson.loads(value or b""))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return  # not ours
        if result.result_id in self._seen:
            return
        self._seen[result.result_id] = None
        if len(self._seen) > _SEEN_MAX:
            self._seen.popitem(last=False)
        for waiter in self._waiting.get(result.request_id or "", ()):
            waiter.take(result)
        for stream in list(self._streams):
            await stream.put(result)
