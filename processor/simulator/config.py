"""What a simulator is told. Where Didit's documents contradict each other there is a switch; the default is the stricter reading."""

from __future__ import annotations

from collections.abc import Mapping
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
    "reset",  # the connection is reset before anything is done
    "lost_reply",  # done, then the connection is reset
    "late_reply",  # done, but answered only after a long time
    "error_500_html",
    "error_502",
    "error_503",
    "hang",  # no answer for a long time, then a reset
    "slow_body",  # the answer trickles
    "truncated",  # done, and the answer is cut in the middle
    "throttle_429",  # 429 with Retry-After although the budget is not used up (foreign traffic on the key)
    "throttle_429_bare",  # 429 without any header
    "phone_provider_unavailable",  # of phone.send alone: 502 with this code, nothing sent, nothing billed
    "phone_error_500",  # of phone.send alone: the documented 500
)


class SimulatorOptionError(ValueError):
    """An option is not usable; the text says which."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``limit`` calls of a key in any ``window_s`` seconds."""

    limit: int
    window_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Log-normal: median and sigma, cut at ``max_s``. A median of 0 answers at once."""

    median_s: float = 0.0
    sigma: float = 0.0
    max_s: float = 60.0


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Rates of faults (0 to 1, each drawn once for each call) and how they look."""

    rates: Mapping[str, float] = field(default_factory=dict)
    latency: Latency = Latency()
    routes: frozenset[str] = frozenset()  # empty: all
    hang_s: float = 60.0  # of hang and late_reply
    retry_after_s: int = 2


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What users do by themselves; without odds a session stays as it is until it expires or is moved.

    An outcome is a status, or several in a row: ``Approved``, ``Abandoned``, ``Expired``, ``In Review > Approved``.
    """

    after_s: float = 0.0  # on average, to the outcome; as long again for each later status
    odds: Mapping[str, float] = field(default_factory=dict)  # outcome -> weight

    def __post_init__(self) -> None:
        for outcome in self.odds:
            user_path(outcome)


@dataclass(frozen=True, slots=True)
class Hooks:
    """The webhook destination, and what goes wrong on the way to it."""

    url: str | None = None
    secret: str = "whsec_simulator"  # noqa: S105 - the simulator's own, shown in its documents
    version: Literal["v1", "v2", "v3"] = "v3"  # of the decision inside
    retry_s: tuple[float, ...] = (60.0, 240.0)  # waits after the first, the second failed attempt
    timeout_s: float = 5.0
    event_id: Literal["per_attempt", "stable"] = "per_attempt"
    timestamp: Literal["per_attempt", "stable"] = "per_attempt"  # stable: a late retry is signed with its old time
    lost: float = 0.0  # rate of events never sent
    doubled: float = 0.0  # rate of events sent twice
    jitter_s: float = 0.0  # the first attempt starts up to so much later: events overtake each other
    drop_headers: tuple[str, ...] = ()  # lost on the way, as behind some proxies
    drop_rate: float = 1.0


@dataclass(frozen=True, slots=True)
class Switches:
    """Readings of contradictory documents, and features that an account may lack."""

    create_counts_in_generic_write: bool = True
    v3_decision_counts_in_decision_scope: bool = True
    rejected_calls_count: bool = True
    headers_on_success: bool = False
    auth_status: Literal[401, 403] = 403
    same_status_update: Literal[400, 200] = 400
    delete_status: Literal[200, 204] = 200
    transaction_duplicate: Literal[400, 201] = 400
    absent_features: Literal["null", "empty"] = "null"  # how a decision shows the arrays of features that have not run
    imports_enabled: bool = False  # bulk imports are off unless Didit turns them on


@dataclass(frozen=True, slots=True)
class Config:
    """A simulator."""

    seed: int = 1
    api_keys: tuple[str, ...] = ("sim-key",)
    sandbox_keys: tuple[str, ...] = ("sim-sandbox-key",)
    limits: Mapping[str, Limit] = field(default_factory=lambda: {n: Limit(v) for n, v in DOCUMENTED_LIMITS.items()})
    faults: FaultPlan = FaultPlan()
    behaviour: Behaviour = Behaviour()
    hooks: Hooks = Hooks()
    switches: Switches = Switches()
    session_expiration_s: float = 604_800.0
    abandon_after_s: float = 604_800.0
    kyc_valid_s: float = 31_536_000.0
    list_lag_s: float = 0.0  # a created session shows in lists only so much later
    credits: int = 1_000_000  # one for a session or a check; the balance shows one as a dollar
    topped_up: bool = True  # phone codes need a first top-up
    account_credits: int = 0  # of an organization that registers itself
    account_code_s: float = 600.0  # documented as 10 and as 15 minutes
    workflows: frozenset[str] | None = None  # None: every UUID is a workflow
    sessions_max: int = 1_000_000  # memory: creates beyond it are refused with a 500
    ledger_path: str | None = None


def limits_from_json(text: str | None) -> dict[str, Limit]:
    """``{"session-create": {"limit": 30, "window_s": 10}}``; scopes that are not named keep the documented limit.

    Raises:
        SimulatorOptionError: if it is not of this form.
    """
    limits = {name: Limit(value) for name, value in DOCUMENTED_LIMITS.items()}
    for name, entry in mapping_of(text, "limits").items():
        if name not in limits:
            raise SimulatorOptionError(f"limits: unknown scope {name!r}; known are {', '.join(sorted(limits))}")
        try:
            limits[name] = Limit(int(entry["limit"]), float(entry.get("window_s", 60.0)))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise SimulatorOptionError(f"limits: {name} must be an object with limit and window_s") from None
    return limits


def faults_from_json(text: str | None) -> FaultPlan:
    """``{"rates": {"lost_reply": 0.02}, "latency_s": {"median": 0.1, "sigma": 0.5, "max": 2}, "routes": [...]}``.

    Raises:
        SimulatorOptionError: if it is not of this form.
    """
    found = mapping_of(text, "faults")
    rates = dict(found.get("rates", {}))
    if unknown := sorted(set(rates) - set(FAULT_NAMES)):
        raise SimulatorOptionError(f"faults: unknown {', '.join(unknown)}; known are {', '.join(FAULT_NAMES)}")
    latency = found.get("latency_s", {})
    try:
        return FaultPlan(
            rates={name: float(rate) for name, rate in rates.items()},
            latency=Latency(float(latency.get("median", 0)), float(latency.get("sigma", 0)), float(latency.get("max", 60))),
            routes=frozenset(found.get("routes", ())),
            hang_s=float(found.get("hang_s", 60)),
            retry_after_s=int(found.get("retry_after_s", 2)),
        )
    except (TypeError, ValueError, AttributeError):
        raise SimulatorOptionError("faults: rates and latency_s must be objects of numbers, routes a list of route names") from None


def mapping_of(text: str | None, option: str) -> dict[str, Any]:
    """The object that an option's JSON text stands for.

    Raises:
        SimulatorOptionError: if it is none.
    """
    if not text:
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise SimulatorOptionError(f"{option}: not JSON: {exc.msg}") from None
    if not isinstance(found, dict):
        raise SimulatorOptionError(f"{option}: must be a JSON object")
    return found
