"""Whose a request is, where one deployment has several applications. Pure."""

from __future__ import annotations

from collections.abc import Collection

from processor.contract.callers_headers import believed
from processor.contract.codes import ErrorCode
from processor.contract.decode import Accepted, Rejected
from processor.contract.encode import FORWARDED_HEADER_BYTES_MAX, has_room_for
from processor.contract.error_types import ErrorType
from processor.contract.records import ErrorInfo, Hop, Record, Request
from processor.contract.values import value
from processor.didit.catalog import first_call
from processor.settings import DEFAULT_APPLICATION, Settings
from processor.stream.topics import topic_names

_TOO_MANY_HEADERS = ErrorInfo(
    ErrorType.INVALID_REQUEST,
    ErrorCode.TOO_LARGE,
    f"the headers of a request for another application are longer than {FORWARDED_HEADER_BYTES_MAX} bytes; send fewer.",
    field="headers",
)
_WITH_WORKFLOW = "session.create"  # the call, also of a verification


@value(frozen=True, slots=True)
class Elsewhere:
    """It is handed on to this application."""

    application: str


@value(frozen=True, slots=True)
class NotAdmitted:
    """It is rejected."""

    error: ErrorInfo


class Placement:
    """Decides for the lanes of one application.

    The default one hands on what names another. An application of its own takes nothing that names another: who may write to its topic
    alone reaches no other one. No answer tells a caller which applications there are.

    Args:
        settings: of the application whose lanes ask.
    """

    def __init__(self, settings: Settings) -> None:
        self._own, self._others = settings.application, settings.applications.keys()
        self._names = topic_names(settings)
        self._workflows: Collection[str] | None = frozenset(settings.didit.workflows) if settings.didit.workflows_only else None

    def believed(self, record: Record, decoded: Accepted | Rejected) -> Accepted | Rejected:
        """What was decoded of a record, rejected if it is in the topic of callers and says what only processors know."""
        if record.source.topic != self._names.requests:
            return decoded
        return believed(record, decoded, self._names.inputs, takes_handed_on=self._own != DEFAULT_APPLICATION)

    def of(self, record: Record, request: Request, hop: Hop) -> Elsewhere | NotAdmitted | None:
        """None: it is ours, and admitted."""
        named = self._own if request.application is None else request.application
        if named in self._others:
            return Elsewhere(named) if has_room_for(record) else NotAdmitted(_TOO_MANY_HEADERS)
        if named != self._own:
            code = ErrorCode.APPLICATION_UNKNOWN if self._own == DEFAULT_APPLICATION else ErrorCode.APPLICATION_NOT_ALLOWED
            return NotAdmitted(_error(code, "application"))
        if self._workflows is None or first_call(request.operation).name != _WITH_WORKFLOW or _has_begun(hop):
            return None
        if str(request.input.get("workflow_id")).lower() in self._workflows:
            return None
        return NotAdmitted(_error(ErrorCode.WORKFLOW_NOT_ALLOWED, "input.workflow_id"))


def _has_begun(hop: Hop) -> bool:
    """Whether something may be at Didit already: it is seen to its end, whatever the settings say by now."""
    return hop.session_id is not None or hop.doubt_ms is not None or hop.attempt > 0


def _error(code: ErrorCode, field: str) -> ErrorInfo:
    return ErrorInfo(ErrorType.INVALID_REQUEST, code, code.message, field=field)
