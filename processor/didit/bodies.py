"""Reading Didit's answers, which have no single error envelope. Pure; nothing of a body reaches a text of ours."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from processor.contract.codes import ForeignCode, didit_code
from processor.contract.strict_json import JsonError, loads
from processor.didit.answers import Reply

_DEPTH_MAX = 64
_KEPT_BYTES_MAX = 16_384
_ENVELOPES = frozenset({"detail", "error", "code", "message"})
_ABOUT_THE_CALL = ("detail", "error", "message")  # every other member of an error body is a field's name, or Didit's ``code``
_TOLD_BY_DIDIT = ("detail", "error", "code")
_TEXT_CHARS_MAX = 2000

UNREADABLE = object()


def parse(reply: Reply) -> Any:
    """The body as JSON; ``UNREADABLE`` if it is cut, no JSON, or JSON that two readers could read differently."""
    if reply.truncated:
        return UNREADABLE
    try:
        return loads(reply.body, depth_max=_DEPTH_MAX)
    except JsonError:
        return UNREADABLE


def error_text(body: Any) -> str:
    """All texts of an error body in lower case, for matching only; never shown."""
    found: list[str] = []
    _collect(body, found)
    return " ".join(found).lower()[:_TEXT_CHARS_MAX]


def envelope_text(body: Any) -> str:
    """The texts about the call as a whole, in lower case, for matching only: a complaint about one field may quote what the caller sent."""
    return " ".join(_told(body)).lower()[:_TEXT_CHARS_MAX]


def error_code(body: Any) -> ForeignCode | None:
    """Didit's own stable ``code``, where there is one."""
    return didit_code(body.get("code")) if isinstance(body, dict) else None


def error_field(body: Any, inputs: Container[str]) -> str | None:
    """The input field that a 400 complains of, by its name alone.

    Args:
        body: as parsed.
        inputs: the fields that the operation has. Other members of an answer (``non_field_errors``, ``validation_errors``) are none, nor
            is a text under the name of an envelope (``{"code": "..."}``, Didit's own code).
    """
    if not isinstance(body, dict):
        return None
    needed = body.get("fields_required_by")  # by ``database_validation``: field -> services
    names = [name for name, value in body.items() if name not in _ENVELOPES or isinstance(value, list)]
    return next((f"input.{name}" for name in (*names, *(needed if isinstance(needed, dict) else ())) if name in inputs), None)


def is_of_didit(body: Any) -> bool:
    """Whether an error is in a form of Didit's (page "API errors"): no gateway's page, its own JSON, or nothing."""
    return isinstance(body, dict) and any(name in body for name in _TOLD_BY_DIDIT)


def service_errors(body: Any) -> list[Any]:
    """What the services that were asked say; empty if the answer says nothing of them (OpenAPI 3.0.0, "Database Validation", 502)."""
    errors = body.get("validation_errors") if isinstance(body, dict) else None
    return errors if isinstance(errors, list) else []


def is_worth_retrying(body: Any) -> bool:
    """Whether a service that was asked says so."""
    return any(isinstance(error, dict) and error.get("retryable") is True for error in service_errors(body))


def kept(body: Any, reply: Reply) -> Any:
    """An error body for the result's ``output``; None if it is no JSON or too large to be of use."""
    return body if body is not UNREADABLE and len(reply.body) <= _KEPT_BYTES_MAX else None


def _collect(node: Any, found: list[str]) -> None:
    if len(found) > 50:  # noqa: PLR2004 - enough for every documented shape
        return
    if isinstance(node, str):
        found.append(node)
    elif isinstance(node, list):
        for child in node:
            _collect(child, found)
    elif isinstance(node, dict):
        for child in node.values():
            _collect(child, found)


def _told(node: Any) -> list[str]:
    if isinstance(node, str):
        return [node]
    if isinstance(node, list):
        return [child for child in node if isinstance(child, str)]
    if isinstance(node, dict):
        return [text for name in _ABOUT_THE_CALL for text in _told(node.get(name))]
    return []
