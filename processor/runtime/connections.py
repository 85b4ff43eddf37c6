"""Which connections of a server have to make room. Pure.

A connection *waits* while its peer owes us something: a header, or the rest of a body. Waiting costs a peer nothing, so it must not keep
others out: when too many of one address wait, the one that has waited longest is closed, if it had a fair time; and when there are too
many connections at all, the one that has waited longest of the address with the most of them. An honest peer sends its request in one go
and waits for milliseconds, so the slow ones of its own address (an ingress's, say) make room for it as well.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

_NETWORK_BITS_V6 = 64  # whoever has one IPv6 address has as many as they like of its network


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections, and how long a peer may take.

    Attributes:
        open_max: connections at once; a further one is closed at once if none of them waits.
        waiting_max: of one address, not counting those that have waited for less than ``fair_s``.
        fair_s: so long nobody makes room for others of its own address.
        header_s: from the first byte that is owed to the end of the header.
        body_s: from there to the end of the body.
        idle_s: between two requests of one connection; more than the 60 s of an ingress, which must be the first to close.
    """

    open_max: int = 1000
    waiting_max: int = 128
    fair_s: float = 1.0
    header_s: float = 5.0
    body_s: float = 15.0
    idle_s: float = 75.0


class ConnectionTable:
    """The open connections, and which of them wait, the longest first."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._address: dict[Hashable, str] = {}
        self._waiting: OrderedDict[Hashable, float] = OrderedDict()
        self._waiting_of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._address)

    @property
    def waiting(self) -> int:
        """How many of them wait."""
        return len(self._waiting)

    def admit(self, connection: Hashable, host: str, now: float) -> Hashable | None:
        """A new connection, which waits; the one that is to be closed for it, if any, which waits no more.

        Args:
            connection: the new one.
            host: the address of its peer.
            now: seconds of any monotonic clock.
        """
        address = network_of(host)
        self._address[connection] = address
        self.wait(connection, now)
        victim = None
        if len(self._address) > self._limits.open_max:
            victim = self._oldest(max(self._waiting_of, key=self._waiting_of.__getitem__))
        elif self._waiting_of[address] > self._limits.waiting_max:
            oldest = self._oldest(address)
            victim = oldest if now - self._waiting[oldest] >= self._limits.fair_s else None
        self.serve(victim)
        return victim

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than there may be."""
        return len(self._address) > self._limits.open_max

    def wait(self, connection: Hashable, now: float) -> None:
        """Its peer owes us something, from now on."""
        if connection in self._address and connection not in self._waiting:
            self._waiting[connection] = now
            self._waiting_of[self._address[connection]] += 1

    def serve(self, connection: Hashable) -> None:
        """It waits no more: its request is whole and it is our turn, or it is about to be closed."""
        if connection in self._waiting:
            del self._waiting[connection]
            address = self._address[connection]
            self._waiting_of[address] -= 1
            if not self._waiting_of[address]:
                del self._waiting_of[address]

    def close(self, connection: Hashable) -> None:
        """It is gone."""
        self.serve(connection)
        self._address.pop(connection, None)

    def _oldest(self, address: str) -> Hashable:
        return next(connection for connection in self._waiting if self._address[connection] == address)


def network_of(host: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((int(address), _NETWORK_BITS_V6), strict=False))
    return str(address)
