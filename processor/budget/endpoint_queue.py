"""Requests that wait for the same endpoint: in order of class and age, a few asks outstanding, at the pace of the slowest scope."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from processor.budget.fair_queue import FairQueue
from processor.budget.pacing import ScopePacer
from processor.budget.parked_requests import ParkedRequests, Room
from processor.budget.permits import Ask, CallClass, Parked, Place
from processor.budget.tenant_queue import NAMES_MAX, Weigh, alike, bucket_of
from processor.contract.codes import ErrorCode
from processor.contract.values import value

_OUTSTANDING_S = 0.5  # so much budget is asked for ahead: it hides the log's latency, and a killed replica leaks no more


@value(frozen=True, slots=True)
class Turn:
    """The right to make one ask, freely or as a probe; it is given back when the ask has started or ended."""

    probe: bool = False


FREELY, AS_PROBE = Turn(), Turn(probe=True)
Waiter = asyncio.Future[Turn | Parked | None]  # what ends a wait; None: the budget has closed


class EndpointQueue:
    """A queue in front of an endpoint.

    Args:
        endpoint: the operation's name.
        scopes: in which its calls count.
        pacers: of these, the slowest first.
        rate_per_s: of the slowest.
        places: requests that wait here before more are sent away, while that is done at all.
        room: whom the queue takes now.
        weight_of: of a tenant, in this process.
    """

    def __init__(
        self,
        endpoint: str,
        scopes: tuple[str, ...],
        pacers: Sequence[ScopePacer],
        rate_per_s: float,
        *,
        places: int,
        room: Callable[[EndpointQueue], Room],
        weight_of: Weigh = alike,
    ) -> None:
        self.endpoint, self.scopes, self.pacers = endpoint, scopes, pacers
        self.waiters: FairQueue[Waiter] = FairQueue(weight_of)
        self.parked = ParkedRequests(self.waiters, places, lambda: room(self), weight_of)
        self.changed = asyncio.Event()  # something that a dispatcher may wait for has happened
        self.outstanding = 0
        self.probing = 0  # of those, probes
        self._rate_per_s = rate_per_s
        self._places = places
        self._replicas = 1
        self.share_with(1)
        self._weight_of = weight_of
        self._away: Counter[str] = Counter()  # were sent away and are not back, by tenant, as far as this process sees; for their due times

    def share_with(self, replicas: int) -> None:
        """So many replicas, this one included, want this endpoint now: together they ask for half a second of budget ahead.

        At least for two calls each where that much is ahead at all, so that one's log latency is hidden by the other.
        """
        self._replicas, ahead = replicas, self._rate_per_s * _OUTSTANDING_S
        self._outstanding_max = max(math.ceil(ahead / replicas), min(2, math.ceil(ahead)))

    @property
    def gap_s(self) -> float:
        """Between two calls at the full rate."""
        return 1.0 / self._rate_per_s

    def full(self, useful: int) -> bool:
        """Whether as many asks as are useful are outstanding, where so many are for the call slots (``Reservations.useful_asks``)."""
        return self.outstanding >= min(self._outstanding_max, useful)

    def paced(self) -> bool:
        """Whether every pacer would let one ask pass at once."""
        return all(pacer.has_capacity() for pacer in self.pacers)

    async def pace(self) -> bool:
        """Wait for the pacers; whether time may have passed meanwhile."""
        waited = False
        for pacer in self.pacers:
            waited = await pacer.acquire() or waited
        return waited

    async def wait_turn(self, ask: Ask) -> Turn | Parked | None:
        """Wait in the queue.

        Returns:
            The turn, to be given back; ``Parked`` if the request shall come back later; None if the budget has closed.
        """
        waiter: Waiter = asyncio.get_running_loop().create_future()
        ticket = self.waiters.push(ask.call_class, ask.since_ms, waiter, ask.tenant)
        self.changed.set()
        try:
            return await waiter
        except asyncio.CancelledError:
            self.waiters.remove(ask.call_class, ticket)
            if waiter.done() and not waiter.cancelled() and isinstance(turn := waiter.result(), Turn):
                self.give_back(turn)  # it came in the very turn of the loop in which the wait was cancelled
            raise

    async def wait_change(self, within_s: float) -> None:
        """Wait for a change; no longer than so many seconds while somebody waits, as a pause may be over, or a probe due."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s if self.waiters or self.parked else None):
                await self.changed.wait()

    def open_turn(self, turn: Turn) -> Turn:
        """Count a turn as outstanding."""
        self.outstanding += 1
        self.probing += turn.probe
        return turn

    def give_back(self, turn: Turn) -> None:
        """A turn is over."""
        self.outstanding -= 1
        self.probing -= turn.probe
        self.changed.set()

    def give_turn(self, turn: Turn) -> bool:
        """Give a turn to the waiter who comes first; False if nobody waits."""
        while (waiter := self.waiters.pop()) is not None:
            if not waiter.done():
                waiter.set_result(self.open_turn(turn))
                return True
        return False

    def end_waits(self, answer: Parked | None) -> None:
        """End the wait of everybody."""
        for waiter in self.waiters.clear():
            if not waiter.done():
                waiter.set_result(answer)

    def admit(self, newcomer: Ask, lines: int) -> Parked | None:
        """While other operations are wanted: the answer for a newcomer who has to come back later, or None if it may stay.

        Args:
            newcomer: who wants a place.
            lines: that share the rate, this one included.
        """
        if not newcomer.returning and self.parked.goes_before(newcomer.call_class, newcomer.tenant):
            return self._parked(newcomer.tenant, lines)
        if len(self.waiters) < self._places:
            if not newcomer.returning:
                self._away.clear()  # there is room again: who is still away came back to other replicas
            return None
        last = self.waiters.pop_last((CallClass(newcomer.call_class), newcomer.since_ms), newcomer.tenant)
        if last is None:
            return self._parked(newcomer.tenant, lines)
        tenant, waiter = last
        if not waiter.done():
            waiter.set_result(self._parked(tenant, lines, leaves=True))
        return None

    def turn_away(self, newcomer: Place, lines: int, *, aside: bool = False) -> Parked | None:
        """What ``admit`` says to one that has not waited yet, if that is to come back later; else None, and nothing has changed.

        ``aside``: it comes back later in any case.
        """
        if not (aside or self.parked.goes_before(newcomer.call_class, newcomer.tenant)) and (
            len(self.waiters) < self._places or not self.waiters.is_last((newcomer.call_class, newcomer.since_ms), newcomer.tenant)
        ):
            return None
        return self._parked(newcomer.tenant, lines)

    def _parked(self, tenant: str, lines: int, *, leaves: bool = False) -> Parked:
        """That somebody comes back later, behind all who wait, or behind those of its tenant in the tenant's share: the sooner one counts.

        It starts before that if the line has room. ``leaves``: it has stood in the line until now.
        """
        known = tenant if tenant in self._away or len(self._away) < NAMES_MAX else bucket_of(tenant)
        self._away[known] += 1
        in_line, parked = self.waiters.waiting_of, self.parked.waiting_of
        before = len(self.waiters) + leaves + max(self._away.total(), len(self.parked))
        own = in_line[tenant] + leaves + max(self._away[known], parked[tenant])
        wanting = {tenant, *in_line, *parked}
        turns = own * sum(map(self._weight_of, wanting)) / self._weight_of(tenant)
        return Parked(ErrorCode.QUEUE_FULL, min(before, turns) * self._replicas * lines / self._rate_per_s)

    def note_return(self, ask: Ask) -> None:
        """A request comes; one that was sent away, here or by another replica, is back."""
        if ask.returning:
            known = ask.tenant if ask.tenant in self._away else bucket_of(ask.tenant)
            if self._away[known] > 1:
                self._away[known] -= 1
            else:
                del self._away[known]
