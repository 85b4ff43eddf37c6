"""What a theme is, and plans that several themes begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulation.stage import Episode

SINGLE = ("ip.risk", "email.send")  # each call of them acts
BILLED = (*SINGLE, "database_validation")
BURST: dict[str, tuple[Any, ...]] = {
    "brokers": (1,),
    "replicas": (2,),
    "partitions": (1,),
    "requests": (12, 20),
    "every_s": (0.1, 0.3),
    "limit": (8, 12),
    "latency_s": (1.0, 2.0),
    "timeout_s": (4.0,),
    "margin_s": (4.0,),
    "wait_s": (6.0,),
    "skew_s": (4.0,),
    "operations": (BILLED,),
}

# answers come soon, or calls are held for so much longer than they count that no window is ever full by the API's clock
TIGHT: dict[str, tuple[Any, ...]] = {"operations": (SINGLE,), "window_s": (5.0,), "limit": (4, 6), "latency_s": (0.1,)}

# all calls are answered soon, and a stop waits for them
CERTAIN: dict[str, tuple[Any, ...]] = {
    **BURST,
    "certain": (True,),
    "steady": (True,),
    "operations": (SINGLE,),
    "latency_s": (0.1,),
    "lost": (0.0,),
    "late_reply": (0.0,),
    "drain_s": (10.0,),
}


@dataclass(frozen=True, slots=True)
class Theme:
    """One of them.

    Attributes:
        weight: 0 for those that seeds have by their number (`themes.theme_of`).
        episode: None for disturbances at random.
        plan: for fields of the plan, what their values are drawn from.
        small: and in a small world; None if what the theme is about needs many requests.
    """

    name: str
    weight: int
    episode: Episode | None = None
    plan: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    small: Mapping[str, tuple[Any, ...]] | None = field(default_factory=dict)
