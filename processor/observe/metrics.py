"""Every metric, once: name, kind, unit, labels and meaning. The only place where one is made.

A module that does something counts it here; what can be read off at any moment is set at each scrape by
``runtime.process_status``. The first label, ``application``, is that of the task which counts; callers give the others. Labels
have few values that are known beforehand: scopes, operations, topics, partitions, codes of ours. Never an id, never a text from
outside. docs/metrics.md is generated from ``TABLE``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from processor.observe.application_metrics import (
    ApplicationCounter,
    ApplicationGauge,
    ApplicationHistogram,
    ApplicationMetric,
    QuickCounter,
    QuickHistogram,
)

_Found = TypeVar("_Found", bound=ApplicationMetric[Any])

PREFIX = "vp_"
OTHER = "other"  # stands for every value that is not known beforehand
APPLICATION = "application"  # the first label of all that is not of the process alone

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody reads
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)  # process_*: memory, CPU, open files


@dataclass(frozen=True, slots=True)
class Metric:
    """A row of the table."""

    name: str  # as scraped
    kind: str  # counter | gauge | histogram
    unit: str
    meaning: str
    labels: tuple[str, ...]
    group: str


TABLE: list[Metric] = []
_GROUP = [""]
_ALONE: list[ApplicationMetric[Any]] = []  # those with no label but the application


def open_series() -> None:
    """Show each metric of the current application that has no further label, so that its first count is an increase."""
    for metric in _ALONE:
        metric.labels()


def _counter(name: str, meaning: str, *labels: str, unit: str = "events") -> ApplicationCounter:
    _row(f"{name}_total", "counter", unit, meaning, (APPLICATION, *labels))
    return _noted(ApplicationCounter(QuickCounter(PREFIX + name, meaning, (APPLICATION, *labels), registry=REGISTRY)), labels)


def _gauge(name: str, meaning: str, *labels: str, unit: str) -> ApplicationGauge:
    _row(name, "gauge", unit, meaning, (APPLICATION, *labels))
    return _noted(ApplicationGauge(Gauge(PREFIX + name, meaning, (APPLICATION, *labels), registry=REGISTRY)), labels)


def _histogram(name: str, meaning: str, *labels: str, buckets: Iterable[float], unit: str = "seconds") -> ApplicationHistogram:
    _row(name, "histogram", unit, meaning, (APPLICATION, *labels))
    family = QuickHistogram(PREFIX + name, meaning, (APPLICATION, *labels), registry=REGISTRY, buckets=tuple(buckets))
    return _noted(ApplicationHistogram(family), labels)


def _process_counter(name: str, meaning: str, *labels: str, unit: str) -> Counter:
    _row(f"{name}_total", "counter", unit, meaning, labels)
    return QuickCounter(PREFIX + name, meaning, labels, registry=REGISTRY)


def _process_gauge(name: str, meaning: str, *labels: str, unit: str) -> Gauge:
    _row(name, "gauge", unit, meaning, labels)
    return Gauge(PREFIX + name, meaning, labels, registry=REGISTRY)


def _process_histogram(name: str, meaning: str, *, buckets: Iterable[float]) -> Histogram:
    _row(name, "histogram", "seconds", meaning, ())
    return QuickHistogram(PREFIX + name, meaning, registry=REGISTRY, buckets=tuple(buckets))


def _row(name: str, kind: str, unit: str, meaning: str, labels: tuple[str, ...]) -> None:
    TABLE.append(Metric(PREFIX + name, kind, unit, meaning, labels, _GROUP[0]))


def _noted(metric: _Found, labels: tuple[str, ...]) -> _Found:
    if not labels:
        _ALONE.append(metric)
    return metric


_GROUP[0] = "Requests"
RESULTS = _counter(
    "results", "results published, by what was asked for and how it ended (`waiting` is a progress result)", "operation", "status"
)
RETRIES = _counter("retries", "records published to a delay topic; `counted` tells whether it cost an attempt", "reason", "counted")
FORWARDED = _counter("forwarded", "requests of the common topic that were handed on to another application, by its name", "to")
DEAD_LETTERS = _counter("dead_letters", "dead letters published, by the type of the reason", "reason")
DEAD_LETTERS_OPEN = _gauge(
    "dead_letters_open",
    "dead letters that nobody has redriven or discarded, by the type of the reason; of the newest 10 000; "
    "the same on every replica that may read them",
    "reason",
    unit="records",
)
DEAD_LETTERS_AGE = _gauge(
    "dead_letters_open_age_seconds", "age of the oldest of them; 0 while none is open or none can be read", unit="seconds"
)
DUPLICATES = _counter(
    "duplicates",
    "records with a request_id that another record had, none of which calls: `answered` has the known result once more, `duplicate` "
    "nothing, `conflict` is refused",
    "kind",
)
ATTEMPTS = _histogram("attempts", "counted attempts of a request at its final result", buckets=(0, 1, 2, 3, 4, 6, 10, 20), unit="attempts")
REQUEST_TIME = _histogram(
    "request_seconds",
    "from the timestamp of the caller's record to its final result; people take their time in `verification`",
    "operation",
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 86_400),
)

_GROUP[0] = "Calls to Didit"
CALLS = _counter(
    "calls", "permits used: calls that left or may have left this process, by every scope they count in", "scope", "call_class"
)
ANSWERS = _counter("answers", "what the answers meant", "operation", "verdict")
CALL_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
CALL_TIME = _histogram("call_seconds", "from sending to the whole answer", "operation", buckets=CALL_BOUNDS_S)
CALLS_IN_FLIGHT = _gauge("calls_in_flight", "calls under way in this process", unit="calls")
THROTTLED = _counter(
    "throttled", "429 answers: `rate_limit` with the scope that tripped, `request` for a limit of one phone number or job", "kind", "scope"
)
RETRY_AFTER_UNUSABLE = _counter(
    "retry_after_unusable",
    "answers with a `Retry-After` that cannot be read, so that nobody knows how long Didit wants us to wait; we wait as without one",
    "operation",
)
BALANCE = _gauge(
    "balance_usd",
    "credits that the account has left, as last read (`VP_DIDIT__BALANCE_S`); `auto_refill` is `on` where Didit refills them. "
    "None while they cannot be read",
    "auto_refill",
    unit="US dollars",
)

_GROUP[0] = "Budget (the same on every replica of a key, but for `permits_*`)"
BUDGET_LIMIT = _gauge(
    "budget_limit", "calls a window at present; lower than configured while somebody else uses the key", "scope", unit="calls"
)
BUDGET_CONFIGURED = _gauge("budget_configured_limit", "calls a window as configured here", "scope", unit="calls")
BUDGET_WINDOW = _gauge("budget_window_seconds", "length of the window", "scope", unit="seconds")
BUDGET_USED = _gauge(
    "budget_used",
    "calls of this key answered in the last window, all replicas; counted for longer where the log is read late",
    "scope",
    unit="calls",
)
BUDGET_LIVE = _gauge(
    "budget_live_weight",
    "what counts against the limit now: answered in the last window, in flight, waiting to start",
    "scope",
    unit="calls",
)
BUDGET_PAUSED = _gauge("budget_paused_seconds", "until the scope's pause is over; 0 if it is not paused", "scope", unit="seconds")
BUDGET_FOREIGN = _gauge("budget_foreign_traffic", "1 while 429s show that somebody else uses the key", "scope", unit="bool")
OVER_LIMIT = _counter("budget_over_limit", "answered calls beyond the highest limit that any replica has named; must stay 0", "scope")
BUDGET_MALFORMED = _counter(
    "budget_malformed_records", "records of the budget topic that were skipped, because they are none of ours; must stay 0", unit="records"
)
BUDGET_BLOCKED = _gauge("budget_blocked_seconds", "until calls may start after the budget log was lost", unit="seconds")
BUDGET_JOINED = _gauge("budget_joined", "1 once the budget log is read to its end", unit="bool")
CALLS_REMEMBERED = _gauge("budget_calls_remembered", "calls that this replica remembers; VP_BUDGET__MEMORY_CALLS at most", unit="calls")
BUDGET_SILENCE = _gauge("budget_silence_seconds", "since the budget log was last heard; each replica writes every 10 s", unit="seconds")
REPLICAS = _gauge("replicas", "replicas heard in the budget log in the last 45 s", unit="replicas")
PERMITS_WAITING = _gauge("permits_waiting", "requests of this process that wait for a permit", "scope", unit="requests")
TENANT_WAITING = _gauge(
    "tenant_waiting",
    "requests that wait for the budget in all replicas, as they said last, of the ten tenants with the most; `~`: of all others",
    "tenant",
    unit="requests",
)
PERMIT_WAIT = _histogram(
    "permit_wait_seconds", "from the wish to call to the permit", "call_class", buckets=(0.01, 0.05, 0.25, 1, 5, 15, 60, 300, 1800)
)
BREAKER_OPEN = _gauge("breaker_open", "1 while the breaker of an operation is open and only probes pass", "operation", unit="bool")
CALLS_PAUSED = _gauge("calls_paused", "1 while operators have paused an operation; `all` for every call", "operation", unit="bool")
ACCOUNT_HELD = _gauge("account_held", "1 while an account fault (key, application, contract) holds all calls", unit="bool")

_GROUP[0] = "Backlog"
LAG = _gauge(
    "lag_records",
    "records of an owned partition that are not finished, up to the end that the last fetch has told",
    "topic",
    "partition",
    unit="records",
)
GROUP_LAG = _gauge(
    "group_lag_records", "unfinished records of a whole topic, whoever owns it, as the brokers say at each survey", "topic", unit="records"
)
BACKLOG = _gauge(
    "backlog_calls",
    "calls that the whole group still owes, due now, by scope; estimated from the lag and what was asked for lately",
    "scope",
    unit="calls",
)
DRAIN = _gauge(
    "drain_seconds",
    "time in which what may pass of that backlog is done at the present limit, pauses included; +Inf while a breaker holds all of it",
    "scope",
    unit="seconds",
)
BLOCKED = _gauge(
    "partition_blocked_seconds",
    "for how long nothing more can be read of an input partition, or written to one of ours, as the surveys have seen it, by its cause; "
    "none while all is well",
    "topic",
    "partition",
    "cause",
    unit="seconds",
)
SURVEY_AGE = _gauge("survey_age_seconds", "age of the last successful survey, from which the four above are", unit="seconds")
DELAYED = _gauge("delayed_records", "records of this process that are not due yet", "topic", unit="records")
OVERDUE = _gauge(
    "overdue_seconds", "how long the oldest record of a delay topic has been due and not started, in this process", "topic", unit="seconds"
)
DUE_ERROR = _histogram(
    "due_error_seconds", "from the due time of a delayed record to its start", buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 300)
)

_GROUP[0] = "Lanes and Kafka"
LANES = _gauge("lanes", "partitions owned by this process: open, restoring, leaderless, unfenced, or refused", "state", unit="partitions")
LANE_RECORDS = _gauge("lane_records", "records in this process, by where they are", "state", unit="records")
LANE_BYTES = _gauge("lane_bytes", "bytes of the records in this process", unit="bytes")
TRANSACTIONS = _counter("transactions", "transactions of this process", "outcome")
TRANSACTION_TIME = _histogram(
    "transaction_seconds", "time of a committed transaction", buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5, 25)
)
FINISHED = _counter("finished_records", "input records completed by a committed transaction", "topic", unit="records")
RECOVERIES = _counter("lane_recoveries", "partitions taken over, their former owner fenced and their position read")
RECOVERY_TIME = _histogram("lane_recovery_seconds", "time of such a takeover", buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30, 120, 600))
FENCES = _counter("fences", "lanes ended because somebody else has taken their partition")
UNREAD = _counter("unread_batches", "batches that were answered without being read, wholly or in part, by the code of the result", "code")
REBALANCES = _counter("rebalances", "assignments received")
LIVES = _counter("lives", "lives of the group member, by how they ended", "end")
POLL_AGE = _gauge("poll_age_seconds", "since the last poll of the consumer came back; 0 while there is none", unit="seconds")
CLOCK_SKEW = _gauge("clock_skew_seconds", "this machine's clock minus the brokers', as far as it is certain", unit="seconds")
LOOP_LAG = _process_histogram(
    "loop_lag_seconds", "how late a timer of the event loop was, sampled twice a second", buckets=(0.002, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5)
)

_GROUP[0] = "Webhooks"
WEBHOOKS = _counter("webhooks", "verified deliveries, by what became of them", "outcome")
WEBHOOKS_REFUSED = _counter("webhooks_refused", "deliveries that were not taken, by reason", "reason")
FOREIGN_EVENTS = _counter("foreign_events", "events of another environment than the API key's; each was only a reason to poll its session")
WEBHOOK_SECRETS = _counter("webhook_secrets", "verified deliveries by the secret they were signed with; 0 is the newest", "rotation")
WEBHOOK_VARIANTS = _counter("webhook_variants", "verified deliveries by the signature that was checked", "variant")
WEBHOOKS_UNFAMILIAR = _counter(
    "webhooks_unfamiliar", "verified deliveries with a value that Didit's tables do not name, by its field", "field"
)

_GROUP[0] = "Process"
TASK_UP = _gauge(
    "task_up", "1 while a task of the process runs, 0 once it has ended or while it waits to be started again", "task", unit="bool"
)
TASK_FAILURES = _counter("task_failures", "tasks that raised or returned unasked; the log says why, as `task_failed`", "task")
CONNECTIONS_CLOSED = _process_counter(
    "connections_closed",
    "connections to our ports that were closed on a peer: too slow with a header, a body or the next request, or too many wait (`crowded`)",
    "reason",
    unit="connections",
)
KAFKA_THROTTLED = _process_counter(
    "kafka_throttled_seconds",
    "time for which the brokers have held our requests back by a quota, as they said, of all connections together",
    unit="seconds",
)
METRIC_EXPORTS = _process_counter(
    "metric_exports",
    "exports of the metrics over OTLP: `taken`, or `failed` where the collector did not take them in time",
    "outcome",
    unit="exports",
)
MEMORY_LIMIT = _process_gauge(
    "memory_limit_bytes",
    "memory that the control group of this process may use; beyond it the kernel ends it; 0 without a limit",
    unit="bytes",
)
BUILD = _process_gauge("build_info", "1, with the versions", "version", "python", "aiokafka", unit="bool")
