"""Replicas whose settings differ, as in the middle of a rollout: only what may differ (docs/upgrading.md)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

Groups = Mapping[str, Mapping[str, Any]]


def draw_settings(draw: random.Random, *, limits: Mapping[str, Mapping[str, float]], wait_s: float) -> Groups:
    """Those of one process, by group.

    Args:
        draw: of the process.
        limits: of the API, by scope; a replica may have a lower count.
        wait_s: the world's longest wait of an ask; a replica's is at most double.
    """
    share = draw.choice((1.0, 1.0, 0.5))
    return {
        "didit": {"calls_max": draw.choice((1, 4, 100))},
        "lanes": {
            "work_max": draw.choice((1, 5, 200)),
            "ahead_max": draw.choice((3, 50, 20_000)),
            "publish_pause_s": draw.choice((0.0, 0.1, 1.0)),
            "publish_max": draw.choice((1, 10, 500)),
            "drain_s": draw.choice((0.5, 3.0, 10.0)),
            "session_timeout_s": draw.choice((8.0, 10.0, 15.0)),
        },
        "budget": {
            "limits": {scope: {**limit, "limit": max(1, int(share * limit["limit"]))} for scope, limit in limits.items()},
            "ask_wait_s": wait_s * draw.choice((1.0, 1.0, 1.5)),
            "groups": draw.random() < 0.5,
        },
        "retry": {"attempts_max": draw.choice((2, 6)), "backoff_max_s": draw.choice((5.0, 10.0))},
        "kafka": {"leave_on_stop": draw.random() < 0.5},
    }


def merged(groups: Groups, changes: Groups) -> dict[str, dict[str, Any]]:
    """Both; where they name the same setting, that of ``changes``."""
    return {name: {**groups.get(name, {}), **changes.get(name, {})} for name in {**groups, **changes}}
