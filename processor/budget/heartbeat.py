"""The signs of life of this replica, and the pauses of scopes that it says again for those who join later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from processor.budget.log import BudgetLog
from processor.budget.log_records import Alive, Paused
from processor.budget.replica_facts import ReplicaFacts
from processor.budget.replica_limits import ReplicaLimits
from processor.budget.state import PAUSE_TOLD_EVERY_S, BudgetState, Rules
from processor.budget.tenant_shares import TenantsWaiting


class Heartbeat:
    """Writes nothing itself: the driver sends what it makes.

    Args:
        rules: what this replica was configured with.
        replica_limits: its name.
        budget_log: knows by how much its clock is off.
        waiting: its requests that wait, by endpoint.
        draw: spreads the replicas.
        facts: what it tells people of itself.
        tenants: whose requests wait here, by endpoint.
    """

    def __init__(
        self,
        rules: Rules,
        replica_limits: ReplicaLimits,
        budget_log: BudgetLog,
        waiting: Callable[[], Mapping[str, int]],
        draw: Callable[[], float],
        facts: Callable[[], ReplicaFacts | None],
        tenants: Callable[[], Mapping[str, TenantsWaiting]],
    ) -> None:
        self._rules, self._name, self._log, self._waiting, self._draw = rules, replica_limits, budget_log, waiting, draw
        self._facts, self._tenants = facts, tenants

    def alive(self, client: str, log_name: str, *, lost: bool) -> Alive:
        """A sign of life under a name."""
        r, off_s = self._rules, self._log.clock_off_s
        return Alive(
            client,
            self._name.instance,
            r.counts,
            r.windows_s,
            self._waiting(),
            lost,
            off_s,
            log_name,
            reads_groups=True,
            facts=self._facts(),
            tenants=self._tenants(),
            group=self._name.group,
        )

    def told_again(self, state: BudgetState, now: float) -> Iterator[Paused]:
        """Pauses that nobody has told for long."""
        again_s = PAUSE_TOLD_EVERY_S / 2 * (1 + self._draw())
        for scope, window in state.windows.items():
            if (left_s := window.pause_told_until - now) > 0 and now - window.pause_sent_at > again_s:
                yield Paused(scope, left_s, counts=False)
