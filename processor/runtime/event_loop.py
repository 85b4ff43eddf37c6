"""An event loop for commands whose end waits for no name server."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")

_LOOKUPS_MAX = 32  # at a time, as many as asyncio's own threads; one that nobody waits for any more counts until it is answered


def run_loop(main: Coroutine[Any, Any, _T]) -> _T:
    """As ``asyncio.run``, which waits at its end for every ``getaddrinfo`` under way: half a minute, if no name server answers.

    Raises:
        KeyboardInterrupt: on SIGINT, once ``main`` has ended.
    """
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)


class _Loop(asyncio.SelectorEventLoop):
    """Looks up each name in a thread that ends with the process; those of an executor are waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._lookups = asyncio.Semaphore(_LOOKUPS_MAX)

    async def getaddrinfo(self, *where: Any, **more: Any) -> Any:
        await self._lookups.acquire()
        answer: asyncio.Future[Any] = self.create_future()

        def look_up() -> None:
            found: Any = None
            error: Exception | None = None
            try:
                found = socket.getaddrinfo(*where, **more)
            except Exception as exc:  # noqa: BLE001 - whoever asked gets it
                error = exc
            try:
                self.call_soon_threadsafe(self._answer, answer, found, error)
            except RuntimeError:
                return  # the loop was closed meanwhile

        threading.Thread(target=look_up, name="name lookup", daemon=True).start()
        return await answer

    def _answer(self, answer: asyncio.Future[Any], found: Any, error: Exception | None) -> None:
        self._lookups.release()
        if answer.done():
            return  # it was cancelled
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(found)
