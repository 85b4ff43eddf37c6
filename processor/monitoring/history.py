"""The last quarter of an hour of each scope, and the last hour of the backlog, for charts. Pure; times are epoch ms."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from processor.budget.view import BudgetView

SPAN_MS = 15 * 60 * 1000
EVERY_MS = 2_000
BACKLOG_SPAN_MS = 60 * 60 * 1000
BACKLOG_SAMPLES_MAX = 720  # one in 5 s


@dataclass(frozen=True, slots=True)
class Sample:
    """One scope at one moment."""

    at_ms: int
    used: int  # calls answered in the last window
    limit: int  # at that moment
    live: int  # weight that counted: used, in flight, asked for
    waiting: int  # requests, in all replicas


class History:
    """Samples by scope, oldest first: ``span_ms // every_ms`` of each at most. A scope that is gone leaves with its last one."""

    def __init__(self, span_ms: int = SPAN_MS, every_ms: int = EVERY_MS) -> None:
        if not 0 < every_ms <= span_ms:
            raise ValueError(f"every_ms must be from 1 to span_ms, not {every_ms} with {span_ms}")
        self._span_ms, self._every_ms = span_ms, every_ms
        self._scopes: dict[str, deque[Sample]] = {}
        self._last_ms: int | None = None

    def add(self, view: BudgetView, at_ms: int) -> bool:
        """Take one sample of every scope.

        Returns:
            False if the last one is younger than ``every_ms``: nothing is taken then. A clock that was set back starts again.
        """
        if self._last_ms is not None and at_ms < self._last_ms:
            self._scopes.clear()
        elif self._last_ms is not None and at_ms - self._last_ms < self._every_ms:
            return False
        self._last_ms = at_ms
        for scope in view.scopes:
            samples = self._scopes.setdefault(scope.scope, deque(maxlen=self._span_ms // self._every_ms))
            samples.append(Sample(at_ms, scope.used, scope.limit, scope.live, scope.waiting))
        self._forget(at_ms - self._span_ms)
        return True

    def samples(self) -> Mapping[str, Sequence[Sample]]:
        """What is held now; a copy that later samples do not change."""
        return {scope: tuple(samples) for scope, samples in self._scopes.items()}

    def _forget(self, until_ms: int) -> None:
        for scope, samples in list(self._scopes.items()):
            while samples and samples[0].at_ms <= until_ms:
                samples.popleft()
            if not samples:
                del self._scopes[scope]


@dataclass(frozen=True, slots=True)
class BacklogSample:
    """What was left to do at one moment."""

    at_ms: int
    unfinished: int  # records of requests and delay topics; an upper bound
    waiting: int  # of them, those in the delay topics
    dead_letters: int | None  # open ones; None while they are not known


class BacklogHistory:
    """The last hour, one sample a survey."""

    def __init__(self) -> None:
        self._samples: deque[BacklogSample] = deque(maxlen=BACKLOG_SAMPLES_MAX)

    def add(self, sample: BacklogSample) -> None:
        """Take a sample. A clock that was set back starts again."""
        if self._samples and sample.at_ms < self._samples[-1].at_ms:
            self._samples.clear()
        self._samples.append(sample)
        while self._samples[0].at_ms <= sample.at_ms - BACKLOG_SPAN_MS:
            self._samples.popleft()

    def samples(self) -> Sequence[BacklogSample]:
        """What is held now, the oldest first; a copy that later samples do not change."""
        return tuple(self._samples)
