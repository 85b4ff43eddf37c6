"""Rules and alerts: valid, tested both ways, explained, and about metrics that exist."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from typing import Any

import pytest
from deploy_files import ROOT, faults_of, load, run, tool

from processor.budget.permits import CallClass
from processor.console.runbooks import runbook_of
from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.records import Status
from processor.didit.catalog import COMPOSITES, OPERATIONS
from processor.monitoring.diagnosis import FindingKind, Tone
from processor.settings import load_settings

RULES = "deploy/prometheus/rules.yml"
RUNBOOKS = ROOT / "docs" / "runbooks"
SEVERITIES = {"critical", "warning"}


def _rules() -> list[dict[str, Any]]:
    return [rule for group in load(RULES)["groups"] for rule in group["rules"]]


def _documentation_url() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["urls"]["Documentation"])


def _alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in _rules() if "alert" in rule}


@pytest.mark.slow
@pytest.mark.skipif("CI" in os.environ, reason="`make deploy-check` has done it in CI, where each second of a core counts")
def test_promtool_takes_the_rules_and_their_tests_pass() -> None:
    for command in (["check", "rules", RULES], ["test", "rules", "deploy/prometheus/rules_test.yml"]):
        done = run(tool("promtool"), *command)
        assert done.returncode == 0, done.stdout + done.stderr


FREE = {"alertname", "application", "alertstate", "severity", "instance", "job", "topic", "partition", "le"}
VALUES: dict[str, Iterable[str]] = {
    "status": Status,
    "operation": [*OPERATIONS, *COMPOSITES],
    "scope": load_settings().rate_limits,
    "code": ErrorCode,
    "vp_dead_letters_total reason": ErrorType,
    "call_class": [c.name.lower() for c in CallClass],
}


def _values_that_are_none(text: str) -> list[str]:
    """Label values that no metric of ours can have. Where no table of them exists, one that stands nowhere in the code."""
    literals = set(re.findall(r'"([a-z_ ]+)"', "".join(path.read_text() for path in (ROOT / "processor").rglob("*.py"))))
    found = []
    for metric, labels in re.findall(r"\b(vp_[a-z_]+|ALERTS)\{([^}]*)\}", text):
        for label, value in re.findall(r'([a-z_]+)="([^"]*)"', labels):
            known = VALUES.get(f"{metric} {label}", VALUES.get(label, literals))
            if label not in FREE and value not in {str(v) for v in known}:
                found.append(f'{metric}{{{label}="{value}"}}')
    return found


def test_every_label_value_in_the_tests_of_the_rules_exists() -> None:
    text = (ROOT / "deploy/prometheus/rules_test.yml").read_text()
    assert len(re.findall(r"\bvp_[a-z_]+\{", text)) > 30
    assert _values_that_are_none(text) == []


def test_a_label_value_that_does_not_exist_is_noticed() -> None:
    told = [
        'vp_dead_letters_total{reason="contract"}',
        'vp_results_total{operation="amll",status="succeeded"}',
        'vp_lives_total{end="nonsense_end"}',
    ]
    assert len(_values_that_are_none(" ".join(told))) == 3


def test_every_metric_and_label_exists() -> None:
    recorded = {rule["record"] for rule in _rules() if "record" in rule}
    for rule in _rules():
        used = set(re.findall(r"\bvp:[a-z0-9_:]+", rule["expr"]))
        assert used <= recorded
        assert not faults_of(rule["expr"]), rule


def test_the_check_of_metrics_finds_what_is_wrong() -> None:
    assert faults_of("rate(vp_nonsense_total[5m])")
    assert faults_of('vp_results_total{colour="red"}')
    assert faults_of("sum by (colour) (vp_results_total)")
    assert faults_of("vp_call_seconds")
    assert not faults_of('sum by (operation, le) (rate(vp_call_seconds_bucket{job=~"a{2}"}[5m]))')


def test_every_alert_tells_whom_it_concerns_what_it_means_and_where_to_read_on() -> None:
    for name, alert in _alerts().items():
        assert name.startswith("Verification")
        assert alert["labels"]["severity"] in SEVERITIES
        notes = alert["annotations"]
        assert notes.keys() == {"summary", "description", "runbook_url"}
        assert notes["runbook_url"] == f"{_documentation_url()}/runbooks/{name}.md", "where the project says that its documentation is"
        assert (RUNBOOKS / f"{name}.md").is_file(), name


def test_every_runbook_page_has_its_alert_and_its_parts() -> None:
    index = (RUNBOOKS / "README.md").read_text()
    assert {path.stem for path in RUNBOOKS.glob("Verification*.md")} == _alerts().keys()
    for name in _alerts():
        text = (RUNBOOKS / f"{name}.md").read_text()
        assert text.startswith(f"# {name}\n")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Look", "Do", "It is over when"]
        assert f"({name}.md)" in index


def test_every_link_and_metric_in_the_runbooks_leads_somewhere() -> None:
    for path in RUNBOOKS.glob("*.md"):
        text = path.read_text()
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
        for code in re.findall(r"`(vp_[^`]*)`", text):
            bare = re.sub(r"\{.*\}", "", code)
            assert not [fault for fault in faults_of(code) if "is no metric" in fault] or not faults_of(f"{bare}_bucket"), (
                f"{path.name}: {code}"
            )


@pytest.mark.parametrize("fires", [True, False])
def test_every_alert_is_tested_firing_and_silent(fires: bool) -> None:
    tests = load("deploy/prometheus/rules_test.yml")["tests"]
    asked = [expectation for test in tests for expectation in test["promql_expr_test"]]
    for name in _alerts():
        expression = f'ALERTS{{alertname="{name}",alertstate="firing"}}'
        found = [each for each in asked if each["expr"] == expression and bool(each["exp_samples"]) is fires]
        assert found, f"{name} has no test in which it {'fires' if fires else 'is silent'}"


def test_runbooks_name_events_and_settings_that_exist() -> None:
    code = "".join(path.read_text() for path in (ROOT / "processor").rglob("*.py"))
    events = set(re.findall(r"log\.(?:info|warning|error|critical)\(\s*\"([a-z_]+)\"", code))
    events |= set(re.findall(r"AlertEvent\(\"\w+\", \"([a-z_]+)\"", code))
    settings = set(re.findall(r"`(VP_[A-Z]+__[A-Z_]+)`", (ROOT / "docs" / "configuration.md").read_text()))
    for path in RUNBOOKS.glob("Verification*.md"):
        text = path.read_text()
        assert set(re.findall(r"VP_[A-Z]+__[A-Z_]+", text)) <= settings, path.name
        for line in text.splitlines():
            if "og event" in line:
                named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", line.split("og event")[1]))
                assert {name for name in named if not name.startswith("vp_")} <= events, f"{path.name}: {named - events}"


def test_the_objectives_in_the_docs_are_those_of_the_rules() -> None:
    objectives = (ROOT / "docs" / "operations.md").read_text().split("## Objectives")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) % of .*?(?:within (\d+) (minutes|seconds) )?\| `(vp_[a-z_]+)` \|", objectives, re.MULTILINE)
    told = {
        metric: (f"{1 - int(share) / 100:.2f}", int(time) * (60 if unit == "minutes" else 1) if time else None)
        for share, time, unit, metric in rows
    }
    assert told.keys() == {"vp_results_total", "vp_request_seconds", "vp_call_seconds"}
    names = {"vp_results_total": "results_failed", "vp_request_seconds": "requests_late", "vp_call_seconds": "calls_late"}
    for metric, (share, limit_s) in told.items():
        recorded = [rule["expr"] for rule in _rules() if rule.get("record", "").startswith(f"vp:{names[metric]}:")]
        assert recorded
        assert all(limit_s is None or f'le=~"{limit_s}([.]0)?"' in expr for expr in recorded), metric
        alerts = [alert["expr"] for alert in _alerts().values() if f"vp:{names[metric]}:" in alert["expr"]]
        factors = {allowed for expr in alerts for allowed in re.findall(r"> [\d.]+ \* ([\d.]+)", expr)}
        assert factors == {share}, metric


def test_what_the_page_finds_has_a_runbook_that_exists() -> None:
    assert {kind for kind in FindingKind if runbook_of(kind)} == {kind for kind in FindingKind if kind.tone is not Tone.GOOD}
    assert {runbook_of(kind) for kind in FindingKind} - {""} <= _alerts().keys()
