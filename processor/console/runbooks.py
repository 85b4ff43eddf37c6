"""Which runbook belongs to a finding, and where the copies of an installation are. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from processor.monitoring.diagnosis import FindingKind

_K = FindingKind
RUNBOOKS: Mapping[FindingKind, str] = MappingProxyType(
    {
        _K.ACCOUNT_REFUSED: "AccountFault",
        _K.OPERATION_FAILING: "BreakerOpen",
        _K.OPERATION_REFUSED: "BreakerOpen",
        _K.NO_REPLICA: "ProcessorDown",
        _K.PARTITIONS_UNOWNED: "ReplicaDown",
        _K.TOPIC_MISSING: "PartitionBlocked",
        _K.NO_LEADER: "PartitionBlocked",
        _K.UNDER_MIN_ISR: "PartitionBlocked",
        _K.OFFSET_BEYOND_END: "PartitionBlocked",
        _K.UNREADABLE_BATCH: "PartitionBlocked",
        _K.OPEN_TRANSACTION: "PartitionBlocked",
        _K.BUDGET_LOG_LOST: "BudgetLogLost",
        _K.BACKLOG_STUCK: "RequestsStuck",
        _K.CLOCK_WRONG: "ClockWrong",
        _K.PAUSED: "Paused",
        _K.REBALANCING: "RebalanceStorm",
        _K.LIMIT_LOWERED: "ForeignTraffic",
        _K.ASKED_TO_WAIT: "RequestsStuck",
        _K.REPLICA_SILENT: "BudgetLogSilent",
        _K.PARTITION_IDLE: "PartitionStuck",
        _K.RETRIES_OVERDUE: "RetriesOverdue",
        _K.CALLS_IDLE: "RequestsStuck",
        _K.BUDGET_UNUSED: "DrainTooLong",
        _K.BUDGET_FULL: "DrainTooLong",
        _K.BACKLOG_HELD: "BreakerOpen",
        _K.BACKLOG_LONG: "DrainTooLong",
        _K.RATE_LIMITED: "ForeignTraffic",
        _K.REPLICAS_LACKING: "PartitionBlocked",
        _K.DEAD_LETTERS_OPEN: "DeadLetters",
    }
)


@dataclass(frozen=True, slots=True)
class Links:
    """Where the page leads to outside of itself; None where nobody has said."""

    runbooks: str | None = None  # the folder, without a slash at its end
    dashboard: str | None = None
    traces: str | None = None  # with {trace_id} where the id of a trace stands

    def trace(self, trace_id: str) -> str:
        """Where a trace is seen; empty if there is none, or nobody has said where."""
        return self.traces.replace("{trace_id}", trace_id) if self.traces and trace_id else ""


def runbook_of(kind: FindingKind) -> str:
    """The page that says what to do, as its alert is called; empty for what is well."""
    return f"Verification{name}" if (name := RUNBOOKS.get(kind)) else ""
