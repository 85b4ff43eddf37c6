"""Didit's budgets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from processor.settings.base import TOPIC_NAME, Group, Seconds, refuse


class ScopeLimit(Group):
    """One rate-limit scope of Didit: at most ``limit`` counted calls in any ``window_s`` seconds."""

    limit: int = Field(ge=1, description="calls a window, over all replicas that share the key")
    window_s: Seconds = Field(60.0, description="length of the window")


Tenant = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,64}$")]
Weight = Annotated[float, Field(ge=0.1, le=100)]
ApiVersion = Literal["v3", "v2"]

# Calls a minute (Didit, "Rate limiting"). Of decisions it limits v1 and v2 alone to 100: a v3 decision is a GET like any other, by that
# page and by "Retrieve session" in the OpenAPI 3.0.0.
_DOCUMENTED = {
    "session-create": 600,
    "session-decision": 600,
    "session-generate-pdf": 50,
    "ingest-write": 600,  # transactions and monitoring events, instead of generic-write
    "generic-write": 300,
    "generic-get": 600,
    "session-update-kyc": 10,
    "session-update-poa": 10,
}
_DOCUMENTED_V2 = _DOCUMENTED | {"session-decision": 100}


def documented_limits(version: ApiVersion) -> dict[str, ScopeLimit]:
    """Didit's own limits, by scope; ``version`` is the API's of session create and decision."""
    documented = _DOCUMENTED if version == "v3" else _DOCUMENTED_V2
    return {scope: ScopeLimit(limit=limit, window_s=60.0) for scope, limit in documented.items()}


def unknown_scopes(limits: Iterable[str]) -> list[str]:
    """Scopes that no operation counts in."""
    return sorted(set(limits) - set(_DOCUMENTED))


def _in_words() -> str:
    limits = dict(_DOCUMENTED) | {f"{scope} of v2": limit for scope, limit in _DOCUMENTED_V2.items() if limit != _DOCUMENTED[scope]}
    documented = ", ".join(f"{scope} {limit}" for scope, limit in limits.items())
    return f"JSON object: scope -> {{limit, window_s}}; scopes left out have the documented limit, in 60 s: {documented}"


class BudgetSettings(Group):
    """Didit's budgets, counted over all replicas that share the API key, and the memory of every call."""

    limits: dict[str, ScopeLimit] = Field(default_factory=dict, description=_in_words())
    topic: str | None = Field(
        None,
        pattern=TOPIC_NAME,
        description="the budget log; default <prefix>.budget. Everything that shares the API key must name the same one",
    )
    ask_wait_s: Seconds = Field(
        30.0, description="a call must start within this time of its ask in the budget log; otherwise it is asked for again"
    )
    call_margin_s: Seconds = Field(
        30.0,
        description="Didit counts a call at the latest this long after our own timeout has ended it (its own queues, a frozen process)",
    )
    slack_s: Seconds = Field(0.1, description="largest drift between the clocks of two machines over a few minutes")
    skew_s: Seconds = Field(
        10.0,
        description="largest step of a broker's clock, or difference between the clocks of two brokers; only a replica that "
        "joins waits for it",
    )
    clock_skew_max_s: Seconds = Field(
        60.0, description="a replica whose clock differs from the brokers' by more starts no call and logs `clock_wrong`"
    )
    memory_s: Seconds = Field(
        3600.0, description="how long after the first record's last call a second record with the same request_id is recognised"
    )
    memory_calls: int = Field(
        1_000_000,
        ge=1000,
        le=10_000_000,
        description="calls that a replica remembers, up to 200 bytes each; if there are more within memory_s, the oldest are "
        "forgotten (`call_memory_full`)",
    )
    groups: bool = Field(
        default=True,
        description="put several records into one entry of the log; set false on all replicas before a rollback to a version "
        "that cannot read such entries",
    )
    queue_max: int = Field(
        100,
        ge=1,
        le=10_000,
        description="requests of one operation that wait in this process; more go to a delay topic. Must be below VP_LANES__WORK_MAX",
    )
    tenant_weights: dict[Tenant, Weight] = Field(
        default_factory=dict,
        max_length=1000,
        description="JSON object: tenant -> weight (0.1 to 100) with which it shares the budget while several wait; those left out have 1, "
        "the empty name stands for requests without a tenant",
    )
    pause_park_s: Seconds = Field(
        60.0, description="if a scope is paused for longer than this, its requests go to a delay topic instead of waiting in memory"
    )
    breaker_failures: int = Field(
        10, ge=1, le=10_000, description="consecutive 5xx responses, resets and timeouts of an endpoint that open its circuit breaker"
    )
    breaker_hold_s: Seconds = Field(
        15.0, description="wait until an open breaker lets one probe pass; each failed probe doubles it, up to four times this"
    )
    account_probe_s: Seconds = Field(
        30.0, description="interval of the probe calls after an account fault, and while an operation is refused"
    )
    refused_requests: int = Field(
        5,
        ge=2,
        le=1000,
        description="an operation is held when this many different requests get a 403 within 10 minutes, without a success between them",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        faults = []
        if unknown := unknown_scopes(self.limits):
            faults.append(f"VP_BUDGET__LIMITS names scopes that no operation counts in: {', '.join(unknown)}")
        if self.ask_wait_s <= self.skew_s:
            faults.append("VP_BUDGET__ASK_WAIT_S must be longer than VP_BUDGET__SKEW_S, or a newcomer's asks end before their time comes")
        refuse(faults)
        return self
