"""Who is there when an episode of a theme is drawn."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from simulation.disturbances import Disturbance


@dataclass(frozen=True, slots=True)
class Stage:
    """Who is there, for an episode to be drawn. Times in seconds.

    ``wait_s``: a call starts so long after its ask at most. ``api_cut_s``: what is held back for longer reaches the API later than the
    product has to assume. ``idle_s``: after the first requests nobody asks for anything for so long. ``transaction_s``: so long a
    transaction may last.
    """

    replicas: list[str]
    wait_s: float
    api_cut_s: float
    idle_s: float = 0.0
    receivers: tuple[str, ...] = ()
    transaction_s: float = 25.0
    brokers: tuple[str, ...] = ()


Episode = Callable[[random.Random, Stage], list[Disturbance]]
