"""The configuration of a simulator.

Where Didit's documents contradict each other there is a switch; its default is what the newest of them agree on, else the stricter reading.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from processor.simulator.statuses import user_path

DOCUMENTED_LIMITS = {
    "session-create": 600,
    "session-decision": 100,
    "generic-write": 300,
    "generic-get": 600,
    "session-generate-pdf": 50,
    "session-add-images": 10,
    "session-update-kyc": 10,
    "session-update-poa": 10,
    "ingest-write": 600,
}
FAULT_NAMES = (
    "reset",  # the connection is reset, and nothing is done
    "lost_reply",  # done, then the connection is reset
    "gateway_502",  # done, and a gateway in front of Didit gives up on it: its page instead of the response
    "late_reply",  # done, and the response comes after ``hang_s``
    "error_500_html",
    "error_403_html",  # a firewall in front of Didit refuses the call
    "error_502",
    "error_503",
    "hang",  # nothing is done; a reset after ``hang_s``
    "slow_body",  # done, and the body comes in small parts
    "truncated",  # done, and the connection is reset in the middle of the body
    "throttle_429",  # 429 with Retry-After although the limit is not used up, as if the key had other users
    "throttle_429_bare",  # the same without headers and body
    "phone_provider_unavailable",  # on phone.send only: 502 with this code, nothing is sent or billed
    "phone_error_500",  # on phone.send only: the documented 500
)


class SimulatorOptionError(ValueError):
    """An option cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``limit`` calls of a key in any ``window_s`` seconds."""

    limit: int
    window_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Response times, log-normal and cut off at ``max_s``. A median of 0: no latency."""

    median_s: float = 0.0
    sigma: float = 0.0
    max_s: float = 60.0


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Rates of faults (0 to 1; at most one fault is drawn for each call), and their parameters."""

    rates: Mapping[str, float] = field(default_factory=dict)
    latency: Latency = Latency()
    routes: frozenset[str] = frozenset()  # names of routes that it applies to; empty: all
    hang_s: float = 60.0  # of hang and late_reply
    retry_after_s: int = 2


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What users do without control calls; without odds they do nothing, and a session stays in its status until a timer ends it.

    An outcome is a status, or several in a row: ``Approved``, ``Abandoned``, ``Expired``, ``In Review > Approved``.
    """

    after_s: float = 0.0  # mean time to the outcome; once more for each further status
    odds: Mapping[str, float] = field(default_factory=dict)  # weight by outcome

    def __post_init__(self) -> None:
        for outcome in self.odds:
            user_path(outcome)


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """The webhook destination, and the faults of delivery."""

    url: str | None = None
    secret: str = "whsec_simulator"  # noqa: S105 - the simulator's default, and public
    version: Literal["v1", "v2", "v3"] = "v3"  # of the decision in the event
    retry_s: tuple[float, ...] = (60.0, 240.0)  # waits after the first and the second failed attempt
    timeout_s: float = 5.0
    event_id: Literal["per_attempt", "stable"] = "per_attempt"
    timestamp: Literal["per_attempt", "stable"] = "per_attempt"  # stable: retries are signed with the time of the first attempt
    lost: float = 0.0  # rate of events that are never sent
    doubled: float = 0.0  # rate of events that are sent twice
    jitter_s: float = 0.0  # the first attempt is delayed by up to this: later events may arrive earlier
    drop_headers: tuple[str, ...] = ()  # removed from requests, as some proxies do
    drop_rate: float = 1.0  # rate of requests that lose ``drop_headers``


