"""The interface between those who call and whatever keeps the budget. Times are epoch ms or seconds, as their names say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from math import inf
from typing import NamedTuple, Protocol

from processor.contract.codes import ErrorCode
from processor.contract.values import value


class CallClass(IntEnum):
    """What a call is, for the order in which permits are asked for; lower is served more often, none starves."""

    URGENT = 0
    NORMAL = 1
    FIRST_POLL = 2  # the first look at something that takes its time, or one with a reason
    RETRY = 3
    BULK = 4
    POLL = 5  # a further look
    LATE_POLL = 6  # a look at what has had its result


class Fate(Enum):
    """What is known of a call when its permit is given back."""

    ANSWERED = "answered"  # the server has counted it, or never will
    NOT_SENT = "not_sent"  # provably nothing left
    UNKNOWN = "unknown"  # it may still be counted


class HealthSignal(Enum):
    """What the end of a call says about the endpoint and the account."""

    GOOD = "good"  # an answer that shows both at work, a refusal included
    BAD = "bad"  # 5xx, reset, timeout, no connection
    ACCOUNT = "account"  # key, application, contract: every call would end like this one
    UNPAID = "unpaid"  # no credits for this operation
    FORBIDDEN = "forbidden"  # this request, or the operation, is not allowed to this key; the key itself works
    DENIED = "denied"  # the same, or the key does not work
    NEUTRAL = "neutral"  # nothing


REFUSALS = frozenset({HealthSignal.UNPAID, HealthSignal.FORBIDDEN, HealthSignal.DENIED})
"""The operation is refused; it does not fail."""


@dataclass(slots=True, unsafe_hash=True)  # not frozen: one is made for each call of anybody that is read
class CallIdentity:
    """Whose call it is, for the journal. Digests only: no id, no input."""

    request: str  # digest of the request id and the installation, which is the prefix of its topics
    content: str  # digest of what is asked for, salted with the request id
    first: str  # digest of the position of the caller's own record
    lane: str  # ``topic[partition]`` in which the record stands now, and its offset there
    offset: int
    replay: int = 0  # times it was redriven; each is a new round


class LogPosition(NamedTuple):
    """A place in the journal: the log's name (a log that is created again has another one), and an offset in it."""

    log: str
    offset: int


@value(frozen=True, slots=True)
class LaneCalls:
    """What the log says of a lane that is taken over. Offsets are those of its unfinished records."""

    since_ms: int = 0  # every call since then is known, epoch ms; 0: every call there ever was
    first_calls: Mapping[int, LogPosition] = field(default_factory=dict)  # where in the log each was first asked for
    finished: frozenset[int] = frozenset()  # their outcome is published, whatever the group's offsets say
    doubtful: frozenset[int] = frozenset()  # called, or perhaps, and not known to be finished


@value(frozen=True, slots=True)
class Ask:
    """What a permit is asked for."""

    endpoint: str  # the operation's name: one line of waiters and one breaker each
    scopes: tuple[str, ...]
    call_class: CallClass
    since_ms: int  # how old the request is, epoch ms; the oldest of a class asks first
    identity: CallIdentity | None = None  # None: not a call of the request itself (a lookup)
    timeout_s: float = inf  # the call's own deadline: if its end is never heard of, it holds weight until it cannot be counted any more
    returning: bool = False  # it was ``Parked`` before, because too many waited
    announced: bool = False  # its call is announced in the log before it leaves, so that an ask alone leaves no doubt; one more round trip
    waits_announced: bool = False  # the same, if it has to wait: one that starts as soon as it is read back makes no second round trip
    settled_ms: float = (
        inf  # epoch ms: earlier calls of unknown fate that were over by then were looked up, and are no reason for ``InDoubt``
    )
    tenant: str = ""  # for whom it is; tenants share what their class gets by their weights. Empty: for nobody named


@value(frozen=True, slots=True)
class Place:
    """Where a request stands that was sent away because too many waited."""

    endpoint: str
    scopes: tuple[str, ...]
    call_class: CallClass
    since_ms: int  # as in the ask that it will make
    deadline_ms: int | None = None  # then it ends, epoch ms
    tenant: str = ""  # as in the ask


@value(frozen=True, slots=True)
class Ending:
    """How a call ended."""

    fate: Fate
    health: HealthSignal = HealthSignal.NEUTRAL
    acted: bool = False  # it may have been done and billed; a redelivery must not repeat it blindly


NOT_SENT = Ending(Fate.NOT_SENT)


@value(frozen=True, slots=True)
class Permit:
    """The right to make one call now. Give it back exactly once."""

    id: str
    ask: Ask
    probe: bool = False  # the one call that finds out whether an endpoint or the account works again
    start_by: float = inf  # by ``clock.boot_clock``, s: a call that starts later could be counted when nobody allows for it any more


class BudgetClosedError(Exception):
    """The budget is closed or has failed; the process is stopping, or must."""


@value(frozen=True, slots=True)
class Parked:
    """The request is not worth holding here: it shall come back later."""

    code: ErrorCode  # ``SCOPE_PAUSED``, ``QUEUE_FULL``, ``OPERATION_HELD`` or ``OPERATION_PAUSED``
    wait_s: float  # until its turn is expected; one that is sent away from a full line may come before, see ``Budget.park``


