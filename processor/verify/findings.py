"""What an audit can find, each kind with what it means and what to do. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from processor.contract.explained import Explained

SHOWN_MAX = 50  # findings of one kind that are kept with their place; all are counted


class BrokenPromise(Explained):
    """A broken promise. Commands and docs/verify.md show the texts of this table."""

    MISSING_RESULT = "missing_result", "a request has no final result and waits nowhere", "publish it again under the same request_id"
    OFFSET_BEYOND_WORK = (
        "offset_beyond_work",
        "the group's commit covers a record without an outcome",
        "look for another program that commits to the group, for an offset that was set by hand, and for a delay topic that was deleted",
    )
    UNFINISHED_AFTER_FINAL = (
        "unfinished_after_final",
        "a final result is out, and the record that it came from is not committed",
        "the group's offsets were lost or set back: read docs/guarantees.md, G2, before a processor starts",
    )
    DELETED_UNFINISHED = (
        "deleted_unfinished",
        "retention has deleted records that were not done",
        "raise retention.ms; the callers must publish them again",
    )
    DOUBLE_FINAL = "double_final", "a second final result of one round", "drop it by hand downstream; look who writes to the results topic"
    FOREIGN_RESULT = "foreign_result", "a final result whose result_id no processor gives", "look who writes to the results topic"
    COPY_OF_NOTHING = (
        "copy_of_nothing",
        "a copy, for somebody who asked again, of a final result that is not there",
        "look who writes to the results topic",
    )
    RESULT_WITHOUT_REQUEST = (
        "result_without_request",
        "a final result whose source is no record of this request",
        "look who writes to the results topic",
    )
    RESULT_WITHOUT_ROUND = (
        "result_without_round",
        "a final result of a redrive that nobody has begun",
        "look who writes to the results topic",
    )
    RESULT_WITHOUT_DEAD_LETTER = (
        "result_without_dead_letter",
        "a final result that has a dead letter beside it by rule, and has none",
        "look who writes to the results topic, and whether dead letters were deleted",
    )
    DEAD_LETTER_WITHOUT_RESULT = (
        "dead_letter_without_result",
        "a dead letter without a final result that says the same",
        "look who writes to the dead-letter topic",
    )
    RETRY_TWICE = "retry_twice", "two records wait for the same hop of one request", "look who writes to the delay topics"
    RETRY_PUBLISHED_LATE = (
        "retry_published_late",
        "a retry was published when its due time had long passed",
        "look for an outage of the brokers at that time",
    )
    RETRY_STARTED_EARLY = (
        "retry_started_early",
        "the call of a retry was begun before its due time, and nobody has released it",
        "look whether the clocks of the brokers and replicas agree",
    )
    STARTED_IN_PAUSE = (
        "started_in_pause",
        "a call was begun although its scope was paused",
        "look whether that replica read the budget log then",
    )
    WINDOW_OVER = "window_over", "more answered calls in one window than its limit", "read docs/runbooks/VerificationOverBudget.md"
    BILLED_TWICE = (
        "billed_twice",
        "a request was paid for more than once",
        "compare the calls in Didit's console; ask for the money back, unless it was redriven and its first session is abandoned there",
    )
    REDRIVE_WITHOUT_AUDIT = (
        "redrive_without_audit",
        "a redriven record without a record in the repairs topic",
        "look who writes to the delay topics",
    )
    AUDIT_WITHOUT_REDRIVE = (
        "audit_without_redrive",
        "the repairs topic names a redrive whose record is not there",
        "look who writes to the repairs topic",
    )
    AUDIT_WITHOUT_DEAD_LETTER = (
        "audit_without_dead_letter",
        "the repairs topic names a dead letter that is not there",
        "look who writes to the repairs topic",
    )
    REDRIVEN_TWICE = "redriven_twice", "one dead letter was redriven twice", "look whether two groups repair the same topics"
    ENDED_WITHOUT_AUDIT = (
        "ended_without_audit",
        "a request was ended by hand, and the repairs topic does not say by whom",
        "look who writes to the repairs topic",
    )


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One broken promise at one record."""

    kind: BrokenPromise
    topic: str
    partition: int
    offset: int
    text: str  # what was seen: times, counts, other positions; no input
    request_id: str | None = None  # looked up where a finding is shown
    at_ms: int | None = None  # when it happened, epoch ms; None for how things stand

    @property
    def place(self) -> str:
        """``topic[partition]@offset``."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


@dataclass(slots=True)
class Findings:
    """All are counted, the first ``SHOWN_MAX`` of each kind are kept. What happened before ``since_ms`` (epoch ms) was not asked for."""

    since_ms: int = 0
    counts: Counter[BrokenPromise] = field(default_factory=Counter)
    kept: list[AuditFinding] = field(default_factory=list)

    def add(self, finding: AuditFinding) -> None:
        """Take one in."""
        if finding.at_ms is not None and finding.at_ms < self.since_ms:
            return
        self.counts[finding.kind] += 1
        if self.counts[finding.kind] <= SHOWN_MAX:
            self.kept.append(finding)

    @property
    def total(self) -> int:
        """How many there are."""
        return self.counts.total()
