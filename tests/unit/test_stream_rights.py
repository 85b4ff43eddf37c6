"""What a processor needs from brokers with ACLs, and what is said to be missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, UnsupportedVersionError
from virtual_time import run_virtual

from processor.settings import load_settings
from processor.stream.acl_table import AclOperation
from processor.stream.aiokafka_rights import check_rights_by
from processor.stream.errors import RightsMissingError, is_fatal
from processor.stream.rights import MissingRight, missing_on_topics, needed_on_topics

R, W, D, C = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS
SETTINGS = load_settings(kafka={"topic_prefix": "v"}, retry={"delays_s": [10]})


def bits(*operations: AclOperation) -> int:
    return sum(1 << operation for operation in operations)


def test_a_processor_needs_what_it_does_with_each_topic() -> None:
    assert needed_on_topics(SETTINGS) == {
        "v.requests": {R, C},
        "v.retry.10s": {R, W, C},
        "v.events": {R, C},
        "v.repairs": {R, W, C},
        "v.controls": {R, C},
        "v.budget": {R, W, C},
        "v.results": {W, C},
        "v.dead-letters": {W, C},
    }


def test_one_that_receives_webhooks_writes_events() -> None:
    settings = load_settings(kafka={"topic_prefix": "v"}, webhooks={"in_run": True})
    assert needed_on_topics(settings)["v.events"] == {R, W, C}


def test_every_missing_right_is_named_with_its_topic() -> None:
    needed = {"v.requests": frozenset({R, D}), "v.results": frozenset({W, D}), "v.budget": frozenset({R, W, D, C})}
    told = {"v.requests": None, "v.results": bits(D), "v.budget": bits(R, W, D, C)}
    assert [str(right) for right in missing_on_topics(needed, told)] == [
        "Read on topic v.requests",
        "Describe on topic v.requests",
        "Write on topic v.results",
    ]


def test_a_topic_of_which_nothing_is_told_is_not_judged() -> None:
    assert missing_on_topics({"v.requests": frozenset({R})}, {}) == []
    assert missing_on_topics({"v.requests": frozenset({R})}, {"v.requests": bits(W)}) == [MissingRight("Read", "topic v.requests")]


def test_the_refusal_names_all_of_them_and_the_user() -> None:
    settings = load_settings(
        kafka={"security_protocol": "SASL_PLAINTEXT", "sasl_username": "app", "sasl_password": "secret-word", "bootstrap": "kafka:9092"}
    )
    error = RightsMissingError(["Write on topic v.results", "Read on group g"], settings)
    assert str(error).startswith(
        "Kafka at kafka:9092 does not allow user app what a processor needs: Write on topic v.results; Read on group g."
    )
    assert is_fatal(error)
    assert "secret-word" not in str(error)


class Brokers:
    """Three, of which some are gone."""

    def __init__(self, *failures: Exception) -> None:
        self._failures, self._next = list(failures), 0

    def get_random_node(self) -> int:
        self._next = (self._next + 1) % 3
        return self._next

    async def send(self, _node: int, _request: Any) -> Any:
        if self._failures:
            raise self._failures.pop(0)
        return SimpleNamespace(topics=[], error_code=0)


def test_another_broker_is_asked_where_one_is_gone() -> None:
    """Else a rebalance while a broker is away ends the life of all lanes."""
    run_virtual(check_rights_by(Brokers(NodeNotReadyError(), KafkaConnectionError(), NodeNotReadyError()), SETTINGS))
    with pytest.raises(UnsupportedVersionError):
        run_virtual(check_rights_by(Brokers(NodeNotReadyError(), UnsupportedVersionError()), SETTINGS))
