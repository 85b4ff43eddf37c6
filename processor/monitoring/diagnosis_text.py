"""The words for a diagnosis, the same for commands and page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from processor.contract.amounts import count, number
from processor.contract.pauses import paused_name
from processor.contract.times import duration
from processor.monitoring.diagnosis import Diagnosis, Finding, FindingKind, Tone
from processor.monitoring.formatting import verbatim

HEADLINES = MappingProxyType({Tone.GOOD: "All is well", Tone.WATCH: "Worth a look", Tone.BAD: "Needs somebody"})

# what was found, and what it means or what to do; in braces the subject and the figures
_TEXTS: Mapping[FindingKind, tuple[str, str]] = MappingProxyType(
    {
        FindingKind.ACCOUNT_REFUSED: (
            "Didit refuses the account",
            "Key, application or contract: all calls are held but a probe, the next in {probe_in_s}. Repair it; work resumes by itself.",
        ),
        FindingKind.OPERATION_FAILING: (
            "Didit fails on {subject}",
            "Its calls are held but a probe, the next in {probe_in_s}, and use up no attempts. They resume by themselves; others go on.",
        ),
        FindingKind.OPERATION_REFUSED: (
            "Didit refuses {subject}",
            "No credits, or the key may not. Its requests wait (`processor retry list`), the next probe is in {probe_in_s}; others go on.",
        ),
        FindingKind.NO_REPLICA: ("No replica is heard", "Unfinished records: {unfinished}. Start `processor run`, or look at its logs."),
        FindingKind.PARTITIONS_UNOWNED: (
            "Partitions without an owner: {partitions}",
            "Their records wait. A replica that joins takes them over; if it lasts, look at the replicas' logs.",
        ),
        FindingKind.BUDGET_LOG_LOST: (
            "The budget log was lost",
            "No call starts for {blocked_s}, so that no budget is overrun; then work resumes by itself.",
        ),
        FindingKind.TOPIC_MISSING: (
            "{subject} does not exist",
            "Nothing can be read of it. If the prefix is right it was deleted: `processor topics apply`, then restart the processors.",
        ),
        FindingKind.NO_LEADER: (
            "{subject} has no leader",
            "Nothing is read of it or written to it, for {blocked_s} now; what needs it waits. Bring back a broker with a replica of it.",
        ),
        FindingKind.UNDER_MIN_ISR: (
            "{subject} has fewer replicas in sync than min.insync.replicas",
            "Nothing can be written to it, for {blocked_s} now; what needs it waits. Bring back the brokers with its other replicas.",
        ),
        FindingKind.OFFSET_BEYOND_END: (
            "The group's offset on {subject} lies beyond its end",
            "The topic was deleted and created again, or cut. Restart the processors with a decision: VP_KAFKA__ON_MISSING_OFFSETS.",
        ),
        FindingKind.UNREADABLE_BATCH: (
            "A batch of {subject} cannot be read, nor what stands behind it",
            "The partition waits, because to go on would lose requests that nobody can name. `processor partitions skip` goes on.",
        ),
        FindingKind.OPEN_TRANSACTION: (
            "An open transaction blocks {subject}",
            "Held back for {blocked_s} now: {hidden:offset|offsets}. A producer does not end its work: `kafka-transactions.sh` names it.",
        ),
        FindingKind.BACKLOG_STUCK: (
            "No call of {subject} may pass",
            "{calls:call is|calls are} owed there, and held until a probe succeeds. How long that takes nobody knows.",
        ),
        FindingKind.CLOCK_WRONG: (
            "The clock of {subject} differs from the brokers' by {off_s}",
            "Beyond VP_BUDGET__CLOCK_SKEW_MAX_S that replica makes no calls. Set its machine's clock right; nothing has to be restarted.",
        ),
        FindingKind.PAUSED: (
            "Paused by an operator: {subject}",
            "{calls:call waits|calls wait}, for {since_s} now; when that ends is unknown until `processor resume`.",
        ),
        FindingKind.REBALANCING: (
            "A rebalance is under way",
            "Partitions are handed over. If it lasts, look for two replicas with one instance id.",
        ),
        FindingKind.LIMIT_LOWERED: (
            "{subject} is held below its configured limit",
            "Its limit is {limit} of {configured} for now. Find what else uses the key, or set VP_BUDGET__LIMITS to what Didit grants.",
        ),
        FindingKind.ASKED_TO_WAIT: (
            "Didit asked to wait in {subject}",
            "Calls go on in {paused_s} by themselves, on every replica; {calls:call is|calls are} owed there.",
        ),
        FindingKind.REPLICA_SILENT: (
            "{subject} has not been heard for 45 s",
            "It is in the group, but says nothing in the budget log. Look at its log.",
        ),
        FindingKind.PARTITION_IDLE: (
            "{subject} stands still",
            "{unfinished:record is|records are} unfinished there, and none was done for {idle_s}. Look at the log of its owner.",
        ),
        FindingKind.RETRIES_OVERDUE: (
            "Retries are late by {late_s}",
            "Of the delay topics {due:record is due and has|records are due and have} not begun. Look at the replicas' logs.",
        ),
        FindingKind.CALLS_IDLE: (
            "{calls:call waits|calls wait} in {subject}, and none was made in the last {window_s}",
            "Were they published just now? Then look again. Else look at the log of the replicas.",
        ),
        FindingKind.BUDGET_UNUSED: (
            "{calls:call waits|calls wait} in {subject}, and only {used} of {limit} are used",
            "The replicas or Didit's answers are the bottleneck. Look at the latency of calls and at the lanes.",
        ),
        FindingKind.BUDGET_FULL: (
            "The budget is the bottleneck in {subject}",
            "What is owed there, {calls:call|calls}, takes {drain_s}. More replicas would not help; more budget would.",
        ),
        FindingKind.BACKLOG_HELD: (
            "Held calls of {subject}: {held}",
            "They wait for a probe of their operation to succeed. What else is owed there, {calls:call|calls}, takes {drain_s}.",
        ),
        FindingKind.BACKLOG_LONG: ("The backlog of {subject} takes {drain_s}", "{calls:call is|calls are} owed there."),
        FindingKind.RATE_LIMITED: (
            "Didit answered with 429 in {subject}",
            "In ten minutes: {answers}. The limit is as configured; if it goes on, find what else uses the API key.",
        ),
        FindingKind.REPLICAS_LACKING: (
            "{subject} lacks replicas in sync",
            "Whether too many is not known: min.insync.replicas may not be read. Grant DescribeConfigs on the topics to see it.",
        ),
        FindingKind.DEAD_LETTERS_OPEN: (
            "Dead letters that want a decision: {open}",
            "Work goes on. See `processor deadletters list`, or the page.",
        ),
        FindingKind.BACKLOG_DRAINS: ("The backlog drains in {drain_s}", ""),
        FindingKind.BACKLOG_EMPTY: ("Nothing waits for budget", ""),
    }
)


def headline(diagnosis: Diagnosis) -> str:
    """Two or three words for the whole."""
    return HEADLINES[diagnosis.tone]


def verdict(diagnosis: Diagnosis) -> str:
    """What the bottleneck is, and what to do."""
    return statement(diagnosis.leading)


def statement(finding: Finding) -> str:
    """Title and advice, in whole sentences."""
    return f"{title_of(finding)}. {advice_of(finding)}".rstrip()


def title_of(finding: Finding) -> str:
    """What was found, without a full stop."""
    return _TEXTS[finding.kind][0].format(subject=_subject(finding), **_figures(finding))


def advice_of(finding: Finding) -> str:
    """What it means and what to do; empty where nothing is to be done."""
    return _TEXTS[finding.kind][1].format(subject=_subject(finding), **_figures(finding))


def _subject(finding: Finding) -> str:
    return verbatim(paused_name(finding.subject) if finding.kind is FindingKind.PAUSED else finding.subject)  # others may have named it


class _Amount(float):
    """A figure in a text: ``{calls}`` is the number, ``{calls:call waits|calls wait}`` says what of."""

    def __format__(self, spec: str) -> str:
        return count(float(self), *spec.split("|")) if spec else number(float(self))


def _figures(finding: Finding) -> dict[str, str | _Amount]:
    return {name: duration(value) if name.endswith("_s") else _Amount(value) for name, value in finding.figures.items()}
