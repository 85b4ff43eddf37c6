"""Who sent a webhook, and what of it is signed. Pure.

Didit signs a delivery three times (docs.didit.me/integration/webhooks; details as in its WordPress plug-in), and proxies may drop
single headers, so each variant that is there is tried: ``X-Signature-V2`` over a canonical text, ``X-Signature`` over the bytes,
``X-Signature-Simple`` over four fields of the body. Freshness is judged on the ``timestamp`` in the body, because that one is
signed; ``X-Timestamp`` is not, and is read only to refuse a delivery that no signature over its bytes vouches for.

Only what the matching signature covers is handed on: members are read again from the very text that was signed.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from processor.contract.codes import ErrorCode
from processor.contract.strict_json import JsonError, loads
from processor.webhooks.canonical import canonical_forms
from processor.webhooks.refusals import RefusedReason

Variant = Literal["v2", "raw", "simple"]

_HEADERS: tuple[tuple[Variant, str], ...] = (("v2", "X-Signature-V2"), ("raw", "X-Signature"), ("simple", "X-Signature-Simple"))
_SIMPLE_FIELDS = ("timestamp", "session_id", "status", "webhook_type")
_DEPTH_MAX = 64  # metadata is the caller's own and may be deep
_HEX_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_SECONDS = re.compile(r"[0-9]{1,15}")
_SECONDS_MAX = 10**15


@dataclass(frozen=True, slots=True)
class Verified:
    """A delivery that Didit signed.

    Attributes:
        variant: the signature that fitted.
        rotation: which secret fitted; 0 is the newest.
        timestamp_s: the signed time, epoch seconds.
        members: the signed members: all of the body, or the four of ``X-Signature-Simple``.
        text: the signed JSON text; None after ``X-Signature-Simple``.
    """

    variant: Variant
    rotation: int
    timestamp_s: int
    members: Mapping[str, Any]
    text: bytes | None


@dataclass(frozen=True, slots=True)
class SignatureRefused:
    """A delivery that is not believed. ``advice`` holds nothing of the body; ``code`` is the JSON reader's."""

    reason: RefusedReason
    advice: str
    code: ErrorCode | None = None


@dataclass(frozen=True, slots=True)
class _Candidate:
    variant: Variant
    given: bytes
    covered: bytes


def given_signatures(headers: Mapping[str, str]) -> dict[Variant, bytes]:
    """The signatures that a delivery brings; one without any is refused before its body is read."""
    return {variant: bytes.fromhex(text) for variant, name in _HEADERS if _HEX_DIGEST.fullmatch(text := headers.get(name, "").strip())}


def is_signed_as_sent(body: bytes, headers: Mapping[str, str], secrets: Sequence[bytes]) -> bool:
    """Whether a signature covers the very bytes: cheap to see, and true of all that Didit sends and no proxy writes again.

    Didit's own body is most often the canonical text, so ``X-Signature-V2`` may cover the bytes as well.
    """
    given = given_signatures(headers)
    wanted = [given[variant] for variant in ("raw", "v2") if variant in given]
    for secret in secrets if wanted else ():
        digest = hmac.digest(secret, body, "sha256")
        if any(hmac.compare_digest(digest, signature) for signature in wanted):
            return True
    return False


def refused_by_header(headers: Mapping[str, str], now_s: float, *, tolerance_s: float) -> SignatureRefused | None:
    """A delivery whose ``X-Timestamp`` is not fresh, which costs nothing to see; believed only where it refuses, as nobody signs it."""
    text = headers.get("X-Timestamp", "").strip()
    if not _SECONDS.fullmatch(text) or abs(now_s - int(text)) <= tolerance_s:
        return None
    return _refused(RefusedReason.STALE if int(text) < now_s else RefusedReason.EARLY)


