"""The life of a verification session after its creation: when it is over, and when to look again. Pure.

Sources: Didit, "Verification statuses", "Webhooks". An operator can overturn almost every status later; the first settled
one ends the request, and what comes after it is seen in the events topic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from processor.contract.codes import ErrorCode
from processor.contract.records import Hint
from processor.contract.times import moment_of

_JITTER_PART = 0.1
_AFTER_EXPIRY_S = 5.0
_SECOND_MS = 1000

# how a settled session ends its request: None is a success, else the code of its error
_ENDS: Mapping[str, ErrorCode | None] = MappingProxyType(
    {
        "Approved": None,
        "Declined": None,
        "Kyc Expired": None,
        "Expired": ErrorCode.SESSION_EXPIRED,
        "Abandoned": ErrorCode.SESSION_ABANDONED,
    }
)
_ENVIRONMENTS = frozenset({"live", "sandbox"})
_BELIEVED = frozenset({"v2", "raw"})  # signatures over the whole body


@dataclass(frozen=True, slots=True)
class Settled:
    """The person is done, or never will be. ``code`` is None for a decision."""

    output: Any
    code: ErrorCode | None

    @property
    def name(self) -> str:
        """Short, for comparison: ``approved``, or the code."""
        return self.code or str(self.output.get("status", "")).lower().replace(" ", "_")


def is_settled(status: Any) -> bool:
    """Whether a session in this status ends its request."""
    return isinstance(status, str) and status in _ENDS


def judge_decision(decision: Any) -> Settled | None:
    """What the answer of a decision call means; None while the person is not done."""
    status = decision.get("status") if isinstance(decision, dict) else None
    return Settled(decision, _ENDS[status]) if isinstance(status, str) and status in _ENDS else None


def judge_hint(hint: Hint, session_id: str, since_ms: int) -> Settled | None:
    """The decision that an event carries, if its signature covered it and it is of this session and not from before.

    Args:
        hint: the event.
        session_id: whose decision is wanted.
        since_ms: the request's arrival, epoch ms; a session may have been settled once before, and reopened.
    """
    event = hint.event
    payload = event.get("payload")
    if event.get("verified_by") not in _BELIEVED or not isinstance(payload, dict) or payload.get("session_id") != session_id:
        return None
    stamp_s = payload.get("timestamp")
    if not isinstance(stamp_s, int | float) or stamp_s * _SECOND_MS < since_ms - _SECOND_MS:  # told in whole seconds
        return None
    decision = payload.get("decision")
    if (
        not isinstance(decision, dict)
        or decision.get("session_id", session_id) != session_id
        or decision.get("status") != payload.get("status")
    ):
        return None
    return judge_decision(decision)


def environment_of(decision: Any) -> str | None:
    """The application's environment (``live``, ``sandbox``) as a decision tells it; None if it does not."""
    told = decision.get("environment") if isinstance(decision, dict) else None
    return told if isinstance(told, str) and told else None


def named_environment(told: str) -> str:
    """An environment for a log: as Didit documents it, else ``unknown``, so that no other text of an answer gets there."""
    return told if told in _ENVIRONMENTS else "unknown"


def environments_of(hint: Hint) -> frozenset[str]:
    """The environments that an event names, in its envelope and in its decision; none if Didit did not say (Didit, "Webhooks")."""
    payload = hint.event.get("payload")
    decision = payload.get("decision") if isinstance(payload, dict) else None
    return frozenset(told for part in (payload, decision) if (told := environment_of(part)) is not None)


def next_poll_s(polls: int, polls_s: Sequence[int], expires_in_s: float | None, draw: float) -> float:
    """How long to wait before the next look at a session.

    Args:
        polls: looks so far.
        polls_s: the waits, ascending; the last one goes on.
        expires_in_s: when an unopened session expires, if that is known.
        draw: 0 <= draw < 1, so that those who were created together are not asked for together.
    """
    wait_s = polls_s[min(polls, len(polls_s) - 1)] * (1 - _JITTER_PART * draw)
    if expires_in_s is not None and 0 < expires_in_s < wait_s:
        return expires_in_s + _AFTER_EXPIRY_S * draw
    return wait_s


def expires_in_s(decision: Any, now_ms: int) -> float | None:
    """Seconds until a session that was not opened expires; None if it was, or if the answer does not say."""
    if not isinstance(decision, dict) or decision.get("status") != "Not Started":
        return None
    moment = moment_of(decision.get("expires_at"))
    return None if moment is None else moment.timestamp() - now_ms / _SECOND_MS
