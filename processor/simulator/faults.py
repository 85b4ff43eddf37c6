"""Chooses the fault of each call: scripted responses first, then faults drawn by rate. Pure but for its own seeded generator."""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from processor.simulator.config import FAULT_NAMES, FaultPlan, SimulatorOptionError
from processor.simulator.routes import ROUTES

_SCRIPTED_MAX = 100_000
_ROUTE_NAMES = frozenset(route.name for route in ROUTES)


@dataclass(frozen=True, slots=True)
class ScriptedResponse:
    """One response of a script: a named fault, or, with ``fault`` None, a literal response."""

    fault: str | None = None
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class FaultInjector:
    """Scripts by route, and random faults by a plan."""

    def __init__(self, plan: FaultPlan, rng: random.Random) -> None:
        self.plan = plan
        self._rng = rng
        self._scripts: dict[str, deque[ScriptedResponse]] = {}

    @property
    def plan(self) -> FaultPlan:
        """The rates of faults, and where they apply.

        Raises:
            SimulatorOptionError: if one is set that names a route that does not exist.
        """
        return self._plan

    @plan.setter
    def plan(self, plan: FaultPlan) -> None:
        for route in sorted(plan.routes):
            _check_route(route, "faults: routes")
        self._plan = plan

    def next_scripted(self, route: str) -> ScriptedResponse | None:
        """Take the next scripted response of a route, or of ``*``."""
        for name in (route, "*"):
            queue = self._scripts.get(name)
            if queue:
                return queue.popleft()
        return None

    def draw(self, route: str) -> str | None:
        """Draw at most one fault by the rates of the plan."""
        if not self.plan.rates or (self.plan.routes and route not in self.plan.routes):
            return None
        point = self._rng.random()
        for name, rate in self.plan.rates.items():
            point -= rate
            if point < 0:
                return name
        return None

    def latency_s(self, route: str) -> float:
        """Draw the time until the response."""
        latency = self.plan.latency
        if latency.median_s <= 0 or (self.plan.routes and route not in self.plan.routes):
            return 0.0
        return min(latency.max_s, latency.median_s * math.exp(self._rng.gauss(0, latency.sigma)))

    def add_script(self, route: str, entries: list[Any]) -> int:
        """Queue responses for a route. Returns how many are queued now.

        Raises:
            SimulatorOptionError: if there is no such route, or an entry is neither a fault nor a literal response.
        """
        _check_route(route, "script", "*")
        queue = self._scripts.setdefault(route, deque(maxlen=_SCRIPTED_MAX))
        queue.extend(_scripted(entry) for entry in entries)
        return len(queue)


def _check_route(route: str, where: str, *more: str) -> None:
    """A misspelled name would be a test without its fault."""
    if route not in _ROUTE_NAMES and route not in more:
        alike = ", ".join(get_close_matches(str(route), _ROUTE_NAMES, n=3))
        hint = f"did you mean {alike}?" if alike else "processor/simulator/routes.py has them"
        raise SimulatorOptionError(f"{where}: no route {route!r}; {hint}")


def _scripted(entry: Any) -> ScriptedResponse:
    if isinstance(entry, dict) and "fault" in entry:
        if entry["fault"] not in FAULT_NAMES and entry["fault"] is not None:
            raise SimulatorOptionError(f"script: unknown fault; known are {', '.join(FAULT_NAMES)}")
        return ScriptedResponse(fault=entry["fault"] or "none")
    try:
        headers = tuple((str(name), str(value)) for name, value in entry.get("headers", ()))
        return ScriptedResponse(None, int(entry["status"]), headers, str(entry.get("body", "")).encode())
    except (AttributeError, KeyError, TypeError, ValueError):
        raise SimulatorOptionError('script: an entry is {"fault": name} or {"status": 429, "headers": [[n, v]], "body": text}') from None
