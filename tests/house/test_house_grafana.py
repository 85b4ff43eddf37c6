"""The dashboard: current, and about metrics and labels that exist."""

from __future__ import annotations

import re
import sys
from typing import Any

import orjson
from deploy_files import ROOT, exported, faults_of, module, run

from processor.observe.metrics import TABLE

BOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
# what a dashboard cannot show in a useful way, or shows under another name
UNSHOWN = {
    "vp_forwarded_total": "each is shown as a request of the application that it goes to",
    "vp_kafka_throttled_seconds_total": "none without a quota; the log event kafka_throttled and `/readyz` say so",
    "vp_metric_exports_total": "where Prometheus scrapes, nothing need be exported; the log event metrics_not_taken says what to do",
    "vp_connections_closed_total": "rare; an attack on a port, or an ingress with a longer keep-alive than ours",
    "vp_budget_window_seconds": "a constant",
    "vp_budget_calls_remembered": "its bound is told by the log event call_memory_full",
    "vp_budget_live_weight": "the pacer's own view; use and limit are shown",
    "vp_tenant_waiting": "where tenants are named; `processor status` has their shares, too",
    "vp_lag_records": "of each partition; `processor lag`",
    "vp_webhook_variants_total": "a detail of webhooks",
    "vp_webhooks_unfamiliar_total": "a detail of webhooks",
    "vp_foreign_events_total": "a fault of the set-up; the log event event_of_other_environment says what to do",
}

# every replica exports the same of these (docs/metrics.md, "Budget", "Backlog"): a sum would count each once for every replica;
# of the few that are a replica's own (joined, silence, calls remembered) a sum means nothing either
ALIKE = re.compile(
    r"vp_(budget_\w+|replicas|breaker_open|calls_paused|account_held|group_lag_records|drain_seconds|backlog_calls|dead_letters_open\w*)"
)
SUMMED = re.compile(r"\b(?:sum|count)\s*(?:by\s*\(([^)]*)\))?\s*\(\s*(?:(?:increase|rate)\s*\(\s*)?(vp_\w+)")


def _panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(BOARD.read_bytes())["panels"]
    return found + [panel for row in found for panel in row.get("panels") or []]


def test_the_dashboard_is_what_its_program_writes() -> None:
    module("grafana_foundation_sdk")
    done = run(sys.executable, "deploy/grafana/dashboard.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == BOARD.read_text(), "run `make deploy-files`"


def test_every_panel_says_what_it_shows_and_asks_for_metrics_that_exist() -> None:
    graphs = [panel for panel in _panels() if panel["type"] not in {"row", "text"}]
    assert len(graphs) > 30
    for panel in graphs:
        assert panel["title"], panel
        assert panel["description"], panel["title"]
        for target in panel["targets"]:
            assert not faults_of(target["expr"]), f"{panel['title']}: {target['expr']}"
            names = re.findall(r"\b(?:vp|process)_\w+", target["expr"])
            of_applications = [name for name in names if "application" in exported()[name]]
            assert target["expr"].count('namespace=~"$namespace"') == len(names)
            assert target["expr"].count('application="$application"') == len(of_applications), target["expr"]


def test_legends_name_labels_that_the_query_keeps() -> None:
    for panel in _panels():
        for target in panel.get("targets", []):
            kept = {label for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in re.split(r",\s*", group)}
            for label in re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")):
                assert label in kept or (not kept and label in {"job", "instance"}), f"{panel['title']}: {label}"


def test_every_metric_is_shown_or_left_out_for_a_reason() -> None:
    text = BOARD.read_text()
    for metric in TABLE:
        assert (metric.name in text) is (metric.name not in UNSHOWN), metric.name


def test_no_two_panels_have_one_id() -> None:
    ids = [panel["id"] for panel in _panels()]
    assert len(ids) == len(set(ids))


def test_what_every_replica_exports_alike_is_not_summed_over_replicas() -> None:
    own = {metric.name for metric in TABLE if ALIKE.fullmatch(metric.name)}
    assert len(own) > 20
    for panel in _panels():
        for target in panel.get("targets", []):
            summed = [name for by, name in SUMMED.findall(target["expr"]) if "instance" not in by]
            assert not own.intersection(summed), f"{panel['title']}: {target['expr']}"


def test_alerts_are_counted_for_what_is_chosen() -> None:
    (expression,) = [target["expr"] for panel in _panels() for target in panel.get("targets", []) if "ALERTS" in target["expr"]]
    assert 'namespace=~"$namespace|"' in expression, "another namespace's alerts would be shown"
    assert 'application=~"$application|"' in expression, "another application's alerts would be shown"
