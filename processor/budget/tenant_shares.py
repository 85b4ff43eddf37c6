"""Which part of an operation's budget each replica may take while others want it too, by the tenants that wait there. Pure.

The log lets whoever asks first go first, so replicas with something waiting get equal parts of the budget, whoever waits in them. Where
tenants are named that is not their share. So each replica says with its signs of life who waits in it, and all work out the same: a
tenant's weight is divided by the replicas in which it waits, and a replica's part is the sum of that. One that has taken more than its
part asks no more while another, which has taken less, is asking (start-time fair queueing over the asks that all read in the log). It
decides nothing about the budget itself: a replica that sees something else only asks sooner or later.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from processor.budget.tenant_queue import Weigh
from processor.contract.records import TENANT_FORM

TOLD_MAX = 20  # tenants with the most waiting, of an operation; of further ones their number
_OPERATIONS_TOLD_MAX = 10
_NAMED_S = 3600.0
_OPEN_MAX = 1000
_COUNT_MAX = 1_000_000_000
_NAME = re.compile(rf"|~\d{{1,3}}|{TENANT_FORM}")  # nobody named, a bucket, a tenant
_QUIET_S = 0.1  # one with something waiting asks again when an ask of it has started: two of each replica may stand before that, and this


@dataclass(frozen=True, slots=True)
class TenantsWaiting:
    """Who waits for an operation in a replica."""

    requests: Mapping[str, int]  # by tenant, of those with the most
    others: int = 0  # further tenants
    other_requests: int = 0


def told_of(waiting: Mapping[str, Counter[str]]) -> dict[str, TenantsWaiting]:
    """What a replica says of those who wait in it, by operation; of operations for which nobody named waits it says nothing."""
    named = [(operation, counts) for operation, counts in waiting.items() if any(counts)]
    most = sorted(named, key=lambda item: (-item[1].total(), item[0]))[:_OPERATIONS_TOLD_MAX]
    return {operation: _told(counts) for operation, counts in most}


def _told(counts: Counter[str]) -> TenantsWaiting:
    most = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOLD_MAX])
    return TenantsWaiting(most, len(counts) - len(most), counts.total() - sum(most.values()))


def write_tenants(tenants: Mapping[str, TenantsWaiting]) -> dict[str, Any]:
    """As they stand in a sign of life."""
    return {operation: [dict(w.requests), w.others, w.other_requests] for operation, w in tenants.items()}


def read_tenants(raw: Any) -> dict[str, TenantsWaiting]:
    """The same back; what is not as we write it is left out: a sign of life counts without it."""
    if not isinstance(raw, dict) or len(raw) > _OPERATIONS_TOLD_MAX:
        return {}
    return {operation: read for operation, listed in raw.items() if (read := _read_told(listed)) is not None}


def _read_told(raw: Any) -> TenantsWaiting | None:
    if type(raw) is not list or len(raw) < 3 or type(raw[0]) is not dict or len(raw[0]) > TOLD_MAX:  # noqa: PLR2004 - its members
        return None
    requests, others, other_requests = raw[:3]
    counts_are_right = all(type(n) is int and 0 <= n <= _COUNT_MAX for n in (*requests.values(), others, other_requests))
    return TenantsWaiting(requests, others, other_requests) if counts_are_right and all(map(_NAME.fullmatch, requests)) else None


class Tenants:
    """Of all operations, as the log says.

    Args:
        weights: by tenant; of those that are left out: 1.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self.shares: dict[str, TenantShares] = {}  # by endpoint, where requests of named tenants wait anywhere
        self.named_at = float("-inf")  # when a request last named one, here or as another replica said

    def weight_of(self, tenant: str) -> float:
        """Of a tenant, or of a bucket of them."""
        return self._weights.get(tenant, 1.0)

    def weight_here(self, endpoint: str, tenant: str) -> float:
        """The part of it that is for each replica in which the tenant waits."""
        shares = self.shares.get(endpoint)
        return self.weight_of(tenant) / (1 if shares is None else shares.holders(tenant))

    def are_wanted(self, now: float) -> bool:
        """Whether anybody has named a tenant lately, so that requests may stand behind those of others."""
        return bool(self._weights) or now - self.named_at <= _NAMED_S

    def asked(self, endpoint: str, ask_id: str, at: float) -> None:
        """An ask was read, for the first time."""
        if (shares := self.shares.get(endpoint)) is not None:
            shares.asked(ask_id, at)

    def ended(self, endpoint: str, ask_id: str) -> None:
        """The end of such an ask was."""
        if (shares := self.shares.get(endpoint)) is not None:
            shares.ended(ask_id)

    def held_s(self, endpoint: str, client: str, gap_s: float, now: float) -> float:
        """For how long a replica leaves the budget of an endpoint to others, whose tenants have had less; see ``TenantShares.held_s``."""
        shares = self.shares.get(endpoint)
        return 0.0 if shares is None else shares.held_s(client, gap_s, now)

    def tell(self, told: Mapping[str, tuple[Mapping[str, int], Mapping[str, TenantsWaiting]]], at: float) -> None:
        """What the replicas said last, by client: how many wait in them, and whose they are, by endpoint."""
        found: dict[str, TenantShares] = {}
        for endpoint in {name for _, tenants in told.values() for name in tenants}:
            self.named_at = at
            nameless = {c: TenantsWaiting({"": count}) for c, (waiting, _) in told.items() if (count := waiting.get(endpoint, 0))}
            shares = found[endpoint] = self.shares.get(endpoint) or TenantShares()
            shares.tell(nameless | {c: tenants[endpoint] for c, (_, tenants) in told.items() if endpoint in tenants}, self.weight_of)
        self.shares = found


