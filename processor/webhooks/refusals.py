"""Why a delivery is not taken, one row each: the reason, the HTTP status of the answer, and what to do about it. Pure.

The status decides what Didit does: 5xx is delivered again, any other is final.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from processor.contract.codes import ErrorCode


class RefusedReason(StrEnum):
    """In the answer, in the log and as a label of metrics.

    Attributes:
        status: of the answer.
        advice: for whoever reads the answer or the log; holds nothing of the body.
    """

    status: int
    advice: str

    def __new__(cls, name: str, status: int, advice: str) -> Self:
        """One row."""
        member = str.__new__(cls, name)
        member._value_, member.status, member.advice = name, status, advice
        return member

    NOT_JSON = "not_json", 400, "the body is not strict JSON"
    NOT_OBJECT = "not_object", 400, "the body is no JSON object"
    INCOMPLETE = "incomplete", 400, "the body broke off"
    UNSIGNED = (
        "unsigned",
        401,
        "no X-Signature-V2, X-Signature or X-Signature-Simple of 64 hexadecimal digits; does a proxy drop these headers?",
    )
    BAD_SIGNATURE = (
        "bad_signature",
        401,
        "no signature fits any secret; compare VP_WEBHOOKS__SECRETS with the destination's secret in Didit's console",
    )
    NO_TIME = "no_time", 401, "the body has no timestamp in whole seconds that the signature covers"
    STALE = "stale", 401, "the signed timestamp is too old: a replay, or this machine's clock is ahead"
    EARLY = "early", 401, "the signed timestamp is in the future: this machine's clock is behind"
    TOO_LARGE = "too_large", 413, "the body is longer than VP_WEBHOOKS__BODY_BYTES_MAX"
    COMPRESSED = "compressed", 415, "send the body as it was signed, without Content-Encoding"
    BUSY = "busy", 503, "too many deliveries are in hand; send it again"
    SLOW = "slow", 503, "the body did not come in time; send it again"
    INTERNAL = "internal", 503, "a fault of the receiver; send it again"


class DeliveryRefusedError(Exception):
    """Ends a delivery with an answer. Its texts hold nothing of the body; ``code`` is the JSON reader's."""

    def __init__(self, reason: RefusedReason, advice: str | None = None, code: ErrorCode | None = None) -> None:
        super().__init__(reason)
        self.reason, self.advice, self.code = reason, advice or reason.advice, code
