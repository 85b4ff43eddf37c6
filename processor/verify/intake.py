"""Records to facts: each is decoded as a processor does it, and what a judge needs of it is kept. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import orjson

from processor.contract.callers_headers import believed
from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.dead_letters import read_hop_left, read_identity, read_reason
from processor.contract.decode import Accepted, Rejected, decode
from processor.contract.digests import content_digest, rejected_digest, request_digest, source_digest
from processor.contract.erasures import is_erasure
from processor.contract.pauses import PauseFormatError, Pauses, read_pause
from processor.contract.records import Hop, OnDoubt, Record, ResultKind, Source, Status, call_reference, result_id
from processor.contract.repairs import RepairKind, read_repair
from processor.contract.result_copies import copy_for
from processor.didit.catalog import is_polled, next_call
from processor.stream.cancels import CancelFormatError, read_cancel
from processor.stream.releases import ReleaseFormatError, read_release
from processor.stream.topics import TopicNames
from processor.verify.bills import Bills
from processor.verify.facts import STATUSES, Fact, FactKind, Trait

_VERSIONS_MAX = 5_000  # looks at one session
_ACTS_MAX = 1_000_000  # records that people have released or ended
_CUT_MAX = 100_000
_ACTS = frozenset({ErrorCode.ENDED_BY_HAND, ErrorCode.CANCELLED})
_WITHOUT_DEAD_LETTER = frozenset({ErrorCode.VENDOR_DATA_BLOCKED, ErrorCode.CANCELLED})
_ANSWERED = frozenset({ErrorType.OUTPUT_TOO_LARGE, ErrorType.INTERNAL})  # or it may have been
_OWING = frozenset({Status.REJECTED, Status.CONFLICT, Status.IN_DOUBT})
NOWHERE = 255  # no topic of ours


class Intake:
    """Takes records in, one after the other, and remembers only what people did and what is counted.

    Args:
        names: of the installation's topics.
        bills: what was paid for.
        takes_handed_on: it is that of a named application, to which another one hands requests on.

    Attributes:
        topics: names of the installation's topics; a fact holds their number.
        released: positions of records that somebody has let start early, or ended; ``ended`` the latter alone.
        cancelled: digests of request ids that were taken back.
        cut: digests of first positions of dead letters that are not whole.
        handed_on: records of requests that are for another application.
        progress: progress results; ``foreign``: records of results, repairs and controls that are none.
        pauses: what operators have paused.
        acts_cut: more was released than is remembered.
    """

    def __init__(self, names: TopicNames, bills: Bills, *, takes_handed_on: bool = False) -> None:
        self.names, self.bills, self._takes_handed_on = names, bills, takes_handed_on
        self.topics = (*names.inputs, names.results, names.dead_letters, names.repairs, names.budget, names.controls)
        self.released: set[tuple[int, int, int]] = set()
        self.ended: set[tuple[int, int, int]] = set()
        self.cancelled: set[bytes] = set()
        self.cut: set[bytes] = set()
        self.progress = self.foreign = self.handed_on = 0
        self.acts_cut = False
        self.pauses = Pauses()
        self._numbers = {topic: number for number, topic in enumerate(self.topics)}

    def bill_facts(self) -> Iterator[Fact]:
        """Of the sessions that were paid for; to be asked for once."""
        for request_id, at_ms in self.bills.sessions:
            yield Fact(FactKind.BILL, self._digest(request_id), bytes(15), NOWHERE, 0, 0, at_ms)

    def number_of(self, topic: str) -> int:
        """A topic's number; ``NOWHERE`` for one that is not of this installation."""
        return self._numbers.get(topic, NOWHERE)

    def take(self, record: Record) -> Iterator[Fact]:
        """The facts of a record of any topic but the budget log."""
        topic = record.source.topic
        if topic == self.names.results:
            yield from self._result(record)
        elif topic == self.names.dead_letters:
            yield from self._dead_letter(record)
        elif topic == self.names.repairs:
            yield from self._repair(record)
        elif topic == self.names.controls:
            self._pause(record)
        else:
            yield from self._input(record)

    def _input(self, record: Record) -> Iterator[Fact]:
        decoded = decode(record)
        if record.source.topic == self.names.requests:  # whoever may write there could name another one's place
            decoded = believed(record, decoded, self.names.inputs, takes_handed_on=self._takes_handed_on)
        hop, traits = decoded.hop, Trait(0)
        if isinstance(decoded, Accepted):
            request_id: str | None = decoded.request.request_id
            content = content_digest(decoded.request)
            traits |= Trait.REPEAT if decoded.request.on_doubt is OnDoubt.REPEAT else Trait(0)
        else:
            request_id, content = decoded.request_id, _rejected_content(record, decoded)
        first = _raw(source_digest(hop.first))
        request = self._request(request_id, first)
        kind = FactKind.REQUEST if record.source.topic == self.names.requests else FactKind.RETRY
        if isinstance(decoded, Accepted) and decoded.request.application in self.names.applications:
            kind = FactKind.HANDED_ON
            self.handed_on += 1
        traits |= _traits_of(hop) | _named(request_id)
        place = self._place(record)
        yield Fact(
            kind,
            request,
            first,
            *place,
            record.timestamp_ms,
            hop.due_ms or 0,
            hop.hop,
            hop.replay,
            traits=traits,
            mark=_raw(content),
        )
        if request_id is not None and kind != FactKind.HANDED_ON and (self.bills.checks or self.bills.first_call_ms):
            yield from self._of_ledger(request_id, request, place, hop)

    def _of_ledger(self, request_id: str, request: bytes, place: tuple[int, int, int], hop: Hop) -> Iterator[Fact]:
        reference = call_reference(request_id, hop.hop)
        for at_ms in self.bills.checks.pop(reference.rpartition(".")[0], ()):
            yield Fact(FactKind.BILL, request, bytes(15), NOWHERE, 0, 0, at_ms)
        at = self.bills.first_call_ms.get(reference)
        if at is not None and hop.due_ms is not None:
            yield Fact(FactKind.ASK, request, bytes(15), *place, round(at), traits=Trait.BY_LEDGER)

    def _result(self, record: Record) -> Iterator[Fact]:
        found = _result_document(record)
        if found is None:
            self.foreign += record.value is not None  # else a tombstone of an erasure
            return
        if found["kind"] != ResultKind.FINAL:  # no copy is made of one
            self.progress += 1
            return
        source, status, replay = Source(**found["source"]), Status(found["status"]), found.get("replay", 0)
        request_id, first = found["request_id"], _raw(source_digest(source))
        error: dict[str, Any] = found["error"] or {}
        traits = _named(request_id)
        if copy_for(record.headers) is not None:
            traits |= Trait.COPY
        if source.topic == self.names.requests:
            traits |= Trait.OF_REQUESTS
        if error.get("code") in _ACTS:
            traits |= Trait.BY_HAND
        if error.get("code") not in _WITHOUT_DEAD_LETTER and (status in _OWING or status is Status.FAILED):
            traits |= Trait.OWES_DEAD_LETTER
        if status is Status.IN_DOUBT or (str(error.get("type")) in _ANSWERED and _bills_each_call(found.get("operation"))):
            traits |= Trait.PAID_AGAIN
        yield Fact(
            FactKind.RESULT,
            self._request(request_id, first),
            first,
            *self._place(record),
            record.timestamp_ms,
            source.offset,
            source.partition,
            replay,
            _version(found, request_id if request_id is not None and status is not Status.CONFLICT else str(source), replay),
            traits,
            STATUSES.index(status),
        )

    def _dead_letter(self, record: Record) -> Iterator[Fact]:
        reason, hop = read_reason(record), read_hop_left(record)
        first = _raw(source_digest(hop.first))
        if reason.cut:  # its id may be in the part that is gone
            if len(self.cut) < _CUT_MAX:
                self.cut.add(first)
            return
        request_id = read_identity(record).request_id
        traits = _named(request_id)
        traits |= Trait.UNPLACED if hop.first == record.source else Trait(0)
        yield Fact(
            FactKind.DEAD_LETTER,
            self._request(request_id, first),
            first,
            *self._place(record),
            record.timestamp_ms,
            reason.failed_ms,
            hop.hop,
            hop.replay,
            traits=traits,
        )

    def _repair(self, record: Record) -> Iterator[Fact]:
        if self._take_release(record) or self._take_cancel(record) or is_erasure(record.value):
            return
        repair = read_repair(record.value)
        if repair is None:
            self.foreign += 1
            return
        if repair.kind is not RepairKind.REDRIVEN or repair.request_id is None:
            return
        target = repair.target
        mark = target.offset.to_bytes(8, "big") + (target.failed_ms or 0).to_bytes(8, "big")
        yield Fact(
            FactKind.REDRIVE,
            self._digest(repair.request_id),
            bytes(15),
            *self._place(record),
            record.timestamp_ms,
            repair.due_ms or 0,
            target.partition,
            repair.replay,
            traits=Trait.NAMED,
            mark=mark,
        )

    def _pause(self, record: Record) -> None:
        """What operators have paused is why requests wait; it is no fault."""
        try:
            act = read_pause(record.value)
        except PauseFormatError:
            act = None
            self.foreign += 1
        self.pauses = self.pauses.after(act, record.source.offset)

    def _take_release(self, record: Record) -> bool:
        try:
            release = read_release(record.value)
        except ReleaseFormatError:
            return False  # said by ``foreign``, if it is no repair either
        if release is None:
            return False
        number = self.number_of(release.topic)
        for offset in release.offsets:
            if len(self.released) >= _ACTS_MAX:
                self.acts_cut = True
                break
            self.released.add((number, release.partition, offset))
            if release.end:
                self.ended.add((number, release.partition, offset))
        return True

    def _take_cancel(self, record: Record) -> bool:
        try:
            cancel = read_cancel(record.value)
        except CancelFormatError:
            return False
        if cancel is None:
            return False
        for request_id in cancel.request_ids:
            if len(self.cancelled) >= _ACTS_MAX:
                self.acts_cut = True
                break
            self.cancelled.add(self._digest(request_id))
        return True

    def _place(self, record: Record) -> tuple[int, int, int]:
        """Topic, partition, offset, as facts hold them."""
        return self.number_of(record.source.topic), record.source.partition, record.source.offset

    def _request(self, request_id: str | None, first: bytes) -> bytes:
        """What stands for a request: its id, or where that could not be read the position of the caller's record."""
        return first if request_id is None else self._digest(request_id)

    def _digest(self, request_id: str) -> bytes:
        return _raw(request_digest(self.names.prefix, request_id))


