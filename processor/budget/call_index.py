"""One call as the log tells of it, and calls by request and by ask. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from processor.budget.log_records import Asked, Ended
from processor.budget.permits import CallIdentity


class CallState(Enum):
    """What is known of a call."""

    ASKED = "asked"  # announced, and not begun: not made
    OPEN = "open"  # perhaps made, not answered
    ACTED = "acted"  # answered, and it may have done something
    VOID = "void"  # answered, without effect
    NEVER = "never"  # not made: withdrawn, as the ask of a duplicate is by its holder


IN_DOUBT = frozenset({CallState.OPEN, CallState.ACTED})
UNENDED = frozenset({CallState.ASKED, CallState.OPEN})


@dataclass(slots=True)
class JournaledCall:
    """One ask for a request's own call."""

    identity: CallIdentity
    offset: int  # ``log.place_of`` its record
    at: float  # when it was received, own clock
    stamp_ms: int  # the broker's time, epoch ms
    promise_s: float  # the call is over within this time
    state: CallState = CallState.OPEN
    # Position of the record that this one repeats, by our memory. Its holder's may end a moment earlier: then it calls.
    copy_of: str = ""

    @classmethod
    def asked(cls, asked: Asked, identity: CallIdentity, offset: int, at: float, stamp_ms: int) -> JournaledCall:
        """Of an ask that was read."""
        return cls(identity, offset, at, stamp_ms, asked.promise_s, CallState.ASKED if asked.announced else CallState.OPEN)

    @property
    def over_ms(self) -> int:
        """From then on it is done or never will be, epoch ms."""
        return self.stamp_ms + (int(self.promise_s * 1000) if self.state is CallState.OPEN else 0)


def state_after(ended: Ended) -> CallState:
    """What an end makes of a call."""
    if not ended.used:
        return CallState.NEVER
    return CallState.ACTED if ended.acted else CallState.VOID


class Calls(ABC):
    """Calls by request and by ask, however they are stored."""

    @abstractmethod
    def get(self, ask_id: str) -> JournaledCall | None:
        """The call of an ask."""

    @abstractmethod
    def of(self, request: str) -> Sequence[JournaledCall]:
        """All calls for a request, in log order."""

    @abstractmethod
    def change(self, ask_id: str, state: CallState) -> None:
        """Set the state of a call that is there. To its holder a call that was answered is no copy."""

    def begin(self, ask_id: str, offset: int) -> bool:
        """Note that an announced call begins; False if it must not, because somebody else asked for the request before this record.

        Whoever asked in between has seen an ask without a beginning, and takes it for one that was never made.
        """
        call = self.get(ask_id)
        if call is None or call.state is not CallState.ASKED:
            return call is not None and call.state is CallState.OPEN
        round_of = (call.identity.first, call.identity.replay)
        later = (c for c in self.of(call.identity.request) if call.offset < c.offset < offset and c.state is not CallState.NEVER)
        overtaken = any((c.identity.first, c.identity.replay) == round_of for c in later)
        self.change(ask_id, CallState.NEVER if overtaken else CallState.OPEN)
        return not overtaken

    def end(self, ended: Ended) -> bool:
        """Note an end; whether the ask was known and had none."""
        call = self.get(ended.id)
        if call is None or call.state not in UNENDED:
            return False
        self.change(ended.id, state_after(ended))
        return True


class CallIndex(Calls):
    """Calls without an end to memory: as many as a lane has unfinished records."""

    def __init__(self) -> None:
        self._by_id: dict[str, JournaledCall] = {}
        self._by_request: dict[str, list[JournaledCall]] = {}

    def add(self, ask_id: str, call: JournaledCall) -> bool:
        """Note an ask. One that is known already is left as it is, and the answer is False."""
        if ask_id in self._by_id:
            return False
        self._by_id[ask_id] = call
        self._by_request.setdefault(call.identity.request, []).append(call)
        return True

    def get(self, ask_id: str) -> JournaledCall | None:
        """See ``Calls.get``."""
        return self._by_id.get(ask_id)

    def of(self, request: str) -> Sequence[JournaledCall]:
        """All calls for a request, in the order in which they were noted."""
        return self._by_request.get(request, ())

    def change(self, ask_id: str, state: CallState) -> None:
        """See ``Calls.change``."""
        call = self._by_id[ask_id]
        call.state = state
        if state in {CallState.ACTED, CallState.VOID}:
            call.copy_of = ""

    def calls(self) -> Collection[JournaledCall]:
        """All of them."""
        return self._by_id.values()
