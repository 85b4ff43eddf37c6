"""Every stable word that says why something did not succeed: types of errors, and their codes. One row each.

A code stands in ``error.code`` of a result, in ``vp-reason-code`` of a dead letter, in ``vp-last-error`` of a delayed record, in logs, and
as a label of metrics. Its row is the only place where it is spelled; docs/contract.md is written from here by ``make docs``. To add one,
add a row. To rename or remove one breaks callers who branch on it.
"""

from __future__ import annotations

import re
from enum import Enum, StrEnum
from typing import NewType, Self, TypeAlias

from processor.contract.error_types import ErrorType

__all__ = ["CODE_FORM", "FAMILIES", "SENT_AWAY", "Code", "CodeKind", "ErrorCode", "ErrorType", "ForeignCode"]
__all__ += ["counted_as", "didit_code", "http_code", "read_code"]


_T = ErrorType


class CodeKind(Enum):
    """What the codes of one kind have in common.

    Attributes:
        types: ``error.type`` of a result that carries such a code, unless the code's own row says otherwise.
        waits: a record in a delay topic can have it as its reason; metrics then count it under its own name.
        about: for the reader of docs/contract.md.
    """

    types: tuple[ErrorType, ...]
    waits: bool
    about: str

    def __init__(self, types: tuple[ErrorType, ...], waits: bool, about: str) -> None:
        self.types, self.waits, self.about = types, waits, about

    CONTRACT = (_T.INVALID_REQUEST,), False, "The record cannot be read, or the schema is broken. No call is made."
    FILE = (_T.INVALID_REQUEST,), False, "A file that the input names cannot be sent. No call is made."
    MEDIA = (), False, "A file of a decision is not stored (`not_stored` of a `session.media`), and another attempt would not store it."
    WAIT = (
        (_T.IN_DOUBT,),
        True,
        "The request waits, and goes on by itself. No attempt is counted. It ends so only if its deadline comes while a call is in doubt.",
    )
    FAILURE = (
        (_T.EXHAUSTED, _T.IN_DOUBT),
        True,
        "The attempt is made again, up to `VP_RETRY__ATTEMPTS_MAX` times; not counted while the operation is down, or for a poll.",
    )
    REFUSAL = (_T.REQUEST_REFUSED,), False, "Another attempt would end the same, so none is made."
    END = (), False, "Other ends of a request."
    ACCOUNT = (), False, "Every call would end so: all are held, the log says why (`account_fault`), no request ends. It goes on by itself."
    HELD = (
        (),
        True,
        "Every call of this operation would end so: it is held, others go on. No attempt is counted, no request ends so.",
    )
    FORBIDDEN = (
        (_T.REQUEST_REFUSED,),
        True,
        "A 403 of this request. It ends where the key is seen to work; where not, or while the operation is held, it waits, uncounted.",
    )


_CONTRACT, _FILE, _MEDIA, _WAIT, _FAILURE, _REFUSAL, _END, _ACCOUNT, _HELD, _FORBIDDEN = CodeKind
_NEW_VERIFICATION = "ask for a new verification"
_OBJECT = "send a JSON object"
_HEADERS = "leave `vp-` headers to the processor"


