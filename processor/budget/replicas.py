"""Who is there, as the signs of life in the budget log say. Pure."""

from __future__ import annotations

from processor.budget.log_records import Alive

CHECK_INSTANCE = "processor-check"  # under this name `processor check` takes its permits; it is no replica
_ALIVE_S = 45.0  # a replica not heard of for so long is gone
_SENIOR_S = 25.0  # one that has missed two signs of life is gone
_GONE_S, _HEARD_MAX = 600.0, 1000  # a replica that is gone is told of for so long; so many are
_FORMER_MAX = 20  # names; the log is joined again once in 20 s at most, so older ones are silent for long


class Replicas:
    """Those that were heard. ``at`` and ``now`` are seconds of this replica's own clock; offsets are as ``log.place_of`` makes them."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, Alive]] = {}  # by client id, with the time it was last heard
        self._heard: dict[str, tuple[float, Alive]] = {}  # by instance, the last one heard first; also those that are gone since a while
        self._signs: dict[str, tuple[int, int]] = {}  # by client id, the offsets of its first and its newest sign of life
        self._former: tuple[str, ...] = ()  # names that this replica had before

    def follow_on(self, earlier: Replicas, client: str) -> None:
        """The log is read again, under another name than ``client``."""
        self._former = (*earlier._former, client)[-_FORMER_MAX:]

    def hear(self, alive: Alive, offset: int, at: float) -> bool:
        """A sign of life was read; whether it is somebody new."""
        new = alive.client not in self._last
        self._last[alive.client] = (at, alive)
        self._heard.pop(alive.instance, None)
        self._heard[alive.instance] = (at, alive)
        while at - next(iter(self._heard.values()))[0] > _GONE_S or len(self._heard) > _HEARD_MAX:
            self._heard.pop(next(iter(self._heard)))
        self._signs[alive.client] = (self._signs.get(alive.client, (offset, offset))[0], offset)
        present = self.alive(at)
        self._last = {client: self._last[client] for client in present}
        self._signs = {client: self._signs[client] for client in present}
        return new

    def alive(self, now: float) -> dict[str, Alive]:
        """By client id, what each said last."""
        return {client: alive for client, (at, alive) in self._last.items() if now - at <= _ALIVE_S}

    def heard_lately(self, now: float) -> dict[str, tuple[float, Alive]]:
        """By instance, when a replica was last heard and what it said; also those that are gone, for ten minutes."""
        return {instance: (at, alive) for instance, (at, alive) in self._heard.items() if now - at <= _GONE_S}

    def has_senior(self, client: str, now: float) -> bool:
        """Whether another process works under a client's instance name: it came earlier, and is heard since this one came.

        Their order in the log decides, which all read alike; to a newcomer everything of the last ``skew_s`` happened at one time.
        """
        here = self._last.get(client)
        if here is None:
            return False
        came, instance = self._signs[client][0], here[1].instance
        return any(
            other not in (client, *self._former)
            and alive.instance == instance
            and self._signs[other][0] < came < self._signs[other][1]
            and now - at <= _SENIOR_S
            for other, (at, alive) in self._last.items()
        )

    def wanting(self, endpoint: str, now: float) -> int:
        """How many have requests that wait for an endpoint, as they said last."""
        return sum(1 for alive in self.alive(now).values() if alive.waiting.get(endpoint))
