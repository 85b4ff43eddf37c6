"""How the processors of a world are configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simulation import applications, receivers
from simulation.plan import Plan

API_PORT = 8080
KEY = "sim-key"
SCOPES = ("session-create", "generic-write", "generic-get", "session-decision")
_RETRY = {"partitions": 1, "backoff_base_s": 2.0, "backoff_max_s": 10.0}


def limits_of(plan: Plan) -> dict[str, dict[str, float]]:
    """The API's, by scope."""
    return {scope: {"limit": plan.limit, "window_s": plan.window_s} for scope in SCOPES}


def groups_of(plan: Plan, brokers: Sequence[str], kafka: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Groups of settings by name. ``kafka``: what is of this process alone."""
    return {
        "kafka": {"bootstrap": ",".join(f"{name}:9092" for name in brokers), **kafka},
        "didit": {
            "base_url": f"http://127.0.0.1:{API_PORT}",
            "api_key": KEY,
            "balance_s": 0.0,
            "timeout_s": plan.timeout_s,
            "read_lag_s": plan.read_lag_s,
        },
        "budget": {
            "limits": limits_of(plan),
            "call_margin_s": plan.margin_s,
            "ask_wait_s": plan.wait_s,
            "skew_s": plan.skew_s,
            "memory_s": plan.memory_s,
            "topic": "budget",
            "queue_max": plan.queue_max,
        },
        "lanes": {"drain_s": plan.drain_s, "transaction_s": plan.transaction_s, "answer_again": plan.answer_again},
        "retry": {**_RETRY, "attempts_max": plan.attempts_max, "delays_s": plan.delays_s},
        "follow": {"polls_s": (4, 15)},
        "webhooks": receivers.SETTINGS,
        "applications": applications.settings_of(plan.beside, limits_of(plan)),
    }
