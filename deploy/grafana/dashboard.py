"""Writes the dashboard: `python deploy/grafana/dashboard.py > deploy/grafana/dashboard.json`, or `make deploy-files`.

Its first rows answer two questions: do callers get what they may expect, and is the budget, Didit or the processor the bottleneck? The
rows below are for those who want to know why. Queries name metrics of ``processor/observe/metrics.py`` only; tests/house holds them to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, text, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import GraphDrawStyle, StackingMode
from grafana_foundation_sdk.models.text import TextMode
from processor.observe.metrics import APPLICATION, TABLE

SELECTED = 'namespace=~"$namespace"'
OF_APPLICATION = 'application="$application"'
# an alert about a process names no application, and that nobody can be scraped no namespace either: those concern everybody
OF_ALERTS = 'namespace=~"$namespace|",application=~"$application|",alertname=~"Verification.*",alertstate="firing"'
WIDTH, FIGURES_A_ROW = 24, 6
DOCUMENTATION = "https://git.example.com/verification-processor/src/docs"  # CONTRIBUTING.md, "Taking it over"
HELP = """
**Read from left to right.** *Budget use* near 100 % and requests that *wait for a permit*: Didit's budget is the bottleneck; more
replicas do not help. *Budget use* below 90 % and slow or failing calls: Didit is. Neither, and the *lag* grows: something holds
calls back (a pause, an open breaker, a held account: all red or orange here), or the processor is short of CPU (*loop lag*).
"""


_OF_APPLICATIONS = {metric.name for metric in TABLE if APPLICATION in metric.labels}
_METRIC = re.compile(r"\b((?:vp|process)_\w+)(?:\{([^}]*)\})?")


@dataclass(frozen=True, slots=True)
class Graph:
    """A panel; ``queries`` are pairs of an expression and a legend; the chosen namespaces are put in later."""

    title: str
    meaning: str
    unit: str  # as Grafana names it
    queries: tuple[tuple[str, str], ...]
    stacked: bool = False
    red_from: float | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """A single number with its colour."""

    title: str
    meaning: str
    unit: str
    query: str
    orange_from: float
    red_from: float


def _quantiles(metric: str, *by: str) -> tuple[tuple[str, str], ...]:
    """p50 and p99 of a histogram, by labels."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    labels = ", ".join([*by, "le"])
    return tuple(
        (f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket[5m])))", f"{legend} p{q * 100:.0f}".strip()) for q in (0.5, 0.99)
    )


_FAILED = (
    'sum by (operation) (rate(vp_results_total{status=~"failed|in_doubt"}[%s])'
    ' or rate(vp_results_total{status="expired",operation!="verification"}[%s]))'
)
_ANSWERABLE = 'rate(vp_results_total{status=~"succeeded|failed|in_doubt|expired"}[%s])'


def _share_failed(window: str) -> str:
    return f"{_FAILED % (window, window)} / sum by (operation) ({_ANSWERABLE % window})"


def _share_late(metric: str, limit_s: int, matchers: str = "") -> str:
    """Of an hour; the same as the rules record."""
    chosen, also = (f"{{{matchers}}}", f"{matchers},") if matchers else ("", "")
    late = f'sum by (operation) (rate({metric}_bucket{{{also}le=~"{limit_s}([.]0)?"}}[1h]))'
    return f"1 - {late} / sum by (operation) (rate({metric}_count{chosen}[1h]))"


