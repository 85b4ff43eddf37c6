"""What a running process tells of itself: its event loop, and each application that it works for."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version

from processor.observe import metrics
from processor.observe.application import DEFAULT_APPLICATION
from processor.observe.health import Phase, Vitals
from processor.observe.logs import flush_repeated
from processor.runtime.application_status import ApplicationStatus
from processor.runtime.memory_limit import memory_limit_bytes
from processor.settings import Settings
from processor.stream.throttling import THROTTLING

_TICK_S = 0.5


class ProcessStatus:
    """State that the parts of a process write, and its observers read.

    Args:
        stall_s: an event loop that stands still for longer is not alive.
        poll_stall_s: a consumer whose poll takes longer is built again.
        worker: owns partitions and calls; a webhook receiver does not.
        names: of the applications.

    Attributes:
        applications: what is known of each.
        restarting: tasks of no single application that failed and wait to be started again.
    """

    def __init__(self, stall_s: float, poll_stall_s: float, *, worker: bool = True, names: Sequence[str] = (DEFAULT_APPLICATION,)) -> None:
        self.stall_s = stall_s
        self.applications: Mapping[str, ApplicationStatus] = {name: ApplicationStatus(name, poll_stall_s, worker) for name in names}
        self.restarting: set[str] = set()
        self._tick = time.monotonic()
        self._throttled_s = 0.0

    @classmethod
    def of(cls, settings: Settings, *, worker: bool = True, names: Sequence[str] = (DEFAULT_APPLICATION,)) -> ProcessStatus:
        """A new one."""
        return cls(settings.observe.stall_s, settings.lanes.stall_s, worker=worker, names=names)

    def enter(self, phase: Phase, detail: str = "") -> None:
        """Every application is in this phase from now on."""
        for application in self.applications.values():
            application.enter(phase, detail)

    async def beat(self) -> None:
        """Watch the event loop, and write what the log has counted, until cancelled."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(_TICK_S)
            self._tick = time.monotonic()
            metrics.LOOP_LAG.observe(max(0.0, self._tick - began - _TICK_S))
            flush_repeated()

    def vitals(self) -> Mapping[str, Vitals]:
        """Of each application, as of now."""
        tick_s, failed = time.monotonic() - self._tick, tuple(sorted(self.restarting))
        found = {name: application.vitals(tick_s, self.stall_s) for name, application in self.applications.items()}
        return {name: replace(v, restarting=(*failed, *v.restarting)) for name, v in found.items()} if failed else found

    def refresh(self) -> None:
        """Set every gauge to what is true now."""
        for application in self.applications.values():
            application.refresh()
        metrics.KAFKA_THROTTLED.inc(THROTTLING.total_s - self._throttled_s)
        self._throttled_s = THROTTLING.total_s


def set_constants(our_version: str) -> None:
    """The gauges that never change: versions, and the limit of memory."""
    if (limit_bytes := memory_limit_bytes()) is not None:
        metrics.MEMORY_LIMIT.set(limit_bytes)
    metrics.BUILD.labels(our_version, platform.python_version(), version("aiokafka")).set(1)
