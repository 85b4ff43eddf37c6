"""Calls in few bytes each, the oldest forgotten first. Pure.

A call is a row of a ``bytearray``: an object for each, with its texts and its places in dictionaries, takes ten times as much, and the
garbage collector walks over all of them. Rows stand in blocks, in log order. The rows of a block that have the same hash of their
request form a chain from the newest to the oldest, and so do those of the same ask and of the same lane. Forgotten rows stay in the
chains, behind all that are remembered, until all of their block is forgotten.
"""

from __future__ import annotations

import struct
from array import array
from collections import deque
from collections.abc import Callable, Iterator

from processor.budget.call_index import UNENDED, Calls, CallState, JournaledCall, state_after
from processor.budget.log_records import Ended
from processor.budget.permits import CallIdentity

_FIRST_ROWS, _BLOCK_ROWS = 2**12, 2**17  # of the first block and of the largest; each is twice as large as the one before
_DIGEST_CHARS = 20  # as ``contract.digests`` makes them; any others are kept beside the rows
_NO_NUMBER = 2**64 - 1
_NUMBER_CHARS = len(str(_NO_NUMBER))
_STATES = tuple(CallState)
_CODES = {state: code for code, state in enumerate(_STATES)}
_UNENDED = frozenset(_CODES[state] for state in UNENDED)

# request, next of its chain | client, number, next | lane, next, offset in it | content, first, replay, place, time, stamp, promise, state
_ROW = struct.Struct("<20sI IQI IIq 20s20sIqdqdB")
_BY_REQUEST, _REQUEST_AT = struct.Struct("<20sI"), 0
_BY_ASK, _ASK_AT = struct.Struct("<IQI"), 24
_BY_LANE, _LANE_AT = struct.Struct("<IIq"), 40
_PLACE, _PLACE_AT = struct.Struct("<q"), 100
_TIME, _TIME_AT = struct.Struct("<d"), 108
_STATE_AT = 132
_SIZE = _ROW.size


