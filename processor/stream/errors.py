"""The one place that translates Kafka's errors: what an error of aiokafka means, in our types, with the text that people read.

Everything in this room that talks to Kafka does so inside ``with kafka_errors(settings)``. So no other room sees an error of aiokafka,
and what to do about brokers that do not answer, about a login and about rights that are missing is said here and nowhere else.

What the program does about an error is decided here too. Nothing is retried in place: an unexpected error ends this *life* of the
group member, and the supervisor builds the next one on the same path as at the start. Some errors no restart can cure: they end the
process.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from aiokafka import TopicPartition, errors

from processor.bounds.open_files import used_up_open_files
from processor.contract.records import Unread
from processor.contract.times import duration
from processor.settings import KafkaSettings, Settings
from processor.stream.connect_faults import ConnectFaultCode, HttpAnswerError, connect_fault_of
from processor.stream.start_offset import MissingOffsetsError
from processor.stream.throttling import THROTTLING

_LINE_MAX = 700  # of the log
_FOREIGN_MAX = 300  # of a text of aiokafka
_CHAIN_MAX = 5  # a deadline and the cancellation that it made, and those around them
_ANY = KafkaSettings.model_construct()  # what a fault is does not depend on the settings, its text does
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # of a topic, a group or a transactional id of ours; a sentence of aiokafka is none

_UNAVAILABLE = (
    errors.KafkaConnectionError,
    errors.KafkaTimeoutError,
    errors.KafkaUnavailableError,
    errors.NodeNotReadyError,
    errors.NoBrokersAvailable,
    errors.MetadataEmptyBrokerList,
    errors.RequestTimedOutError,
    errors.BrokerNotAvailableError,
    errors.ReplicaNotAvailableError,
    errors.NotLeaderForPartitionError,
    errors.NotEnoughReplicasError,
    errors.NotEnoughReplicasAfterAppendError,
    errors.NotControllerError,
    errors.KafkaStorageError,
    errors.StaleMetadata,
    errors.Cancelled,
    TimeoutError,  # a deadline of ours
    OSError,
)
NO_COORDINATOR = (errors.CoordinatorNotAvailableError, errors.CoordinatorLoadInProgressError, errors.NotCoordinatorError)
_UNSUPPORTED = (errors.IncompatibleBrokerVersion, errors.UnrecognizedBrokerVersion, errors.UnsupportedVersionError)
_FENCED = (errors.ProducerFenced, errors.InvalidProducerEpoch)
_CAUSES = {
    TimeoutError: "no answer in time",
    ConnectionRefusedError: "nothing listens on that port",
    socket.gaierror: "the name of the host is not known here",
    HttpAnswerError: "an HTTP server listens on that port",
    errors.KafkaConnectionError: "the connection has ended: KafkaConnectionError",
}


class InvalidRecordError(errors.BrokerResponseError):  # type: ignore[misc]
    """A topic with ``cleanup.policy=compact`` takes no record without a key. aiokafka does not know it, Kafka's protocol guide does."""

    errno = 87
    message = "INVALID_RECORD"


_RECORDS_REFUSED = (  # for how a topic is set, so that another try is refused, too
    InvalidRecordError,
    errors.MessageSizeTooLargeError,
    errors.RecordListTooLargeError,
    errors.InvalidTimestampError,
    errors.PolicyViolationError,
)
_SETTINGS = {  # of the brokers, that do not allow what we ask for; by the name of an error, which may stand in the text of another one
    "InvalidTransactionTimeout": "their transaction.max.timeout.ms is less than VP_LANES__TRANSACTION_S and 15 s: raise it, or lower that",
    "InvalidSessionTimeoutError": "VP_LANES__SESSION_TIMEOUT_S is not between their group.min.session.timeout.ms and "
    "group.max.session.timeout.ms: set one of them",
    "UnknownError": "their log says which error it is. When a replica joins, that the group has as many members as their group.max.size",
}
_EXPIRED = "the brokers' transactional.id.expiration.ms is shorter than 20 minutes: raise it, Kafka's default is a week"
_METADATA = "their offset.metadata.max.bytes is less than 4096, Kafka's default, and a commit does not fit: raise it"


