"""What an answer means: an ordered table, the first row that fits decides. Pure; never raises, whatever came back.

Sources: Didit, "API errors", "Rate limiting" and the endpoint pages. The order carries meaning: a 429 about one phone number
must be seen before the rate limits, credits before other 400s, and a success only where nothing is wrong.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import cached_property
from http import HTTPStatus
from typing import Any, TypeGuard

from processor.contract import schemas
from processor.contract.codes import Code, ErrorCode, http_code
from processor.contract.values import value
from processor.didit import bodies, retry_after
from processor.didit.answers import Answer, NoReply, Reply
from processor.didit.catalog import Idempotency, Operation

_JSON = "application/json"
_RESOURCE_WAIT_S = 60.0  # a 429 about one number or job, or a 409 of a running call, that names no time


@value(frozen=True, slots=True)
class Success:
    """Done. ``output`` is Didit's answer."""

    output: Any


@value(frozen=True, slots=True)
class Throttled:
    """Over a rate limit: not done, not the request's fault. ``scopes`` may have tripped; none: only this request waits."""

    scopes: tuple[str, ...]
    wait_s: float | None
    limit: int | None = None  # calls a window, as the answer names it


@value(frozen=True, slots=True)
class Deferred:
    """Not done: something that only this request needs is busy."""

    code: Code
    wait_s: float | None


@value(frozen=True, slots=True)
class Transient:
    """Not done, or done without harm; worth another attempt. One that was not ``sent`` costs no attempt."""

    code: Code
    http_status: int | None
    wait_s: float | None
    sent: bool = True


@value(frozen=True, slots=True)
class Ambiguous:
    """It may have been done, and billed."""

    code: Code
    http_status: int | None
    wait_s: float | None


@value(frozen=True, slots=True)
class Refused:
    """The request's own fault; another attempt would end the same."""

    code: Code
    http_status: int
    output: Any
    field: str | None
    dead_letter: bool = True


@value(frozen=True, slots=True)
class Unfit:
    """Not called: what the request names cannot be sent. ``field`` is its path, ``hint`` ours to show."""

    code: ErrorCode
    field: str
    hint: str


@value(frozen=True, slots=True)
class Forbidden:
    """A 403 that may be this request's alone, or the operation's. Not done.

    ``key_works``: the answer itself shows that the API key is in order; Didit gives one text to a key that it does not know and to a
    key without the right (Didit, "Create session", 403).
    """

    code: Code
    http_status: int
    output: Any
    key_works: bool


@value(frozen=True, slots=True)
class Unpaid:
    """The account cannot pay for this operation; cheaper and free ones may go on. Not done."""

    code: ErrorCode
    http_status: int


@value(frozen=True, slots=True)
class AccountFault:
    """Key, application or contract: every request would end like this one."""

    code: ErrorCode
    http_status: int


@value(frozen=True, slots=True)
class OurFault:
    """The answer shows that this program calls wrongly."""

    code: ErrorCode
    http_status: int


Failure = Throttled | Deferred | Transient | Ambiguous | Refused | Unfit | Forbidden | Unpaid | AccountFault | OurFault
Verdict = Success | Failure


class _Seen:
    """A reply with what the rows look at; what a success does not need is worked out only when asked for."""

    def __init__(self, operation: Operation, reply: Reply) -> None:
        self.operation, self.reply, self.status = operation, reply, reply.status
        self.body: Any = bodies.parse(reply)

    @cached_property
    def text(self) -> str:
        return bodies.error_text(self.body)

    @cached_property
    def told(self) -> str:
        return bodies.envelope_text(self.body)

    @cached_property
    def code(self) -> str | None:
        return bodies.error_code(self.body)

    @cached_property
    def wait_s(self) -> float | None:
        return retry_after.wait_s(self.reply.headers)


def is_not_found(verdict: Verdict) -> TypeGuard[Refused]:
    """Whether Didit does not know, or does not show, what the call names."""
    return isinstance(verdict, Refused) and verdict.http_status == HTTPStatus.NOT_FOUND