class _Block:
    """Some rows, numbered from 1 on, and their chains: by hash, or lane, the newest row; 0 for none."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.count, self.forgotten = capacity, 0, 0
        self.mask = capacity - 1
        self.rows = bytearray()
        self.by_request, self.by_ask = array("I", bytes(4 * capacity)), array("I", bytes(4 * capacity))
        self.by_lane: list[int] = []
        self.lanes: dict[str, int] = {}
        self.clients: dict[str, int] = {}
        self.names: tuple[list[str], list[str]] = ([], [])  # of the lanes, and of the clients
        self.unusual: dict[int, CallIdentity] = {}  # by row, digests that do not fit in
        self.copies: dict[int, str] = {}  # by row, ``JournaledCall.copy_of``

    def lane(self, name: str) -> int:
        """The number of a lane."""
        number = self.lanes.get(name)
        if number is None:
            number = self.lanes[name] = len(self.lanes)
            self.names[0].append(name)
            self.by_lane.append(0)
        return number

    def client(self, name: str) -> int:
        """The number of a client."""
        number = self.clients.get(name)
        if number is None:
            number = self.clients[name] = len(self.clients)
            self.names[1].append(name)
        return number

    def append(self, ask_id: str, call: JournaledCall) -> None:
        """Add a row."""
        identity, row = call.identity, self.count + 1
        request, content, first = _packed(identity.request), _packed(identity.content), _packed(identity.first)
        if not (request and content and first):
            self.unusual[row] = identity
        if call.copy_of:
            self.copies[row] = call.copy_of
        (name, number), lane = _split(ask_id), self.lane(identity.lane)
        of_request, of_ask = hash(identity.request) & self.mask, hash(ask_id) & self.mask
        self.rows += _ROW.pack(
            request,
            self.by_request[of_request],
            self.client(name),
            number,
            self.by_ask[of_ask],
            lane,
            self.by_lane[lane],
            identity.offset,
            content,
            first,
            identity.replay,
            call.offset,
            call.at,
            call.stamp_ms,
            call.promise_s,
            _CODES[call.state],
        )
        self.count = self.by_request[of_request] = self.by_ask[of_ask] = self.by_lane[lane] = row

    def find(self, hashed: int, name: str, number: int) -> int:
        """The row of an ask, or 0."""
        client, rows, row = self.clients.get(name), self.rows, self.by_ask[hashed & self.mask]
        if client is None:
            return 0
        while row > self.forgotten:
            of_client, of_number, older = _BY_ASK.unpack_from(rows, (row - 1) * _SIZE + _ASK_AT)
            if of_number == number and of_client == client:
                return row
            row = older
        return 0

    def of(self, request: str, hashed: int, digest: bytes) -> list[int]:
        """The rows of a request, the oldest first."""
        found, rows, row = [], self.rows, self.by_request[hashed & self.mask]
        while row > self.forgotten:
            of_request, older = _BY_REQUEST.unpack_from(rows, (row - 1) * _SIZE)
            if of_request == digest and (row not in self.unusual or self.unusual[row].request == request):
                found.append(row)
            row = older
        found.reverse()
        return found

    def of_lane(self, name: str) -> Iterator[tuple[int, int]]:
        """The rows of a lane and the offsets of their records in it, the newest first."""
        lane = self.lanes.get(name)
        row = 0 if lane is None else self.by_lane[lane]
        while row > self.forgotten:
            _, older, offset = _BY_LANE.unpack_from(self.rows, (row - 1) * _SIZE + _LANE_AT)
            yield row, offset
            row = older

    def call(self, row: int) -> JournaledCall:
        """What a row says."""
        request, _, _, _, _, lane, _, offset, content, first, replay, place, at, stamp_ms, promise_s, code = _ROW.unpack_from(
            self.rows, (row - 1) * _SIZE
        )
        identity = self.unusual.get(row)
        if identity is None:
            identity = CallIdentity(request.decode(), content.decode(), first.decode(), self.names[0][lane], offset, replay)
        return JournaledCall(identity, place, at, stamp_ms, promise_s, _STATES[code], self.copies.get(row, ""))

    def ask_id(self, row: int) -> str:
        """The ask of a row."""
        client, number, _ = _BY_ASK.unpack_from(self.rows, (row - 1) * _SIZE + _ASK_AT)
        name = self.names[1][client]
        return name if number == _NO_NUMBER else f"{name}-{number}"

    def place(self, row: int) -> int:
        """Where the ask of a row stands in the log."""
        return int(_PLACE.unpack_from(self.rows, (row - 1) * _SIZE + _PLACE_AT)[0])

    def change(self, row: int, state: CallState) -> None:
        """Set the state of a row."""
        self.rows[(row - 1) * _SIZE + _STATE_AT] = _CODES[state]
        if state in {CallState.ACTED, CallState.VOID} and self.copies:
            self.copies.pop(row, None)


class CallMemory(Calls):
    """Calls of the last ``memory_s`` seconds, and no more than ``calls_max``: the oldest ones are forgotten.

    About 150 bytes a call; what has other digests than ours, and copies of other requests, take some hundred more.
    """

    def __init__(self, memory_s: float, calls_max: int) -> None:
        self._memory_s, self._calls_max = memory_s, calls_max
        self._blocks: deque[_Block] = deque([_Block(_FIRST_ROWS)])
        self._count = 0
        self.floor = 0  # calls of places from this one on are remembered
        self.cut_at = float("-inf")  # when a call was last forgotten before its time, own clock

    def __len__(self) -> int:
        return self._count

    def append(self, ask_id: str, call: JournaledCall) -> None:
        """Note an ask that is not known; it stands behind all that are, in the log and in time."""
        block = self._blocks[-1]
        if block.count == block.capacity:
            block = _Block(min(2 * block.capacity, _BLOCK_ROWS))
            self._blocks.append(block)
        block.append(ask_id, call)
        self._count += 1
        if self._count > self._calls_max:
            self._forget()
            self.cut_at = call.at

    def expire(self, now: float) -> None:
        """Forget what is older than the memory."""
        while self._count and now - self._oldest_at() > self._memory_s:
            self._forget()

    def reach_s(self, now: float) -> float:
        """How far back the memory reaches: the age of the oldest call."""
        return now - self._oldest_at() if self._count else 0.0

    def get(self, ask_id: str) -> JournaledCall | None:
        """See ``Calls.get``."""
        found = self._find(ask_id)
        return None if found is None else found[0].call(found[1])

    def of(self, request: str) -> list[JournaledCall]:
        """See ``Calls.of``."""
        hashed, digest = hash(request), _packed(request) or bytes(_DIGEST_CHARS)
        return [block.call(row) for block in self._blocks for row in block.of(request, hashed, digest)]

    def change(self, ask_id: str, state: CallState) -> None:
        """See ``Calls.change``."""
        if (found := self._find(ask_id)) is not None:
            found[0].change(found[1], state)

    def end(self, ended: Ended) -> bool:
        """See ``Calls.end``: the same without reading the whole row."""
        found = self._find(ended.id)
        if found is None or found[0].rows[(found[1] - 1) * _SIZE + _STATE_AT] not in _UNENDED:
            return False
        found[0].change(found[1], state_after(ended))
        return True

    def of_lane(self, lane: str, since: int, unfinished: Callable[[int], bool]) -> Iterator[tuple[str, JournaledCall]]:
        """The asks for a lane's unfinished records from a place on, with their ids, the last first."""
        for block in reversed(self._blocks):
            for row, offset in block.of_lane(lane):
                if block.place(row) < since:
                    return
                if unfinished(offset):
                    yield block.ask_id(row), block.call(row)

    def _find(self, ask_id: str) -> tuple[_Block, int] | None:
        hashed, (name, number) = hash(ask_id), _split(ask_id)
        for block in reversed(self._blocks):
            if row := block.find(hashed, name, number):
                return block, row
        return None

    def _oldest_at(self) -> float:
        block = self._blocks[0]
        return float(_TIME.unpack_from(block.rows, block.forgotten * _SIZE + _TIME_AT)[0])

    def _forget(self) -> None:
        block = self._blocks[0]
        block.forgotten += 1
        self._count -= 1
        self.floor = max(self.floor, block.place(block.forgotten) + 1)
        block.unusual.pop(block.forgotten, None)
        block.copies.pop(block.forgotten, None)
        if block.forgotten == block.capacity:
            self._blocks.popleft()
            if not self._blocks:
                self._blocks.append(_Block(_FIRST_ROWS))


def _packed(text: str) -> bytes:
    """A digest as it stands in a row; nothing if it does not fit in."""
    return text.encode() if len(text) == _DIGEST_CHARS and text.isascii() else b""


def _split(ask_id: str) -> tuple[str, int]:
    """The client of an ask and its number; an id of another form is a client of its own."""
    name, _, digits = ask_id.rpartition("-")
    if name and digits.isdigit() and digits.isascii() and len(digits) < _NUMBER_CHARS and (digits[0] != "0" or digits == "0"):
        return name, int(digits)
    return ask_id, _NO_NUMBER
