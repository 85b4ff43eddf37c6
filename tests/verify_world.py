"""A small installation as records: what its topics hold, what its group has committed; and the faults that can be planted in it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from processor.budget.circuit_breaker import account_rules
from processor.budget.log_records import Alive, Asked, Begun, Ended, LogRecord, Paused, encode
from processor.budget.permits import CallIdentity
from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.decode import decode
from processor.contract.digests import request_digest, source_digest
from processor.contract.encode import dead_letter_output, result_output, retry_output
from processor.contract.records import ErrorInfo, Headers, Hop, Output, Record, Result, Source, Status
from processor.contract.repairs import Repair, RepairKind, Target, repair_value
from processor.stream.cancels import encode_cancel
from processor.stream.offsets import Finished
from processor.stream.releases import Release, encode_release
from processor.stream.topics import TopicNames
from processor.verify.bills import Bills
from processor.verify.findings import AuditFinding, BrokenPromise, Findings
from processor.verify.intake import Intake
from processor.verify.judge import JudgingRules, RequestJudge
from processor.verify.log_audit import LogAudit, LogRules
from processor.verify.spill import FactSpill

NAMES = TopicNames("v", (5, 60), "v.budget", applications=("shop",))
REQUESTS, SHORT, LONG = NAMES.inputs
BEGAN_MS = 1_800_000_000_000
WORKFLOW_ID = "9f9b1234-0000-4000-8000-1234567890ab"
LIMITS = {"session-create": (3, 60.0)}
PARTITIONS = 2


@dataclass
class World:
    """Records by topic and partition. A clock that everything moves on by a second."""

    now_ms: int = BEGAN_MS
    topics: dict[tuple[str, int], list[Record]] = field(default_factory=dict)
    done: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    bills: Bills = field(default_factory=Bills)
    lost: set[tuple[str, int]] = field(default_factory=set)  # partitions whose commit is gone
    asks: int = 0

    def append(self, topic: str, partition: int, value: bytes | None, key: bytes | None = None, headers: Headers = ()) -> Record:
        self.now_ms += 1000
        records = self.topics.setdefault((topic, partition), [])
        record = Record(Source(topic, partition, 2 * len(records)), key, value, headers, self.now_ms)  # every other one is a marker
        records.append(record)
        return record

    def request(self, request_id: str | None, *, partition: int = 0, vendor: str = "a", **more: object) -> Record:
        body = {
            "request_id": request_id,
            "operation": "session.create",
            "input": {"workflow_id": WORKFLOW_ID, "vendor_data": vendor},
            **more,
        }
        return self.append(REQUESTS, partition, orjson.dumps(body), b"key")

    def finish(self, record: Record) -> None:
        self.done.setdefault((record.source.topic, record.source.partition), set()).add(record.source.offset)

    def undo(self, record: Record) -> None:
        self.done[record.source.topic, record.source.partition].discard(record.source.offset)

    def publish(self, output: Output, partition: int = 0) -> Record:
        return self.append(NAMES.of(output), partition, output.value, output.key, output.headers)

    def result(
        self,
        record: Record,
        status: Status = Status.SUCCEEDED,
        code: ErrorCode | None = None,
        version: int = 0,
        *,
        kind: ErrorType = ErrorType.REQUEST_REFUSED,
        operation: str = "session.create",
    ) -> Record:
        """The final result of a record; it is not done by that."""
        decoded = decode(record)
        error = ErrorInfo(kind, code, "no") if code is not None else None
        request_id = getattr(decoded, "request_id", None) or decoded.request.request_id  # type: ignore[union-attr]
        hop = decoded.hop
        result = Result(
            request_id, operation, status, hop.first, 1, hop.first_ms, self.now_ms, None, error, version=version, replay=hop.replay
        )
        return self.publish(result_output(result), partition=record.source.partition)

    def succeed(self, record: Record) -> Record:
        self.finish(record)
        return self.result(record)

    def dead_letter(self, record: Record, code: ErrorCode = ErrorCode.INTERNAL_ERROR) -> Record:
        error = ErrorInfo(ErrorType.INTERNAL, code, "no")
        hop = decode(record).hop
        return self.publish(dead_letter_output(record, hop, error, attempts=1, failed_ms=self.now_ms, value_bytes_max=10_000))

    def fail(self, record: Record, status: Status = Status.FAILED, code: ErrorCode = ErrorCode.INTERNAL_ERROR) -> tuple[Record, Record]:
        """Final result and dead letter."""
        self.finish(record)
        return self.result(record, status, code), self.dead_letter(record, code)

    def retry(self, record: Record, wait_s: float = 10, **changes: Any) -> Record:
        """The next hop of a record, which is done by that."""
        self.finish(record)
        hop: Hop = decode(record).hop
        usual: dict[str, Any] = {"hop": hop.hop + 1, "due_ms": self.now_ms + int(1000 * wait_s), "last_error": ErrorCode.THROTTLED}
        following = replace(hop, **usual | changes)
        return self.publish(retry_output(record, following, 5), partition=record.source.partition)

    def wait(self, seconds: float) -> None:
        self.now_ms += int(1000 * seconds)

    def log(self, record: LogRecord) -> Record:
        return self.append(NAMES.budget, 0, encode(record))

    def ask(self, record: Record, scope: str = "session-create", *, announced: bool = True) -> str:
        """A call is asked for."""
        self.asks += 1
        decoded, at = decode(record), record.source
        request_id = getattr(decoded, "request_id", None) or decoded.request.request_id  # type: ignore[union-attr]
        identity = CallIdentity(request_digest("v", request_id), "content", source_digest(decoded.hop.first), at.lane, at.offset)
        self.log(Asked(f"c-{self.asks}", (scope,), 60.0, "session.create", identity=identity, announced=announced))
        return f"c-{self.asks}"

    def call(self, record: Record) -> Record:
        """Asked for, begun and answered; its end."""
        ask = self.ask(record)
        self.log(Begun(ask))
        return self.log(Ended(ask, used=True, acted=True))

    def redrive(self, dead_letter: Record, record: Record, *, audit: bool = True, moved: bool = True) -> Record | None:
        """A new round, with its audit."""
        hop: Hop = decode(record).hop
        due_ms = self.now_ms + 10_000
        decoded = decode(record)
        if audit:
            target = Target(NAMES.dead_letters, dead_letter.source.partition, dead_letter.source.offset, self.now_ms)
            request_id = decoded.request.request_id  # type: ignore[union-attr]
            repair = Repair(
                RepairKind.REDRIVEN,
                "00000000-0000-4000-8000-000000000001",
                self.now_ms,
                "ann@host",
                target,
                request_id,
                "session.create",
                "internal_error",
                hop.replay + 1,
                due_ms,
            )
            self.append(NAMES.repairs, 0, repair_value(repair))
        if not moved:
            return None
        following = replace(hop, hop=hop.hop + 1, attempt=0, replay=hop.replay + 1, due_ms=due_ms, last_error=ErrorCode.REDRIVEN)
        return self.publish(retry_output(record, following, 5), partition=record.source.partition)

    def succeed_in_a_second_round(self, request_id: str) -> Record:
        """A request that fails, is redriven, and succeeds; its dead letter."""
        failing = self.request(request_id)
        _, letter = self.fail(failing)
        second = self.redrive(letter, failing)
        assert second is not None
        self.wait(10)
        self.succeed(second)
        return letter

    def release(self, record: Record, *, end: bool = False) -> Record:
        at = record.source
        release = Release(at.topic, at.partition, (at.offset,), "00000000-0000-4000-8000-000000000002", end=end)
        return self.append(NAMES.repairs, 0, encode_release(release, at_ms=self.now_ms, by="ann@host"))

    def cancel(self, request_id: str) -> Record:
        run_id = "00000000-0000-4000-8000-000000000003"
        return self.append(NAMES.repairs, 0, encode_cancel([request_id], run_id=run_id, at_ms=self.now_ms, by="caller"))

    def finished(self) -> dict[tuple[str, int], Finished]:
        """What the group has committed: every input partition up to its oldest record that is not done."""
        found = {}
        for topic in NAMES.inputs:
            for partition in range(PARTITIONS):
                if (topic, partition) in self.lost:
                    continue
                records, done = self.topics.get((topic, partition), []), self.done.get((topic, partition), set())
                offsets = [r.source.offset for r in records]
                floor = next((o for o in offsets if o not in done), 2 * len(records))
                found[topic, partition] = Finished(floor, frozenset(o for o in done if o > floor))
        return found


@dataclass(frozen=True)
class Judged:
    """What the judge has said of a world."""

    judge: RequestJudge
    findings: list[AuditFinding]
    counts: dict[BrokenPromise, int]
    account_held: bool

    @property
    def named(self) -> set[tuple[str, str]]:
        """Kind and place of each finding."""
        return {(finding.kind.value, finding.place) for finding in self.findings}


def judge_world(
    world: World, folder: Path | None = None, *, older_s: float = 30.0, parts: int = 3, since_ms: int = 0, **changes: object
) -> Judged:
    """All records through intake, disk and judge, an hour later."""
    findings = Findings(since_ms)
    intake = Intake(NAMES, world.bills)
    log = LogAudit(LogRules(LIMITS, 30.0, 0.5, 0.1, 86_400.0, account_rules(5, 60.0)), intake, findings)
    finished = {(intake.number_of(topic), partition): done for (topic, partition), done in world.finished().items()}
    with FactSpill(parts * 40_000, folder) as spill:
        spill.add(intake.bill_facts())
        for (topic, _), records in sorted(world.topics.items()):
            for record in records:
                spill.add(log.take(record) if topic == NAMES.budget else intake.take(record))
        rules = JudgingRules(
            now_ms=world.now_ms + 3_600_000,
            older_ms=int(1000 * older_s),
            judged_from_ms=since_ms,
            dead_letters_from_ms=since_ms,
            memory_ms=3_600_000,
            late_ms=40_000,
            skew_ms=500,
            complete_ms=world.now_ms + 3_600_000,
            topics=intake.topics,
            dead_letter_topic=intake.number_of(NAMES.dead_letters),
            ranges={
                (intake.number_of(topic), partition): (0, 2 * len(world.topics.get((topic, partition), ())))
                for topic in intake.topics
                for partition in range(PARTITIONS)
            },
            done_before=finished,
            done_after=finished,
            released=frozenset(intake.released),
            ended=frozenset(intake.ended),
            cancelled=frozenset(intake.cancelled),
            cut=frozenset(intake.cut),
        )
        judge = RequestJudge(replace(rules, **changes), findings)  # type: ignore[arg-type]
        for facts in spill.read():
            judge.take(facts)
    return Judged(judge, findings.kept, dict(findings.counts), log.is_account_held)


def place(record: Record) -> str:
    return str(record.source)


def clean_world() -> World:
    """One of each: success, retry, rejection, failure with two rounds, copy, conflict, a release, an end by hand, two that wait."""
    world = World()
    world.log(Alive("c", "i", {"session-create": 3}))
    world.succeed(world.request("plain"))
    again = world.retry(world.request("retried", partition=1))
    world.wait(20)
    world.call(again)
    world.succeed(again)
    bad = world.append(REQUESTS, 0, b'{"request_id": "bad"}', b"key")
    world.fail(bad, Status.REJECTED)
    world.succeed_in_a_second_round("failing")
    world.succeed(world.request("copied"))
    world.finish(world.request("copied"))
    other = world.request("copied", vendor="another")
    world.fail(other, Status.CONFLICT)
    early = world.retry(world.request("released"), 3600)
    world.release(early)
    world.call(early)
    world.succeed(early)
    by_hand = world.retry(world.request("ended"), 3600)
    world.release(by_hand, end=True)
    world.fail(by_hand, Status.FAILED, ErrorCode.ENDED_BY_HAND)
    taken_back = world.retry(world.request("taken-back"), 3600)
    world.cancel("taken-back")
    world.result(taken_back, Status.FAILED, ErrorCode.CANCELLED)
    world.finish(taken_back)
    world.log(Paused("session-create", 5.0))
    world.request("waiting", partition=1)
    world.retry(world.request("later", partition=1), 86_400)
    world.bills.sessions += [("plain", BEGAN_MS), ("retried", BEGAN_MS)]
    return world
