"""The border to Kafka's errors: every error of aiokafka becomes one of ours, and says where, what, and what to do."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest
from aiokafka import TopicPartition, errors
from virtual_time import run_virtual

from processor.settings import load_settings
from processor.stream.connect_faults import HttpAnswerError
from processor.stream.errors import (
    AuthenticationError,
    InvalidRecordError,
    KafkaFailedError,
    KafkaRequestError,
    KafkaUnavailableError,
    LeaderNotReadyError,
    NotAuthorizedError,
    ProducerExpiredError,
    ProducerFencedError,
    RecordsRefusedError,
    StallError,
    TopicMissingError,
    UnsupportedBrokerError,
    describe,
    failure_of,
    is_connect_fault,
    is_fatal,
    kafka_deadline,
    kafka_errors,
    missing_topic,
)

PASSWORD = "s3cret-of-the-test"
SETTINGS = load_settings(
    kafka={
        "bootstrap": "kafka.example:9092",
        "group": "g-1",
        "topic_prefix": "v",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_username": "user-of-the-test",
        "sasl_password": PASSWORD,
    }
)


def every_error_of_aiokafka() -> list[type[errors.KafkaError]]:
    found = [getattr(errors, name) for name in dir(errors)]
    return sorted(
        {e for e in found if isinstance(e, type) and issubclass(e, errors.KafkaError)} - {errors.BrokerResponseError},
        key=lambda e: e.__name__,
    )


@pytest.mark.parametrize("kind", every_error_of_aiokafka())
def test_no_error_of_aiokafka_crosses_the_border(kind: type[errors.KafkaError]) -> None:
    with pytest.raises(KafkaFailedError) as raised, kafka_errors(SETTINGS):
        raise kind
    text = str(raised.value)
    assert "kafka.example:9092" in text
    assert kind.__name__ in text or isinstance(raised.value, TopicMissingError | ProducerFencedError)
    assert PASSWORD not in text
    assert "user-of-the-test" not in text
    assert text.endswith(".")
    assert len(text) < 700
    assert raised.value.__cause__.__class__ is kind


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (errors.KafkaConnectionError("Unable to bootstrap"), "the connection has ended: KafkaConnectionError"),
        (HttpAnswerError("x"), "an HTTP server listens on that port"),
        (errors.NodeNotReadyError(), "NodeNotReadyError"),
        (errors.RequestTimedOutError(), "RequestTimedOutError"),
        (errors.NotEnoughReplicasError(), "NotEnoughReplicasError"),
        (TimeoutError(), "no answer in time"),
        (ConnectionRefusedError(111, "refused"), "nothing listens on that port"),
        (socket.gaierror(-2, "not known"), "the name of the host is not known here"),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), "SSLEOFError"),
    ],
)
def test_silence_is_told_as_silence(error: Exception, name: str) -> None:
    found = failure_of(error, SETTINGS)
    assert type(found) is KafkaUnavailableError
    assert f"does not answer ({name})" in str(found)
    assert "VP_KAFKA__BOOTSTRAP" in str(found)
    assert not is_fatal(found)


def test_a_leader_that_is_missing_or_new_is_no_silence() -> None:
    found = failure_of(errors.LeaderNotAvailableError(TopicPartition("v.a", 3)), SETTINGS)
    assert isinstance(found, LeaderNotReadyError)
    assert "Kafka at kafka.example:9092 answers, but a partition has no leader" in str(found)
    assert not is_fatal(found)


def test_what_is_behind_a_failed_bootstrap_is_named() -> None:
    error = errors.KafkaConnectionError("Unable to bootstrap")
    error.__cause__ = ConnectionRefusedError(111, "refused")
    assert "(nothing listens on that port)" in str(failure_of(error, SETTINGS))


@pytest.mark.parametrize(
    ("error", "resource"),
    [
        (errors.TopicAuthorizationFailedError("v.results"), "topic v.results"),
        (errors.TopicAuthorizationFailedError({"v.b", "v.a"}), "topic v.a, v.b"),
        (errors.TopicAuthorizationFailedError(TopicPartition("v.a", 3)), "topic v.a"),
        (errors.TopicAuthorizationFailedError(), "topic v.*"),
        (errors.GroupAuthorizationFailedError("other-group"), "group other-group"),
        (errors.GroupAuthorizationFailedError("Unable to get coordinator id for g-1"), "group g-1"),
        (errors.GroupAuthorizationFailedError(), "group g-1"),
        (errors.TransactionalIdAuthorizationFailed("g-1-v.requests-0"), "transactional id g-1-v.requests-0"),
        (errors.TransactionalIdAuthorizationFailed(), "transactional id g-1-*"),
    ],
)
def test_a_right_that_is_missing_is_named(error: Exception, resource: str) -> None:
    found = failure_of(error, SETTINGS)
    assert isinstance(found, NotAuthorizedError)
    assert found.resource == resource
    assert f"does not allow this user to use {resource} (" in str(found)
    assert "does not answer" not in str(found)
    assert is_fatal(found)


def test_a_right_on_the_cluster_is_named() -> None:
    found = failure_of(errors.ClusterAuthorizationFailedError(), SETTINGS)
    assert isinstance(found, NotAuthorizedError)
    assert found.resource.startswith("the cluster")


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (errors.SaslAuthenticationFailed("Authentication failed due to invalid credentials"), "VP_KAFKA__SASL_PASSWORD"),
        (errors.AuthenticationFailedError(), "VP_KAFKA__SASL_USERNAME"),
        (errors.UnsupportedSaslMechanismError("no SCRAM"), "VP_KAFKA__SASL_MECHANISM"),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), "VP_KAFKA__SSL_CA_FILE"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "the listener speaks TLS"),
    ],
)
def test_a_login_that_is_refused_is_no_silence(error: Exception, word: str) -> None:
    assert is_connect_fault(error)
    found = failure_of(error, SETTINGS)
    assert isinstance(found, AuthenticationError)
    assert word in str(found)
    assert "does not answer" not in str(found)
    assert not is_fatal(found)  # secrets rotate


def test_the_three_cases_have_three_texts() -> None:
    texts = [
        str(failure_of(e, SETTINGS))
        for e in (errors.NodeNotReadyError(), errors.TopicAuthorizationFailedError("v.a"), ssl.SSLError(1, "x"))
    ]
    texts.append(str(failure_of(errors.SaslAuthenticationFailed(), SETTINGS)))
    advice = [text.split(").", 1)[1] for text in (t.replace("). ", ").", 1) for t in texts)]
    assert len(set(advice)) == 4


def test_other_answers_keep_their_name_and_stay_short() -> None:
    found = failure_of(errors.MessageSizeTooLargeError("x\n" * 1000), SETTINGS)
    assert isinstance(found, KafkaRequestError)
    assert found.name == "MessageSizeTooLargeError"
    assert len(str(found)) < 700
    assert "\n" not in str(found)


def test_a_topic_that_is_missing_is_named_with_the_command_that_makes_it() -> None:
    found = failure_of(errors.UnknownTopicOrPartitionError("v.events"), SETTINGS)
    assert isinstance(found, TopicMissingError)
    for text in (str(found), str(missing_topic("v.events", SETTINGS))):
        assert "v.events does not exist" in text
        assert "processor topics apply" in text
    assert "processor topics check" in str(failure_of(errors.UnknownTopicOrPartitionError(), SETTINGS))


@pytest.mark.parametrize("error", [errors.ProducerFenced(), errors.InvalidProducerEpoch()])
def test_a_fenced_producer_is_told_apart(error: Exception) -> None:
    assert isinstance(failure_of(error, SETTINGS), ProducerFencedError)
    assert not is_fatal(failure_of(error, SETTINGS))


def test_brokers_that_are_too_old_end_the_process() -> None:
    found = failure_of(errors.UnsupportedVersionError(), SETTINGS)
    assert isinstance(found, UnsupportedBrokerError)
    assert is_fatal(found)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), RuntimeError("x"), missing_topic("t", SETTINGS)])
def test_what_is_no_error_of_kafka_is_left_alone(error: Any) -> None:
    with pytest.raises(type(error)) as raised, kafka_errors(SETTINGS):
        raise error
    assert raised.value is error


def test_the_log_shows_our_text() -> None:
    assert describe(failure_of(TimeoutError(), SETTINGS)).startswith("KafkaUnavailableError: Kafka at kafka.example:9092 does not answer")


def test_errors_that_a_new_life_cannot_cure_end_the_process() -> None:
    assert is_fatal(NotAuthorizedError("x", "topic t"))
    assert not is_fatal(ProducerFencedError("x"))
    assert not is_fatal(KafkaUnavailableError("x"))
    assert not is_fatal(StallError("x"))


def test_foreign_error_texts_stay_out_of_the_log() -> None:
    assert describe(ValueError("Ada Example")) == "ValueError"
    assert "no poll" in describe(StallError("no poll"))


@pytest.mark.parametrize(
    ("error", "kind", "setting"),
    [
        (InvalidRecordError(), RecordsRefusedError, "`processor topics check`"),
        (errors.OffsetMetadataTooLargeError(), RecordsRefusedError, "offset.metadata.max.bytes"),
        (errors.InvalidProducerIdMapping(), ProducerExpiredError, "transactional.id.expiration.ms"),
        (errors.InvalidTransactionTimeout(), KafkaRequestError, "transaction.max.timeout.ms is less than VP_LANES__TRANSACTION_S"),
        (errors.InvalidSessionTimeoutError(), KafkaRequestError, "VP_LANES__SESSION_TIMEOUT_S"),
        (errors.KafkaError("UnknownError()"), KafkaRequestError, "group.max.size"),  # as aiokafka wraps it
    ],
)
def test_what_the_settings_of_the_brokers_do_not_allow_is_told_by_their_names(
    error: Exception, kind: type[Exception], setting: str
) -> None:
    found = failure_of(error, SETTINGS)
    assert type(found) is kind
    assert setting in str(found)
    assert "does not answer" not in str(found)


@pytest.mark.parametrize(
    "awaited", [errors.GroupCoordinatorNotAvailableError, errors.GroupLoadInProgressError, errors.NotCoordinatorForGroupError]
)
def test_a_deadline_that_ended_a_search_for_a_coordinator_says_so(awaited: type[Exception]) -> None:
    """Seen with __consumer_offsets on a disk that had failed, and with brokers that were making thousands of partitions."""

    async def ask_on() -> None:
        while True:  # as aiokafka does
            try:
                raise awaited
            except errors.KafkaError:
                await asyncio.sleep(0.1)

    async def within_a_minute() -> None:
        async with kafka_deadline(SETTINGS, 60.0):
            await ask_on()

    with pytest.raises(KafkaUnavailableError, match="answers, but no broker coordinates"):
        run_virtual(within_a_minute())


def test_a_deadline_behind_which_is_nothing_speaks_of_silence() -> None:
    async def within_a_minute() -> None:
        async with kafka_deadline(SETTINGS, 60.0):
            await asyncio.Event().wait()

    with pytest.raises(KafkaUnavailableError, match=r"does not answer \(no answer in time\)"):
        run_virtual(within_a_minute())
