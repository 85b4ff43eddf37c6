"""Types of errors: why a request did not succeed, in one word. Used through ``contract.codes``, whose codes say more."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class ErrorType(StrEnum):
    """``error.type`` of a result and ``vp-reason-type`` of a dead letter; metrics count dead letters by it.

    Attributes:
        meaning: what happened.
        remedy: what to do about it.
    """

    meaning: str
    remedy: str

    def __new__(cls, name: str, meaning: str = "", remedy: str = "") -> Self:
        """One row; the defaults are for looking one up by its name."""
        member = str.__new__(cls, name)
        member._value_, member.meaning, member.remedy = name, meaning, remedy
        return member

    @property
    def message(self) -> str:
        """For ``error.message``, where there is nothing more exact to say. Texts are not stable; types and codes are."""
        return f"{self.meaning}; {self.remedy}."

    INVALID_REQUEST = (
        "invalid_request",
        "the record breaks the contract",
        "correct it, `field` says where, and publish it under a new request_id",
    )
    REQUEST_REFUSED = (
        "request_refused",
        "Didit refused the request",
        "its answer is in `output`: correct the request and publish it under a new request_id",
    )
    EXHAUSTED = "exhausted", "every attempt failed", "redrive the dead letter once the cause is gone"
    EXPIRED = "expired", "the deadline passed, or the person did not finish in time", "ask again under a new request_id"
    CANCELLED = "cancelled", "the caller took the request back while it waited", "ask again under a new request_id"
    IN_DOUBT = (
        "in_doubt",
        "a billed call may have taken place and there is no way to know",
        "look in Didit's console before repeating it",
    )
    CONFLICT = (
        "conflict",
        "another record with this request_id has asked for something else, and that one counts",
        "publish this one under its own id",
    )
    OUR_FAULT = "our_fault", "the answer means that this program called wrongly", "report it"
    OUTPUT_TOO_LARGE = (
        "output_too_large",
        "the answer is larger than a record may be",
        "raise VP_LANES__OUTPUT_BYTES_MAX and the topics' max.message.bytes",
    )
    INTERNAL = (
        "internal",
        "the processor failed on this record",
        "report it with the source position, then redrive the dead letter",
    )
