"""Bytes that a process may hold at once for one purpose, reserved before they come. For one event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Self


class BytesBusyError(TimeoutError):
    """The bytes did not become free in time."""


class ByteBudget:
    """So many bytes at once; those who wait get theirs in the order in which they came."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes, self._held_bytes = size_bytes, 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def size_bytes(self) -> int:
        """All of them."""
        return self._size_bytes

    @property
    def held_bytes(self) -> int:
        """Those reserved now."""
        return self._held_bytes

    def try_reserve(self, size_bytes: int) -> bool:
        """Take them if they are free and nobody waits; True: they must be given back with ``release``."""
        if self._waiting or not self._fits(size_bytes):
            return False
        self._held_bytes += size_bytes
        return True

    async def reserve(self, size_bytes: int, *, within_s: float) -> None:
        """Take them, waiting for them; they must be given back with ``release``. More than all of them is taken when none is held.

        Raises:
            BytesBusyError: if they are not free in time.
        """
        if self.try_reserve(size_bytes):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size_bytes, turn)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(within_s):
                await turn
        except BaseException as exc:
            if turn.done() and not turn.cancelled():
                self.release(size_bytes)  # granted in the moment in which we gave up
            elif entry in self._waiting:  # else a release in the same turn of the loop has skipped it
                self._waiting.remove(entry)
                self._grant()
            if isinstance(exc, TimeoutError):
                raise BytesBusyError from None
            raise

    def release(self, size_bytes: int) -> None:
        """Give back what was reserved."""
        self._held_bytes -= size_bytes
        self._grant()

    def reservation(self) -> ByteReservation:
        """What one holder takes bit by bit, given back at the end of its ``with`` block."""
        return ByteReservation(self)

    def _fits(self, size_bytes: int) -> bool:
        return self._held_bytes + size_bytes <= self._size_bytes or not self._held_bytes

    def _grant(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size_bytes, turn = self._waiting.popleft()
            if not turn.done():
                self._held_bytes += size_bytes
                turn.set_result(None)


class ByteReservation:
    """The bytes of one holder."""

    __slots__ = ("_budget", "_held_bytes")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget, self._held_bytes = budget, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    async def grow_to(self, size_bytes: int, *, within_s: float) -> None:
        """Hold so many in all.

        Whoever holds some and waits for more may wait for another such holder: take little at first, then all that may be needed.

        Raises:
            BytesBusyError: if they are not free in time.
        """
        if (more := size_bytes - self._held_bytes) > 0:
            await self._budget.reserve(more, within_s=within_s)
            self._held_bytes += more

    def try_grow_to(self, size_bytes: int) -> bool:
        """The same without waiting; whether they are held."""
        more = size_bytes - self._held_bytes
        if more > 0 and not self._budget.try_reserve(more):
            return False
        self._held_bytes += max(0, more)
        return True

    def shrink_to(self, size_bytes: int) -> None:
        """Give back what is beyond."""
        if (less := self._held_bytes - size_bytes) > 0:
            self._held_bytes = size_bytes
            self._budget.release(less)

    def release(self) -> None:
        """Give all back."""
        self.shrink_to(0)