def classify(operation: Operation, answer: Answer) -> Verdict:
    """What the answer to a call means, or that there was none. Never raises, whatever came back; nothing is logged.

    A reply is judged by the first row of ``_TABLE`` that fits; the last row fits everything. What cannot be understood counts as
    perhaps done: ``Transient`` where calling again does no harm (``Idempotency.SAFE``), else ``Ambiguous``.

    Args:
        operation: what was called; its row of the catalogue says which statuses and members make a success.
        answer: the whole reply, or why there is none and whether any of the call may have left.

    Returns:
        One verdict. ``wait_s`` is the time in seconds that Didit asks us to wait, None if it names none (a ``Deferred`` has 60
        then). ``output`` of a ``Success`` or ``Refused`` is Didit's body as parsed; it holds personal data.

    Example:
        >>> from processor.didit.catalog import OPERATIONS
        >>> create = OPERATIONS["session.create"]
        >>> classify(create, Reply(429, {"retry-after": "7"}, b'{"detail": "Write request rate limit exceeded."}'))
        Throttled(scopes=('generic-write',), wait_s=7.0, limit=None)
        >>> classify(create, NoReply(sent=True, code=ErrorCode.TIMEOUT))
        Ambiguous(code=<ErrorCode.TIMEOUT: 'timeout'>, http_status=None, wait_s=None)
        >>> classify(create, NoReply(sent=False, code=ErrorCode.CONNECT_FAILED))
        Transient(code=<ErrorCode.CONNECT_FAILED: 'connect_failed'>, http_status=None, wait_s=None, sent=False)
    """
    if isinstance(answer, NoReply):
        return Transient(answer.code, None, None, sent=False) if not answer.sent else _doubtful(operation, answer.code, None, None)
    seen = _Seen(operation, answer)
    for _, fits, make in _TABLE:
        if fits(seen):
            return make(seen)
    raise AssertionError("the last row fits everything")


def _doubtful(operation: Operation, code: Code, status: int | None, wait_s: float | None) -> Verdict:
    if operation.idempotency is Idempotency.SAFE:
        return Transient(code, status, wait_s)
    return Ambiguous(code, status, wait_s)


def _is_success(seen: _Seen) -> bool:
    operation = seen.operation
    if seen.status not in operation.success_statuses or not isinstance(seen.body, dict | list) or operation.content_type != _JSON:
        return False
    fields = seen.body if isinstance(seen.body, dict) else {}
    return all(isinstance(fields.get(name), kind) for name, kind in operation.required_output.items())


def _is_file(seen: _Seen) -> bool:
    of_type = _JSON != seen.operation.content_type == seen.reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    return of_type and seen.status in seen.operation.success_statuses and b"%PDF" in seen.reply.body[:1024] and not seen.reply.truncated