@value(frozen=True, slots=True)
class InDoubt:
    """An earlier call of this request may have been made, and its outcome is not known."""

    since_ms: int  # a moment before that call, epoch ms
    over_ms: int  # from then on it is done or never will be, epoch ms; a lookup before says nothing if it finds nothing


@value(frozen=True, slots=True)
class EarlierRecord:
    """The caller's record that has a request id, as the journal knows it."""

    first: str  # digest of its position
    asked_ms: int  # its last call was asked for then by the brokers' clock, epoch ms: its result was published later
    lane: str  # where it stood when its first call was asked for, as far as that is remembered: ``topic[partition]``


@value(frozen=True, slots=True)
class Duplicate:
    """The same request has been asked for from another position: this record makes no call."""

    earlier: EarlierRecord | None = field(default=None, compare=False, repr=False)  # None: it was this record itself


@value(frozen=True, slots=True)
class Conflict:
    """The same request id has been asked for with another content."""


NoPermit = Parked | InDoubt | Duplicate | Conflict
Acquired = Permit | NoPermit


class ParkedWait(Protocol):
    """A request that waits in a delay topic of this process for room in its line."""

    @property
    def place(self) -> Place:
        """Where it stands."""
        ...

    def may_start(self) -> bool:
        """Whether it is to start now, as its due time has come; if so, whoever asks starts it."""
        ...

    def leave(self) -> None:
        """It stands in the line, has ended, or is another process's. May be called again."""
        ...


class Budget(Protocol):
    """Keeps the limits of all scopes over all replicas, and remembers who has called."""

    async def acquire(self, ask: Ask) -> Acquired:
        """Wait until one call may be made, in all scopes of the ask at once, or until it is known that it may not.

        It has no deadline of its own: a permit may be hours away while no scope is paused for long. Cancel it to stop waiting,
        at any moment, also that in which the permit comes: nothing is lost or kept then. Waiting holds no call slot.

        Args:
            ask: the call, with its scopes and whose it is. An ask without ``identity`` is never in doubt, a duplicate or in conflict.

        Returns:
            ``Permit``: make one call now. It holds a call slot of this process, and weight in every scope on all replicas, until
            ``release`` gives it back. Every other answer holds nothing:
            ``Parked``: the operation is held or paused, a scope is or becomes paused for longer than ``VP_BUDGET__PAUSE_PARK_S``, or more
            than ``VP_BUDGET__QUEUE_MAX`` wait while requests for other endpoints may stand behind them; ask again in ``wait_s``.
            ``InDoubt``: an earlier call of the same request may have been made, and was not over by ``ask.settled_ms``; look it up.
            ``Duplicate``, ``Conflict``: another record has asked for this request id before, with the same content or another one.

        Raises:
            BudgetClosedError: the budget is closed or fails meanwhile: the process is stopping, or must.
            KeyError: a scope has no limit; a fault of the caller.

        Example::

            match await budget.acquire(ask):
                case Permit() as permit:
                    ending = Ending(Fate.UNKNOWN)  # what holds if the call is cut short
                    try:
                        ending = await make_the_call()
                    finally:
                        budget.release(permit, ending)
                case Parked(code, wait_s):
                    ...
        """
        ...

    async def claim(self, identity: CallIdentity) -> Duplicate | Conflict | InDoubt | None:
        """Note a request that is answered without a call, so that its copies are known. Holds no permit and needs no budget.

        Returns:
            None if no other record has its request id: answer it. ``Duplicate``, ``Conflict``, ``InDoubt``: as for ``acquire``.

        Raises:
            BudgetClosedError: as ``acquire``.
        """
        ...

    def park(self, place: Place, start: Callable[[], None]) -> ParkedWait:
        """A request that was sent away waits here, in a delay topic, until the line has room.

        Args:
            place: where it stands.
            start: called when it is to start, in its turn and before it is due; never before this returns, and once at most.

        Raises:
            KeyError: a scope has no limit; a fault of the caller.
        """
        ...

    def turn_away(self, place: Place, *, aside: bool) -> Parked | None:
        """What ``acquire`` would say at once to a request that has not waited yet, if it is ``Parked``; None: acquire a permit for it.

        It costs a part of an ask: of a flood that meets a full line each request comes here.

        Args:
            place: where it would stand.
            aside: it keeps others from being read: it is sent away whoever stands in its line, if others may want one.

        Raises:
            KeyError: a scope has no limit; a fault of the caller.
        """
        ...

    def release(self, permit: Permit, ending: Ending) -> None:
        """Give a permit back.

        Raises:
            ValueError: if it was given back before.
        """
        ...

    def pause(self, scope: str, wait_s: float, limit: int | None = None) -> None:
        """After a rate-limit 429: no replica starts a call of this scope before ``wait_s`` have passed. Never shortens a pause.

        ``limit``: calls a window, as the 429 names it for this scope; all replicas obey it if it is lower than theirs.
        """
        ...

    def is_paused(self, endpoint: str) -> bool:
        """Whether operators have paused the calls of an endpoint: one that holds a permit and has not left does not leave."""
        ...

    def is_down(self, endpoint: str) -> bool:
        """Whether the breaker of an endpoint is open."""
        ...