def _raw(digest: str) -> bytes:
    """The 15 bytes of a digest's text."""
    return base64.urlsafe_b64decode(digest)


def _named(request_id: str | None) -> Trait:
    return Trait(0) if request_id is None else Trait.NAMED


def _rejected_content(record: Record, bad: Rejected) -> str:
    """As the engine notes it."""
    return rejected_digest(bad.request_id or "", record.value, f"{bad.error.code} {bad.error.field}")


def _traits_of(hop: Hop) -> Trait:
    traits = Trait(0)
    if hop.session_id is not None:
        traits |= Trait.FOLLOWS | (Trait.BEGAN_SESSION if hop.replay and hop.attempt else Trait(0))  # polls count no attempt
    if hop.may_start_early:
        traits |= Trait.MAY_START_EARLY
    if hop.doubt_ms is not None:
        traits |= Trait.DOUBT
    if hop.settled is not None:
        traits |= Trait.SETTLED
    if hop.last_error == ErrorCode.REDRIVEN:
        traits |= Trait.REDRIVEN
    return traits


def _result_document(record: Record) -> dict[str, Any] | None:
    """The document of a result; None for anything else, whoever wrote it."""
    try:
        found = orjson.loads(record.value or b"")
        source = found["source"]
        Status(found["status"])
        well_formed = (
            set(source) == {"topic", "partition", "offset"}
            and isinstance(source["topic"], str)
            and _is_number(source["partition"], 2**31)
            and _is_number(source["offset"], 2**63)
            and _is_number(found.get("replay", 0), 2**31)
            and isinstance(found["request_id"], str | None)
            and isinstance(found["error"], dict | None)
            and isinstance((found["error"] or {}).get("code"), str | None)
        )
        return found if well_formed and isinstance(found["kind"], str) and isinstance(found["result_id"], str) else None
    except (ValueError, KeyError, TypeError):
        return None


def _is_number(value: object, below: int) -> bool:
    return type(value) is int and 0 <= value < below


def _bills_each_call(name: object) -> bool:
    operation = next_call(name, polled=False) if isinstance(name, str) else None
    return operation is not None and operation.bills_each_call


def _version(found: dict[str, Any], key: str, replay: int) -> int:
    """Which final of its round a result is, by its id: 0 the first, above it later ones of a verification, -1 none of ours."""
    round_of = f".r{replay}" if replay else ""
    last = _VERSIONS_MAX if is_polled(str(found.get("operation"))) else 0
    return next((v for v in range(last + 1) if result_id(key, f"{ResultKind.FINAL}{v or ''}{round_of}") == found["result_id"]), -1)


def request_id_of(record: Record, names: TopicNames) -> str | None:
    """The request id that a record names; None where none can be read."""
    if record.source.topic == names.results:
        found = _result_document(record)
        return None if found is None else found["request_id"]
    if record.source.topic == names.dead_letters:
        return read_identity(record).request_id
    decoded = decode(record)
    return decoded.request.request_id if isinstance(decoded, Accepted) else decoded.request_id
