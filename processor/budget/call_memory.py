"""Calls in few bytes each, the oldest forgotten first. Pure.

A call is a row of a ``bytearray``: an object for each, with its texts and its places in dictionaries, takes ten times as much, and the
garbage collector walks over all of them. Rows stand in blocks, in log order, and in a block on pages: one ``bytearray`` for all of them
would be copied each time that it grows, and be kept until the last of it is forgotten. The rows of a block that have the same hash of
their request form a chain from the newest to the oldest, and so do those of the same ask and of the same lane. Forgotten rows stay in
the chains, behind all that are remembered, until all of their block is forgotten. Almost every request is new, and is looked for in
each block: sixteen bits a row, of which three of one byte are set, say of 97 in a hundred that they are not there.
"""

from __future__ import annotations

import struct
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from itertools import combinations
from math import inf

from processor.budget.call_index import UNENDED, Calls, CallState, JournaledCall
from processor.budget.log_records import DIGEST_CHARS, ID_CHARS, Ended, UsualAsk
from processor.budget.permits import CallIdentity

_FIRST_ROWS, _BLOCK_ROWS = 2**12, 2**17  # of the first block and of the largest; each has four times as many as the one before
_PAGE_ROWS = 2**10
_SEEN_BYTES = 2  # a row; a power of two
_STATES = tuple(CallState)
_CODES = {state: code for code, state in enumerate(_STATES)}
ASKED, OPEN = _CODES[CallState.ASKED], _CODES[CallState.OPEN]  # what an ask may begin with
_ACTED, _VOID, _NEVER = _CODES[CallState.ACTED], _CODES[CallState.VOID], _CODES[CallState.NEVER]
_ANSWERED = frozenset({_ACTED, _VOID})
_UNENDED = frozenset(_CODES[state] for state in UNENDED)

_MASKS = [1 << a | 1 << b | 1 << c for a, b, c in combinations(range(8), 3)]  # 56
_MASKS += _MASKS[:8]

# digests of request, content, first, and ask | lane, offset in it | replay, place, time, stamp, promise, state
_ROW = struct.Struct("<84s Iq IqdqdB")
_ASK_AT = 60
_INTEGER, _OFFSET_AT, _PLACE_AT = struct.Struct("<q"), 88, 100
_TIME, _TIME_AT = struct.Struct("<d"), 108
_STATE_AT = 132
_SIZE = _ROW.size


