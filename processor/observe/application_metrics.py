"""Metrics with a series for each application. Whoever counts names the other labels only; the application is that of the running task.

prometheus_client makes texts of label values and takes a lock for each look-up, several times for each request: a series that was found
once is kept here. There are as many as applications and values, both known beforehand, so the memory is bounded.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Generic, TypeVar

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

from processor.observe.application import current_application

_Series = TypeVar("_Series", bound=MetricWrapperBase)


class QuickCounter(Counter):
    """Counts without the client's checks of what is always so here: a dozen steps for each request. To a wrong use it is less kind."""

    def inc(self, amount: float = 1) -> None:  # type: ignore[override]  # no exemplars
        """Count."""
        self._value.inc(amount)


class QuickHistogram(Histogram):
    """The same; the bucket is found by halving, not by trying one after the other."""

    def observe(self, amount: float, times: int = 1) -> None:  # type: ignore[override]  # no exemplars
        """Count, so many times the same."""
        self._sum.inc(amount * times)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(times)


class ApplicationMetric(Generic[_Series]):
    """One metric of all applications.

    Args:
        family: has ``application`` as its first label.
    """

    def __init__(self, family: _Series) -> None:
        self._family = family
        self._found: dict[tuple[str, tuple[str, ...]], _Series] = {}
        self._alone: dict[str, _Series] = _FoundOnce(family)  # of a metric without further labels, by application

    def labels(self, *values: str) -> _Series:
        """The series of the current application with these values."""
        application = current_application()
        try:
            return self._found[application, values]
        except KeyError:
            found = self._found[application, values] = self._family.labels(application, *values)
            return found

    def samples(self) -> Iterator[Sample]:
        """What is shown of the current application."""
        families: Iterator[Family] = iter(self._family.collect())
        return (sample for family in families for sample in family.samples if sample.labels["application"] == current_application())


class _FoundOnce(dict[str, _Series]):
    """The series of a metric by application, each looked up in the client once."""

    def __init__(self, family: _Series) -> None:
        super().__init__()
        self._family = family

    def __missing__(self, application: str) -> _Series:
        found = self[application] = self._family.labels(application)
        return found


class ApplicationCounter(ApplicationMetric[QuickCounter]):
    """A counter."""

    def inc(self, amount: float = 1) -> None:
        """Count, where there is no further label."""
        self._alone[current_application()]._value.inc(amount)  # noqa: SLF001 - as QuickCounter.inc, without one more call


class ApplicationHistogram(ApplicationMetric[QuickHistogram]):
    """A histogram."""

    def observe(self, amount: float, times: int = 1) -> None:
        """Count, where there is no further label, so many times the same."""
        self._alone[current_application()].observe(amount, times)


class ApplicationGauge(ApplicationMetric[Gauge]):
    """A gauge."""

    def set(self, value: float) -> None:
        """Set it, where there is no further label."""
        self._alone[current_application()].set(value)

    def inc(self) -> None:
        """One more, where there is no further label."""
        self._alone[current_application()].inc()

    def dec(self) -> None:
        """One less, where there is no further label."""
        self._alone[current_application()].dec()

    def clear(self) -> None:
        """Take away all series with further labels of the current application, and of no other."""
        application = current_application()
        for key in [key for key in self._found if key[0] == application]:
            del self._found[key]
            self._family.remove(application, *key[1])
