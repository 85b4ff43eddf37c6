"""What the records of one request say together: the findings, and where it stands. Pure: the present goes in.

A record of an input topic that the group's commit covers has an outcome: a final result of its round, the next hop of its
round, or none because its request is another record's. So a chain of records leads from each request to its final result, or to
one record that is not done and waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from processor.contract.amounts import count
from processor.contract.records import Status
from processor.contract.times import utc
from processor.stream.offsets import Finished
from processor.verify.facts import STATUSES, Fact, FactKind, Trait, started_over
from processor.verify.findings import AuditFinding, BrokenPromise, Findings
from processor.verify.waiting import Waiting, WaitingRequests, place_of

_CONFLICT = STATUSES.index(Status.CONFLICT)
CLAIMED = frozenset(map(STATUSES.index, (Status.REJECTED, Status.EXPIRED)))  # ended without a call, as a rule
_SAYS_FAILED = frozenset(map(STATUSES.index, (Status.REJECTED, Status.FAILED, Status.CONFLICT, Status.IN_DOUBT)))
_LEDGER_MS = 1  # stamps of the ledger are floats, due times whole milliseconds

Partition = tuple[int, int]  # topic, partition


@dataclass(frozen=True, slots=True)
class JudgingRules:
    """What a judge goes by. Times are epoch ms.

    Attributes:
        now_ms: when the commits were read last.
        older_ms: a request that is older has a result, or waits visibly.
        judged_from_ms: requests and acts that are older are counted and not judged: what belongs to them may be deleted by now.
        dead_letters_from_ms: the same of dead letters; ``retries_from_ms`` of records of delay topics.
        memory_ms: for so long a processor remembers a request.
        forgets_claims: more requests ended without a call than a processor remembers; ``forgets_calls`` the same of calls.
        late_ms: a retry is published at the latest so long after its due time.
        skew_ms: by so much clocks of two brokers may differ.
        complete_ms: what was written before has all records of its transaction among those that were read.
        ranges: the first offset that was read of each partition, and the one behind the last.
        topics: names, by their number; ``dead_letter_topic`` is the number of one.
    """

    now_ms: int
    older_ms: int
    judged_from_ms: int
    dead_letters_from_ms: int
    memory_ms: int
    late_ms: int
    skew_ms: int
    complete_ms: int
    topics: Sequence[str]
    dead_letter_topic: int
    ranges: Mapping[Partition, tuple[int, int]]
    done_before: Mapping[Partition, Finished]
    done_after: Mapping[Partition, Finished]
    released: frozenset[tuple[int, int, int]] = frozenset()
    ended: frozenset[tuple[int, int, int]] = frozenset()
    cancelled: frozenset[bytes] = frozenset()
    cut: frozenset[bytes] = frozenset()
    forgets_claims: bool = False
    forgets_calls: bool = False
    acts_cut: bool = False
    retries_from_ms: int = 0
    ended_unread: bool = False  # of what was ended by hand some records were not read


@dataclass(slots=True)
class Figures:
    """What was counted on the way."""

    requests: int = 0
    finals: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    dead_letters: int = 0
    redrives: int = 0
    bills: int = 0
    duplicates: int = 0  # requests that are another record's
    asked_again: int = 0  # under an id that was forgotten by then
    copies: int = 0  # of final results, for those who asked again
    too_young: int = 0  # without a result, and not older than the bound
    too_old: int = 0  # not judged
    late_ms: list[int] = field(default_factory=list)  # of retries, by the ledger: from the due time to the call

    @property
    def late_p99_ms(self) -> int:
        """99 of a hundred retries came to Didit so long after their due time; 0 where no ledger tells."""
        ordered = sorted(self.late_ms)
        return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] if ordered else 0


class RequestJudge:
    """Give it all facts of one request at a time, in any order; ``findings``, ``figures`` and ``waiting`` grow."""

    def __init__(self, rules: JudgingRules, findings: Findings) -> None:
        self.rules, self.findings = rules, findings
        self.figures, self.waiting = Figures(), WaitingRequests()

    def take(self, facts: list[Fact]) -> None:
        """Facts of any number of requests, each with all of its own."""
        facts.sort(key=lambda fact: fact.request)
        for _, group in groupby(facts, key=lambda fact: fact.request):
            self._judge(_Story(self.rules, list(group)))

    def _judge(self, story: _Story) -> None:
        for finding in story.findings():
            self.findings.add(finding)
        self._count(story)
        for request in story.requests:
            self._stand(story, request)

    def _count(self, story: _Story) -> None:
        figures = self.figures
        figures.requests += len(story.requests)
        figures.finals += len(story.finals)
        figures.by_status.update(STATUSES[fact.status].value for fact in story.finals)
        figures.retries += len(story.retries)
        figures.dead_letters += len(story.dead_letters)
        figures.redrives += len(story.redrives)
        figures.bills += len(story.bills)
        figures.asked_again += story.asked_again
        figures.copies += len(story.copies)
        figures.late_ms += story.late_ms()

    def _stand(self, story: _Story, request: Fact) -> None:
        """Where a request stands; one without a result that waits nowhere is a finding."""
        finals = story.finals_of(request.first)
        if finals and not story.retries:
            return
        alive = story.alive_of(request.first)
        if finals:
            if alive is not None and alive.replay > max(final.replay for final in finals):
                self._wait(request, alive, story.began_ms(alive))
        elif request.stamp_ms < self.rules.judged_from_ms:
            self.figures.too_old += 1
        elif alive is not None:
            self.figures.too_young += not self._wait(request, alive, request.stamp_ms)
        elif story.is_copy(request):
            self.figures.duplicates += 1
        elif request.stamp_ms < self.rules.now_ms - self.rules.older_ms:
            last = max(story.records_of(request.first), key=lambda fact: fact.hop)
            text = f"of {utc(request.stamp_ms)}; its last record is {story.where(last)}, which is done"
            self.findings.add(story.finding(BrokenPromise.MISSING_RESULT, request, text))
        else:
            self.figures.too_young += 1

    def _wait(self, request: Fact, alive: Fact, began_ms: int) -> bool:
        """Count a round of a request that waits for its result; whether it has done so for long."""
        old = began_ms < self.rules.now_ms - self.rules.older_ms
        self.waiting.add(place_of(alive, self.rules.now_ms), Waiting(request, alive), old=old)
        return old


class _Story:
    """All that was read of one request id."""

    def __init__(self, rules: JudgingRules, facts: Sequence[Fact]) -> None:
        self.rules = rules
        of: dict[int, list[Fact]] = {kind: [] for kind in FactKind}
        for fact in sorted(facts, key=lambda fact: fact.stamp_ms):
            of[fact.kind].append(fact)
        self.requests, self.retries = of[FactKind.REQUEST], of[FactKind.RETRY]
        self.finals = [fact for fact in of[FactKind.RESULT] if not fact.has(Trait.COPY)]
        self.copies = [fact for fact in of[FactKind.RESULT] if fact.has(Trait.COPY)]
        self.dead_letters, self.redrives = of[FactKind.DEAD_LETTER], of[FactKind.REDRIVE]
        self.asks, self.bills = of[FactKind.ASK], of[FactKind.BILL]
        self.records, self.handed_on = self.requests + self.retries, of[FactKind.HANDED_ON]
        self.asked_again = 0

    def findings(self) -> Iterator[AuditFinding]:
        """Everything that is wrong, but for what ``RequestJudge`` itself looks at."""
        yield from self._finals()
        yield from self._copies()
        yield from self._origins()
        for record in self.records:
            yield from self._record(record)
        if self.retries:
            yield from self._retries()
        if self.dead_letters or self.redrives or self.finals:
            yield from self._dead_letters()
            yield from self._repairs()
        yield from self._bills()

    def finding(self, kind: BrokenPromise, fact: Fact, text: str, at_ms: int = 0) -> AuditFinding:
        """At the place of a fact, and at its time unless ``at_ms`` says when."""
        return AuditFinding(kind, self.rules.topics[fact.topic], fact.partition, fact.offset, text, at_ms=at_ms or fact.stamp_ms)

    def where(self, fact: Fact) -> str:
        """``topic[partition]@offset``."""
        return f"{self.rules.topics[fact.topic]}[{fact.partition}]@{fact.offset}"

    def records_of(self, first: bytes) -> list[Fact]:
        """The caller's own record and what stood for it later."""
        return [fact for fact in self.records if fact.first == first]

    def finals_of(self, first: bytes) -> list[Fact]:
        """The final results that name a caller's record."""
        return [fact for fact in self.finals if fact.first == first]

    def alive_of(self, first: bytes) -> Fact | None:
        """The newest record of a request that is not done."""
        alive = [fact for fact in self.records_of(first) if not _is_done(fact, self.rules.done_before)]
        return max(alive, key=lambda fact: (fact.replay, fact.hop), default=None)

    def began_ms(self, alive: Fact) -> int:
        """When the round of a record began."""
        return min(fact.stamp_ms for fact in self.records_of(alive.first) if fact.replay == alive.replay)

    def is_copy(self, record: Fact) -> bool:
        """Whether another record stands for the same request and content, and has a result or waits for it."""
        others = [fact for fact in self.requests if fact.first != record.first]
        if others and all(fact.mark != record.mark for fact in others):
            return False  # another content under one id ends as a conflict, with a result of its own
        if any(fact.first != record.first and fact.status != _CONFLICT for fact in self.finals):
            return True
        return any(fact.first != record.first and not _is_done(fact, self.rules.done_before) for fact in self.records)

    def late_ms(self) -> list[int]:
        """From the due times of retries to their calls, where a ledger tells."""
        due = {fact.position: fact for fact in self.retries if not fact.has(Trait.MAY_START_EARLY)}
        asks = (ask for ask in self.asks if ask.has(Trait.BY_LEDGER) and ask.position in due)
        return [ask.stamp_ms - due[ask.position].due_ms for ask in asks]

    def _finals(self) -> Iterator[AuditFinding]:
        """Each round has one final result; a verification may have later ones, each with an id of its own."""
        seen: dict[tuple[bytes, int, int], Fact] = {}
        for final in self.finals:
            if final.version < 0:
                yield self.finding(BrokenPromise.FOREIGN_RESULT, final, f"of {utc(final.stamp_ms)}")
            key = (final.first if final.status == _CONFLICT else b"", final.replay, max(0, final.version))
            before = seen.setdefault(key, final)
            if before is final:
                continue
            if final.first != before.first and self._forgotten(before, final):
                self.asked_again += 1
                continue
            text = f"{STATUSES[final.status]} of {utc(final.stamp_ms)}; the first is {self.where(before)}, {STATUSES[before.status]}"
            yield self.finding(BrokenPromise.DOUBLE_FINAL, final, text)

    def _copies(self) -> Iterator[AuditFinding]:
        """A copy repeats a final result that stands before it, no longer ago than a processor remembers."""
        known = {(final.first, final.replay, final.version) for final in self.finals}
        kept_from_ms = self.rules.judged_from_ms + self.rules.memory_ms + self.rules.older_ms if self.rules.judged_from_ms else 0
        for copy in self.copies:
            if (copy.first, copy.replay, copy.version) not in known and copy.stamp_ms >= kept_from_ms and self._is_complete(copy):
                yield self.finding(BrokenPromise.COPY_OF_NOTHING, copy, f"{STATUSES[copy.status]} of {utc(copy.stamp_ms)}")

    def _forgotten(self, before: Fact, final: Fact) -> bool:
        """Whether a processor may have forgotten the earlier request when it judged the later one; its polls are not remembered."""
        rules, apart_ms = self.rules, abs(self._called_ms(final) - self._called_ms(before))
        claimed = before.status in CLAIMED and rules.forgets_claims
        return apart_ms > rules.memory_ms or rules.forgets_calls or claimed

    def _called_ms(self, final: Fact) -> int:
        """Soon after the last call of its own: when its session was there, or else when it ended."""
        of = final.first, final.replay
        follows = (fact.stamp_ms for fact in self.retries if fact.has(Trait.FOLLOWS) and (fact.first, fact.replay) == of)
        return next(follows, final.stamp_ms)

    def _origins(self) -> Iterator[AuditFinding]:
        """A final result comes from a record of this request, and from a round that somebody has begun."""
        firsts = {fact.first for fact in self.records + self.handed_on}
        rounds = {(fact.first, fact.replay) for fact in self.retries + self.handed_on}
        rounds |= {(final.first, fact.replay) for final in self.finals for fact in self.redrives}  # whose records may be deleted by now
        for final in self.finals:
            if not self._is_complete(final):
                continue
            read_from, _ = self.rules.ranges.get((0, final.hop), (0, 0))
            if final.first not in firsts and final.has(Trait.OF_REQUESTS) and final.due_ms >= read_from:
                text = f"it names {self.rules.topics[0]}[{final.hop}]@{final.due_ms}"
                yield self.finding(BrokenPromise.RESULT_WITHOUT_REQUEST, final, text)
            elif final.replay and (final.first, final.replay) not in rounds and final.stamp_ms >= self.rules.judged_from_ms:
                yield self.finding(BrokenPromise.RESULT_WITHOUT_ROUND, final, f"it says that it was redriven {count(final.replay, 'time')}")

    def _is_complete(self, fact: Fact) -> bool:
        return fact.stamp_ms < self.rules.complete_ms

    def _record(self, record: Fact) -> Iterator[AuditFinding]:
        """What is done has an outcome, and what has a final result is done."""
        rules = self.rules
        finals = [fact for fact in self.finals if (fact.first, fact.replay) == (record.first, record.replay)]
        if _is_done(record, rules.done_before):
            if finals or record.stamp_ms < rules.judged_from_ms or self._has_next(record) or self.is_copy(record):
                return
            text = f"of {utc(record.stamp_ms)}, done by the group's commit; no result and no further record names it"
            yield self.finding(BrokenPromise.OFFSET_BEYOND_WORK, record, text)
            return
        settled = record.has(Trait.SETTLED) or _is_done(record, rules.done_after)
        if finals and not settled and finals[0].stamp_ms < rules.now_ms - rules.older_ms:
            text = f"{self.where(finals[0])} of {utc(finals[0].stamp_ms)} is its result"
            yield self.finding(BrokenPromise.UNFINISHED_AFTER_FINAL, record, text, finals[0].stamp_ms)

    def _has_next(self, record: Fact) -> bool:
        """The next hop, or a later one: what stood between them may be deleted by now."""
        of = record.first, record.replay
        return any((fact.first, fact.replay) == of and fact.hop > record.hop for fact in self.retries)

    def _retries(self) -> Iterator[AuditFinding]:
        seen: dict[tuple[bytes, int, int], Fact] = {}
        asks: dict[tuple[int, int, int], list[Fact]] = {}
        for ask in self.asks:
            asks.setdefault(ask.position, []).append(ask)
        for retry in self.retries:
            before = seen.setdefault((retry.first, retry.replay, retry.hop), retry)
            if before is not retry:
                text = f"hop {retry.hop} of {utc(retry.stamp_ms)}; the other one is {self.where(before)}"
                yield self.finding(BrokenPromise.RETRY_TWICE, retry, text)
            if not retry.due_ms:
                continue
            if retry.stamp_ms > retry.due_ms + self.rules.late_ms:
                text = f"published {utc(retry.stamp_ms)}, due {utc(retry.due_ms)}"
                yield self.finding(BrokenPromise.RETRY_PUBLISHED_LATE, retry, text)
            if (early := self._early(retry, asks.get(retry.position, ()))) is not None:
                by = "by the ledger" if early.has(Trait.BY_LEDGER) else f"by offset {early.due_ms} of the budget log"
                text = f"due {utc(retry.due_ms)}, {retry.due_ms - early.stamp_ms} ms before it {by}"
                yield self.finding(BrokenPromise.RETRY_STARTED_EARLY, retry, text, early.stamp_ms)

    def _early(self, retry: Fact, asks: Sequence[Fact]) -> Fact | None:
        """Its first ask if that came before its due time without a reason."""
        if retry.has(Trait.MAY_START_EARLY) or self.rules.acts_cut or retry.position in self.rules.released:
            return None
        if retry.request in self.rules.cancelled:
            return None
        if len({record.first for record in self.records}) > 1:  # a call at Didit names its request: it may be that of a copy
            asks = [ask for ask in asks if not ask.has(Trait.BY_LEDGER)]
        floors = {True: retry.due_ms - _LEDGER_MS, False: retry.due_ms - self.rules.skew_ms}
        return next((ask for ask in asks if ask.stamp_ms < floors[ask.has(Trait.BY_LEDGER)]), None)

    def _dead_letters(self) -> Iterator[AuditFinding]:
        told = {(fact.first, fact.replay) for fact in self.dead_letters}
        unplaced = any(fact.has(Trait.UNPLACED) for fact in self.dead_letters)
        failed = {(fact.first, fact.replay) for fact in self.finals if fact.status in _SAYS_FAILED}
        replays = {replay for _, replay in failed}
        for fact in self.dead_letters:
            known = fact.replay in replays if fact.has(Trait.UNPLACED) else (fact.first, fact.replay) in failed
            if not known and fact.stamp_ms >= self.rules.judged_from_ms and self._is_complete(fact):
                yield self.finding(BrokenPromise.DEAD_LETTER_WITHOUT_RESULT, fact, f"of {utc(fact.stamp_ms)}, round {fact.replay}")
        for final in self.finals:
            if self._owes_dead_letter(final) and (final.first, final.replay) not in told and not unplaced:
                text = f"{STATUSES[final.status]} of {utc(final.stamp_ms)}, round {final.replay}"
                yield self.finding(BrokenPromise.RESULT_WITHOUT_DEAD_LETTER, final, text)
            if final.has(Trait.BY_HAND) and not self.rules.acts_cut and not self._was_ended(final):
                yield self.finding(BrokenPromise.ENDED_WITHOUT_AUDIT, final, f"of {utc(final.stamp_ms)}")

    def _owes_dead_letter(self, final: Fact) -> bool:
        kept = final.stamp_ms >= self.rules.dead_letters_from_ms and final.first not in self.rules.cut
        return kept and final.has(Trait.OWES_DEAD_LETTER) and self._is_complete(final)

    def _was_ended(self, final: Fact) -> bool:
        if final.stamp_ms < self.rules.judged_from_ms or self.rules.ended_unread:
            return True  # what it came from may be deleted
        ended = {fact.first for fact in self.records + self.handed_on if fact.position in self.rules.ended}
        return final.request in self.rules.cancelled or final.first in ended

    def _repairs(self) -> Iterator[AuditFinding]:
        begun = {fact.replay for fact in self.retries + self.handed_on if fact.replay}
        noted, ended = ({fact.replay for fact in facts} for facts in (self.redrives, self.finals))
        letters = {(fact.partition, fact.offset) for fact in self.dead_letters}
        done: dict[tuple[int, bytes], Fact] = {}
        for retry in self.retries:
            if retry.has(Trait.REDRIVEN) and retry.has(Trait.NAMED) and self._is_complete(retry) and retry.replay not in noted:
                text = f"round {retry.replay}, of {utc(retry.stamp_ms)}"
                yield self.finding(BrokenPromise.REDRIVE_WITHOUT_AUDIT, retry, text)
        for redrive in self.redrives:
            target = (redrive.hop, int.from_bytes(redrive.mark[:8], "big"))
            shown = f"dead letter {target[0]}:{target[1]}, round {redrive.replay}"
            before = done.setdefault((redrive.hop, redrive.mark), redrive)
            if before is not redrive:
                yield self.finding(BrokenPromise.REDRIVEN_TWICE, redrive, f"{shown}; before it {self.where(before)}")
            if redrive.stamp_ms < max(self.rules.judged_from_ms, self.rules.dead_letters_from_ms) or not self._is_complete(redrive):
                continue
            if redrive.replay not in (begun if redrive.stamp_ms >= self.rules.retries_from_ms else begun | ended):
                yield self.finding(BrokenPromise.AUDIT_WITHOUT_REDRIVE, redrive, shown)
            if target not in letters and target[1] >= self._first_dead_letter(target[0]):
                yield self.finding(BrokenPromise.AUDIT_WITHOUT_DEAD_LETTER, redrive, shown)

    def _first_dead_letter(self, partition: int) -> int:
        """The first offset that was read, of a partition of the dead-letter topic."""
        return self.rules.ranges.get((self.rules.dead_letter_topic, partition), (0, 0))[0]

    def _bills(self) -> Iterator[AuditFinding]:
        """Paid for once; again in a round that an operator insisted on or that started over, under a forgotten id, as its caller likes."""
        insisted = sum(1 for fact in self.finals if fact.has(Trait.PAID_AGAIN) and any(r.replay > fact.replay for r in self.retries))
        allowed = 1 + insisted + started_over(self.retries) + self.asked_again
        if len(self.bills) <= allowed or any(fact.has(Trait.REPEAT) for fact in self.requests):
            return
        for at in (self.records or self.finals)[:1]:  # else nothing of it is left, or it is another installation's
            yield self.finding(BrokenPromise.BILLED_TWICE, at, f"paid for {count(len(self.bills), 'time')}", self.bills[-1].stamp_ms)


def _is_done(fact: Fact, by: Mapping[Partition, Finished]) -> bool:
    finished = by.get((fact.topic, fact.partition))
    return finished is not None and finished.holds(fact.offset)
