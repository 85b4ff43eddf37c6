"""For Python services that ask for verifications: publish requests, wait for results (docs/clients.md).

What ``__all__`` names is public and keeps its meaning; everything else, this package's modules included, may change at any time.
"""

from processor.client.client import VerificationClient
from processor.client.errors import (
    BrokersUnavailableError,
    ClientClosedError,
    ClientError,
    InvalidRequestError,
    InvalidSettingsError,
    ResultTimeoutError,
    TooManyWaitingError,
    UnreadableResultError,
)
from processor.client.results import VerificationResult
from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.records import ErrorInfo, OnDoubt, Priority, ResultKind, Source, Status
from processor.settings import KafkaSettings

__all__ = [
    "BrokersUnavailableError",
    "ClientClosedError",
    "ClientError",
    "ErrorCode",
    "ErrorInfo",
    "ErrorType",
    "InvalidRequestError",
    "InvalidSettingsError",
    "KafkaSettings",
    "OnDoubt",
    "Priority",
    "ResultKind",
    "ResultTimeoutError",
    "Source",
    "Status",
    "TooManyWaitingError",
    "UnreadableResultError",
    "VerificationClient",
    "VerificationResult",
]