class KafkaFailedError(Exception):
    """Kafka did not do what it was asked for. The text names the brokers, what was wrong and what to do; it holds no secret, no record."""


class KafkaUnavailableError(KafkaFailedError):
    """No broker answers, or none that could do it now. Trying again may help."""


class LeaderNotReadyError(KafkaUnavailableError):
    """No broker leads a partition, or its leader is new and does not know yet how far what it holds is committed (KIP-207)."""


class AuthenticationError(KafkaFailedError):
    """The brokers refuse our login, or no TLS connection can be made. Waiting may not help.

    Attributes:
        code: which of them it is.
    """

    def __init__(self, text: str, code: ConnectFaultCode) -> None:
        super().__init__(text)
        self.code = code


class NotAuthorizedError(KafkaFailedError):
    """The login was accepted, but a right is missing.

    Attributes:
        resource: what must be granted, e.g. ``topic verification.results``.
    """

    def __init__(self, text: str, resource: str) -> None:
        super().__init__(text)
        self.resource = resource


class RightsMissingError(NotAuthorizedError):
    """Rights that a processor needs are missing: all of them, found before anything is called.

    Attributes:
        missing: each as ``Write on topic verification.results``.
        user: who they are to be granted to, as far as that is known here.
    """

    def __init__(self, missing: Sequence[str], settings: Settings) -> None:
        self.user = f"user {settings.kafka.sasl_username}" if settings.kafka.sasl_username else "this user"
        super().__init__(
            f"Kafka at {settings.kafka.bootstrap} does not allow {self.user} what a processor needs: {'; '.join(missing)}. Grant it; "
            "`processor acls` prints what each role needs.",
            "; ".join(missing),
        )
        self.missing = tuple(missing)


class TopicMissingError(KafkaFailedError):
    """A topic does not exist."""


class UnreadableBatchError(KafkaFailedError):
    """Of a batch not even the end is certain: nothing behind it can be read.

    Attributes:
        unread: where it is; ``last`` is below ``first`` if its end is not known.
    """

    def __init__(self, topic: str, partition: int, unread: Unread) -> None:
        super().__init__(
            f"{topic}[{partition}] cannot be read on from offset {unread.first}: the batch there {unread.detail}. Look at the disks of the "
            "broker that leads it; of an input topic `processor partitions skip` goes on behind it."
        )
        self.unread = unread


class ProducerFencedError(KafkaFailedError):
    """Another producer has begun under the same transactional id; whatever this one had not committed is void."""


class UnsupportedBrokerError(KafkaFailedError):
    """The brokers speak no version of a request that we need."""


class KafkaRequestError(KafkaFailedError):
    """Kafka answered with another error.

    Attributes:
        name: of aiokafka's class, e.g. ``MessageSizeTooLargeError``.
    """

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


class StallError(Exception):
    """A poll did not return in time."""


class RecordsRefusedError(KafkaRequestError):
    """A topic takes no such records as it is set, e.g. by ``max.message.bytes``: not before somebody changes that."""


class ProducerExpiredError(KafkaRequestError):
    """The brokers have forgotten a transactional id that was idle; a new producer under it goes on."""


@contextmanager
def kafka_errors(settings: Settings) -> Iterator[None]:
    """Translate the errors of aiokafka, of sockets and of deadlines. For calls to Kafka alone: an ``OSError`` of a file would be misread.

    Raises:
        KafkaFailedError: instead of them.
    """
    try:
        yield
    except (errors.KafkaError, OSError) as exc:  # a TimeoutError is an OSError
        raise failure_of(exc, settings) from exc


