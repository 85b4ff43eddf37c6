"""Kafka's wire protocol at a broker's edge: frames become requests and answers become frames, by the structures of the client library.

The versions are what Kafka 4.3 and aiokafka 0.14 have in common; requests that only our own code speaks come from there.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import pkgutil
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import aiokafka.protocol
from aiokafka.protocol.api import RequestStruct
from aiokafka.protocol.types import TaggedFields

import processor.stream.clients  # noqa: F401 - with requests of its own
from simulation.kafka import quick_codec

VERSIONS = {
    0: (3, 7), 1: (4, 11), 2: (1, 3), 3: (0, 8), 8: (2, 3), 9: (1, 3), 10: (0, 1), 11: (0, 5), 12: (0, 1), 13: (0, 1), 14: (0, 3),
    15: (0, 3), 18: (0, 2), 19: (2, 3), 20: (1, 3), 21: (0, 1), 22: (0, 0), 24: (0, 0), 25: (0, 0), 26: (0, 0), 28: (0, 0), 32: (1, 2),
    37: (0, 1), 65: (0, 0),
}  # fmt: skip


def _structures() -> dict[tuple[int, int], type[Any]]:
    for module in pkgutil.iter_modules(aiokafka.protocol.__path__):
        importlib.import_module(f"aiokafka.protocol.{module.name}")
    return {(found.API_KEY, found.API_VERSION): found for found in _below(RequestStruct)}


def _below(kind: type[Any]) -> Iterator[type[Any]]:
    for found in kind.__subclasses__():
        yield found
        yield from _below(found)


_STRUCTURES = _structures()
quick_codec.prepare(
    schema
    for (key, version), found in _STRUCTURES.items()
    if key in VERSIONS and VERSIONS[key][0] <= version <= VERSIONS[key][1]
    for schema in (found.SCHEMA, found.RESPONSE_TYPE.SCHEMA)
)
_HEAD = struct.Struct(">hhih")  # API key, version, correlation id, and the length of the client's name

_FETCH = 1
Answer = Callable[[Any], Awaitable[Any]]  # a request to its response; None: no response


class BrokerConnection(asyncio.Protocol):
    """One connection of a client: requests are answered one after the other, as brokers do.

    By a client's address: for ``slow_reads_s`` an answer with records is held back, as by a disk that is slow; for ``throttled_s`` nothing
    more is read behind each answer, which says so: a quota (KIP-219).
    """

    def __init__(
        self, answer: Answer, on_fault: Callable[[BaseException], None], slow_reads_s: Mapping[str, float], throttled_s: Mapping[str, float]
    ) -> None:
        self._answer, self._on_fault, self._slow_reads_s, self._throttled_s = answer, on_fault, slow_reads_s, throttled_s
        self._buffer = bytearray()
        self._waiting: deque[bytes] = deque()
        self._transport: Any = None
        self._working: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, _exc: Exception | None) -> None:
        self._waiting.clear()  # a request that is being worked on is worked on to its end, though nobody hears the answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 4 and len(self._buffer) >= (end := 4 + struct.unpack_from(">i", self._buffer)[0]):
            self._waiting.append(bytes(self._buffer[4:end]))
            del self._buffer[:end]
        if self._waiting and (self._working is None or self._working.done()):
            self._working = asyncio.get_running_loop().create_task(self._work(), name="broker connection")

    async def _work(self) -> None:
        try:
            while self._waiting:
                request = self._waiting.popleft()
                frame = await self._answered(request)
                if frame is not None:
                    self._transport.write(frame)
                if self._throttled_s and (held_s := self._throttled_s.get(self._peer, 0.0)):
                    await asyncio.sleep(held_s)
        except Exception as exc:  # noqa: BLE001 - a request that the model does not know, or answers wrongly, must not look like a slow broker
            exc.add_note(f"request: API key and version {struct.unpack_from('>hh', request)}")
            self._on_fault(exc)

    @property
    def _peer(self) -> str:
        return str(self._transport.get_extra_info("peername")[0])

    async def _answered(self, frame: bytes) -> bytes | None:
        raw = io.BytesIO(frame)
        key, version, correlation, client_bytes = _HEAD.unpack_from(frame)
        raw.seek(_HEAD.size + max(0, client_bytes))
        structure = _STRUCTURES[key, version]
        if structure.FLEXIBLE_VERSION:
            TaggedFields.decode(raw)
        response = await self._answer(structure.decode(raw))
        if key == _FETCH and self._slow_reads_s and (held_s := self._slow_reads_s.get(self._peer)):
            await asyncio.sleep(held_s)
        if response is None:
            return None
        if self._throttled_s and (held_s := self._throttled_s.get(self._peer)) and hasattr(response, "throttle_time_ms"):
            response.throttle_time_ms = int(1000 * held_s)
        tags = b"\0" if structure.FLEXIBLE_VERSION else b""
        body: bytes = struct.pack(">i", correlation) + tags + response.encode()
        return struct.pack(">i", len(body)) + body
