"""The brokers' time, as far as a process can know it, and by how much this machine's wall clock differs from it.

Each append to the budget log is stamped by its broker at some moment between the sending and the acknowledgement. That bounds both: the
wall clock's error, and the brokers' time at any later moment of a clock that never steps. Every replica dates its due times so, hence two
machines that disagree by minutes agree on when a retry is due. Pure but for ``read``.
"""

from __future__ import annotations

from collections.abc import Callable

from processor.clock import boot_clock, clock_ms
from processor.contract.values import value

_STEP_MS = 1000.0  # a wall clock that moves by more than this between two readings was set


@value(frozen=True, slots=True)
class ClockReading:
    """Two clocks of this machine, read together."""

    wall_ms: int  # since the epoch; may be set at any time
    steady_s: float  # from any origin; never set


def read_clocks() -> ClockReading:
    """Now."""
    return ClockReading(clock_ms(), boot_clock())


class BrokerClock:
    """Learns from stamps what the brokers' time is.

    Args:
        skew_max_s: a wall clock that differs by more is wrong (``VP_BUDGET__CLOCK_SKEW_MAX_S``).
        read: the clocks of this machine.

    Attributes:
        read: as given.
        skew_s: how much later the wall clock is than the brokers', at least; negative if it is behind. 0 while nothing else is certain.
    """

    def __init__(self, skew_max_s: float, read: Callable[[], ClockReading] = read_clocks) -> None:
        self.read, self.skew_s = read, 0.0
        self._steady_s = boot_clock if read is read_clocks else lambda: read().steady_s
        self._skew_max_s = skew_max_s
        self._ahead_ms: float | None = None  # of the brokers' clock over the steady one, at least

    def note(self, sent: ClockReading, stamp_ms: int, received: ClockReading) -> None:
        """A broker has stamped a record between two readings of ours."""
        sent_ms, received_ms = sent.steady_s * 1000, received.steady_s * 1000
        at_least, at_most = stamp_ms - received_ms, stamp_ms + 1 - sent_ms  # a stamp is cut to the millisecond
        known = self._ahead_ms
        # the tighter bound, unless the brokers' clock was set back or another broker leads
        self._ahead_ms = at_least if known is None or known > at_most else max(known, at_least)
        if abs((received.wall_ms - sent.wall_ms) - (received_ms - sent_ms)) > _STEP_MS:
            return  # set just now: the next record tells
        lowest, highest = (sent.wall_ms - stamp_ms - 1) / 1000, (received.wall_ms - stamp_ms) / 1000
        self.skew_s = max(lowest, min(self.skew_s, highest))

    def now_ms(self) -> int:
        """The brokers' time, epoch ms; the wall clock's before the first stamp.

        Never later than theirs, and earlier by what an append takes.
        """
        return self.read().wall_ms if self._ahead_ms is None else int(self._ahead_ms + self._steady_s() * 1000)

    @property
    def fault(self) -> str:
        """What is wrong with this machine's clock; empty if nothing is."""
        if abs(self.skew_s) <= self._skew_max_s:
            return ""
        side = "ahead of" if self.skew_s > 0 else "behind"
        return (
            f"this machine's clock differs from the brokers' by {abs(self.skew_s):.1f} s: it is {side} them. No call starts until it "
            f"is set right (at most {self._skew_max_s:g} s, VP_BUDGET__CLOCK_SKEW_MAX_S)"
        )