FIGURES = (
    Figure("Failed", "share of the results of the last hour that failed, of what Didit could answer; the objective is 1 %", "percentunit",
           f"(sum({_FAILED % ('1h', '1h')}) or vector(0)) / sum({_ANSWERABLE % '1h'})", 0.01, 0.144),
    Figure("Results p95", "of the last hour, from the caller's record on, without `verification`; the objective is 5 min", "s",
           'histogram_quantile(0.95, sum by (le) (rate(vp_request_seconds_bucket{operation!="verification"}[1h])))', 300, 1800),
    Figure("Open dead letters", "that nobody has redriven or discarded", "short", "max(sum by (instance) (vp_dead_letters_open))", 1, 1000),
    Figure("Budget use", "the scope that is used most, of its limit", "percentunit",
           "max(max by (scope) (vp_budget_used) / max by (scope) (vp_budget_limit))", 0.9, 1.01),
    Figure("Wait for a permit", "requests at all replicas, of the busiest scope", "short",
           "max(sum by (scope) (vp_permits_waiting))", 50, 1000),
    Figure("Time to drain", "the backlog of the slowest scope at its present limit", "s", "max(vp_drain_seconds)", 900, 3600),
    Figure("Lag", "requests that are not finished, and what waits in the delay topics", "short",
           "sum(max by (topic) (vp_group_lag_records))", 1000, 100_000),
    Figure("Overdue", "the oldest record whose time has come", "s", "max(vp_overdue_seconds)", 60, 600),
    Figure("Calls p99", "from sending to the whole answer, all operations", "s",
           "histogram_quantile(0.99, sum by (le) (rate(vp_call_seconds_bucket[5m])))", 5, 30),
    Figure("Held", "1: the account is at fault, or a breaker is open", "short",
           "max(vp_account_held) + max(vp_breaker_open)", 1, 1),
    Figure("Replicas", "heard in the budget log", "short", "max(vp_replicas)", 1000, 1000),
    Figure("Alerts", "that fire now for the chosen namespaces and application, or for no one in particular", "short",
           f"count(ALERTS{{{OF_ALERTS}}}) or vector(0)", 1, 1000),
)  # fmt: skip
ROWS: tuple[tuple[str, tuple[Graph, ...]], ...] = (
    ("Objectives", (
        Graph("Share of results that failed", "of an hour, by operation; `failed`, `in_doubt`, `expired`; the objective is 1 %",
              "percentunit", ((_share_failed("1h"), "{{operation}}"),), red_from=0.01),
        Graph("Share of requests later than 5 minutes", "of an hour, by operation; the objective is 5 %", "percentunit",
              ((_share_late("vp_request_seconds", 300, 'operation!="verification"'), "{{operation}}"),), red_from=0.05),
        Graph("Share of calls longer than 10 seconds", "of an hour, by operation; the objective is 1 %", "percentunit",
              ((_share_late("vp_call_seconds", 10), "{{operation}}"),), red_from=0.01),
    )),
    ("Budget", (
        Graph("Use of each scope", "answered in the last window, of the present limit", "percentunit",
              (("max by (scope) (vp_budget_used) / max by (scope) (vp_budget_limit)", "{{scope}}"),), red_from=1.01),
        Graph("Limit, and what was configured", "the present one is lower while somebody else uses the key", "short",
              (("max by (scope) (vp_budget_limit)", "{{scope}}"),
               ("max by (scope) (vp_budget_configured_limit)", "{{scope}} configured"))),
        Graph("Requests that wait for a permit", "all replicas", "short",
              (("sum by (scope) (vp_permits_waiting)", "{{scope}}"),), stacked=True),
        Graph("From the wish to call to the permit", "p50 and p99 by class", "s",
              _quantiles("vp_permit_wait_seconds", "call_class")),
        Graph("Pauses", "until a scope may be called again", "s",
              (("max by (scope) (vp_budget_paused_seconds)", "{{scope}}"),
               ("max(vp_budget_blocked_seconds)", "budget log was lost"))),
        Graph("429s, foreign traffic, over the limit", "the last two must stay 0", "short",
              (("sum by (kind, scope) (increase(vp_throttled_total[5m]))", "429 {{kind}} {{scope}}"),
               ("sum by (operation) (increase(vp_retry_after_unusable_total[5m]))", "unreadable Retry-After {{operation}}"),
               ("max by (scope) (vp_budget_foreign_traffic)", "foreign {{scope}}"),
               ("max by (scope) (increase(vp_budget_over_limit_total[5m]))", "over {{scope}}"),
               ("max(increase(vp_budget_malformed_records_total[5m]))", "malformed records of the budget topic"))),
    )),
    ("Didit", (
        Graph("Calls a minute", "permits used, by scope and class", "short",
              (("60 * sum by (scope, call_class) (rate(vp_calls_total[5m]))", "{{scope}} {{call_class}}"),), stacked=True),
        Graph("Answers a minute", "by what they meant", "short",
              (("60 * sum by (verdict) (rate(vp_answers_total[5m]))", "{{verdict}}"),), stacked=True),
        Graph("Time of a call", "p50 and p99 by operation", "s",
              _quantiles("vp_call_seconds", "operation")),
        Graph("Calls in flight", "by replica; VP_DIDIT__CALLS_MAX bounds them", "short",
              (("vp_calls_in_flight", "{{instance}}"),), stacked=True),
        Graph("Breakers, account, pauses", "1: held, or paused by operators", "short",
              (("max by (operation) (vp_breaker_open)", "{{operation}}"), ("max(vp_account_held)", "account"),
               ("max by (operation) (vp_calls_paused)", "paused: {{operation}}")), red_from=1),
        Graph("Credits", "what the account has left, in dollars", "currencyUSD",
              (("min by (auto_refill) (vp_balance_usd)", "automatic refill {{auto_refill}}"),)),
    )),
    ("Backlog", (
        Graph("Lag", "records that are not finished, all replicas", "short",
              (("max by (topic) (vp_group_lag_records)", "{{topic}}"),), stacked=True),
        Graph("Calls that are owed", "due now, all replicas; estimated from the lag", "short",
              (("max by (scope) (vp_backlog_calls)", "{{scope}}"),)),
        Graph("Time to drain", "of these calls at the present limit, pauses included", "s",
              (("max by (scope) (vp_drain_seconds)", "{{scope}}"),)),
        Graph("Records that are not due yet", "by delay topic", "short",
              (("sum by (topic) (vp_delayed_records)", "{{topic}}"),), stacked=True),
        Graph("Overdue", "the oldest record whose time has come", "s",
              (("max by (topic) (vp_overdue_seconds)", "{{topic}}"),), red_from=600),
        Graph("Start of a retry after its due time", "p50 and p99", "s",
              _quantiles("vp_due_error_seconds")),
        Graph("Blocked partitions", "for how long nothing more can be read of them, and why", "s",
              (("max by (topic, partition, cause) (vp_partition_blocked_seconds)", "{{topic}} {{partition}} {{cause}}"),), red_from=60),
        Graph("Batches that could not be read", "in five minutes, by code", "short",
              (("sum by (code) (increase(vp_unread_batches_total[5m]))", "{{code}}"),), red_from=1),
        Graph("Age of the survey", "from which lag, calls owed and the time to drain are", "s",
              (('min(vp_survey_age_seconds{job!~".*webhooks"} and vp_budget_joined == 1)', "age"),), red_from=120),
    )),
    ("Requests", (
        Graph("Results a minute", "by how they ended", "short",
              (("60 * sum by (status) (rate(vp_results_total[5m]))", "{{status}}"),), stacked=True),
        Graph("Results a minute by operation", "final and in progress", "short",
              (("60 * sum by (operation) (rate(vp_results_total[5m]))", "{{operation}}"),), stacked=True),
        Graph("From the caller's record to the final result", "p50 and p99; people take their time in `verification`", "s",
              _quantiles("vp_request_seconds", "operation")),
        Graph("Retries a minute", "by reason", "short",
              (("60 * sum by (reason, counted) (rate(vp_retries_total[5m]))", "{{reason}} counted: {{counted}}"),), stacked=True),
        Graph("Dead letters", "in five minutes, by reason", "short",
              (("sum by (reason) (increase(vp_dead_letters_total[5m]))", "{{reason}}"),), stacked=True),
        Graph("Open dead letters", "that nobody has redriven or discarded, by reason", "short",
              (("max by (reason) (vp_dead_letters_open)", "{{reason}}"),), stacked=True),
        Graph("Age of the oldest open dead letter", "an alert fires after a day", "s",
              (("max(vp_dead_letters_open_age_seconds)", "age"),), red_from=86_400),
        Graph("In doubt, duplicates, conflicts", "in five minutes", "short",
              (('sum by (operation) (increase(vp_results_total{status="in_doubt"}[5m]))', "in doubt {{operation}}"),
               ("sum by (kind) (increase(vp_duplicates_total[5m]))", "{{kind}}"))),
        Graph("Attempts of a request", "p50 and p99 at its final result", "short",
              _quantiles("vp_attempts")),
    )),
    ("Lanes and Kafka", (
        Graph("Finished records a second", "by topic", "short",
              (("sum by (topic) (rate(vp_finished_records_total[5m]))", "{{topic}}"),), stacked=True),
        Graph("Transactions a second", "by outcome", "short", (("sum by (outcome) (rate(vp_transactions_total[5m]))", "{{outcome}}"),)),
        Graph("Time of a transaction", "p50 and p99", "s",
              _quantiles("vp_transaction_seconds")),
        Graph("Partitions", "by replica and state", "short",
              (("sum by (instance, state) (vp_lanes)", "{{instance}} {{state}}"),), stacked=True),
        Graph("Rebalances, fences, takeovers, failed lives", "in five minutes", "short",
              (("max(increase(vp_rebalances_total[5m]))", "rebalances"), ("sum(increase(vp_fences_total[5m]))", "fences"),
               ("sum(increase(vp_lane_recoveries_total[5m]))", "takeovers"),
               ('sum(increase(vp_lives_total{end="failed"}[5m]))', "failed lives"))),
        Graph("Time of a takeover", "p99", "s",
              (("histogram_quantile(0.99, sum by (le) (rate(vp_lane_recovery_seconds_bucket[15m])))", "p99"),)),
        Graph("Error of the clock", "this machine's minus the brokers'; by replica", "s",
              (('vp_clock_skew_seconds{job!~".*webhooks"}', "{{instance}}"),)),
        Graph("Silence of the budget log, age of the last poll", "by replica", "s",
              (('vp_budget_silence_seconds{job!~".*webhooks"}', "{{instance}} budget log"),
               ('vp_poll_age_seconds{job!~".*webhooks"}', "{{instance}} poll")), red_from=60),
    )),
    ("Processes", (
        Graph("Loop lag", "p99 of how late a timer is, by process", "s",
              (("histogram_quantile(0.99, sum by (job, instance, le) (rate(vp_loop_lag_seconds_bucket[5m])))", "{{job}} {{instance}}"),),
              red_from=0.25),
        Graph("Tasks", "that failed in five minutes, and that do not run now", "short",
              (("sum by (job, task) (increase(vp_task_failures_total[5m]))", "{{job}} {{task}} failed"),
               ("count by (job, task) (vp_task_up == 0)", "{{job}} {{task}} down")), red_from=1),
        Graph("Memory", "resident, and held by records", "bytes",
              (('process_resident_memory_bytes{job=~"verification-.*"}', "{{job}} {{instance}}"),
               ('vp_lane_bytes{job!~".*webhooks"}', "{{instance}} records"),
               ("vp_memory_limit_bytes > 0", "{{job}} {{instance}} limit"))),
        Graph("Records in the processes", "by where they are", "short", (("sum by (state) (vp_lane_records)", "{{state}}"),), stacked=True),
        Graph("Versions", "processes of each", "short",
              (("count by (version, python) (vp_build_info)", "{{version}}, Python {{python}}"),)),
    )),
    ("Webhooks", (
        Graph("Verified deliveries a minute", "by what became of them", "short",
              (("60 * sum by (outcome) (rate(vp_webhooks_total[5m]))", "{{outcome}}"),), stacked=True),
        Graph("Refused deliveries", "in five minutes, by reason", "short",
              (("sum by (reason) (increase(vp_webhooks_refused_total[5m]))", "{{reason}}"),), stacked=True),
        Graph("Which secret signs", "0 is the newest one", "short",
              (("60 * sum by (rotation) (rate(vp_webhook_secrets_total[5m]))", "{{rotation}}"),), stacked=True),
    )),
)  # fmt: skip