class ErrorCode(StrEnum):
    """A code of ours.

    Attributes:
        kind: what it has in common with others.
        meaning: what happened, in a sentence for a caller.
        remedy: what to do about it; empty if nothing has to be done.
        types: ``error.type`` of the results that carry it; empty if none does.
    """

    kind: CodeKind
    meaning: str
    remedy: str
    types: tuple[ErrorType, ...]

    def __new__(cls, name: str, kind: CodeKind, meaning: str, remedy: str = "", types: tuple[ErrorType, ...] | None = None) -> Self:
        """One row."""
        member = str.__new__(cls, name)
        member._value_, member.kind, member.meaning, member.remedy = name, kind, meaning, remedy
        member.types = kind.types if types is None else types
        return member

    @property
    def message(self) -> str:
        """For ``error.message``, where the code says more than its type."""
        return f"{self.meaning}; {self.remedy}." if self.remedy else f"{self.meaning}."

    @property
    def waits(self) -> bool:
        """Whether a record in a delay topic can have it as its reason."""
        return self.kind.waits

    TOMBSTONE = "tombstone", _CONTRACT, "the record has no value", _OBJECT
    EMPTY = "empty", _CONTRACT, "the value is empty, or white space", _OBJECT
    TOO_LARGE = "too_large", _CONTRACT, "the value is longer than 1 048 588 bytes", "name files by reference instead of carrying them"
    KEY_TOO_LARGE = "key_too_large", _CONTRACT, "the key is longer than 16 384 bytes", "use a short key, e.g. the id of the user"
    BATCH_TOO_LARGE = (
        "batch_too_large",
        _CONTRACT,
        "the producer's batch unpacks to more than 16 MiB; its records have one answer, under the position of the last",
        "publish them again in smaller batches (`batch.size`, `max.request.size`); the message names their offsets",
    )
    BATCH_UNREADABLE = (
        "batch_unreadable",
        _CONTRACT,
        "the batch, or the rest of it, is broken or of an unknown codec; its records have one answer, under the position of the last",
        "publish them again; the message names their offsets",
    )
    FRAMED = "framed", _CONTRACT, "a schema registry's serialiser put five bytes before the JSON", "send plain JSON"
    COMPRESSED = "compressed", _CONTRACT, "the value itself is gzip", "send plain JSON and let the producer compress"
    NOT_UTF8 = "not_utf8", _CONTRACT, "the value is not UTF-8", "send UTF-8"
    BYTE_ORDER_MARK = "byte_order_mark", _CONTRACT, "the value begins with a byte order mark", "send UTF-8 without one"
    NOT_JSON = "not_json", _CONTRACT, "the value is not one JSON text", "send JSON; the message says where reading stopped"
    NOT_AN_OBJECT = "not_an_object", _CONTRACT, "the value is JSON, but not an object", _OBJECT
    DUPLICATE_KEY = "duplicate_key", _CONTRACT, "a key stands twice in one object", "keep one of them"
    NOT_FINITE = (
        "not_finite",
        _CONTRACT,
        "NaN, Infinity, or a number that a double reads as Infinity (`1e400`)",
        "send a smaller number, text or null",
    )
    NUMBER_TOO_LONG = "number_too_long", _CONTRACT, "a number has more than 1000 characters", "send it as text"
    NUMBER_TOO_LARGE = "number_too_large", _CONTRACT, "the exponent of a number has nineteen digits or more", "send it as text"
    LONE_SURROGATE = "lone_surrogate", _CONTRACT, "half of a surrogate pair in a `\\u` escape", "send the whole character"
    TOO_DEEP = "too_deep", _CONTRACT, "nested deeper than 32 levels", "send a flatter document"
    TOO_MANY_VALUES = (
        "too_many_values",
        _CONTRACT,
        "more than 5000 values, members and brackets, or more than 50 numbers that no double holds",
        "send a smaller document",
    )
    MISSING_FIELD = "missing_field", _CONTRACT, "a required field is missing", "add it"
    UNKNOWN_FIELD = "unknown_field", _CONTRACT, "the schema does not know a field", "remove it"
    WRONG_TYPE = "wrong_type", _CONTRACT, "a value is not of the type that the schema asks for", "send that type"
    TOO_LONG = "too_long", _CONTRACT, "a text, list or object is longer than the schema allows", "shorten it"
    TOO_SHORT = "too_short", _CONTRACT, "a text is shorter than the schema allows", "send at least so much"
    NOT_ALLOWED = "not_allowed", _CONTRACT, "a value, or a combination of fields, that the schema does not allow", "see the schema"
    WRONG_FORM = "wrong_form", _CONTRACT, "a text does not have its form, e.g. that of an id or a time", "see the schema"
    INVALID = "invalid", _CONTRACT, "another rule of the schema is broken", "see the schema"
    HEADER_UNKNOWN = "header_unknown", _CONTRACT, "a `vp-` header that the processor does not know", _HEADERS
    HEADER_REPEATED = "header_repeated", _CONTRACT, "a `vp-` header stands twice", _HEADERS
    HEADER_INVALID = "header_invalid", _CONTRACT, "a `vp-` header does not have its form, or is out of range", _HEADERS
    HEADER_INCOMPLETE = "header_incomplete", _CONTRACT, "a `vp-` header stands without those that belong to it", _HEADERS

    APPLICATION_UNKNOWN = "application_unknown", _CONTRACT, "no application of this name is known here", "ask the operators for its name"
    APPLICATION_NOT_ALLOWED = "application_not_allowed", _CONTRACT, "the topic is that of another application", "leave the name out"
    WORKFLOW_NOT_ALLOWED = "workflow_not_allowed", _CONTRACT, "the application allows no such workflow", "name one that it allows"

    FILE_NOT_ALLOWED = (
        "file_not_allowed",
        _FILE,
        "the reference is outside of what is allowed",
        "see VP_FILES__ROOTS, VP_FILES__HOSTS and VP_FILES__PREFIXES",
    )
    FILE_MISSING = "file_missing", _FILE, "there is no such file, or it may not be read", "put it there first"
    FILE_EMPTY = "file_empty", _FILE, "the file is empty", "send another one"
    FILE_TOO_LARGE = "file_too_large", _FILE, "the file is longer than Didit takes", "send a smaller one"
    FILE_TYPE = "file_type", _FILE, "the file is, by its first bytes, of a type that Didit does not take", "send another one"

    MEDIA_MISSING = "media_missing", _MEDIA, "its host did not have the file, with a fresh link either, or it was empty", "ask Didit"
    MEDIA_TOO_LARGE = "media_too_large", _MEDIA, "the file is longer than may be stored", "raise VP_FILES__MEDIA_BYTES_MAX"
    MEDIA_TOO_MANY = (
        "media_too_many",
        _MEDIA,
        "the decision links to more than 64 files; the first 64 are stored",
        "read the others yourself",
    )
    MEDIA_NOT_PUBLIC = "media_not_public", _MEDIA, "the link is not https, or leads to an address that is not public", "report it"
    MEDIA_DISABLED = (
        "media_disabled",
        _MEDIA,
        "there is no folder to store files in; nothing was fetched",
        "set VP_FILES__MEDIA_FOLDER, and publish the request under a new request_id",
        (_T.INVALID_REQUEST,),
    )

    THROTTLED = (
        "throttled",
        _WAIT,
        "Didit answered 429: its scope pauses on all replicas, the request for as long",
        "if it lasts, look for other users of the API key",
    )
    SCOPE_PAUSED = "scope_paused", _WAIT, "a scope of the budget is paused for long; the request made room for others"
    QUEUE_FULL = "queue_full", _WAIT, "too many wait for the budget; the request comes back when its line has room"
    OPERATION_PAUSED = (
        "operation_paused",
        _WAIT,
        "an operator has paused the operation; the request made room for others",
        "see who and why with `processor status`; `processor resume` lets it go on",
    )
    APPLICATION_UNREADY = "application_unready", _WAIT, "the topic of its application cannot be used now", "see `processor topics check`"
    PHONE_ATTEMPTS = "phone_attempts", _WAIT, "Didit takes no more attempts for this phone number for now"
    IMPORT_RUNNING = "import_running", _WAIT, "an import job of this application is under way at Didit"
    SANDBOX_QUOTA = "sandbox_quota", _WAIT, "the quota of sandbox sessions is used up for now"
    COOLDOWN = "cooldown", _WAIT, "Didit asks to wait before this is done once more"
    KEY_IN_USE = "key_in_use", _WAIT, "an earlier call with the same `Idempotency-Key` is still running at Didit"
    DOUBT_SETTLING = "doubt_settling", _WAIT, "an earlier call may still be under way; it is looked for until that is over"
    SESSION_MISSING = "session_missing", _WAIT, "Didit does not show this session: it is new, hidden from the API key, or deleted"
    REDRIVEN = "redriven", _WAIT, "an operator gave the request another round, and its start is not due", "", ()
    WAITS_FOR_ACCOUNT = (
        "waits_for_account",
        _WAIT,
        "no call leaves because of a fault of the whole account; the request waits in the processor that has read it",
        "repair what `account_fault` in the log names",
        (),
    )
    FOLLOWING = "following", _WAIT, "no error: the session of a verification is polled until the person is done", "", ()

    TIMEOUT = "timeout", _FAILURE, "no answer came in time"
    RESET = "reset", _FAILURE, "the connection broke before the answer was there"
    CONNECT_FAILED = "connect_failed", _WAIT, "no connection could be made, so nothing was sent"
    CALL_NOT_SENT = "call_not_sent", _WAIT, "the call could not be written, so nothing was sent", "look at the log of that time; report it"
    SERVER_TIMEOUT = "server_timeout", _FAILURE, "Didit answered 408 or 425"
    FIREWALL_REFUSED = (
        "firewall_refused",
        _FAILURE,
        "a 403 that is no JSON: a firewall in front of Didit, or a proxy on the way to it, refused the call",
        "if it lasts, ask who runs the proxy, or Didit, about this address",
    )
    UNREADABLE_ANSWER = "unreadable_answer", _FAILURE, "the answer is cut, packed, or not what it must be"
    KEY_CONFLICT = (
        "key_conflict",
        _FAILURE,
        "Didit has this `Idempotency-Key` for another body: the `request_id` was used before, by another installation or long ago",
        "publish the request under a new `request_id`",
    )
    LOOKUP_REFUSED = "lookup_refused", _FAILURE, "Didit refused to say whether an earlier call was made", "", (_T.IN_DOUBT,)
    FILE_UNAVAILABLE = "file_unavailable", _FAILURE, "a file could not be read now", "see that its host answers"
    MEDIA_UNAVAILABLE = (
        "media_unavailable",
        _FAILURE,
        "the host of the files of a decision did not give them in time",
        "see that this network reaches it; raise VP_FILES__MEDIA_S for large videos",
        (_T.EXHAUSTED,),
    )
    MEDIA_NOT_STORED = (
        "media_not_stored",
        _FAILURE,
        "VP_FILES__MEDIA_FOLDER could not be written",
        "see the log event of that name",
        (_T.EXHAUSTED,),
    )

    VENDOR_DATA_BLOCKED = "vendor_data_blocked", _REFUSAL, "Didit has blocked this person; there is no dead letter", "unblock at Didit"
    SESSION_NOT_SETTLED = "session_not_settled", _REFUSAL, "`session.pdf` of a session without a decision", "ask when it has one"
    ALREADY_SHARED = "already_shared", _REFUSAL, "`session.import_shared` of a session that was imported before"
    SERVICES_FAILED = "services_failed", _REFUSAL, "no service of `database_validation` gave an answer", "see `output`"
    ALREADY_EXISTS = (
        "already_exists",
        _REFUSAL,
        "what was to be made is there: made by somebody before, or by an earlier call of this request whose answer was lost",
        "read it",
    )

    SESSION_EXPIRED = "session_expired", _END, "the session expired before the person finished it", _NEW_VERIFICATION, (_T.EXPIRED,)
    SESSION_ABANDONED = "session_abandoned", _END, "the person left the session unfinished", _NEW_VERIFICATION, (_T.EXPIRED,)
    NOT_SETTLED_IN_TIME = (
        "not_settled_in_time",
        _END,
        "the session came to no decision within VP_FOLLOW__LONGEST_S",
        _NEW_VERIFICATION,
        (_T.EXPIRED,),
    )
    DEADLINE_PASSED = (
        "deadline_passed",
        _END,
        "the deadline of the request passed before it could be completed",
        "ask again under a new request_id",
        (_T.EXPIRED, _T.IN_DOUBT),
    )
    ENDED_BY_HAND = (
        "ended_by_hand",
        _END,
        "an operator ended the request while it waited (`processor retry end`)",
        "redrive the dead letter if it shall be tried after all",
        (_T.EXHAUSTED, _T.IN_DOUBT),
    )
    CANCELLED = (
        "cancelled",
        _END,
        "the request was taken back while it waited (operation `cancel`, or `processor person erase`)",
        "ask again under a new request_id if it shall be done after all",
        (_T.CANCELLED, _T.IN_DOUBT),
    )
    CALL_UNANSWERED = (
        "call_unanswered",
        _END,
        "a process died, or was cut off, while a billed call was under way",
        "look in Didit's console",
        (_T.IN_DOUBT,),
    )
    REQUEST_ID_REUSED = (
        "request_id_reused",
        _END,
        "the `request_id` stands for another content, which has its own result",
        "use an id of its own",
        (_T.CONFLICT,),
    )
    REDIRECTED = "redirected", _END, "Didit answered with a redirect, which is never followed", "report it", (_T.OUR_FAULT,)
    OUTPUT_TOO_LARGE = (
        "output_too_large",
        _END,
        "the answer does not fit a record",
        "raise VP_LANES__OUTPUT_BYTES_MAX and the topics' max.message.bytes",
        (_T.OUTPUT_TOO_LARGE,),
    )
    INTERNAL_ERROR = "internal_error", _END, "the processor failed on this record", "report it", (_T.INTERNAL,)

    NO_CREDITS = "no_credits", _HELD, "the account has not enough credits for this operation", "top up"
    PAYMENT_REQUIRED = "payment_required", _HELD, "Didit answered 402: it could not be paid", "see the billing pages of Didit's console"
    OPERATION_HELD = (
        "operation_held",
        _HELD,
        "Didit refuses the operation for different requests; one of them probes it now and then",
        "see why in the log (`operation_refused`) and give the key the right, top up, or end requests with `processor retry end`",
    )
    NOT_PERMITTED = (
        "not_permitted",
        _FORBIDDEN,
        "the API key may not do this: another application's session, or a workflow or action that the key has no right to",
        "check the ids and the rights of the key, then redrive the dead letter; while it waits, `processor retry end` ends it",
    )
    TOP_UP_FIRST = "top_up_first", _FORBIDDEN, "Didit sends no codes to phones before the account's first top-up", "top up, then redrive"
    NOT_IN_CONTRACT = "not_in_contract", _FORBIDDEN, "the contract with Didit does not enable this operation", "ask Didit to, then redrive"
    APPLICATION_CLOSED = (
        "application_closed",
        _ACCOUNT,
        "the application of the API key was deleted or suspended",
        "see it in Didit's console; use a key of another application",
    )
    CONTRACT_SUSPENDED = "contract_suspended", _ACCOUNT, "Didit has suspended the billing of the contract", "talk to Didit"
    KEY_REFUSED = "key_refused", _ACCOUNT, "Didit does not take the API key", "see VP_DIDIT__API_KEY"