def verify(
    body: bytes, headers: Mapping[str, str], secrets: Sequence[bytes], now_s: float, *, tolerance_s: float, size_bytes_max: int
) -> Verified | SignatureRefused:
    """Judge one delivery. Never raises, whatever the bytes.

    Args:
        body: as it came.
        headers: looked up by the names that Didit gives them; pass a case-insensitive mapping.
        secrets: the destination's secrets, the newest first; none of them empty.
        now_s: epoch seconds.
        tolerance_s: how far the signed time may be from ``now_s``, both ways (Didit: 300).
        size_bytes_max: a longer body is refused, and a longer canonical text is not tried.
    """
    given = given_signatures(headers)
    if not given:
        return _refused(RefusedReason.UNSIGNED)
    try:
        value = loads(body, depth_max=_DEPTH_MAX, size_bytes_max=size_bytes_max)
    except JsonError as fault:
        return SignatureRefused(RefusedReason.NOT_JSON, fault.message, fault.code)
    if not isinstance(value, dict):
        return _refused(RefusedReason.NOT_OBJECT)
    for candidate in _candidates(body, value, given, size_bytes_max):
        for rotation, secret in enumerate(secrets):
            if hmac.compare_digest(hmac.digest(secret, candidate.covered, "sha256"), candidate.given):
                return _fresh(candidate, rotation, now_s, tolerance_s)
    return _refused(RefusedReason.BAD_SIGNATURE)


def _candidates(body: bytes, value: dict[str, Any], given: Mapping[Variant, bytes], size_bytes_max: int) -> Iterator[_Candidate]:
    if "v2" in given:
        for form in canonical_forms(value, size_bytes_max=size_bytes_max):
            yield _Candidate("v2", given["v2"], form)
    if "raw" in given:
        yield _Candidate("raw", given["raw"], body)
    if "simple" in given:
        covered = simple_text(value)
        if covered is not None:
            yield _Candidate("simple", given["simple"], covered)


def simple_text(value: Mapping[str, Any]) -> bytes | None:
    """``timestamp:session_id:status:webhook_type`` as Didit's server prints it: absent is empty, null is ``None``.

    None if the text could be taken apart in two ways, or a field is neither text nor a whole number.
    """
    parts = []
    for name in _SIMPLE_FIELDS:
        field = value.get(name, "")
        if isinstance(field, bool) or not (field is None or isinstance(field, str | int)):
            return None
        parts.append(str(field))
    text = ":".join(parts)
    return text.encode() if text.count(":") == len(_SIMPLE_FIELDS) - 1 else None


def _fresh(candidate: _Candidate, rotation: int, now_s: float, tolerance_s: float) -> Verified | SignatureRefused:
    members = _simple_members(candidate.covered) if candidate.variant == "simple" else loads(candidate.covered, depth_max=_DEPTH_MAX)
    timestamp_s = _whole_seconds(members.get("timestamp"))
    if timestamp_s is None:
        return _refused(RefusedReason.NO_TIME)
    if abs(now_s - timestamp_s) > tolerance_s:
        return _refused(RefusedReason.STALE if timestamp_s < now_s else RefusedReason.EARLY)
    text = candidate.covered if candidate.variant != "simple" else None
    return Verified(candidate.variant, rotation, timestamp_s, members, text)


def _simple_members(covered: bytes) -> dict[str, Any]:
    """Back from the signed text: what it cannot tell apart (absent, empty, null, the word None) is null."""
    parts = covered.decode().split(":")
    members: dict[str, Any] = {name: None if part in {"", "None"} else part for name, part in zip(_SIMPLE_FIELDS, parts, strict=True)}
    seconds = members["timestamp"]
    members["timestamp"] = int(seconds) if seconds is not None and _SECONDS.fullmatch(seconds) else None
    return members


def _whole_seconds(timestamp: object) -> int | None:
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float) or not 0 <= timestamp < _SECONDS_MAX:
        return None
    return int(timestamp) if timestamp == int(timestamp) else None


def _refused(reason: RefusedReason) -> SignatureRefused:
    return SignatureRefused(reason, reason.advice)