def _file(seen: _Seen) -> Verdict:
    """A file as a member of the result; it is small, or ends as ``output_too_large``."""
    raw = seen.reply.body
    content = {"content_type": seen.operation.content_type, "size_bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    return Success({**content, "content_base64": base64.b64encode(raw).decode()})


def _is_empty_success(seen: _Seen) -> bool:
    return seen.status == 204 and 204 in seen.operation.success_statuses  # noqa: PLR2004 - RFC 9110


def _of(*names: str) -> Callable[[_Seen], bool]:
    return lambda seen: seen.operation.name in names


def _makes(seen: _Seen) -> bool:
    """Whether the call makes something that a later call of the same kind would find there."""
    return seen.operation.name in {"transaction.create", "user.create", "list.create", "list.add_entry", "webhook.create"}


def _matches(*words: str) -> Callable[[_Seen], bool]:
    return lambda seen: any(word in seen.text for word in words)


def _tells(*words: str) -> Callable[[_Seen], bool]:
    """For what holds more than this request: no text that a caller sent, and Didit quotes, may say it."""
    return lambda seen: any(word in seen.told for word in words)


def _coded(*codes: str) -> Callable[[_Seen], bool]:
    return lambda seen: seen.code in codes


def _at(*statuses: int) -> Callable[[_Seen], bool]:
    return lambda seen: seen.status in statuses


def _all(*conditions: Callable[[_Seen], bool]) -> Callable[[_Seen], bool]:
    return lambda seen: all(condition(seen) for condition in conditions)


def _is_rate_limit(seen: _Seen) -> bool:
    named = "x-ratelimit-limit" in seen.reply.headers or "retry-after" in seen.reply.headers
    return seen.status == 429 and (named or "rate limit" in seen.text or "throttled" in seen.text)  # noqa: PLR2004 - RFC 6585


def _keyed_conflict(seen: _Seen) -> bool:
    return seen.status == 409 and seen.operation.idempotency is Idempotency.KEYED  # noqa: PLR2004 - RFC 9110


def _key_in_use(seen: _Seen) -> bool:
    return _keyed_conflict(seen) and (seen.wait_s is not None or any(word in seen.text for word in ("still", "running", "in progress")))


# the first words of the documented bodies of a 429, and the scope they speak of
_SCOPE_TEXTS = (
    ("session creation rate limit", "session-create"),
    ("write request rate limit", "generic-write"),
    ("get request rate limit", "generic-get"),
    ("kyc data update rate limit", "session-update-kyc"),
    ("poa data update rate limit", "session-update-poa"),
    ("decision", "session-decision"),
)


def _throttled(seen: _Seen) -> Verdict:
    named = next((scope for words, scope in _SCOPE_TEXTS if words in seen.text), None)
    return Throttled((named,) if named else seen.operation.scopes, seen.wait_s, _hinted_limit(seen))


def _hinted_limit(seen: _Seen) -> int | None:
    text = seen.reply.headers.get("x-ratelimit-limit", "")
    sane = text.isascii() and text.isdigit() and len(text) <= 9  # noqa: PLR2004 - a sane number
    return int(text) or None if sane else None


def _deferred(code: ErrorCode) -> Callable[[_Seen], Verdict]:
    return lambda seen: Deferred(code, seen.wait_s if seen.wait_s is not None else _RESOURCE_WAIT_S)


def _refused_as(code: ErrorCode) -> Callable[[_Seen], Verdict]:
    return lambda seen: Refused(code, seen.status, bodies.kept(seen.body, seen.reply), None)


def _refused(seen: _Seen) -> Verdict:
    code = bodies.error_code(seen.body) or http_code(seen.status)
    field = bodies.error_field(seen.body, schemas.input_schema(seen.operation.name)["properties"])
    return Refused(code, seen.status, bodies.kept(seen.body, seen.reply), field)


def _blocked(seen: _Seen) -> Verdict:
    field = None if seen.operation.name == "transaction.create" else "input.vendor_data"  # there it is one party's or the other's
    return Refused(ErrorCode.VENDOR_DATA_BLOCKED, seen.status, bodies.kept(seen.body, seen.reply), field, dead_letter=False)


def _account(code: ErrorCode) -> Callable[[_Seen], Verdict]:
    return lambda seen: AccountFault(code, seen.status)


def _unpaid(code: ErrorCode) -> Callable[[_Seen], Verdict]:
    return lambda seen: Unpaid(code, seen.status)


def _is_page(seen: _Seen) -> bool:
    """A 403 that Didit's API did not write: a firewall in front of it, or of ours, answers with a page."""
    return seen.status == 403 and not isinstance(seen.body, dict | list)  # noqa: PLR2004 - RFC 9110


def _forbidden(code: ErrorCode | None) -> Callable[[_Seen], Verdict]:
    """With a code of ours the text is Didit's about the operation; without one it may be about the key."""

    def make(seen: _Seen) -> Verdict:
        named = code or bodies.error_code(seen.body) or ErrorCode.NOT_PERMITTED
        return Forbidden(named, seen.status, bodies.kept(seen.body, seen.reply), key_works=code is not None)

    return make


def _not_done(seen: _Seen) -> Verdict:
    return Transient(bodies.error_code(seen.body) or http_code(seen.status), seen.status, seen.wait_s)


def _unclear(code: ErrorCode) -> Callable[[_Seen], Verdict]:
    return lambda seen: _doubtful(seen.operation, code, seen.status, seen.wait_s)


_TABLE: tuple[tuple[str, Callable[[_Seen], bool], Callable[[_Seen], Verdict]], ...] = (
    ("success", _is_success, lambda seen: Success(seen.body)),
    ("file", _is_file, _file),  # a PDF by its first bytes, too (ISO 32000): what is packed or empty is none
    ("no content", _is_empty_success, lambda _: Success(None)),
    ("2xx that is no success", lambda seen: 200 <= seen.status < 300, _unclear(ErrorCode.UNREADABLE_ANSWER)),  # noqa: PLR2004 - RFC 9110
    ("redirect", lambda seen: 300 <= seen.status < 400, lambda seen: OurFault(ErrorCode.REDIRECTED, seen.status)),  # noqa: PLR2004 - RFC 9110
    ("409 of a key whose call is running", _key_in_use, _deferred(ErrorCode.KEY_IN_USE)),
    ("409 of a key", _keyed_conflict, lambda seen: Transient(ErrorCode.KEY_CONFLICT, seen.status, None)),
    ("429 of one phone number", _all(_at(429), _matches("phone number", "verification attempts")), _deferred(ErrorCode.PHONE_ATTEMPTS)),
    ("429 of an import job", _all(_at(429), _matches("import job")), _deferred(ErrorCode.IMPORT_RUNNING)),
    ("429 of the sandbox quota", _all(_at(429), _matches("sandbox session quota")), _deferred(ErrorCode.SANDBOX_QUOTA)),
    ("429 of a cooldown", _all(_at(429), _matches("cooldown", "resubmi")), _deferred(ErrorCode.COOLDOWN)),
    ("429 rate limit", _is_rate_limit, _throttled),
    ("429 bare", _at(429), lambda seen: Throttled((), seen.wait_s)),
    (
        "status as it is already",
        _all(_of("session.update_status", "session.update_feature"), _at(400), _matches("same as the current")),
        lambda seen: Success(seen.body),
    ),
    ("no PDF yet", _all(_of("session.pdf"), _at(403), _matches("only generate a pdf")), _refused_as(ErrorCode.SESSION_NOT_SETTLED)),
    ("shared before", _all(_of("session.import_shared"), _at(403), _matches("already been shared")), _refused_as(ErrorCode.ALREADY_SHARED)),
    ("there already", _all(_makes, _at(400), _matches("already exists")), _refused_as(ErrorCode.ALREADY_EXISTS)),
    ("made by another call", _all(_of("transaction.create"), _at(409)), _refused_as(ErrorCode.ALREADY_EXISTS)),  # KYT, "Troubleshooting"
    ("no service answered", _all(_of("database_validation"), _at(502), lambda seen: bodies.is_worth_retrying(seen.body)), _not_done),
    (
        "services failed",
        _all(_of("database_validation"), _at(502), lambda seen: bool(bodies.service_errors(seen.body))),
        _refused_as(ErrorCode.SERVICES_FAILED),
    ),
    # in Didit's words alone: a gateway may give up on a call that is carried out, and billed
    ("nothing done", lambda seen: seen.status in seen.operation.unbilled and bodies.is_of_didit(seen.body), _not_done),
    (
        "500 that is safe to retry",  # by the reference pages of the two
        _all(_of("phone.send", "phone.check"), _at(500), _matches("error creating phone", "error checking phone")),
        _not_done,
    ),
    ("page of a firewall", _is_page, lambda seen: Transient(ErrorCode.FIREWALL_REFUSED, seen.status, seen.wait_s)),
    (
        "no credits",
        _all(_at(400, 402, 403), _tells("enough credits", "top up at", "insufficient balance")),
        _unpaid(ErrorCode.NO_CREDITS),
    ),
    ("no credits by their code", _all(_at(400, 402, 403), _coded("insufficient_credits")), _unpaid(ErrorCode.NO_CREDITS)),
    ("402", _at(402), _unpaid(ErrorCode.PAYMENT_REQUIRED)),
    ("contract", _coded("contract_billing_suspended"), _account(ErrorCode.CONTRACT_SUSPENDED)),
    ("application", _coded("application_deleted", "application_suspended"), _account(ErrorCode.APPLICATION_CLOSED)),
    ("key", _at(401), _account(ErrorCode.KEY_REFUSED)),
    ("403 of the key", _all(_at(403), _tells("credentials were not provided", "invalid api key")), _account(ErrorCode.KEY_REFUSED)),
    ("403 before the first top-up", _all(_at(403), _tells("first top-up")), _forbidden(ErrorCode.TOP_UP_FIRST)),
    ("403 of the contract", _all(_at(403), _tells("contract rate card", "not enabled for")), _forbidden(ErrorCode.NOT_IN_CONTRACT)),
    ("403", _at(403), _forbidden(None)),
    ("blocked", _all(_at(400), _matches("has been blocked", "is in the blocklist")), _blocked),
    ("timeouts of the server", _at(408, 425), _unclear(ErrorCode.SERVER_TIMEOUT)),
    ("other 4xx", lambda seen: 400 <= seen.status < 500, _refused),  # noqa: PLR2004 - RFC 9110
    ("5xx", lambda seen: seen.status >= 500, lambda seen: _doubtful(seen.operation, http_code(seen.status), seen.status, seen.wait_s)),  # noqa: PLR2004 - RFC 9110
    ("anything else", lambda _: True, _unclear(ErrorCode.UNREADABLE_ANSWER)),
)
