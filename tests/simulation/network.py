"""The network of a simulated world: ordered byte streams with latency, links that are cut, and connections that are reset.

What TCP promises is kept: bytes arrive in order or the connection ends. A cut link loses nothing, it holds bytes back as retransmission
does; a connection whose host was killed is reset once the news gets through.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter, deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from simulation.loop import HOST, Host, SimulatedLoop, State

_EOF, _RESET = object(), object()
_STEP_S = 1e-6  # between two pieces of one stream
_LOOK_S = 0.05
_LATE_S = 0.05  # between the last late piece and the news that its sender is gone
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "0.0.0.0", "::1"})  # noqa: S104 - names of addresses, nothing is bound
_LOOPBACK_S = 30e-6

Factory = Callable[[], asyncio.BaseProtocol]


class _Socket:
    """What libraries ask of the socket below a transport."""

    family, type, proto = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP

    def __init__(self, own: tuple[str, int], peer: tuple[str, int]) -> None:
        self._own, self._peer = own, peer

    def setsockopt(self, *_: object) -> None:
        """Nothing to set."""

    def getsockname(self) -> tuple[str, int]:
        return self._own

    def getpeername(self) -> tuple[str, int]:
        return self._peer

    def fileno(self) -> int:
        return -1


class Endpoint(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, network: Network, host: Host, context: Context, own: tuple[str, int], peer: tuple[str, int]) -> None:
        super().__init__({"sockname": own, "peername": peer, "socket": _Socket(own, peer)})
        self.host, self.context = host, context
        self.peer: Endpoint
        self._network = network
        self._protocol: Any = None
        self._inbox: deque[object] = deque()
        self._unsent: deque[object] = deque()  # behind a cut
        self._arrives_at = 0.0
        self._paused = self._closing = self.closed = self._delayed = False

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """The connection is there."""
        self._protocol = protocol
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        if not self._closing and data:
            self._send(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._closing:
            self._send(_EOF)

    def _send(self, item: object) -> None:
        self._network.sent[self.host.name, self.host.lives, int(self._network.loop.time())] += 1
        if self._unsent or self._delayed or self._network.is_cut(self.host, self.peer.host):
            self._unsent.append(item)
            return
        latency = self._network.latency(self.host, self.peer.host)
        self._arrives_at = max(self._network.loop.time() + latency, self._arrives_at + _STEP_S)
        self._network.loop.call_at(self._arrives_at, self.peer.arrive, item, context=self.peer.context)

    @property
    def has_unsent(self) -> bool:
        """Whether something is held back by a cut."""
        return bool(self._unsent)

    def flush(self) -> None:
        """The link is whole again. What was sent before this end was closed arrives all the same, and a moment later that it is gone."""
        waiting, self._unsent = self._unsent, deque()
        for item in waiting:
            if self.closed and item in (_EOF, _RESET):
                self._network.loop.call_later(_LATE_S, self._send, item, context=Context())
            else:
                self._send(item)

    def delay(self) -> None:
        """What is sent from now on stays somewhere on the way."""
        self._delayed = True

    def arrive_late(self) -> None:
        """What was on the way arrives, though this end may be gone by now; then the peer hears that it is."""
        self._delayed = False
        self.flush()
        if self.closed:
            self._network.loop.call_later(_LATE_S, self._send, _RESET, context=Context())

    def arrive(self, item: object) -> None:
        """Something has come over the link."""
        if item is _RESET:
            self.lose(ConnectionResetError(104, "reset by peer"))
            return
        self._inbox.append(item)
        self._pump()

    def _pump(self) -> None:
        while self._inbox and not self._paused and not self.closed:
            item = self._inbox.popleft()
            if item is _EOF:
                if not self._protocol.eof_received():
                    self.close()
            elif isinstance(self._protocol, asyncio.BufferedProtocol):
                self._fill(self._protocol, item)
            else:
                self._protocol.data_received(item)

    def _fill(self, protocol: asyncio.BufferedProtocol, data: Any) -> None:
        """As much at a time as the protocol has room for."""
        while data and not self.closed:
            room = memoryview(protocol.get_buffer(len(data)))
            count = min(len(room), len(data))
            room[:count] = data[:count]
            protocol.buffer_updated(count)
            data = data[count:]

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._network.loop.call_soon(self._pump)

    def is_reading(self) -> bool:
        return not self._paused

    def close(self) -> None:
        if not self._closing:
            self._send(_EOF)
            self._closing = True
            self._network.loop.call_soon(self.lose, None, context=self.context)

    def abort(self) -> None:
        if not self._closing:
            self._send(_RESET)
            self._closing = True
            self._network.loop.call_soon(self.lose, None, context=self.context)

    def lose(self, error: Exception | None) -> None:
        """The connection is over for this end."""
        if not self.closed:
            self.closed = self._closing = True
            self._network.forget(self)
            if self._protocol is not None:
                self._protocol.connection_lost(error)

    def die(self) -> None:
        """The process of this end is gone; its kernel tells the peer."""
        self._closing = self.closed = True
        self._send(_RESET)
        self._network.forget(self)

    def reset(self) -> None:
        """Something on the way has ended the connection: what is on the way is lost."""
        if not self.closed:
            self._unsent.clear()
            self._network.loop.call_soon(self.lose, ConnectionResetError(104, "reset on the way"), context=self.context)

    def is_closing(self) -> bool:
        return self._closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is held back."""

    def get_write_buffer_size(self) -> int:
        return 0


