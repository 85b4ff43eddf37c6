"""Asks the brokers what they let us do, by requests that change nothing whatever the answer is.

aiokafka 0.14 speaks no version of Metadata that tells "authorized operations" (KIP-430), so that request is written out here. Rights on
the group, on transactional ids and on the cluster are tried: brokers check the right before they look at the rest of a request, and
the rest is such that they refuse it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka import errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from processor.settings import Settings
from processor.stream.errors import RightsMissingError
from processor.stream.rights import MissingRight, missing_on_topics, needed_on_topics

_NOT_TOLD = -(2**31)  # Kafka's value for operations that the broker did not look up
_AGAIN_S = 0.1
_NO_TIME_MS = 0  # a time-out that no transaction may have: the coordinator refuses it and fences nobody


class TopicRightsResponse(Response):  # type: ignore[misc]
    """Metadata v8, as Kafka's protocol guide has it."""

    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8")))),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class TopicRightsStruct(RequestStruct):  # type: ignore[misc]
    """The request."""

    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = TopicRightsResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))), ("allow_auto_topic_creation", Boolean), ("of_cluster", Boolean), ("of_topics", Boolean)
    )


class TopicRightsRequest(Request[TopicRightsStruct]):  # type: ignore[misc]
    """What we may do with topics."""

    API_KEY = 3

    def __init__(self, topics: Iterable[str]) -> None:
        self._topics = list(topics)

    def build(self, request_struct_class: type[TopicRightsStruct]) -> TopicRightsStruct:
        """See ``Request.build``."""
        return request_struct_class(self._topics, False, False, True)  # noqa: FBT003 - aiokafka's structs take positions only


async def check_rights_by(client: AIOKafkaClient, settings: Settings) -> None:
    """See that a processor may do what it will have to do. Asks another broker where one is gone: to be called with a deadline.

    Raises:
        RightsMissingError: if not; it names all that is missing.
        KafkaError, OSError: of aiokafka, to be translated by the caller.
    """
    missing = [
        *await _missing_on_topics(client, settings),
        *await _missing_on_group(client, settings),
        *await _missing_for_producers(client, settings),
    ]
    if missing:
        raise RightsMissingError([str(right) for right in missing], settings)


async def _ask(client: AIOKafkaClient, request: Request[Any]) -> Any:
    """What some broker answers. One that was killed stands in the metadata until another one leads what it led."""
    while True:
        try:
            return await client.send(client.get_random_node(), request)
        except errors.KafkaError as exc:
            if not exc.retriable:
                raise
            await asyncio.sleep(_AGAIN_S)


async def _missing_on_topics(client: AIOKafkaClient, settings: Settings) -> list[MissingRight]:
    needed = needed_on_topics(settings)
    try:
        answer = await _ask(client, TopicRightsRequest(needed))
    except NotImplementedError:  # aiokafka's word for a version that the broker does not speak
        return []
    refused = errors.TopicAuthorizationFailedError.errno
    told = {
        topic: None if code == refused else operations
        for code, topic, _internal, _partitions, operations in answer.topics
        if code == refused or operations != _NOT_TOLD
    }
    return missing_on_topics(needed, told)


async def _missing_on_group(client: AIOKafkaClient, settings: Settings) -> list[MissingRight]:
    group = settings.kafka.group
    answer = await _ask(client, HeartbeatRequest(group, -1, ""))  # of nobody
    refused = answer.error_code == errors.GroupAuthorizationFailedError.errno
    return [MissingRight("Read", f"group {group}")] if refused else []


async def _missing_for_producers(client: AIOKafkaClient, settings: Settings) -> list[MissingRight]:
    prefix = f"{settings.kafka.group}-"
    found = []
    answer = await _ask(client, InitProducerIdRequest(f"{prefix}rights", _NO_TIME_MS))
    if answer.error_code == errors.TransactionalIdAuthorizationFailed.errno:
        found.append(MissingRight("Write", f"transactional ids that begin with {prefix}"))
    answer = await _ask(client, InitProducerIdRequest(None, _NO_TIME_MS))
    if answer.error_code == errors.ClusterAuthorizationFailedError.errno:
        found.append(MissingRight("IdempotentWrite", "the cluster (from Kafka 2.8 on, Write on any topic will do)"))
    return found
