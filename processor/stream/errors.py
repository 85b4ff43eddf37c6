"""What to do about an error of a Kafka client. Pure.

Nothing is retried in place: an unexpected error ends this *life* of the core, and the supervisor builds the next one on
the same path as at the start. Some errors no restart can cure: they end the process.
"""

from __future__ import annotations

from pathlib import Path

from aiokafka import errors

from processor.stream.start_offset import MissingOffsetsError

_FATAL = (
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
    errors.ClusterAuthorizationFailedError,
    errors.IncompatibleBrokerVersion,
    errors.UnsupportedVersionError,
    errors.AuthenticationFailedError,
    errors.IllegalSaslStateError,
    MissingOffsetsError,
)


class StallError(Exception):
    """A wait that must come back did not."""


def is_fatal(error: BaseException) -> bool:
    """Whether a new life cannot help, so that the process should end and a person look."""
    return isinstance(error, _FATAL)


def describe(error: BaseException) -> str:
    """One line for the log: the type, and for our own and Kafka's errors the text. Foreign texts may quote records."""
    if isinstance(error, errors.KafkaError | MissingOffsetsError | StallError):
        return f"{type(error).__name__}: {error}"[:500]
    return type(error).__name__


def place(error: BaseException) -> str:
    """Where an error was raised, as ``file:line``; its text may quote a record and is not shown."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame is not None else "unknown"
