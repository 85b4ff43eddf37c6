"""One registry, several applications: each counts its own, clears its own, and what is of the process has no application."""

from __future__ import annotations

import asyncio

import pytest
from metric_values import metric_value
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from processor.observe import metrics
from processor.observe.application import working_for
from processor.runtime.application_status import ApplicationStatus

OF_THE_PROCESS = {
    "vp_loop_lag_seconds",
    "vp_memory_limit_bytes",
    "vp_build_info",
    "vp_kafka_throttled_seconds_total",
    "vp_metric_exports_total",
    "vp_connections_closed_total",
}


def test_what_is_of_the_process_alone_has_no_application_and_all_else_has_it_first() -> None:
    assert {metric.name for metric in metrics.TABLE if metrics.APPLICATION not in metric.labels} == OF_THE_PROCESS
    assert {metric.labels[0] for metric in metrics.TABLE if metric.name not in OF_THE_PROCESS} == {"application"}


async def test_a_task_counts_for_the_application_that_it_was_started_for() -> None:
    async def work(times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0)
            metrics.FENCES.inc()
            metrics.RESULTS.labels("aml", "succeeded").inc()
            metrics.ATTEMPTS.observe(times)

    tasks = []
    for name, times in (("task-shop", 2), ("task-bank", 3)):
        with working_for(name):
            tasks.append(asyncio.create_task(work(times)))
    await asyncio.gather(*tasks)
    for name, times in (("task-shop", 2), ("task-bank", 3)):
        assert metric_value("vp_fences_total", application=name) == times
        assert metric_value("vp_results_total", application=name, operation="aml", status="succeeded") == times
        assert metric_value("vp_attempts_sum", application=name) == times**2


def test_a_gauge_is_cleared_for_one_application_alone() -> None:
    for name in ("gauge-shop", "gauge-bank"):
        with working_for(name):
            metrics.LAG.labels("v.requests", "0").set(7)
            metrics.CALLS_IN_FLIGHT.inc()
    with working_for("gauge-shop"):
        metrics.LAG.clear()
        metrics.CALLS_IN_FLIGHT.dec()
        assert list(metrics.LAG.samples()) == []
        metrics.LAG.labels("v.requests", "1").set(1)
    assert metric_value("vp_lag_records", application="gauge-shop", topic="v.requests", partition="0") is None
    assert metric_value("vp_lag_records", application="gauge-shop", topic="v.requests", partition="1") == 1
    assert metric_value("vp_lag_records", application="gauge-bank", topic="v.requests", partition="0") == 7
    assert [metric_value("vp_calls_in_flight", application=name) for name in ("gauge-shop", "gauge-bank")] == [0, 1]


def test_a_scrape_shows_each_counter_of_an_application_before_its_first_count() -> None:
    """``increase()`` does not see the first count of a series that was not there before."""
    ApplicationStatus("scraped", 120.0).refresh()
    shown = {
        sample.name
        for family in text_string_to_metric_families(generate_latest(metrics.REGISTRY).decode())
        for sample in family.samples
        if sample.labels.get("application") == "scraped"
    }
    alone = {m.name for m in metrics.TABLE if m.labels == ("application",) and m.kind == "counter"}
    assert {"vp_fences_total", "vp_rebalances_total", "vp_budget_malformed_records_total"} <= alone
    assert alone <= shown


@pytest.mark.parametrize("wrong", [("aml",), ("aml", "succeeded", "more")])
def test_labels_that_are_not_those_of_the_table_are_refused(wrong: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="label"):
        metrics.RESULTS.labels(*wrong)
