"""What a process asks its machine for, as the simulated host has it: clocks, random bytes.

Patched at the edge; the product knows nothing of it. ``prepare`` comes before the product is imported, because a default argument keeps
the clock of that moment; the clocks are the real ones until a world begins.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

from simulation.loop import HOST, START_S, SimulatedLoop

EPOCH_S = 1_790_000_000.0  # true time when a world begins
_loops: list[SimulatedLoop] = []  # the one of the world, once it has begun


def prepare() -> None:
    """Put our functions in the place of the clocks."""
    for name, seconds, scale in (
        ("time", _wall_s, 1),
        ("time_ns", _wall_s, 10**9),
        ("monotonic", _steady_s, 1),
        ("monotonic_ns", _steady_s, 10**9),
        ("perf_counter", _steady_s, 1),
        ("perf_counter_ns", _steady_s, 10**9),
        ("clock_gettime", _steady_s, 1),  # of CLOCK_BOOTTIME
    ):
        setattr(time, name, _clock(getattr(time, name), seconds, scale))


def _clock(real: Callable[..., float], seconds: Callable[[], float], scale: int) -> Callable[..., float]:
    def read(*args: int) -> float:
        if not _loops:
            return real(*args)
        return seconds() if scale == 1 else int(seconds() * scale)

    def read_steady(*args: int) -> float:  # most calls by far
        return _loops[0].time() if _loops else real(*args)

    return read_steady if seconds is _steady_s and scale == 1 else read


def _steady_s() -> float:
    return _loops[0].time()


def _wall_s() -> float:
    host = HOST.get()
    return EPOCH_S + _loops[0].time() - START_S + (host.wall_offset_s if host is not None else 0.0)


def begin(loop: SimulatedLoop, seed: int) -> None:
    """From now on the clocks are the loop's, and what is random is the seed's; for good: each world has a process of its own."""
    draw = random.Random(seed ^ 0x5DEECE66D)
    os.urandom = draw.randbytes  # uuid4
    random._urandom = draw.randbytes  # type: ignore[attr-defined]  # noqa: SLF001 - secrets and SystemRandom
    random.seed(seed)
    threading.Timer = _Timer  # type: ignore[misc, assignment]
    _loops.append(loop)


class _Timer:
    """A thread that waits and then ends the process; here it ends the host's."""

    def __init__(self, interval: float, function: Callable[..., object], args: tuple[Any, ...] = ()) -> None:
        assert function is os._exit, "no other thread is known"
        self.daemon, self._interval, self._status, self._host = False, interval, args[0], HOST.get()

    def start(self) -> None:
        """Begin to wait."""
        assert self._host is not None
        _loops[0].call_later(self._interval, self._host.on_exit, self._status, context=Context())