class Server(asyncio.AbstractServer):
    """What listens on a port of a host."""

    def __init__(self, network: Network, host: Host, context: Context, factory: Factory, port: int) -> None:
        self.host, self.context, self.factory, self.port = host, context, factory, port
        self.sockets = (_Socket((network.resolve(host.name), port), ("", 0)),)
        self._network = network

    def close(self) -> None:
        self._network.unlisten(self)

    async def wait_closed(self) -> None:
        """Connections end by themselves."""

    async def start_serving(self) -> None:
        """It listens from its making on."""

    async def serve_forever(self) -> None:
        await asyncio.get_running_loop().create_future()

    def is_serving(self) -> bool:
        return True

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._network.loop


class Network:
    """Hosts by name, and what is between them.

    Args:
        loop: the loop of the world; the network is set as its.
        draw: of the seed.
    """

    def __init__(self, loop: SimulatedLoop, draw: random.Random) -> None:
        self.loop, self._draw = loop, draw
        loop.network = self
        self.hosts: dict[str, Host] = {}
        self.sent = Counter[tuple[str, int, int]]()  # messages, and connections that were tried, by host, its life and second
        self.sidecars: dict[int, list[str]] = {}  # a port on everybody's loopback -> the hosts that answer there, in turns
        self._turn = 0
        self.slow_s: dict[frozenset[str], float] = {}  # more latency of a link
        self._cut: set[tuple[str, str]] = set()
        self._held_back: set[tuple[str, str]] = set()
        self._servers: dict[tuple[str, int], Server] = {}
        self._ends: dict[Endpoint, None] = {}
        self._closed_unsent: dict[Endpoint, None] = {}  # of what they have sent some stands behind a cut
        self._ports = 40_000

    def add(self, name: str) -> Host:
        """A host that runs."""
        host = self.hosts[name] = Host(self.loop, name)
        return host

    def kill(self, name: str) -> None:
        """End a host's process."""
        host = self.hosts[name]
        host.kill()
        for end in [end for end in self._ends if end.host is host]:
            end.die()
        for server in [server for server in self._servers.values() if server.host is host]:
            self.unlisten(server)

    def revive(self, name: str) -> Host:
        """A new process on a host that was killed."""
        host = self.hosts[name] = self.hosts[name].revive()
        return host

    def cut(self, source: str, target: str) -> None:
        """Nothing comes through from one host to the other, in this direction."""
        self._cut.add((source, target))

    def hold_back(self, source: str, target: str) -> None:
        """Connections are made, and what is sent over them stays on the way until it is healed: it waits in a gateway, say."""
        self._held_back.add((source, target))

    def heal(self, source: str, target: str) -> None:
        """It comes through again, and what was held back."""
        self._cut.discard((source, target))
        self._held_back.discard((source, target))
        for end in [*self._closed_unsent, *self._ends]:
            if end.host.name == source and end.peer.host.name == target:
                self._closed_unsent.pop(end, None)
                end.flush()

    def reset(self, one: str, other: str) -> None:
        """End all connections between two hosts; what is on the way is lost, so some answers never come."""
        for end in [end for end in self._ends if {end.host.name, end.peer.host.name} == {one, other}]:
            end.reset()

    def delay(self, source: str, target: str, *, reset_s: float, arrives_s: float) -> None:
        """What one host sends to the other over its present connections stays on the way and arrives after so long.

        Meanwhile that host takes those connections for reset, and sends again over new ones: the late pieces come after the second ones.
        """
        for end in [end for end in self._ends if (end.host.name, end.peer.host.name) == (source, target)]:
            end.delay()
            self.loop.call_later(reset_s, end.lose, ConnectionResetError(104, "reset on the way"), context=end.context)
            self.loop.call_later(arrives_s, end.arrive_late, context=Context())

    def is_cut(self, source: Host, target: Host) -> bool:
        if not self._cut and not self._held_back:
            return False
        link = source.name, target.name
        return link in self._cut or link in self._held_back

    def latency(self, source: Host, target: Host) -> float:
        """Seconds that a message takes now."""
        if source.name == target.name:
            return _LOOPBACK_S
        latency_s = self._draw.uniform(0.0002, 0.0015)
        return latency_s + self.slow_s.get(frozenset((source.name, target.name)), 0.0) if self.slow_s else latency_s

    def resolve(self, name: str) -> str:
        """An address for a name, and for an address itself."""
        if name in _LOOPBACK:
            return "127.0.0.1"
        return f"10.0.0.{1 + sorted(self.hosts).index(name)}" if name in self.hosts else name

    def _target(self, address: str, port: int, source: Host) -> str:
        if address in _LOOPBACK:
            return self._balanced(self.sidecars.get(port, [source.name]))
        return next((name for name in self.hosts if address in (name, self.resolve(name))), address)

    def _balanced(self, names: list[str]) -> str:
        """The next one in turn, as a load balancer has it: without those of which it knows that they are gone."""
        up = [name for name in names if self.hosts[name].state is not State.DEAD] or names
        self._turn += len(up) > 1
        return up[self._turn % len(up)]

    async def connect(self, factory: Factory, host: str, port: int) -> tuple[Endpoint, asyncio.BaseProtocol]:
        """A connection from the host that runs now.

        Raises:
            OSError: if nobody listens there.
        """
        source = HOST.get()
        assert source is not None, "only hosts connect"
        name = self._target(host, port, source)
        while {(source.name, name), (name, source.name)} & self._cut:  # a SYN is sent again and again
            await asyncio.sleep(_LOOK_S)
        target = self.hosts[name]
        self.sent[source.name, source.lives, int(self.loop.time())] += 1
        await asyncio.sleep(2 * self.latency(source, target))
        server = self._servers.get((name, port))
        if server is None or server.host.state is State.DEAD:
            raise ConnectionRefusedError(111, f"Connect call failed ({host!r}, {port})")
        self._ports += 1
        own, peer = (self.resolve(source.name), self._ports), (self.resolve(name), port)
        near = Endpoint(self, source, source.context, own, peer)
        far = Endpoint(self, server.host, server.context, peer, own)
        near.peer, far.peer = far, near
        self._ends[near] = self._ends[far] = None
        self.loop.call_soon(lambda: far.begin(server.factory()), context=server.context)
        protocol = factory()
        near.begin(protocol)
        return near, protocol

    def listen(self, factory: Factory, _host: str | None, port: int) -> Server:
        """Listen on a port of the host that runs now, 0 for a free one.

        Raises:
            OSError: if the port is taken.
        """
        host = HOST.get()
        assert host is not None, "only hosts listen"
        if not port:
            self._ports += 1
            port = self._ports
        if (host.name, port) in self._servers:
            raise OSError(98, f"address in use: {host.name}:{port}")
        server = self._servers[host.name, port] = Server(self, host, host.context, factory, port)
        return server

    def unlisten(self, server: Server) -> None:
        """It listens no more."""
        if self._servers.get((server.host.name, server.port)) is server:
            del self._servers[server.host.name, server.port]

    def forget(self, end: Endpoint) -> None:
        """A connection has ended for one end; its kernel goes on to send what it has."""
        self._ends.pop(end, None)
        if end.has_unsent:
            self._closed_unsent[end] = None