@dataclass(frozen=True, slots=True)
class Switches:
    """Interpretations of contradictory documents, and features that not every account has."""

    create_counts_in_generic_write: bool = True
    v3_decision_counts_in_decision_scope: bool = False  # older pages; the newest page and the OpenAPI count it as a plain GET
    rejected_calls_count: bool = True
    headers_on_success: bool = False
    auth_status: Literal[401, 403] = 403
    same_status_update: Literal[400, 200] = 400
    delete_status: Literal[200, 204] = 200
    transaction_duplicate: Literal[400, 201] = 400
    absent_features: Literal["null", "empty"] = "null"  # arrays of features that have not run, in a decision
    imports_enabled: bool = False  # Didit enables bulk imports on request


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one simulator."""

    seed: int = 1
    api_keys: tuple[str, ...] = ("sim-key",)
    sandbox_keys: tuple[str, ...] = ("sim-sandbox-key",)
    limits: Mapping[str, RateLimit] = field(default_factory=lambda: {n: RateLimit(v) for n, v in DOCUMENTED_LIMITS.items()})
    faults: FaultPlan = FaultPlan()
    behaviour: Behaviour = Behaviour()
    webhooks: WebhookOptions = WebhookOptions()
    switches: Switches = Switches()
    session_expiration_s: float = 604_800.0
    abandon_after_s: float = 604_800.0
    kyc_valid_s: float = 31_536_000.0
    list_lag_s: float = 0.0  # time until a created session appears in lists
    credits: int = 1_000_000  # a session or a check costs one; the balance shows one as a dollar
    topped_up: bool = True  # phone codes need a first top-up
    account_credits: int = 0  # of an organization made by programmatic registration
    account_code_s: float = 600.0  # documented as 10 and as 15 minutes
    workflows: frozenset[str] | None = None  # known ids; None: every UUID
    sessions_max: int = 1_000_000  # bounds memory: creates beyond it are a 500
    ledger_path: str | None = None


def limits_from_json(text: str | None) -> dict[str, RateLimit]:
    """``{"session-create": {"limit": 30, "window_s": 10}}``; other scopes keep their documented limit.

    Raises:
        SimulatorOptionError: if it is not of this form.
    """
    limits = {name: RateLimit(value) for name, value in DOCUMENTED_LIMITS.items()}
    for name, entry in parse_object(text, "limits").items():
        if name not in limits:
            raise SimulatorOptionError(f"limits: unknown scope {name!r}; known are {', '.join(sorted(limits))}")
        if not isinstance(entry, dict) or not {"limit"} <= set(entry) <= {"limit", "window_s"}:
            raise SimulatorOptionError(f"limits: {name} must be an object with limit and window_s")
        limit, window_s = entry["limit"], entry.get("window_s", 60.0)
        if not isinstance(limit, int | float) or isinstance(limit, bool) or limit < 1 or limit % 1:
            raise SimulatorOptionError(f"limits: {name}: limit must be a whole number from 1")
        limits[name] = RateLimit(int(limit), _amount(window_s, f"limits: {name}: window_s", least=0.001))
    return limits


def faults_from_json(text: str | None) -> FaultPlan:
    """``{"rates": {"lost_reply": 0.02}, "latency_s": {"median": 0.1, "sigma": 0.5, "max": 2}, "routes": [...]}``.

    Raises:
        SimulatorOptionError: if it is not of this form.
    """
    document = parse_object(text, "faults")
    _known(document, ("rates", "latency_s", "routes", "hang_s", "retry_after_s"), "faults")
    rates, latency, routes = document.get("rates", {}), document.get("latency_s", {}), document.get("routes", [])
    if not isinstance(rates, dict) or not isinstance(latency, dict) or not isinstance(routes, list):
        raise SimulatorOptionError("faults: rates and latency_s must be objects of numbers, routes a list of route names")
    _known(rates, FAULT_NAMES, "faults: rates")
    _known(latency, ("median", "sigma", "max"), "faults: latency_s")
    found = {name: _amount(rate, f"faults: rates: {name}", most=1.0) for name, rate in rates.items()}
    if sum(found.values()) > 1 + 1e-9:
        raise SimulatorOptionError("faults: rates must not add up to more than 1, as a call has one fault at most")
    times = {name: _amount(value, f"faults: latency_s: {name}") for name, value in latency.items()}
    return FaultPlan(
        rates=found,
        latency=Latency(times.get("median", 0.0), times.get("sigma", 0.0), times.get("max", 60.0)),
        routes=frozenset(map(str, routes)),
        hang_s=_amount(document.get("hang_s", 60), "faults: hang_s"),
        retry_after_s=int(_amount(document.get("retry_after_s", 2), "faults: retry_after_s")),
    )


def _known(document: Mapping[str, Any], names: Collection[str], where: str) -> None:
    if unknown := sorted(set(document) - set(names)):
        raise SimulatorOptionError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(names)}")


def _amount(value: Any, where: str, *, least: float = 0.0, most: float = 1e9) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise SimulatorOptionError(f"{where} must be a number from {least:g} to {most:g}")
    return float(value)


def parse_object(text: str | None, option: str) -> dict[str, Any]:
    """Parse an option's JSON text into an object; empty without a text.

    Raises:
        SimulatorOptionError: if it is not a JSON object.
    """
    if not text:
        return {}
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise SimulatorOptionError(f"{option}: not JSON: {exc.msg}") from None
    if not isinstance(document, dict):
        raise SimulatorOptionError(f"{option}: must be a JSON object")
    return document
