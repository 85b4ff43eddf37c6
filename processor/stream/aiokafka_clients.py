"""aiokafka's clients with some of its names replaced, for our clients alone.

aiokafka finds its classes as names of its modules. To replace one there would change every client of the process, also those of a
service that only imports ours. So a function that uses such a name is taken over as it is, with that name standing for something else:
its code stays aiokafka's, and its modules stay as they are. Pinned to aiokafka 0.14 by tests/integration/test_integration_clients.py and
tests/integration/test_integration_bad_input.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from contextvars import ContextVar
from functools import partial
from types import MethodType
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError
from aiokafka.protocol.api import Response

from processor.stream.aiokafka_answers import FetchAnswers
from processor.stream.aiokafka_connection import open_connection
from processor.stream.aiokafka_fence import FencingSender
from processor.stream.aiokafka_metadata import AskingRequest
from processor.stream.aiokafka_names import with_names
from processor.stream.aiokafka_records import BoundedMemoryRecords
from processor.stream.aiokafka_results import BoundedFetchResult, OpenBatches
from processor.stream.connect_pace import ConnectPace
from processor.stream.errors import is_connect_fault
from processor.stream.fetch_pace import FetchPace
from processor.stream.throttling import THROTTLING
from processor.stream.unpacking_thread import UnpackingThread

_FAILED: ContextVar[list[Exception]] = ContextVar("failed_connections")
_QUIET = logging.getLogger(f"{__name__}.bootstrap")  # the error that is raised says what aiokafka would log
_QUIET.setLevel(logging.CRITICAL)
_BOOTSTRAP_EVERY_S = 1.0
_ASK_AGAIN_S = 0.1  # where a topic is, or who leads it: Kafka's own client waits as long (retry.backoff.ms)
_ALL = "all brokers"
_FETCH_LOOK_S = 10.0
_FETCH = 1  # https://kafka.apache.org/protocol.html#protocol_api_keys
log = logging.getLogger(__name__)  # not structlog: callers' services import this with the client


async def _create_conn(*args: Any, **options: Any) -> Any:
    try:
        return await open_connection(*args, **options)
    except (KafkaError, OSError) as exc:
        _FAILED.get().append(exc)
        raise


def _is_without_leader(cluster: ClusterMetadata, topic: str) -> bool:
    led = cluster.available_partitions_for_topic(topic)
    return not led or led != cluster.partitions_for_topic(topic)


class _Client(AIOKafkaClient):  # type: ignore[misc]
    """Asks for topics without making them; says why it could not connect; finds brokers that all have other addresses now.

    aiokafka looks at the bootstrap servers at its start and never again: where every broker that it knows comes back elsewhere, it
    knocks at the old addresses for ever (aiokafka issues 456, 459, 703).
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._answers, self._pace = FetchAnswers(), ConnectPace()

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        """As aiokafka's, but see ``FetchAnswers`` for what brokers answer to fetches. Looks whether we are throttled."""
        response = await super().send(node_id, request, **options)
        if held_s := THROTTLING.note(response):
            log.warning("kafka_throttled", extra={"detail": f"a quota of the brokers holds our requests back for {held_s:.1f} s"})
        if not isinstance(response, Response) or response.API_KEY != _FETCH:
            return response
        if rest_s := self._answers.rest_s(node_id, response):
            await asyncio.sleep(rest_s)
        return self._answers.corrected(request, response)

    async def coordinator_lookup(self, coordinator_type: int, coordinator_key: str) -> Any:
        """As aiokafka's. A broker that goes while it is asked counts as one that is away: another one is asked. So does one that starts.

        aiokafka's sender knows the latter only, and ended at the other; its producer could send nothing any more. A broker that has just
        started knows no broker, not even itself.
        """
        if self.get_random_node() is None:
            raise NodeNotReadyError("no broker is known yet")
        try:
            return await super().coordinator_lookup(coordinator_type, coordinator_key)
        except KafkaConnectionError as exc:
            raise NodeNotReadyError(str(exc)) from exc

    _known_update = with_names(AIOKafkaClient._metadata_update, MetadataRequest=AskingRequest)  # noqa: SLF001 - what is replaced
    _brokers_update = with_names(AIOKafkaClient._metadata_update, MetadataRequest=lambda _: AskingRequest([]))  # noqa: SLF001 - what is replaced
    _bootstrap_after = float("-inf")  # monotonic s
    _ask_after = float("-inf")  # by the loop's clock, s

    async def _metadata_update(self, cluster_metadata: ClusterMetadata, topics: Collection[str] | None) -> bool:
        # aiokafka's sender says that it waits between two such questions, and asks hundreds of times a second
        now = asyncio.get_running_loop().time
        if (wait_s := self._ask_after - now()) > 0:
            await asyncio.sleep(wait_s)
        updated = await self._metadata_updated(cluster_metadata, topics)
        self._pace.tried(_ALL, now(), reached=updated)
        again = self._pace.is_disturbed(now()) or any(_is_without_leader(cluster_metadata, topic) for topic in topics or ())
        self._ask_after = now() + max(self._pace.rest_s(_ALL, now()), _ASK_AGAIN_S if again else 0.0)
        return updated

    async def _metadata_updated(self, cluster_metadata: ClusterMetadata, topics: Collection[str] | None) -> bool:
        # a client that has named no topic yet has use for none: aiokafka would ask for all of the cluster, and keep them
        update = self._known_update if topics is None or topics else self._brokers_update
        if await update(cluster_metadata, topics):
            return True
        return await self._bootstrap_again(topics) and await update(cluster_metadata, topics)

    async def _bootstrap_again(self, topics: Collection[str] | None) -> bool:
        """None of the brokers that are known answers: ask the bootstrap servers where the brokers are now. At most once a second."""
        if time.monotonic() < self._bootstrap_after:
            return False
        self._bootstrap_after = time.monotonic() + _BOOTSTRAP_EVERY_S
        asked = None if topics is None else list(topics)  # at once: metadata without them would be taken for topics that are gone
        bootstrap = with_names(
            AIOKafkaClient.bootstrap, MetadataRequest=lambda _: AskingRequest(asked), create_conn=_create_conn, log=_QUIET
        )
        known, before = self.cluster.brokers(), _FAILED.set([])
        try:
            await bootstrap(self)
        except KafkaConnectionError:
            return False
        finally:
            _FAILED.reset(before)
        if self.cluster.brokers() != known:
            log.warning("brokers_moved")  # every client of the process says it, and is thinned to the first one
        return True

    _opened_conn = with_names(AIOKafkaClient._get_conn, create_conn=open_connection)  # noqa: SLF001 - what is replaced

    async def _get_conn(self, node_id: int, **options: Any) -> Any:
        """As aiokafka's, but a broker that could not be reached is left alone for a moment."""
        now, whom = asyncio.get_running_loop().time, (node_id, options.get("group", ConnectionGroup.DEFAULT))
        if self._pace.rest_s(whom, now()):
            self.force_metadata_update()  # as aiokafka does: who leads what may have changed
            return None
        connection = await self._opened_conn(node_id, **options)
        self._pace.tried(whom, now(), reached=connection is not None)
        return connection

    _bootstrap = with_names(AIOKafkaClient.bootstrap, MetadataRequest=AskingRequest, create_conn=_create_conn, log=_QUIET)

    async def bootstrap(self) -> None:
        """Connect. aiokafka writes the reason to its log and raises the same error for all of them.

        Raises:
            KafkaConnectionError: if nobody answers; its cause says why.
            KafkaError, SSLError: if a broker has refused the login.
        """
        failed: list[Exception] = []
        before = _FAILED.set(failed)
        try:
            await self._bootstrap()
        except KafkaConnectionError as exc:
            if (refusal := next(filter(is_connect_fault, failed), None)) is not None:
                raise refusal from exc
            raise exc from (failed[-1] if failed else None)
        finally:
            _FAILED.reset(before)


