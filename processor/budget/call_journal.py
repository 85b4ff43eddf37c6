"""Who has called for which request, as the log tells. Pure.

Every ask names its request by digests. So whoever asks later sees whether a call may have been made already: by a former life
of the same record (then its fate is in *doubt*), or for another record with the same request id (then this one is a *duplicate*).
The order of the log decides who was first; no two replicas can both think it was them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from processor.budget.call_index import IN_DOUBT, CallIndex, CallState, JournaledCall
from processor.budget.call_memory import ASKED, OPEN, CallMemory
from processor.budget.finished_records import FinishedRecords, has_moved_on
from processor.budget.log import offset_of, place_of
from processor.budget.log_records import Asked, Ended, UsualAsk
from processor.budget.permits import CallIdentity, Conflict, Duplicate, EarlierRecord, InDoubt

EARLY_MAX = 20_000  # of each lane; half an hour of ten calls a second, and what matters comes within minutes
CLAIMS_MAX = 20_000  # rejected requests; a flood of them must not fill the memory


@dataclass(frozen=True, slots=True)
class PriorCalls:
    """What earlier asks mean for a later one: at most one of these is set."""

    conflict: bool = False
    duplicate: bool = False
    doubt_ms: int | None = None  # a moment before the first call in doubt, epoch ms
    over_ms: int = 0  # when the last of them is over, epoch ms
    earlier: EarlierRecord | None = field(default=None, compare=False)  # of a duplicate: whose request it is

    @property
    def obstacle(self) -> Conflict | Duplicate | InDoubt | None:
        """What keeps the later one from calling, as ``permits.Budget`` says it."""
        if self.conflict:
            return Conflict()
        if self.duplicate:
            return Duplicate(self.earlier)
        return None if self.doubt_ms is None else InDoubt(self.doubt_ms, self.over_ms)


CLEAR = PriorCalls()


def _is_copy(identity: CallIdentity, owner: JournaledCall) -> bool:
    """Whether a record repeats the owner's; a redrive is a new round, whoever asked before."""
    return owner.identity.first != identity.first and identity.replay == 0


def _earlier(owner: CallIdentity, calls: Iterable[JournaledCall]) -> EarlierRecord:
    asked_ms = max(c.stamp_ms for c in calls if c.identity.first == owner.first and c.state is not CallState.NEVER)
    return EarlierRecord(owner.first, asked_ms, owner.lane)


class ReplayedCalls:
    """What a restored lane needs to know of its former owners' calls, however long ago. Kept while the lane lives.

    While the log is read back, beginnings and ends of all lanes come of asks that are not read yet, and nothing tells whose they are: the
    first ``EARLY_MAX`` are kept. Of what came after them, an ask that is found later may have begun: it is in doubt, as after a crash,
    unless the log tells behind it how it ended. So it may be looked up without need, or end as ``in_doubt``, and is never called twice.
    """

    def __init__(self, lane: str, since_offset: int, unfinished: Callable[[int], bool]) -> None:
        self.lane, self.since_offset, self._unfinished = lane, since_offset, unfinished
        self.index = CallIndex()
        self._early: dict[str, Ended] = {}  # ends read before their ask, by the reader that runs ahead
        self._early_begun: dict[str, int] = {}  # and beginnings, with their offsets
        self._early_cut = False  # there were more

    def add(self, ask_id: str, call: JournaledCall) -> None:
        """Note an ask of this lane for a record that is not finished; others are skipped."""
        if call.identity.lane != self.lane or call.offset < place_of(self.since_offset, 0) or not self._unfinished(call.identity.offset):
            return
        if not self.index.add(ask_id, call):
            return
        if (begun := self._early_begun.pop(ask_id, None)) is not None:
            self.index.begin(ask_id, begun)
        elif self._early_cut and call.state is CallState.ASKED:
            self.index.change(ask_id, CallState.OPEN)
        if (ended := self._early.pop(ask_id, None)) is not None:
            self.index.end(ended)

    def ended(self, ended: Ended, *, replaying: bool) -> None:
        """Note an end. While older records are still being read it may come before its ask."""
        if not self.index.end(ended) and replaying and self._may_come(ended.id):
            self._early[ended.id] = ended

    def begun(self, ask_id: str, offset: int, *, replaying: bool) -> None:
        """Note a beginning; it, too, may come before its ask."""
        if not self.index.begin(ask_id, offset) and replaying and self._may_come(ask_id):
            self._early_begun[ask_id] = offset

    def _may_come(self, ask_id: str) -> bool:
        """Whether the ask is not read yet, and there is room for what is known of it."""
        if self.index.get(ask_id) is not None:
            return False
        self._early_cut = self._early_cut or len(self._early) + len(self._early_begun) >= EARLY_MAX
        return not self._early_cut

    def replay_done(self) -> None:
        """All that is older has been read."""
        self._early.clear()
        self._early_begun.clear()
        self._early_cut = False

    def sort_out(self, is_finished: Callable[[CallIdentity, JournaledCall], bool]) -> tuple[frozenset[int], frozenset[int]]:
        """Offsets of unfinished records: those whose outcome is published all the same, and others that were called, or perhaps."""
        calls = list(self.index.calls())
        finished = frozenset(c.identity.offset for c in calls if is_finished(c.identity, c))
        return finished, frozenset(c.identity.offset for c in calls if c.state in IN_DOUBT) - finished

    def first_calls(self) -> dict[int, int]:
        """For each unfinished record, by its offset, where in the log it was first asked for."""
        found: dict[int, int] = {}
        for call in self.index.calls():
            at = offset_of(call.offset)
            found[call.identity.offset] = min(at, found.get(call.identity.offset, at))
        return found

    def outlive_log(self) -> None:
        """The log begins again: what is recalled is before everything in it."""
        for call in self.index.calls():
            call.offset = -1


