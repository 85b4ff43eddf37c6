"""The report of an audit in its three forms says the same, and nothing of it acts where it is shown."""

from __future__ import annotations

from dataclasses import replace

import orjson
from verify_world import World, clean_world, judge_world

from processor.verify.findings import SHOWN_MAX, AuditFinding, BrokenPromise, Findings
from processor.verify.log_audit import LogFigures
from processor.verify.report import PROMISES, AuditReport, WaitingRequest, html_report, json_report, text_report
from processor.verify.waiting import WaitingPlace


def report_of(world: World) -> AuditReport:
    judged = judge_world(world)
    findings = Findings(kept=judged.findings)
    findings.counts.update(judged.counts)
    return AuditReport(
        installation="v",
        group="v-group",
        at_ms=judged.judge.rules.now_ms,
        since_ms=None,
        older_s=600.0,
        judged_from_ms=0,
        findings=findings,
        figures=judged.judge.figures,
        log=LogFigures(answered=2),
        waiting=judged.judge.waiting,
        oldest=(WaitingRequest("v.requests[1]@4", "v.requests[1]@4", WaitingPlace.REQUESTS, world.now_ms, None, "waiting"),),
    )


def test_a_clean_audit_says_yes_to_every_promise() -> None:
    report = replace(report_of(clean_world()), billing=True)
    text = text_report(report)
    assert report.clean
    assert text.count("\n  yes  ") == len(PROMISES)
    assert "clean: no promise is broken (12 requests, 10 final results)" in text
    assert "v.requests[1]@4  'waiting'" in text


def test_a_promise_that_was_not_judged_has_no_yes() -> None:
    report = report_of(clean_world())
    assert "\n  -    nothing is paid for twice: not judged: no --billing\n" in text_report(report)
    assert "<td>-</td>" in html_report(report)
    assert report.clean


def test_every_broken_promise_stands_in_one_row_of_the_report() -> None:
    kinds = [kind for _, kinds in PROMISES for kind in kinds]
    assert sorted(kinds) == sorted(BrokenPromise)


def test_a_finding_is_in_all_three_forms() -> None:
    world = World()
    lost = world.request("lost")
    world.finish(lost)
    report = report_of(world)
    told = orjson.loads(json_report(report))
    assert not told["clean"]
    assert told["counts"]["missing_result"] == 1
    assert {(f["topic"], f["partition"], f["offset"]) for f in told["findings"]} == {("v.requests", 0, 0)}
    for form in (text_report(report), html_report(report)):
        assert "v.requests[0]@0" in form
        assert BrokenPromise.MISSING_RESULT.remedy in form


def test_a_window_that_only_the_ledger_saw_over_its_limit_is_no_clean_audit() -> None:
    report = report_of(clean_world())
    scopes = {"session-create": {"limit": 10, "window_s": 60, "calls": 12, "max_in_window": 11}}
    over = replace(report, scopes=scopes, billing=True)
    assert not over.clean
    assert "NO   budget session-create: at most 10 in any 60 s, by the ledger" in text_report(over)
    assert orjson.loads(json_report(over))["over_by_ledger"] == ["session-create"]


def test_a_hostile_request_id_neither_acts_on_a_terminal_nor_on_a_page() -> None:
    report = report_of(clean_world())
    hostile = AuditFinding(BrokenPromise.DOUBLE_FINAL, "v.results", 0, 4, "seen", "\x1b[2J<script>alert(1)</script>")
    report.findings.add(hostile)
    assert "\x1b" not in text_report(report)
    assert "<script>" not in html_report(report)


def test_what_is_not_shown_is_counted() -> None:
    report = report_of(clean_world())
    for offset in range(SHOWN_MAX + 7):
        report.findings.add(AuditFinding(BrokenPromise.DOUBLE_FINAL, "v.results", 0, offset, "seen"))
    assert "and 7 more" in text_report(report)
    assert "and 7 more" in html_report(report)