class _Block:
    """Some rows, numbered from 1 on, and their chains: by hash, or lane, the newest row, and by row the one before it; 0 for none."""

    def __init__(self, capacity: int, before: int) -> None:
        self.capacity, self.count, self.forgotten = capacity, 0, 0
        self.before = before  # rows of all earlier blocks
        self.mask, self.seen_mask = capacity - 1, _SEEN_BYTES * capacity - 1
        self.pages: list[bytearray] = []
        self.seen = bytearray(_SEEN_BYTES * capacity)
        self.by_request, self.by_ask = array("I", bytes(4 * capacity)), array("I", bytes(4 * capacity))
        self.by_lane: list[int] = []
        self.before_of_request, self.before_of_ask, self.before_of_lane = array("I", [0]), array("I", [0]), array("I", [0])
        self.lanes: dict[str, int] = {}
        self.lane_names: list[str] = []
        self.unusual: dict[int, tuple[str, CallIdentity]] = {}  # by row, asks and digests that do not fit in
        self.copies: dict[int, str] = {}  # by row, ``JournaledCall.copy_of``

    def append(
        self,
        hashed: int,
        ask_hashed: int,
        packed: bytes,
        lane: str,
        at_offset: int,
        replay: int,
        place: int,
        at: float,
        stamp_ms: int,
        promise_s: float,
        code: int,
    ) -> int:
        """Add a row, and say which.

        Args:
            hashed: hash of its request.
            ask_hashed: and of its ask.
            packed: digests and ask, as they stand in a row.
            lane: where the record is that asks.
            at_offset: its offset there.
            replay: how often it was replayed.
            place: of the ask in the log.
            at: when it was received, own clock, s.
            stamp_ms: the broker's time, epoch ms.
            promise_s: the call is over within this time.
            code: of its state.
        """
        row, in_page = self.count + 1, self.count % _PAGE_ROWS
        if not in_page:
            self.pages.append(bytearray(min(_PAGE_ROWS, self.capacity) * _SIZE))
        number = self.lanes.get(lane)
        if number is None:
            number = self._add_lane(lane)
        self.seen[hashed >> 30 & self.seen_mask] |= _MASKS[hashed >> 24 & 63]
        of_request, of_ask = hashed & self.mask, ask_hashed & self.mask
        self.before_of_request.append(self.by_request[of_request])
        self.before_of_ask.append(self.by_ask[of_ask])
        self.before_of_lane.append(self.by_lane[number])
        _ROW.pack_into(self.pages[-1], in_page * _SIZE, packed, number, at_offset, replay, place, at, stamp_ms, promise_s, code)
        self.count = self.by_request[of_request] = self.by_ask[of_ask] = self.by_lane[number] = row
        return row

    def _add_lane(self, name: str) -> int:
        lane = self.lanes[name] = len(self.lanes)
        self.lane_names.append(name)
        self.by_lane.append(0)
        return lane

    def find(self, ask_id: str, hashed: int, ask: bytes) -> int:
        """The row of an ask, the newest if there are several, or 0."""
        row = self.by_ask[hashed & self.mask]
        while row > self.forgotten:
            page, start = self._at(row)
            if page.startswith(ask, start + _ASK_AT) and (row not in self.unusual or self.unusual[row][0] == ask_id):
                return row
            row = self.before_of_ask[row]
        return 0

    def of(self, row: int, request: str, digest: bytes) -> list[int]:
        """The rows of a request, the oldest first, in the chain that begins with a row."""
        found = []
        while row > self.forgotten:
            page, start = self._at(row)
            if page.startswith(digest, start) and (row not in self.unusual or self.unusual[row][1].request == request):
                found.append(row)
            row = self.before_of_request[row]
        found.reverse()
        return found

    def of_lane(self, name: str) -> Iterator[tuple[int, int]]:
        """The rows of a lane and the offsets of their records in it, the newest first."""
        lane = self.lanes.get(name)
        row = 0 if lane is None else self.by_lane[lane]
        while row > self.forgotten:
            page, start = self._at(row)
            yield row, _INTEGER.unpack_from(page, start + _OFFSET_AT)[0]
            row = self.before_of_lane[row]

    def call(self, row: int) -> JournaledCall:
        """What a row says."""
        packed, lane, offset, replay, place, at, stamp_ms, promise_s, code = _ROW.unpack_from(*self._at(row))
        if row in self.unusual:
            identity = self.unusual[row][1]
        else:
            texts = packed[:_ASK_AT].decode()
            identity = CallIdentity(texts[:20], texts[20:40], texts[40:], self.lane_names[lane], offset, replay)
        return JournaledCall(identity, place, at, stamp_ms, promise_s, _STATES[code], self.copies.get(row, ""))

    def ask_id(self, row: int) -> str:
        """The ask of a row."""
        if row in self.unusual:
            return self.unusual[row][0]
        page, start = self._at(row)
        return page[start + _ASK_AT : start + _ASK_AT + ID_CHARS].rstrip(b"\0").decode()

    def place(self, row: int) -> int:
        """Where the ask of a row stands in the log."""
        page, start = self._at(row)
        return int(_INTEGER.unpack_from(page, start + _PLACE_AT)[0])

    def time(self, row: int) -> float:
        """When it was received."""
        page, start = self._at(row)
        return float(_TIME.unpack_from(page, start + _TIME_AT)[0])

    def change(self, row: int, code: int) -> bool:
        """Set the state of a row that has no end yet; whether it had none."""
        page, at = self.pages[(row - 1) // _PAGE_ROWS], (row - 1) % _PAGE_ROWS * _SIZE + _STATE_AT
        if page[at] not in _UNENDED:
            return False
        page[at] = code
        if self.copies and code in _ANSWERED:
            self.copies.pop(row, None)
        return True

    def forget(self) -> None:
        """The oldest row that is remembered is so no more."""
        self.forgotten += 1
        self.unusual.pop(self.forgotten, None)
        self.copies.pop(self.forgotten, None)
        if self.forgotten % _PAGE_ROWS == 0:
            self.pages[self.forgotten // _PAGE_ROWS - 1] = bytearray()

    def _at(self, row: int) -> tuple[bytearray, int]:
        return self.pages[(row - 1) // _PAGE_ROWS], (row - 1) % _PAGE_ROWS * _SIZE


class CallMemory(Calls):
    """Calls of the last ``memory_s`` seconds, and no more than ``calls_max``: the oldest ones are forgotten.

    About 150 bytes a call; what has other digests than ours, and copies of other requests, take some hundred more.
    """

    def __init__(self, memory_s: float, calls_max: int) -> None:
        self._memory_s, self._calls_max = memory_s, calls_max
        self._blocks: deque[_Block] = deque([_Block(_FIRST_ROWS, 0)])
        self._count, self._oldest_at = 0, inf
        self.floor = 0  # calls of places from this one on are remembered
        self.cut_at = float("-inf")  # when a call was last forgotten before its time, own clock

    def __len__(self) -> int:
        return self._count

    def append(
        self, ask_id: str, identity: CallIdentity, place: int, at: float, stamp_ms: int, promise_s: float, code: int, copy_of: str = ""
    ) -> int:
        """Note an ask that is not known; it stands behind all that are, in the log and in time. Returns the number of its row."""
        digests, ask = _digests(identity), _id(ask_id)
        packed = (digests or _digest(identity.request)).ljust(_ASK_AT, b"\0") + ask
        block, m = self._newest(), identity
        row = block.append(hash(m.request), hash(ask_id), packed, m.lane, m.offset, m.replay, place, at, stamp_ms, promise_s, code)
        if not (digests and ask):
            block.unusual[row] = (ask_id, identity)
        if copy_of:
            block.copies[row] = copy_of
        self._count_one(at)
        return block.before + row

    def append_usual(self, ask: UsualAsk, place: int, at: float, stamp_ms: int) -> int:
        """The same of an ask as ``log_records.read_usual_ask`` gives it, and 0 if its request is known."""
        ask_id, _, promise_s, _, request, lane, at_offset, replay, packed = ask
        hashed = hash(request)
        high, bits = hashed >> 30, _MASKS[hashed >> 24 & 63]
        for block in self._blocks:
            if block.seen[high & block.seen_mask] & bits == bits and self.of(request):
                return 0
        block = self._newest()
        row = block.append(hashed, hash(ask_id), packed, lane, at_offset, replay, place, at, stamp_ms, promise_s, OPEN)
        self._count_one(at)
        return block.before + row

    def _newest(self) -> _Block:
        """The block for the next row."""
        block = self._blocks[-1]
        if block.count == block.capacity:
            block = _Block(min(4 * block.capacity, _BLOCK_ROWS), block.before + block.count)
            self._blocks.append(block)
        return block

    def _count_one(self, at: float) -> None:
        self._count += 1
        if self._count == 1:
            self._oldest_at = at
        elif self._count > self._calls_max:
            self._forget()
            self.cut_at = at

    def expire(self, now: float) -> None:
        """Forget what is older than the memory."""
        while now - self._oldest_at > self._memory_s:
            self._forget()

    def reach_s(self, now: float) -> float:
        """How far back the memory reaches: the age of the oldest call."""
        return now - self._oldest_at if self._count else 0.0

    def get(self, ask_id: str) -> JournaledCall | None:
        """See ``Calls.get``."""
        found = self._find(ask_id)
        return None if found is None else found[0].call(found[1])

    def of(self, request: str) -> list[JournaledCall]:
        """See ``Calls.of``."""
        hashed = hash(request)
        high, bits, found = hashed >> 30, _MASKS[hashed >> 24 & 63], []
        for block in self._blocks:
            if block.seen[high & block.seen_mask] & bits == bits:
                digest = _digest(request) or bytes(DIGEST_CHARS)
                found += [block.call(row) for row in block.of(block.by_request[hashed & block.mask], request, digest)]
        return found

    def change(self, ask_id: str, state: CallState) -> None:
        """See ``Calls.change``."""
        if (found := self._find(ask_id)) is not None:
            found[0].change(found[1], _CODES[state])

    def end(self, ended: Ended) -> bool:
        """See ``Calls.end``: the same without reading the whole row."""
        found = self._find(ended.id)
        if found is None:
            return False
        return found[0].change(found[1], _code_after(ended))

    def end_row(self, number: int, ended: Ended) -> bool:
        """The same of an ask whose row is known by its number."""
        return self._change_row(number, _code_after(ended))

    def answer_row(self, number: int, *, acted: bool) -> bool:
        """The same of one that was answered."""
        return self._change_row(number, _ACTED if acted else _VOID)

    def number(self, ask_id: str) -> int:
        """The number of the row of an ask; 0 if it is not known."""
        found = self._find(ask_id)
        return 0 if found is None else found[0].before + found[1]

    def of_lane(self, lane: str, since: int, unfinished: Callable[[int], bool]) -> Iterator[tuple[str, JournaledCall]]:
        """The asks for a lane's unfinished records from a place on, with their ids, the last first."""
        for block in reversed(self._blocks):
            for row, offset in block.of_lane(lane):
                if block.place(row) < since:
                    return
                if unfinished(offset):
                    yield block.ask_id(row), block.call(row)

    def _change_row(self, number: int, code: int) -> bool:
        block = self._blocks[-1]
        if number <= block.before:
            block = next((b for b in reversed(self._blocks) if number > b.before), self._blocks[0])
        row = number - block.before
        return row > block.forgotten and block.change(row, code)

    def _find(self, ask_id: str) -> tuple[_Block, int] | None:
        hashed, ask = hash(ask_id), _id(ask_id) or bytes(ID_CHARS)
        for block in reversed(self._blocks):
            if row := block.find(ask_id, hashed, ask):
                return block, row
        return None

    def _forget(self) -> None:
        block = self._blocks[0]
        self._count -= 1
        self.floor = max(self.floor, block.place(block.forgotten + 1) + 1)
        block.forget()
        if block.forgotten == block.capacity:
            self._blocks.popleft()
            if not self._blocks:
                self._blocks.append(_Block(_FIRST_ROWS, block.before + block.count))
        block = self._blocks[0]
        self._oldest_at = block.time(block.forgotten + 1) if self._count else inf


def _code_after(ended: Ended) -> int:
    return (_ACTED if ended.acted else _VOID) if ended.used else _NEVER


def _digests(identity: CallIdentity) -> bytes:
    """The digests of an identity as they stand in a row; nothing if they do not fit in."""
    request, content, first = identity.request, identity.content, identity.first
    if not len(request) == len(content) == len(first) == DIGEST_CHARS:
        return b""
    texts = request + content + first
    return texts.encode() if texts.isascii() and "\0" not in texts else b""


def _digest(text: str) -> bytes:
    """The same of one of them."""
    return text.encode() if len(text) == DIGEST_CHARS and _fits(text) else b""


def _fits(text: str) -> bool:
    """Whether it takes a byte for each character, and none of those that stand for nothing."""
    return text.isascii() and "\0" not in text


def _id(ask_id: str) -> bytes:
    """An ask as it stands in a row, where it is filled up with zeros; nothing if it is empty or does not fit in."""
    ask = ask_id.encode()
    return ask.ljust(ID_CHARS, b"\0") if 0 < len(ask) <= ID_CHARS and ask[-1] else b""