@asynccontextmanager
async def kafka_deadline(settings: Settings, within_s: float) -> AsyncIterator[asyncio.Timeout]:
    """The same, with an end to waiting, which can be put off.

    Raises:
        KafkaUnavailableError: if it takes longer.
        KafkaFailedError: as ``kafka_errors``.
    """
    with kafka_errors(settings):
        async with asyncio.timeout(within_s) as deadline:
            yield deadline


def failure_of(error: BaseException, settings: Settings) -> KafkaFailedError:
    """What an error of aiokafka, a socket or a deadline means."""
    where, name = f"Kafka at {settings.kafka.bootstrap}", type(error).__name__
    if (fault := connect_fault_of(error, settings.kafka)) is not None:
        text = f"{where}: {fault.text}."
        return AuthenticationError(text, fault.code) if fault.lasting else KafkaUnavailableError(text)
    if (resource := _refused_resource(error, settings)) is not None:
        text = f"{where} does not allow this user to use {resource} ({name}). Grant it; `processor acls` prints what each role needs."
        return NotAuthorizedError(text, resource)
    if isinstance(error, errors.UnknownTopicOrPartitionError):
        return missing_topic(next(iter(_names(error)), None), settings)
    return _other_failure(error, where)


def _other_failure(error: BaseException, where: str) -> KafkaFailedError:
    name = type(error).__name__
    if isinstance(error, _FENCED):
        return ProducerFencedError(
            f"{where}: another producer has begun under the same transactional id, or the transaction took too long."
        )
    if isinstance(error, _UNSUPPORTED):
        return UnsupportedBrokerError(
            f"{where} speaks no version of a request that is needed ({name}). docs/upgrading.md names the brokers."
        )
    if isinstance(error, (*NO_COORDINATOR, errors.LeaderNotAvailableError, *_UNAVAILABLE)):
        return _unavailable(error, where)
    if isinstance(error, _RECORDS_REFUSED):
        return RecordsRefusedError(
            f"{where} refuses records ({name}): the settings of a topic do not allow them. `processor topics check` says of which one, and "
            "what to set.",
            name,
        )
    return _request_failure(error, where, name)


def _unavailable(error: BaseException, where: str) -> KafkaUnavailableError:
    error = _awaited_coordinator(error) or error
    name = type(error).__name__
    if isinstance(error, NO_COORDINATOR):
        return KafkaUnavailableError(
            f"{where} answers, but no broker coordinates the group or the transaction now ({name}). That is so while brokers start; if it "
            "lasts, partitions of __consumer_offsets or __transaction_state have no leader: bring their brokers back."
        )
    if isinstance(error, errors.LeaderNotAvailableError):
        return LeaderNotReadyError(
            f"{where} answers, but a partition has no leader, or a new one that waits for as many replicas in sync as min.insync.replicas "
            f"({name}). `processor status` names it: bring the brokers back that hold its replicas."
        )
    if (limit := used_up_open_files()) is not None:
        return KafkaUnavailableError(
            f"{where} cannot be asked ({_cause_name(error)}): this process has as many files and connections open as it may, {limit}. "
            "Raise its hard limit (ulimit -Hn, LimitNOFILE of systemd), or start more replicas; docs/deploy.md says what a partition takes."
        )
    if THROTTLING.recent_s and isinstance(error, TimeoutError | errors.RequestTimedOutError | errors.KafkaTimeoutError):
        held = duration(THROTTLING.recent_s)
        return KafkaUnavailableError(
            f"{where} does not answer in time ({name}): a quota of its own holds our requests back, for up to {held}. Raise it for our "
            "user; docs/managed-kafka.md says what a processor needs."
        )
    return KafkaUnavailableError(
        f"{where} does not answer ({_cause_name(error)}). Check that the brokers are up and can be reached from here, and that "
        "VP_KAFKA__BOOTSTRAP and VP_KAFKA__SECURITY_PROTOCOL are right."
    )


