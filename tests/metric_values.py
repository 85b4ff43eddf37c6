"""Reads a metric of this process as a scrape would show it."""

from __future__ import annotations

from processor.observe.application import DEFAULT_APPLICATION
from processor.observe.metrics import APPLICATION, REGISTRY, TABLE

_OF_APPLICATIONS = {metric.name for metric in TABLE if APPLICATION in metric.labels}


def metric_value(name: str, *, application: str = DEFAULT_APPLICATION, **labels: str) -> float | None:
    """One sample of an application; None if there is no such series."""
    family = name.removesuffix("_sum").removesuffix("_count").removesuffix("_bucket")
    return REGISTRY.get_sample_value(name, {APPLICATION: application, **labels} if {name, family} & _OF_APPLICATIONS else labels)