def selected(query: str) -> str:
    """An expression for the namespaces and the application that are chosen above the dashboard."""

    def chosen(found: re.Match[str]) -> str:
        metric = re.sub("_(bucket|count|sum)$", "", found[1])
        ours = [SELECTED, OF_APPLICATION] if {metric, found[1]} & _OF_APPLICATIONS else [SELECTED]
        return f"{found[1]}{{{','.join([*ours, *filter(None, [found[2]])])}}}"

    return _METRIC.sub(chosen, query)


def _thresholds(steps: tuple[tuple[str, float | None], ...]) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=colour) for colour, value in steps])
    )


def _source() -> models.DataSourceRef:
    return models.DataSourceRef(type_val="prometheus", uid="${datasource}")


def _figure(figure: Figure) -> stat.Panel:
    return (
        stat.Panel()
        .title(figure.title)
        .description(figure.meaning)
        .datasource(_source())
        .unit(figure.unit)
        .no_value("-")
        .height(4)
        .span(WIDTH // FIGURES_A_ROW)
        .thresholds(_thresholds((("green", None), ("orange", figure.orange_from), ("red", figure.red_from))))
        .with_target(prometheus.Dataquery().expr(selected(figure.query)).ref_id("A"))
    )


def _graph(graph: Graph) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(graph.title)
        .description(graph.meaning)
        .datasource(_source())
        .unit(graph.unit)
        .min(0)
        .height(8)
        .span(WIDTH // 3)
        .draw_style(GraphDrawStyle.LINE)
        .fill_opacity(20 if graph.stacked else 0)
        .thresholds(_thresholds((("green", None), *((("red", graph.red_from),) if graph.red_from is not None else ()))))
    )
    if graph.stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    for number, (query, legend) in enumerate(graph.queries):
        panel.with_target(prometheus.Dataquery().expr(selected(query)).legend_format(legend).ref_id(chr(ord("A") + number)))
    return panel


def _link(title: str, page: str) -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink(title)
        .type(models.DashboardLinkType.LINK)
        .url(f"{DOCUMENTATION}/{page}")
        .icon("doc")
        .target_blank(target_blank=True)
    )