class CallJournal:
    """The calls of the last ``memory_s`` seconds, the newest ``calls_max`` of them, and what restored lanes recall from before."""

    def __init__(self, memory_s: float, calls_max: int) -> None:
        self._memory_s = memory_s
        self.memory = CallMemory(memory_s, calls_max)
        self._claims: OrderedDict[str, JournaledCall] = OrderedDict()  # the first of each request, oldest first
        self.finished = FinishedRecords()
        self._floor = 0
        self._new_at = -1  # place of the last ask, if nothing was known of its request
        self.whole_from = 0  # records before this offset are missing in the log
        self.replayed_calls: dict[str, ReplayedCalls] = {}
        self.replaying: set[str] = set()  # lanes whose older records are being read

    def __len__(self) -> int:
        return len(self.memory)

    @property
    def floor(self) -> int:
        """Asks from this offset on are remembered."""
        return max(self._floor, offset_of(self.memory.floor - 1) + 1)  # of an entry whose records are forgotten in part nothing is

    @floor.setter
    def floor(self, offset: int) -> None:
        self._floor = offset

    def asked(self, asked: Asked, identity: CallIdentity, place: int, at: float, stamp_ms: int) -> int:
        """An ask for a request's own call was read; the number of its row in the memory."""
        self._expire(at)
        copy_of = ""
        calls = self._calls(identity, place)
        self._new_at = -1 if calls else place
        if calls:
            if number := self.memory.number(asked.id):
                return number  # appended twice: the first one counts
            owner = self._owner(identity, calls)
            if owner is not None and _is_copy(identity, owner):
                copy_of = owner.copy_of or owner.identity.first
        state = ASKED if asked.announced else OPEN
        return self.memory.append(asked.id, identity, place, at, stamp_ms, asked.promise_s, state, copy_of)

    def asked_usual(self, ask: UsualAsk, place: int, at: float, stamp_ms: int) -> int:
        """The same of an ask as ``log_records.read_usual_ask`` gives it; 0, and nothing was noted, if anything is known of its request."""
        self._expire(at)
        request = ask[4]
        if request in self._claims or ((replayed := self.replayed_calls.get(ask[5])) is not None and replayed.index.of(request)):
            return 0
        return self.memory.append_usual(ask, place, at, stamp_ms)

    def claimed(self, identity: CallIdentity, offset: int, at: float, stamp_ms: int) -> None:
        """A claim was read: a request that never calls. The first one counts, and only if nobody has asked for the request before."""
        self._expire(at)
        prior_calls = self.prior_calls(identity, offset)
        if identity.request in self._claims or prior_calls.duplicate or prior_calls.conflict:
            return
        self._claims[identity.request] = JournaledCall(identity, offset, at, stamp_ms, 0.0, CallState.VOID)
        if len(self._claims) > CLAIMS_MAX:
            self._claims.popitem(last=False)

    def begun(self, ask_id: str, offset: int) -> bool:
        """A beginning was read; whether the call may be made."""
        for replayed in self.replayed_calls.values():
            replayed.begun(ask_id, offset, replaying=replayed.lane in self.replaying)
        return self.memory.begin(ask_id, offset)

    def answered(self, ask_id: str, number: int, *, acted: bool) -> None:
        """An answer was read, of the row of that number."""
        self.memory.answer_row(number, acted=acted)
        if self.replayed_calls:
            self._tell_replayed(Ended(ask_id, used=True, acted=acted))

    def ended(self, ended: Ended, number: int = 0) -> None:
        """An end was read; of the row of that number, or of whichever is its ask's."""
        if number:
            self.memory.end_row(number, ended)
        else:
            self.memory.end(ended)
        self._tell_replayed(ended)

    def _tell_replayed(self, ended: Ended) -> None:
        for replayed in self.replayed_calls.values():
            replayed.ended(ended, replaying=replayed.lane in self.replaying)

    def replay(self, lane: str, since_offset: int, unfinished: Callable[[int], bool]) -> ReplayedCalls:
        """Begin what a restored lane keeps, with what is remembered; older records are to be fed to it."""
        found = self.replayed_calls[lane] = ReplayedCalls(lane, since_offset, unfinished)
        for asked, call in self.memory.of_lane(lane, place_of(since_offset, 0), unfinished):
            found.add(asked, call)
        return found

    def replay_done(self, lane: str) -> None:
        """All that is older of a lane has been read. A lane that recalls nothing need not be told of each end of anybody."""
        self.replaying.discard(lane)
        if (found := self.replayed_calls.get(lane)) is not None:
            found.replay_done()
            if not found.index.calls():
                del self.replayed_calls[lane]

    def prior_calls(self, identity: CallIdentity, before_offset: int) -> PriorCalls:
        """What the asks before an offset mean for this one."""
        if before_offset == self._new_at:
            return CLEAR  # it was looked up when the ask was noted, a moment ago
        calls = self._calls(identity, before_offset)
        owner = self._owner(identity, calls)
        if owner is not None and _is_copy(identity, owner):
            if owner.identity.content != identity.content:
                return PriorCalls(conflict=True)
            return PriorCalls(duplicate=True, earlier=_earlier(owner.identity, calls))
        if any(self.is_finished(identity, c) for c in calls):
            return PriorCalls(duplicate=True)  # of itself: the group's offsets were lost
        doubtful = [c for c in calls if c.state in IN_DOUBT and (c.identity.first, c.identity.replay) == (identity.first, identity.replay)]
        if not doubtful:
            return CLEAR
        return PriorCalls(doubt_ms=min(c.stamp_ms for c in doubtful), over_ms=max(c.over_ms for c in doubtful))

    def _calls(self, identity: CallIdentity, before_offset: int) -> list[JournaledCall]:
        """What is known of a request, before an offset."""
        calls = self.memory.of(identity.request)
        if (claim := self._claims.get(identity.request)) is not None:
            calls.append(claim)
        if (replayed := self.replayed_calls.get(identity.lane)) is not None:
            calls += replayed.index.of(identity.request)
        return [c for c in calls if c.offset < before_offset] if calls else calls

    @staticmethod
    def _owner(identity: CallIdentity, calls: Iterable[JournaledCall]) -> JournaledCall | None:
        """Whose request it is: who asked first. A copy that has not called is nobody to the record that it repeats."""
        return min(
            (c for c in calls if c.state is not CallState.NEVER and c.copy_of != identity.first), key=lambda c: c.offset, default=None
        )

    def is_finished(self, record: CallIdentity, call: JournaledCall) -> bool:
        """Whether a call shows that the outcome of a record is published."""
        own = (call.identity.lane, call.identity.offset, call.identity.first) == (record.lane, record.offset, record.first)
        return (own and self.finished.hold(record, call.offset)) or has_moved_on(record, call.identity)

    def outlive_log(self) -> None:
        """The log begins again: what is recalled is before everything in it, and offsets in it mean nothing."""
        self.finished = FinishedRecords()
        self._new_at = -1  # places are given again
        for replayed in self.replayed_calls.values():
            replayed.outlive_log()

    def _expire(self, now: float) -> None:
        self.memory.expire(now)
        while self._claims and now - next(iter(self._claims.values())).at > self._memory_s:
            self._claims.popitem(last=False)
