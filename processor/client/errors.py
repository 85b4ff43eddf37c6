"""Every error that the client raises by itself has one base: ``except ClientError`` catches them all."""

from __future__ import annotations


class ClientError(Exception):
    """Base of the client's errors. Their texts say what was wrong and what to do, and hold nothing of a request but its id."""


class InvalidSettingsError(ClientError, ValueError):
    """The client cannot be built: an argument, or a ``VP_`` variable, is wrong. The text lists every fault with its variable."""


class InvalidRequestError(ClientError, ValueError):
    """The request breaks the contract; nothing was published. The same request will never be accepted.

    Attributes:
        code: stable, e.g. ``missing_field``; all are in docs/contract.md.
        field: path, e.g. ``input.workflow_id``; None if the request as a whole is wrong.
    """

    def __init__(self, code: str, field: str | None, message: str) -> None:
        super().__init__(f"{field or 'request'}: {message}")
        self.code = code
        self.field = field


class BrokersUnavailableError(ClientError):
    """Kafka did not do what it was asked: nobody answers in time, a login or a right is refused, a topic is missing. The text says which.

    Attributes:
        request_id: of the request that was not acknowledged; None if none was being published. It may have been published all the same:
            submit it again under this id, and no second call is made.
    """

    def __init__(self, message: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class ResultTimeoutError(ClientError, TimeoutError):
    """No final result came in time. The request is published and goes on: its result will be in the results topic.

    Attributes:
        request_id: what to look for there, or to wait for again with a request of the same content.
    """

    def __init__(self, request_id: str, timeout_s: float) -> None:
        super().__init__(f"no final result of {request_id} within {timeout_s:g} s; the request goes on, and its result comes to the topic")
        self.request_id = request_id


class UnreadableResultError(ClientError):
    """A result came that this version of the client cannot read, e.g. one with a new status: install the version of the processors.

    The request is done, and its result is in the results topic.

    Attributes:
        request_id: what to look for there.
    """

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"the result of {request_id} is of a newer version; install the client of the processors' version, and read it again"
        )
        self.request_id = request_id


class ClientClosedError(ClientError):
    """The client is not open, was closed meanwhile, or can read no more results (then ``__cause__`` says why): make another one."""


class TooManyWaitingError(ClientError):
    """So many requests wait for a result already that no other one is taken; nothing was published. Wait for some of them first."""
