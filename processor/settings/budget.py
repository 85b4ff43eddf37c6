"""Didit's budgets."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from processor.settings.base import Group, Seconds


class ScopeLimit(Group):
    """One rate-limit scope of Didit: at most ``limit`` counted calls in any ``window_s`` seconds."""

    limit: int = Field(ge=1, description="calls a window, over all replicas that share the key")
    window_s: Seconds = Field(60.0, description="length of the window")


def _documented_limits() -> dict[str, ScopeLimit]:
    documented = {"session-create": 600, "session-decision": 100, "session-generate-pdf": 50, "generic-write": 300, "generic-get": 600}
    return {scope: ScopeLimit(limit=limit, window_s=60.0) for scope, limit in documented.items()}


class BudgetSettings(Group):
    """Didit's budgets, counted over all replicas that share the API key, and the memory of every call."""

    limits: dict[str, ScopeLimit] = Field(
        default_factory=_documented_limits, description="JSON object: scope -> {limit, window_s}; scopes left out have the documented limit"
    )
    topic: str | None = Field(
        None,
        pattern=r"^[a-zA-Z0-9._-]{1,249}$",
        description="the budget log; default <prefix>.budget. Everything that shares the API key must name the same one",
    )
    ask_wait_s: Seconds = Field(30.0, description="a call starts within this time of its ask, or it is asked for again")
    call_margin_s: Seconds = Field(
        30.0, description="Didit counts a call at most so long after our own timeout has ended it: its own queues, a frozen process"
    )
    slack_s: Seconds = Field(0.1, description="drift between two machines' clocks over a few minutes")
    skew_s: Seconds = Field(
        10.0, description="largest step of a broker's clock, or difference between brokers; only a newcomer waits for it"
    )
    clock_skew_max_s: Seconds = Field(
        60.0, description="a replica whose wall clock differs from the brokers' by more starts no call, and says so"
    )
    memory_s: Seconds = Field(
        3600.0, description="a second record with a request_id is recognised for so long after the first one's last call"
    )
    queue_max: int = Field(
        100,
        ge=1,
        le=10_000,
        description="requests of one operation that wait in this process before more go to a delay topic; below work_max",
    )
    pause_park_s: Seconds = Field(60.0, description="a scope paused for longer sends its requests to a delay topic instead of holding them")
    breaker_failures: int = Field(10, ge=1, le=10_000, description="5xx, resets and timeouts of an endpoint in a row that open its breaker")
    breaker_hold_s: Seconds = Field(15.0, description="then nothing but a probe after so long; failed probes double it, up to four times")
    account_probe_s: Seconds = Field(
        30.0, description="after an account fault, and while an operation is refused, one probe call each so many seconds"
    )
    refused_requests: int = Field(
        5, ge=2, le=1000, description="different requests of an operation that get a 403 within 10 minutes, without a success, hold it"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if unknown := sorted(set(self.limits) - set(_documented_limits())):
            raise ValueError(f"VP_BUDGET__LIMITS names scopes that no operation counts in: {', '.join(unknown)}")
        if self.ask_wait_s <= self.skew_s:
            raise ValueError(
                "VP_BUDGET__ASK_WAIT_S must be longer than VP_BUDGET__SKEW_S, or a newcomer's asks end before their time comes"
            )
        return self

    @property
    def all_limits(self) -> dict[str, ScopeLimit]:
        """Of every scope: as configured, else as documented."""
        return _documented_limits() | self.limits
