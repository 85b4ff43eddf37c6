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
        # by group and instance, the last one heard last; also those that are gone since a while
        self._heard: dict[tuple[str, str], tuple[float, Alive]] = {}
        self._signs: dict[str, tuple[int, int]] = {}  # by client id, the offsets of its first and its newest sign of life
        self._former: tuple[str, ...] = ()  # names that this replica had before

    def follow_on(self, earlier: Replicas, client: str) -> None:
        """The log is read again, under another name than ``client``."""
        self._former = (*earlier._former, client)[-_FORMER_MAX:]

    def hear(self, alive: Alive, offset: int, at: float) -> bool:
        """A sign of life was read; whether it is somebody new."""
        new = alive.client not in self._last
        self._last[alive.client] = (at, alive)
        self._heard.pop(_name(alive), None)
        self._heard[_name(alive)] = (at, alive)
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

    def heard_lately(self, now: float) -> list[tuple[float, Alive]]:
        """When each replica was last heard and what it said, the last one last; also those that are gone, for ten minutes."""
        return [(at, alive) for at, alive in self._heard.values() if now - at <= _GONE_S]

    def has_senior(self, client: str, now: float) -> bool:
        """Whether another process of the group works under a client's instance name: it came earlier, and is heard since this one came.

        Their order in the log decides, which all read alike; to a newcomer everything of the last ``skew_s`` happened at one time.
        """
        here = self._last.get(client)
        if here is None:
            return False
        came, name = self._signs[client][0], _name(here[1])
        return any(
            other not in (client, *self._former)
            and _name(alive) == name
            and self._signs[other][0] < came < self._signs[other][1]
            and now - at <= _SENIOR_S
            for other, (at, alive) in self._last.items()
        )

    def wanting(self, endpoint: str, now: float) -> int:
        """How many have requests that wait for an endpoint, as they said last."""
        return sum(1 for alive in self.alive(now).values() if alive.waiting.get(endpoint))


def _name(alive: Alive) -> tuple[str, str]:
    """Of one replica: two installations that share a key may use the same instance names."""
    return alive.group, alive.instance