@dataclass(slots=True)
class _Part:
    """What one replica may take of it, and has taken."""

    weight: float
    tag: float = float("-inf")  # what it has taken for its weight
    asked_at: float = float("-inf")
    open: dict[str, None] = field(default_factory=dict)  # its newest asks without an end, in their order


@dataclass(slots=True)
class TenantShares:
    """How the replicas share the budget of one operation, by the tenants that wait in each; times are seconds of the own clock."""

    _holders: Counter[str] = field(default_factory=Counter)  # replicas in which a tenant waits
    _parts: dict[str, _Part] = field(default_factory=dict)  # by client
    _time: float = 0.0  # the largest start of an ask
    _lag_max: float = 0.0  # further behind that nobody is, so that who was away has saved nothing up

    def tell(self, waiting: Mapping[str, TenantsWaiting], weight_of: Weigh) -> None:
        """These replicas have said who waits in them, by client."""
        self._holders = Counter(tenant for told in waiting.values() for tenant in told.requests)
        parts: dict[str, _Part] = {}
        for client, told in waiting.items():
            weight = sum(weight_of(tenant) / self._holders[tenant] for tenant in told.requests) + told.others
            parts[client] = self._parts.get(client, _Part(weight))
            parts[client].weight = weight
        self._parts = parts
        self._lag_max = max((1.0 / part.weight for part in parts.values()), default=0.0)

    def holders(self, tenant: str) -> int:
        """Replicas in which a tenant waits, at least one."""
        return max(1, self._holders[tenant])

    def asked(self, ask_id: str, at: float) -> None:
        """An ask of a replica was read, for the first time."""
        if (part := self._parts.get(_client(ask_id))) is None:
            return  # nobody has said who waits there; it will say so soon
        start = self._start(part)
        part.tag, part.asked_at, part.open[ask_id] = start + 1.0 / part.weight, at, None
        if len(part.open) > _OPEN_MAX:
            del part.open[next(iter(part.open))]
        self._time = max(self._time, start)

    def ended(self, ask_id: str) -> None:
        """An ask of a replica is over."""
        if (part := self._parts.get(_client(ask_id))) is not None:
            part.open.pop(ask_id, None)

    def held_s(self, client: str, gap_s: float, now: float) -> float:
        """For how long a replica asks for nothing, if no record comes before; 0 if it may ask now.

        Args:
            client: of the replica.
            gap_s: between two calls at the full rate.
            now: own clock.
        """
        mine = self._parts.get(client)
        if mine is None or len(self._parts) == 1:
            return 0.0
        start, quiet_s = self._start(mine) - 1.0 / mine.weight, gap_s * (2 * len(self._parts) + 1) + _QUIET_S
        left = [p.asked_at + quiet_s - now for p in self._parts.values() if p is not mine and p.open and self._start(p) < start]
        return max(0.0, *left) if left else 0.0

    def _start(self, part: _Part) -> float:
        return max(part.tag, self._time - self._lag_max - 2.0 / part.weight)


def _client(ask_id: str) -> str:
    return ask_id.rpartition("-")[0]
