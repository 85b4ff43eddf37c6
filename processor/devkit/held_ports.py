"""Ports of loopback for processes that are yet to start, kept from everybody else until they listen, and while they are restarted.

A port that is chosen and let go again lies among those that the kernel gives to whoever asks for any port, and to outgoing connections.
Until the process listens, or between its end and its next start, somebody else may get it. A socket that is bound and does not listen
prevents that: Linux gives nobody a port that is bound, and lets a second socket that names it bind and listen, if both have
SO_REUSEADDR (socket(7)). Elsewhere ports are let go.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self


class HeldPorts:
    """Free ports; as a context manager, or until ``close``. Connections to them are refused until somebody listens.

    Args:
        count: how many.
        first: the number of the first one; 0 for any.

    Raises:
        OSError: somebody has that one.
    """

    def __init__(self, count: int = 1, *, first: int = 0) -> None:
        self._sockets = [socket.socket() for _ in range(count)]
        try:
            for number, one in zip((first, *[0] * count), self._sockets, strict=False):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind(("127.0.0.1", number))
        except OSError:
            self.close()
            raise
        self.numbers: Sequence[int] = [one.getsockname()[1] for one in self._sockets]
        if sys.platform != "linux":
            self.close()

    def close(self) -> None:
        """Let them go."""
        for one in self._sockets:
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
