"""What the budget log says by its own order and its broker's stamps: full windows, calls in a pause, and starts of retries. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from processor.budget.circuit_breaker import BreakerRules, CircuitBreaker
from processor.budget.limit_audit import LimitAudit
from processor.budget.log_records import Alive, Asked, Begun, Ended, Failed, LogRecord, Paused, decode_placed
from processor.budget.permits import CallIdentity, HealthSignal
from processor.contract.amounts import count
from processor.contract.records import Record
from processor.contract.times import utc
from processor.verify.facts import Fact, FactKind
from processor.verify.findings import AuditFinding, BrokenPromise, Findings
from processor.verify.intake import NOWHERE, Intake

_LANE = re.compile(r"([a-zA-Z0-9._-]{1,249})\[([0-9]{1,9})\]")
_DIGEST_BYTES = 15


@dataclass(frozen=True, slots=True)
class LogRules:
    """What the log is held to. ``grace_s``: so long a replica may not have read a pause; ``skew_s``: clocks of two brokers."""

    limits: Mapping[str, tuple[int, float]]  # calls, seconds by scope
    grace_s: float
    skew_s: float
    slack_s: float
    pause_max_s: float
    account: BreakerRules  # when every call is held


@dataclass(slots=True)
class LogFigures:
    """What was counted in the log."""

    asks: int = 0
    answered: int = 0
    pauses: int = 0
    unread: int = 0  # records of no kind that is known


class LogAudit:
    """Give it the records of the log in order; ``figures`` grow, and what is wrong goes to the findings."""

    def __init__(self, rules: LogRules, intake: Intake, findings: Findings) -> None:
        self.rules, self.intake, self.findings, self.figures = rules, intake, findings, LogFigures()
        self._audit = LimitAudit(rules.limits)
        self._windows_ms = {scope: 1000 * window_s for scope, (_, window_s) in rules.limits.items()}
        self._account = CircuitBreaker(rules.account)
        self._open: dict[str, tuple[int, Asked, int]] = {}  # where the asks stand in the log, and their stamps
        self._place = 0  # of the record that is looked at
        self._order: deque[tuple[float, str]] = deque()  # when an ask is forgotten, epoch ms
        self._paused: dict[str, tuple[float, float]] = {}  # from, until; epoch ms

    @property
    def is_account_held(self) -> bool:
        """Whether every call is held at the end of what was read."""
        return self._account.open

    def take(self, record: Record) -> Iterator[Fact]:
        """The starts that a record of the log tells of; what is wrong is added to the findings."""
        self._expire(record.timestamp_ms)
        for self._place, entry in decode_placed(record.source.offset, record.value):
            if entry is None:
                self.figures.unread += 1
            elif isinstance(entry, Asked):
                yield from self._asked(entry, record)
            else:
                self._other(entry, record)

    def _asked(self, asked: Asked, record: Record) -> Iterator[Fact]:
        if asked.id in self._open:
            return  # appended twice by a producer's retry
        self.figures.asks += 1
        self._open[asked.id] = self._place, asked, record.timestamp_ms
        if asked.probe:
            self._account.asked_as_probe(asked.id, asked.promise_s, record.timestamp_ms / 1000)
        kept_s = asked.promise_s + self.rules.slack_s
        window_ms = max((self._windows_ms.get(scope, 0.0) for scope in asked.scopes), default=0.0)
        self._order.append((record.timestamp_ms + 1000 * kept_s + window_ms, asked.id))
        if asked.identity is not None and (fact := self._start(asked.identity, record)) is not None:
            yield fact

    def _other(self, entry: LogRecord, record: Record) -> None:
        match entry:
            case Begun():
                self._begun(entry, record)
            case Ended():
                self._note_health(entry.id, entry.health, record, acted=entry.acted)
                self._ended(entry, record)
            case Failed():
                self._note_health(entry.id, entry.health, record, acted=False)
            case Alive():
                self._audit.allow(entry.limits)
            case Paused() if entry.counts:
                self._pause(entry, record.timestamp_ms)
            case _:
                pass

    def _ended(self, ended: Ended, record: Record) -> None:
        found = self._open.pop(ended.id, None)
        if found is None or not ended.used:
            return
        self.figures.answered += 1
        _, asked, asked_ms = found
        if record.timestamp_ms > asked_ms + 1000 * asked.promise_s:
            return  # told late, see ``LimitAudit``
        for scope in asked.scopes:
            if scope not in self._windows_ms:
                continue
            before = self._audit.counts[scope]
            self._audit.answered(scope, asked.weight, record.timestamp_ms)
            if self._audit.counts[scope] > before:
                limit, window_s = self.rules.limits[scope]
                over = f"more than {count(limit, 'call was', 'calls were')} answered in the {window_s:g} s"
                text = f"scope {scope}: {over} before {utc(record.timestamp_ms)}"
                self._add(BrokenPromise.WINDOW_OVER, record, text)

    def _note_health(self, ask_id: str, health: HealthSignal, record: Record, *, acted: bool) -> None:
        """What an end says of the account; other failures say nothing of it."""
        if (found := self._open.get(ask_id)) is None:
            return
        of_account = {HealthSignal.ACCOUNT: HealthSignal.BAD, HealthSignal.BAD: HealthSignal.NEUTRAL}.get(health, health)
        at, request = record.timestamp_ms / 1000, None if found[1].identity is None else found[1].identity.request
        self._account.ended(ask_id, found[0], self._place, of_account, at, request=request, acted=acted)

    def _begun(self, begun: Begun, record: Record) -> None:
        found = self._open.get(begun.id)
        for scope in found[1].scopes if found is not None else ():
            since_ms, until_ms = self._paused.get(scope, (0.0, 0.0))
            if since_ms + 1000 * self.rules.grace_s < record.timestamp_ms < until_ms - 1000 * self.rules.skew_s:
                text = f"scope {scope}: paused from {utc(int(since_ms))} to {utc(int(until_ms))}, begun {utc(record.timestamp_ms)}"
                self._add(BrokenPromise.STARTED_IN_PAUSE, record, text)

    def _pause(self, paused: Paused, stamp_ms: int) -> None:
        self.figures.pauses += 1
        since_ms, until_ms = self._paused.get(paused.scope, (0.0, 0.0))
        over_ms = stamp_ms + 1000 * min(paused.wait_s, self.rules.pause_max_s)
        self._paused[paused.scope] = (float(stamp_ms) if stamp_ms > until_ms else since_ms, max(until_ms, over_ms))

    def _start(self, identity: CallIdentity, record: Record) -> Fact | None:
        """A fact if the ask is for a record of a delay topic of this installation."""
        lane = _LANE.fullmatch(identity.lane)
        topic = NOWHERE if lane is None else self.intake.number_of(lane[1])
        if lane is None or not 0 < topic < len(self.intake.names.inputs):
            return None
        request, first = _raw(identity.request), _raw(identity.first)
        if request is None or first is None:
            return None
        return Fact(FactKind.ASK, request, first, topic, int(lane[2]), identity.offset, record.timestamp_ms, record.source.offset)

    def _add(self, kind: BrokenPromise, record: Record, text: str) -> None:
        at = record.source
        self.findings.add(AuditFinding(kind, at.topic, at.partition, at.offset, text, at_ms=record.timestamp_ms))

    def _expire(self, now_ms: int) -> None:
        while self._order and self._order[0][0] <= now_ms:
            self._open.pop(self._order.popleft()[1], None)


def _raw(digest: str) -> bytes | None:
    try:
        found = base64.urlsafe_b64decode(digest)
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == _DIGEST_BYTES else None
