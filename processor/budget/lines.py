"""The lines of this process, one for each endpoint that is asked for, and whom each of them takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from processor.budget.endpoint_queue import EndpointQueue
from processor.budget.pacing import build_pacers
from processor.budget.parked_requests import Room
from processor.budget.permits import Ask, Parked, ParkedWait, Place
from processor.budget.replica_limits import ReplicaLimits
from processor.budget.state import BudgetState, Rules
from processor.budget.tenant_shares import TenantsWaiting, told_of


class Lines:
    """Endpoint queues by name.

    Args:
        rules: limits and windows.
        replica_limits: bounds of this process.
        state: what the log says now.
        clock: seconds.
        on_new: told of each line that is made.
    """

    def __init__(
        self,
        rules: Rules,
        replica_limits: ReplicaLimits,
        state: Callable[[], BudgetState],
        clock: Callable[[], float],
        on_new: Callable[[EndpointQueue], object],
    ) -> None:
        self._limits, self._replica_limits, self._state, self._clock, self._on_new = rules.limits, replica_limits, state, clock, on_new
        self._pacers = build_pacers(rules.limits, lambda scope: state().windows[scope].may_burst(1, clock()))
        self._queues: dict[str, EndpointQueue] = {}

    def __iter__(self) -> Iterator[EndpointQueue]:
        """All of them."""
        return iter(self._queues.values())

    @property
    def waiting(self) -> dict[str, int]:
        """Requests that wait to start, by endpoint."""
        return {q.endpoint: len(q.waiters) + q.outstanding for q in self}

    @property
    def tenants(self) -> dict[str, TenantsWaiting]:
        """Whose requests wait here, parked ones included, by endpoint for which any of a named tenant do."""
        return told_of({q.endpoint: q.waiters.waiting_of + q.parked.waiting_of for q in self})

    def held_s(self, queue: EndpointQueue, client: str) -> float:
        """For how long we leave the budget of an endpoint to other replicas, whose tenants have had less."""
        return self._state().tenants.held_s(queue.endpoint, client, queue.gap_s, self._clock())

    def of(self, ask: Ask | Place) -> EndpointQueue:
        """The line of an endpoint.

        Raises:
            KeyError: a scope has no limit.
        """
        return self._queues.get(ask.endpoint) or self._add(ask)

    def admit(self, queue: EndpointQueue, ask: Ask) -> Parked | None:
        """The answer for a request that has to come back later, or None if it may stand in its line."""
        state, now = self._state(), self._clock()
        _note_tenant(ask, state, now)
        if (parked := self._away(queue.endpoint, ask.scopes, state, now)) is not None or not _others_wanted(queue, state, now):
            return parked
        return queue.admit(ask, self._sharing(queue))

    def turn_away(self, place: Place, *, aside: bool) -> Parked | None:
        """See ``permits.Budget.turn_away``."""
        queue = self.of(place)
        state, now = self._state(), self._clock()
        _note_tenant(place, state, now)
        if (parked := self._away(queue.endpoint, place.scopes, state, now)) is not None or not _others_wanted(queue, state, now):
            return parked
        return queue.turn_away(place, self._sharing(queue), aside=aside)

    def wake(self, withdraw: Callable[[str, Parked], None]) -> None:
        """Look at every line again, and send away those who would wait for long; ``withdraw`` ends the asks of an endpoint."""
        for queue in self:
            if (parked := self._away(queue.endpoint, queue.scopes, self._state(), self._clock())) is not None:
                queue.end_waits(parked)
                withdraw(queue.endpoint, parked)
            if queue.waiters:
                queue.changed.set()

    def end_waits(self) -> None:
        """Nobody is served any more."""
        for queue in self:
            queue.end_waits(None)
            queue.changed.set()

    def park(self, place: Place, start: Callable[[], None]) -> ParkedWait:
        """See ``permits.Budget.park``."""
        queue = self.of(place)
        parked = queue.parked.park(place, start)
        queue.changed.set()
        return parked

    def share_out(self) -> None:
        """Tell each line how many replicas want its endpoint."""
        for queue in self:
            queue.share_with(max(1, self._state().replicas.wanting(queue.endpoint, self._clock())))

    def _away(self, endpoint: str, scopes: tuple[str, ...], state: BudgetState, now: float) -> Parked | None:
        """That requests come back later: their operation is paused or held, or a scope paused for long."""
        return state.parked(endpoint, scopes, self._replica_limits.park_s, now)

    def _sharing(self, queue: EndpointQueue) -> int:
        """Lines with somebody waiting that share the rate, this one included."""
        scopes = set(queue.scopes)
        return sum(1 for q in self if q is queue or (q.waiters and not scopes.isdisjoint(q.scopes)))

    def _room(self, queue: EndpointQueue) -> Room:
        state, now = self._state(), self._clock()
        if state.pauses.names(queue.endpoint):
            return Room.NOT_YET
        if self._away(queue.endpoint, queue.scopes, state, now) is not None:
            return Room.NOBODY
        if state.shut(queue.endpoint):
            return Room.ONE
        return Room.PLACES if _others_wanted(queue, state, now) else Room.EVERYBODY

    def _add(self, ask: Ask | Place) -> EndpointQueue:
        rates = {scope: self._limits[scope][0] / self._limits[scope][1] for scope in ask.scopes}
        # the slowest scope first, so that a place in a quick one is not used up by waiting for the slow one
        ordered = sorted(ask.scopes, key=lambda scope: (rates[scope], scope))
        pacers, limits = [self._pacers[scope] for scope in ordered], self._replica_limits
        queue = EndpointQueue(
            ask.endpoint,
            ask.scopes,
            pacers,
            min(rates.values()),
            places=limits.queue_max,
            room=self._room,
            weight_of=lambda tenant: self._state().tenants.weight_here(ask.endpoint, tenant),
        )
        self._queues[ask.endpoint] = queue
        self._on_new(queue)
        return queue


def _note_tenant(newcomer: Ask | Place, state: BudgetState, now: float) -> None:
    if newcomer.tenant:
        state.tenants.named_at = now


def _others_wanted(queue: EndpointQueue, state: BudgetState, now: float) -> bool:
    """Whether requests for other endpoints, or of other tenants, may stand behind those of this line."""
    return state.tenants.are_wanted(now) or state.others_wanted(queue.endpoint, now)
