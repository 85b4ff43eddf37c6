"""Judges deliveries in bounded CPU: cheap checks first, and what is not proven by them never competes with what is.

A body that a signature covers as it came is Didit's own: one digest shows it. Any other body may be nonsense of a stranger, and has to be
read as JSON and written again before that is known. So all of those share one thread and a short queue, and only one of them may be
large: the others are asked to come again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Semaphore

from processor.webhooks.signatures import SignatureRefused, Verified, is_signed_as_sent, refused_by_header, verify

_LARGE_BYTES = 64 * 1024
_INLINE_BYTES = 16 * 1024  # a proven body up to this is read in the event loop: some milliseconds at most
_PROVEN_MAX, _UNPROVEN_MAX = 64, 32

Verdict = Verified | SignatureRefused


class JudgeBusyError(Exception):
    """Too many bodies wait to be judged."""


class _Queue:
    """One thread and those that wait for it; whoever gives up before its turn costs nothing any more."""

    def __init__(self, name: str, waiting_max: int) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._room, self._large = Semaphore(waiting_max), Semaphore(1)

    async def run(self, judge: Callable[[], Verdict], *, alone: bool) -> Verdict:
        """Judge in the thread.

        Args:
            judge: the work.
            alone: only one such at a time, counted until the work is done and not only until its caller gave up.

        Raises:
            JudgeBusyError: if there is no room.
        """
        taken = [self._room, self._large] if alone else [self._room]
        for index, semaphore in enumerate(taken):
            if not semaphore.acquire(blocking=False):
                for earlier in taken[:index]:
                    earlier.release()
                raise JudgeBusyError

        def release(_: Future[Verdict]) -> None:
            for semaphore in taken:
                semaphore.release()

        work = self._thread.submit(judge)
        work.add_done_callback(release)
        return await asyncio.wrap_future(work)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


class Judge:
    """Says of each body whether Didit signed it."""

    def __init__(self, *, body_bytes_max: int, tolerance_s: float) -> None:
        self._body_bytes_max, self._tolerance_s = body_bytes_max, tolerance_s
        self._proven, self._unproven = _Queue("webhook-proven", _PROVEN_MAX), _Queue("webhook-unproven", _UNPROVEN_MAX)

    async def judge(self, body: bytes, headers: Mapping[str, str], secrets: Sequence[bytes], now_s: float) -> Verdict:
        """Judge one delivery; arguments as for ``verify``.

        Raises:
            JudgeBusyError: if too many wait; it is to be sent again.
        """

        def whole() -> Verdict:
            return verify(body, headers, secrets, now_s, tolerance_s=self._tolerance_s, size_bytes_max=self._body_bytes_max)

        if is_signed_as_sent(body, headers, secrets):
            return whole() if len(body) <= _INLINE_BYTES else await self._proven.run(whole, alone=False)
        refused = refused_by_header(headers, now_s, tolerance_s=self._tolerance_s)
        return refused or await self._unproven.run(lambda: _with_rest(whole), alone=len(body) > _LARGE_BYTES)

    def close(self) -> None:
        """Nobody waits any more."""
        self._proven.close()
        self._unproven.close()


def _with_rest(judge: Callable[[], Verdict]) -> Verdict:
    """Rest afterwards for as long as it took, so that the thread leaves half of the interpreter's time to the event loop."""
    began = time.thread_time()
    verdict = judge()
    time.sleep(time.thread_time() - began)
    return verdict