def build() -> models.Dashboard:
    """The whole dashboard."""
    board = (
        dashboard.Dashboard("Verification Processor")
        .uid("verification-processor")
        .tags(["verification"])
        .description("Is the budget, Didit or the processor the bottleneck?")
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .editable()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("namespace")
            .label("Namespace")
            .datasource(_source())
            .query("label_values(vp_build_info, namespace)")
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(multi=True)
            .include_all(include_all=True)
            .all_value(".*")
        )
        .with_variable(  # one at a time: a budget of one key and the limit of another say nothing together
            dashboard.QueryVariable("application")
            .label("Application")
            .datasource(_source())
            .query("label_values(vp_replicas, application)")
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        )
        .link(_link("Runbooks", "runbooks/README.md"))
        .link(_link("Metrics", "metrics.md"))
        .link(_link("Repair", "repair.md"))
        .with_panel(text.Panel().title("How to read this").mode(TextMode.MARKDOWN).content(HELP.strip()).height(4).span(WIDTH))
    )
    for figure in FIGURES:
        board.with_panel(_figure(figure))
    for title, graphs in ROWS:
        board.with_row(dashboard.Row(title))
        for graph in graphs:
            board.with_panel(_graph(graph))
    built = board.build()
    for number, panel in enumerate(built.panels or [], 1):  # links to a panel name its number
        panel.id_val = number
    return built


if __name__ == "__main__":
    print(JSONEncoder(sort_keys=True, indent=1).encode(build()))
