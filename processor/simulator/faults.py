"""Which fault meets a call: scripted ones first, then drawn ones. Pure but for its own seeded generator."""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass
from typing import Any

from processor.simulator.config import FAULT_NAMES, FaultPlan, SimulatorOptionError

_SCRIPTED_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Scripted:
    """One answer that was ordered: a literal response, or a named fault."""

    fault: str | None = None
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Faults:
    """Draws for each call what is to go wrong with it."""

    def __init__(self, plan: FaultPlan, rng: random.Random) -> None:
        self.plan, self._rng = plan, rng
        self._scripts: dict[str, deque[Scripted]] = {}

    def scripted(self, route: str) -> Scripted | None:
        """The next ordered answer of a route (or of ``*``), used up by this."""
        for name in (route, "*"):
            queue = self._scripts.get(name)
            if queue:
                return queue.popleft()
        return None

    def drawn(self, route: str) -> str | None:
        """A fault by its rate; at most one."""
        if not self.plan.rates or (self.plan.routes and route not in self.plan.routes):
            return None
        point = self._rng.random()
        for name, rate in self.plan.rates.items():
            point -= rate
            if point < 0:
                return name
        return None

    def latency_s(self, route: str) -> float:
        """Time until the answer."""
        latency = self.plan.latency
        if latency.median_s <= 0 or (self.plan.routes and route not in self.plan.routes):
            return 0.0
        return min(latency.max_s, latency.median_s * math.exp(self._rng.gauss(0, latency.sigma)))

    def order(self, route: str, answers: list[Any]) -> int:
        """Queue answers for a route; how many wait now.

        Raises:
            SimulatorOptionError: if an entry is no answer.
        """
        queue = self._scripts.setdefault(route, deque(maxlen=_SCRIPTED_MAX))
        queue.extend(_scripted(entry) for entry in answers)
        return len(queue)


def _scripted(entry: Any) -> Scripted:
    if isinstance(entry, dict) and "fault" in entry:
        if entry["fault"] not in FAULT_NAMES and entry["fault"] is not None:
            raise SimulatorOptionError(f"script: unknown fault; known are {', '.join(FAULT_NAMES)}")
        return Scripted(fault=entry["fault"] or "none")
    try:
        headers = tuple((str(name), str(value)) for name, value in entry.get("headers", ()))
        return Scripted(None, int(entry["status"]), headers, str(entry.get("body", "")).encode())
    except (AttributeError, KeyError, TypeError, ValueError):
        raise SimulatorOptionError('script: an entry is {"fault": name} or {"status": 429, "headers": [[n, v]], "body": text}') from None
