"""Unpacking beside the event loop: 16 MiB take up to a tenth of a second. zlib and cramjam let go of the interpreter lock meanwhile.

One batch of the whole process is unpacked at a time: what that takes beyond the batch itself counts once in its memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")

_POOL = ThreadPoolExecutor(1, "unpacking")  # its thread begins with the first batch that needs it


class UnpackingThread:
    """The thread, as one consumer uses it.

    Args:
        on_news: called in the event loop when a batch is unpacked, and soon after ``call_soon``.
    """

    def __init__(self, on_news: Callable[[], None]) -> None:
        self._jobs: set[asyncio.Future[Any]] = set()
        self._on_news = on_news

    def start(self, unpack: Callable[[bytes], _T], packed: bytes) -> asyncio.Future[_T]:
        """Have a batch unpacked. Nobody needs to wait for it."""
        job = asyncio.get_running_loop().run_in_executor(_POOL, unpack, packed)
        self._jobs.add(job)
        job.add_done_callback(self._done)
        return job

    def call_soon(self) -> None:
        """``on_news`` in the next turn of the loop."""
        asyncio.get_running_loop().call_soon(self._on_news)

    def close(self) -> None:
        """Forget what is not unpacked yet. The batch that is being unpacked ends by itself, within a fraction of a second."""
        for job in list(self._jobs):
            job.cancel()

    def _done(self, job: asyncio.Future[Any]) -> None:
        self._jobs.discard(job)
        if not job.cancelled():
            job.exception()  # looked at: nobody asks for a batch that was dropped meanwhile
            self._on_news()
