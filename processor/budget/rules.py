"""What the replicas of an API key agree on, from the settings."""

from __future__ import annotations

from processor.budget.state import Rules
from processor.settings import Settings


def budget_rules(settings: Settings) -> Rules:
    """What the replicas of an API key agree on."""
    s = settings.budget
    return Rules(
        limits={scope: (limit.limit, limit.window_s) for scope, limit in settings.rate_limits.items()},
        wait_s=s.ask_wait_s,
        call_s=settings.call_s_max,
        margin_s=s.call_margin_s,
        slack_s=s.slack_s,
        skew_s=s.skew_s,
        memory_s=s.memory_s,
        memory_calls=s.memory_calls,
        groups=s.groups,
        tenant_weights=s.tenant_weights,
        pause_max_s=settings.retry.retry_after_max_s,
        breaker_failures=s.breaker_failures,
        breaker_hold_s=s.breaker_hold_s,
        account_probe_s=s.account_probe_s,
        refused_requests=s.refused_requests,
    )
