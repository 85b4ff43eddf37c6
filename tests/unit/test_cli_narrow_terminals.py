"""At 80 columns: no line is cut, no name is broken, nothing is told by an ellipsis alone."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import cast

import pytest
from operating import NOW_MS, busy, dead_letter, full, paused, quiet, waits
from rich.cells import cell_len
from rich.console import Console, RenderableType

from processor.budget.view import BudgetView
from processor.cli import render_budget, render_retry, render_status
from processor.cli.render_dead_letters import dead_letters_table
from processor.monitoring.model import Overview


def drawn(shown: RenderableType, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(shown)
    text = cast("io.StringIO", console.file).getvalue()
    assert max(map(cell_len, text.splitlines())) <= width
    return text


@pytest.mark.parametrize("seen", [busy(), paused(), quiet()], ids=["busy", "paused", "quiet"])
def test_status_and_budget_show_every_name_and_figure_whole(seen: Overview) -> None:
    status, budget = drawn(render_status.screen(seen)), drawn(render_budget.as_table(seen.budget))
    assert "…" not in status + budget
    for scope in seen.budget.scopes:
        assert scope.scope in status
        assert any(line.startswith(scope.scope) and f" {scope.live} " in line for line in budget.splitlines())


@pytest.mark.parametrize("owner", ["vp-0", "verification-processor-0.verification-processor.verification.svc"])
def test_lag_names_every_topic_whole(owner: str) -> None:
    partitions = tuple(replace(p, owner=owner, floor=120_000_000, end=120_000_400) for p in busy().partitions)
    lines = drawn(render_status.lag_table(partitions, ())).splitlines()
    for p in partitions:
        assert any(line.startswith(f"{p.topic} ") and " 120000400 " in line for line in lines)


def test_why_operators_have_paused_is_told_whole_with_what_waits() -> None:
    text = " ".join(drawn(render_status.screen(paused())).split())
    assert "by ann@ops-1: Didit moves its AML provider until noon; 740 calls wait" in text
    assert text.count("is unknown until `processor resume`") == 3, "the verdict, and each pause once"


def test_a_dead_letter_is_a_row_where_there_is_room_and_two_lines_where_not() -> None:
    letters = [*full(8).letters, dead_letter(9, operation="aml_monitoring.businesses", reason_field="input.vendor_data_list[3]")]
    narrow, wide = drawn(dead_letters_table(letters, of=40, complete=True)), drawn(dead_letters_table(letters, of=40, complete=True), 240)
    assert wide.splitlines()[0].split() == ["at", "failed", "request_id", "operation", "reason", "field", "attempts", "replays", "status"]
    lines = narrow.splitlines()
    assert lines[0] == "0:0  2025-11-25 12:02:05Z  aml  onboarding-4000"
    assert lines[1] == "  exhausted: http_503, 6 attempts, open"
    assert "  exhausted: http_503 at input.vendor_data_list[3], 6 attempts, open" in lines
    assert "  exhausted: http_503, 6 attempts, redriven 3 times, open" in lines


def test_what_waits_is_a_row_where_there_is_room_and_two_lines_where_not() -> None:
    kinds = [("onboarding-4711-2026-11-30", "session.create", "operation_paused"), ("r-1", "aml_monitoring.businesses", None)]
    records = [waits(12_345, 30.0, request_id=name, operation=operation, reason=reason) for name, operation, reason in kinds]
    narrow, wide = drawn(render_retry.as_table(records, NOW_MS)), drawn(render_retry.as_table(records, NOW_MS), 160)
    assert wide.splitlines()[0].split() == ["request", "operation", "due", "reason", "attempts", "where"]
    assert [line.rstrip() for line in narrow.splitlines()] == [
        "in 30 s  session.create  onboarding-4711-2026-11-30",
        "  operation_paused, 2 attempts before, verification.retry.1m[1]@12345",
        "in 30 s  aml_monitoring.businesses  r-1",
        "  following, 2 attempts before, verification.retry.1m[1]@12345",
    ]


def test_a_budget_that_nobody_has_asked_yet_says_so() -> None:
    assert "No call has been asked for yet" in drawn(render_budget.as_table(BudgetView((), (), (), 0.0)))