def _awaited_coordinator(error: BaseException) -> BaseException | None:
    """Behind a deadline of ours: that aiokafka was told of no coordinator, and went on asking until then."""
    chain: list[BaseException] = [error]
    while isinstance(chain[-1], TimeoutError | asyncio.CancelledError) and chain[-1].__context__ is not None and len(chain) < _CHAIN_MAX:
        chain.append(chain[-1].__context__)
    return chain[-1] if isinstance(chain[-1], NO_COORDINATOR) else None


def _request_failure(error: BaseException, where: str, name: str) -> KafkaRequestError:
    if isinstance(error, errors.OffsetMetadataTooLargeError):
        return RecordsRefusedError(f"{where} refuses an offset ({name}): {_METADATA}.", name)
    if isinstance(error, errors.InvalidProducerIdMapping):
        return ProducerExpiredError(f"{where} has forgotten a transactional id that was idle ({name}): {_EXPIRED}.", name)
    told = " ".join(str(error).split())[:_FOREIGN_MAX].rstrip(".")
    hint = next((f". Look at the brokers' settings: {text}" for known, text in _SETTINGS.items() if known in f"{name} {told}"), "")
    return KafkaRequestError(f"{where} has failed a request: {told}{hint}.", name)


def missing_topic(topic: str | None, settings: Settings) -> TopicMissingError:
    """The error for a topic that does not exist; None if its name is not known."""
    what = f"{topic} does not exist" if topic is not None else "a topic does not exist (`processor topics check` says which)"
    return TopicMissingError(
        f"Kafka at {settings.kafka.bootstrap}: {what}. If VP_KAFKA__TOPIC_PREFIX and VP_RETRY__DELAYS_S are as the processors have "
        "them, create the topics with `processor topics apply`."
    )


def is_connect_fault(error: BaseException) -> bool:
    """Whether a connection failed because of who we are or what we trust, not because nobody answered."""
    return connect_fault_of(error, _ANY) is not None


def is_fatal(error: BaseException) -> bool:
    """Whether a new life cannot help, so that the process should end and a person look. A login may be accepted again: secrets rotate."""
    return isinstance(error, NotAuthorizedError | UnsupportedBrokerError | MissingOffsetsError)


def describe(error: BaseException) -> str:
    """One line for the log: the type, and for our own errors about Kafka the text. Foreign texts may quote records."""
    if isinstance(error, KafkaFailedError | MissingOffsetsError | StallError):
        return f"{type(error).__name__}: {error}"[:_LINE_MAX]
    return type(error).__name__


def origin(error: BaseException) -> str:
    """Where an error was raised, as ``file:line``; its text may quote a record and is not shown."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame is not None else "unknown"


def _refused_resource(error: BaseException, settings: Settings) -> str | None:
    """What the brokers do not let us use, as exactly as aiokafka tells; None if that is not what the error says."""
    names, kafka = ", ".join(_names(error)), settings.kafka
    match error:
        case errors.TopicAuthorizationFailedError():
            return f"topic {names or f'{kafka.topic_prefix}.*'}"
        case errors.GroupAuthorizationFailedError():
            return f"group {names or kafka.group}"
        case errors.TransactionalIdAuthorizationFailed():
            return f"transactional id {names or f'{kafka.group}-*'}"
        case errors.ClusterAuthorizationFailedError():
            return "the cluster (an idempotent producer needs Write on a topic, or IdempotentWrite; creating topics needs Create)"
    return None


def _names(error: BaseException) -> list[str]:
    """Topics, groups and the like among the arguments of an error: one, or a set of them."""
    given = error.args[0] if error.args else ()
    if isinstance(given, TopicPartition):
        given = given.topic
    several = [given] if isinstance(given, str) else given if isinstance(given, set | frozenset | list | tuple) else ()
    return sorted(name for name in several if isinstance(name, str) and _NAME.fullmatch(name))


def _cause_name(error: BaseException) -> str:
    """What is behind an error: a connection that was refused, a host that is not known, silence; else its name."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError | HttpAnswerError) else error
    return next((text for kind, text in _CAUSES.items() if isinstance(cause, kind)), type(cause).__name__)