class _Fetcher(Fetcher):  # type: ignore[misc]
    """Reads what can be read of a batch, within bounds, and goes on behind what cannot.

    aiokafka's loop of fetches wakes five times a second in case it missed something. It is told of all that lets it fetch more (an answer,
    records taken, a seek, a resume, an assignment, a leader found), so here that look is rare: it is half of what an idle consumer costs.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._open = OpenBatches(thread=UnpackingThread(self._wake))
        function = with_names(
            Fetcher._proc_fetch_request,  # noqa: SLF001 - what is replaced
            MemoryRecords=BoundedMemoryRecords,
            FetchResult=partial(BoundedFetchResult, open_batches=self._open),
        )
        self._proc_fetch_request = MethodType(function, self)
        super().__init__(*args, **(options | {"fetcher_timeout": _FETCH_LOOK_S}))

    async def close(self) -> None:
        """End it, and let go of what it holds."""
        await super().close()
        self._open.drop()

    def _wake(self) -> None:
        """There is more to be had of what was fetched."""
        for waiter in list(self._fetch_waiters):
            self._notify(waiter)

    fetched_records = with_names(Fetcher.fetched_records, FetchResult=BoundedFetchResult)


class _GatheringFetcher(_Fetcher):
    """Waits a little before the next fetch while much comes, see ``FetchPace``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._pace = FetchPace()
        super().__init__(*args, **options)

    async def fetched_records(self, *args: Any, **options: Any) -> Any:
        found = await super().fetched_records(*args, **options)
        self._pace.taken(sum(map(len, found.values())), self._loop.time())
        return found

    def _get_actions_per_node(self, assignment: Any) -> Any:
        """What the loop of fetches does next: requests, resets, for how long it sleeps, whether it asks for metadata, what wakes it."""
        if wait_s := self._pace.wait_s(now := self._loop.time()):
            return [], {}, wait_s, False, []
        actions = super()._get_actions_per_node(assignment)
        if actions[0]:
            self._pace.began(now)
        return actions


class Consumer(AIOKafkaConsumer):  # type: ignore[misc]
    """aiokafka's consumer."""

    __init__ = with_names(AIOKafkaConsumer.__init__, AIOKafkaClient=_Client)
    start = with_names(AIOKafkaConsumer.start, Fetcher=_Fetcher)


class GatheringConsumer(Consumer):
    """Of many partitions in which much may come, and where some milliseconds do not matter then."""

    start = with_names(AIOKafkaConsumer.start, Fetcher=_GatheringFetcher)


class Producer(AIOKafkaProducer):  # type: ignore[misc]
    """aiokafka's producer."""

    __init__ = with_names(AIOKafkaProducer.__init__, AIOKafkaClient=_Client, Sender=FencingSender)


class AdminClient(AIOKafkaAdminClient):  # type: ignore[misc]
    """aiokafka's admin client."""

    __init__ = with_names(AIOKafkaAdminClient.__init__, AIOKafkaClient=_Client)
    _get_cluster_metadata = with_names(AIOKafkaAdminClient._get_cluster_metadata, MetadataRequest=AskingRequest)  # noqa: SLF001 - what is replaced