ForeignCode = NewType("ForeignCode", str)
"""A code that is not a member: of the family ``http_<status>``, or one that Didit named. See ``FAMILIES``."""

Code: TypeAlias = ErrorCode | ForeignCode

CODE_FORM = re.compile(r"[a-z0-9_]{1,64}")
"""What every code matches, ours or not; the schemas say the same."""

SENT_AWAY = frozenset({ErrorCode.QUEUE_FULL, ErrorCode.OPERATION_PAUSED})
"""A request that waits for one of these starts before its due time, when its line has room for it."""

_STEERING = SENT_AWAY | {ErrorCode.REDRIVEN, ErrorCode.DOUBT_SETTLING, ErrorCode.SESSION_MISSING}  # what a waiting record does next
_OF_DIDIT = re.compile(r"[a-z][a-z0-9_]{0,63}")
_OF_STATUS = re.compile(r"http_([2-5])[0-9]{2}")
_BY_NAME = {str(code): code for code in ErrorCode}
_COUNTED = {str(code): str(code) for code in ErrorCode if code.waits}

FAMILIES = (
    ("`http_<status>`", "Didit's answer has this status and names no code", "see `output` and `http_status`"),
    (
        "a code of Didit's own",
        (
            "the member `code` of Didit's answer, as it came, if it is a lower-case letter and up to 63 of `a-z`, `0-9` and `_`; "
            "anything else counts as none, and so do five of ours, as `queue_full`, that steer a record that waits. "
            "`error.type` tells it from one of ours that is spelled alike"
        ),
        "see Didit's page of the endpoint",
    ),
)
"""How it is written, what it means, what to do: codes that are made, not listed."""


def read_code(text: str) -> Code:
    """A code as it was read: the member if it is one."""
    return _BY_NAME.get(text) or ForeignCode(text)


def http_code(status: int) -> ForeignCode:
    """The code of an answer that names none, e.g. ``http_503``."""
    return ForeignCode(f"http_{status}")


def didit_code(named: object) -> ForeignCode | None:
    """A code that Didit's answer names, bounded in length and letters so that no text of theirs passes; None if it is none."""
    return ForeignCode(named) if isinstance(named, str) and _OF_DIDIT.fullmatch(named) and named not in _STEERING else None


def counted_as(code: str) -> str | None:
    """The label under which metrics count a waiting record with this reason; None for what is not known beforehand.

    Ours stand for themselves, ``http_503`` and the like are counted as ``http_5xx``.
    """
    found = _OF_STATUS.fullmatch(code)
    return f"http_{found[1]}xx" if found is not None else _COUNTED.get(code)
