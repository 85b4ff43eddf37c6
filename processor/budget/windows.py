"""One scope as this replica sees it: who holds weight, and when an own ask may start. Pure: ``at`` and ``now`` go in.

An ask is *live* from its record until its end was read and a window has passed (used), until its end was read (unused), or
until its promise and a window have passed (no end: its holder died). RULE: an ask may start when, in its holder's own view,
the live asks *earlier in the log* weigh at most limit - weight.

Why no window holds more than the limit: of any limit + 1 calls counted inside one window take the one latest in the log. The
others are earlier in the log, and still live in its holder's view when it starts, because each hold is timed from when the
holder *received* a record, which is after the fact that the record reports. So views may differ, lag or be late: late is safe.

All times are seconds of this replica's own clock, which counts while the machine is suspended.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from math import inf

_THROTTLES = 3  # so many 429s ...
_THROTTLED_WITHIN_S = 600.0  # ... in this time mean that somebody else uses the key
_NAMED_S = 3600.0  # so long a limit that Didit named is obeyed before quiet windows raise it
_LOWERED_PART = 0.9
_RAISED_PART = 0.01  # of the configured limit, for each quiet window
BURST_PART = 0.5  # of the limit may be live before asks are spread over the window; more would leave holes of half a window behind it
CATCH_UP_PART = 0.05  # of a window: so much lost time is caught up with at once
_SPREAD_PART = 0.2
_SPREAD_MAX_S = 2.0


@dataclass(slots=True)
class Hold:
    """The weight of one ask."""

    offset: int
    weight: int
    until: float
    earliest: float  # pacing
    paced_s: float  # by how much it has pushed the pace on
    ahead: int  # live weight earlier in the log; kept up to date for own waiting asks only
    open: bool = True  # no end was read


class ExpiryQueue:
    """What is over when. Most of it comes in the order of its end, so a queue holds it, and a heap the rest.

    Times and names stand side by side: there are tens of thousands, and the garbage collector would walk over as many pairs at a time.
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._names: deque[str] = deque()
        self._others: list[tuple[float, str]] = []

    def push(self, until: float, ask_id: str) -> None:
        """An ask is over at a time."""
        if not self._times or self._times[-1] <= until:
            self._times.append(until)
            self._names.append(ask_id)
        else:
            heapq.heappush(self._others, (until, ask_id))

    def pop(self, now: float) -> tuple[float, str] | None:
        """One that is over by now."""
        if self._times and self._times[0] <= now:
            return self._times.popleft(), self._names.popleft()
        return heapq.heappop(self._others) if self._others and self._others[0][0] <= now else None

    @property
    def next_at(self) -> float:
        """When the next one is over."""
        ordered = self._times[0] if self._times else inf
        return min(ordered, self._others[0][0]) if self._others else ordered


class Window:
    """The live asks of one scope. Offsets only grow, so a new ask is behind everything that is live.

    Args:
        limit: calls a window.
        window_s: length of the window.
        slack_s: drift between two clocks over a hold.
        spread: 0 <= spread < 1, this replica's place in the crowd after a pause.
    """

    def __init__(self, limit: int, window_s: float, slack_s: float, spread: float) -> None:
        self.configured, self.window_s = limit, window_s
        self.live: dict[str, Hold] = {}
        self.own: dict[str, Hold] = {}  # asks of this replica that wait, in log order
        self.weight = self.open_weight = 0
        self.paused_until = float("-inf")
        self.pause_sent_at = float("-inf")  # when the log last said so
        self.pause_told_until = float("-inf")  # until when, by the log; a replica adds its spread, and does not pass that on
        self._held_until = float("-inf")  # a pause of our own that the log does not say yet
        self._keep_s, self._spread = window_s + slack_s, spread
        self._open_over, self._ended_over = ExpiryQueue(), ExpiryQueue()
        self._expires_at = inf  # nothing is over before
        self._pace = self._resume = float("-inf")
        self._even = float("-inf")  # where the pace were at the full rate, with bursts counted in
        self._burst = 0.0  # weight of the burst that is being made up for
        self._waited_at = float("-inf")  # when an ask last came that had to wait, for its time or for room
        self._throttled: deque[float] = deque(maxlen=_THROTTLES)
        self._lowered: int | None = None
        self._quiet_from = float("-inf")

    def follow_on(self, earlier: Window) -> None:
        """The log is read again, and may be another one: pauses go on, and are to be said again."""
        self.paused_until = self._resume = earlier.paused_until
        self.pause_told_until, self._held_until = earlier.pause_told_until, earlier._held_until

    @property
    def limit(self) -> int:
        """Calls a window at present: what is configured, or less while Didit names less or somebody else uses the key."""
        return self.configured if self._lowered is None else min(self.configured, self._lowered)

    @property
    def gap_s(self) -> float:
        """Time between two calls at the full rate."""
        return self.window_s / self.limit

    def ask(self, ask_id: str, offset: int, weight: int, promise_s: float, at: float, *, mine: bool) -> None:
        """An ask was read."""
        if at >= self._expires_at or self._lowered is not None:
            self.expire(at)
        earliest, paced_s = self._paced(weight, at)
        until = at + promise_s + self._keep_s
        hold = self.live[ask_id] = Hold(offset, weight, until, earliest, paced_s, self.weight)
        self._open_over.push(until, ask_id)
        if until < self._expires_at:  # noqa: PLR1730 - for each record of anybody: a call costs more
            self._expires_at = until
        self.weight += weight
        self.open_weight += weight
        if self.weight > self.configured:
            self._waited_at = at
        if mine:
            self.own[ask_id] = hold
            if self.paused_until > at:
                self._queue_for_resume(hold)

    def may_burst(self, weight: int, now: float) -> bool:
        """Whether so much may leave at once: ahead of the pace, or because the pace is behind."""
        if now >= self._expires_at or self._lowered is not None:
            self.expire(now)
        if weight <= self._burst_room(now):
            return True
        return self.weight + weight <= self.limit and self._behind_since(now) + weight * self.gap_s <= now

    def burst_room(self, now: float) -> int:
        """How much may leave ahead of the pace: while the window is half empty, and nobody else was seen to use the key of late."""
        self.expire(now)
        return self._burst_room(now)

    def _burst_room(self, now: float) -> int:
        room = int(self.configured * BURST_PART) - self.weight
        return room if room > 0 and self._is_alone(now) else 0

    def _is_alone(self, now: float) -> bool:
        """Whether nobody else was seen to use the key of late."""
        return self._lowered is None and now >= self.paused_until + self.window_s

    def gap_after_burst_s(self, now: float) -> tuple[float, float]:
        """Time between two calls once all of ``burst_room`` has left, and for how long it is that: then it is ``gap_s`` again."""
        room_s = self.burst_room(now) * self.gap_s
        ahead_s = max(0.0, self._even - max(now, self._pace)) + room_s
        burst = max(self._burst, ahead_s / self.gap_s)
        gap_s = self.window_s / max(self.limit - burst, self.limit * (1 - BURST_PART))
        return gap_s, ahead_s * gap_s / (gap_s - self.gap_s) if gap_s > self.gap_s else 0.0

    def end(self, ask_id: str, *, used: bool, at: float) -> int:
        """An end was read; the weight of its call in the window that begins with it. Only the first one of an ask counts.

        One that is told after its promise has none, and holds nothing for longer: its call was answered before, nobody knows when.
        """
        if at >= self._expires_at or self._lowered is not None:
            self.expire(at)
        hold = self.live.get(ask_id)
        if hold is None or not hold.open:
            return 0
        if not used:
            self._pace -= hold.paced_s
            self._even -= hold.weight * self.gap_s
            self._drop(ask_id)
            return 0
        hold.open = False
        self.open_weight -= hold.weight
        told_late = at + self._keep_s > hold.until
        until = hold.until = min(hold.until, at + self._keep_s)
        self._ended_over.push(until, ask_id)
        if until < self._expires_at:  # noqa: PLR1730 - for each record of anybody: a call costs more
            self._expires_at = until
        return 0 if told_late else hold.weight

    def pause(self, wait_s: float, at: float, *, counts: bool, limit: int | None = None) -> None:
        """A pause was read. It never shortens an earlier one.

        Those that ``counts`` are 429s: one that names a lower ``limit`` than ours sets it, three others lower ours.
        """
        self.expire(at)
        if limit is not None and limit < self.limit:
            self._lowered, self._quiet_from = limit, at + _NAMED_S
        elif counts and at >= self.paused_until:  # answers that were on their way when the pause began are one incident
            self._throttle(at)
        self.pause_sent_at, self.pause_told_until = at, max(self.pause_told_until, at + wait_s)
        until = at + wait_s + self._spread * min(_SPREAD_PART * wait_s, _SPREAD_MAX_S)
        if until <= self.paused_until:
            return
        self.paused_until = self._resume = until
        for hold in self.own.values():
            self._queue_for_resume(hold)

    def hold_back(self, wait_s: float, now: float) -> None:
        """Start nothing for so long, until the log says it to everybody."""
        self._held_until = max(self._held_until, now + wait_s)

    def expire(self, now: float) -> None:
        """Drop what is over by now."""
        if now < self._expires_at and self._lowered is None:
            return
        for queue in (self._ended_over, self._open_over):
            while (over := queue.pop(now)) is not None:
                until, ask_id = over
                hold = self.live.get(ask_id)
                if hold is not None and hold.until == until:
                    self._drop(ask_id)
        self._expires_at = min(self._open_over.next_at, self._ended_over.next_at)
        while self._lowered is not None and now - self._quiet_from >= self.window_s:
            self._quiet_from += self.window_s
            self._lowered += max(1, round(_RAISED_PART * self.configured))
            if self._lowered >= self.configured:
                self._lowered = None

    def start_at(self, ask_id: str, now: float) -> float:
        """``now`` or less: the own ask may start. Otherwise the earliest moment worth looking again without a new record."""
        if now >= self._expires_at or self._lowered is not None:
            self.expire(now)
        own = self.own[ask_id]
        if ask_id not in self.live:
            return float("inf")  # it has expired
        start_at = max(own.earliest, self.paused_until, self._held_until)
        if own.ahead + own.weight <= (self.configured if self._lowered is None else self.limit):
            return start_at
        return max(start_at, min(self._open_over.next_at, self._ended_over.next_at))

    def is_full_for(self, ask_id: str) -> bool:
        """Whether what is live before an own ask leaves no room for it."""
        own = self.own[ask_id]
        return own.ahead + own.weight > self.limit

    def foreseen_start_at(self, unread: int, now: float) -> float:
        """When an ask that is sent now could start, behind so many own ones that are not read back; ``inf`` if the window is full then."""
        if now >= self._expires_at or self._lowered is not None:
            self.expire(now)
        if self.weight + unread + 1 > self.limit:
            return float("inf")
        if unread < self._burst_room(now):
            return max(now, self._held_until)
        gap_s = self.gap_s
        due = self._pace_at(now, gap_s) if self._pace > now else self._behind_since(now)
        return max(now, due + unread * self._paced_gap_s(now, gap_s), self.paused_until, self._held_until)

    def forget(self, ask_id: str) -> None:
        """The own ask waits no more."""
        self.own.pop(ask_id, None)

    def throttled_lately(self, now: float) -> int:
        """429s of the last ten minutes that have not lowered the limit yet."""
        return sum(1 for at in self._throttled if now - at <= _THROTTLED_WITHIN_S)

    def _throttle(self, at: float) -> None:
        self._quiet_from = max(self._quiet_from, at)
        self._throttled.append(at)
        if len(self._throttled) == _THROTTLES and at - self._throttled[0] <= _THROTTLED_WITHIN_S:
            self._lowered = max(1, int(self.limit * _LOWERED_PART))
            self._throttled.clear()

    def _paced(self, weight: int, at: float) -> tuple[float, float]:
        """When an ask may start by the pace, and by how much it pushes the pace on.

        A window that begins with a burst of b calls has limit - b left: they are spread over all of it, so that nobody meets a hole. What
        is asked for beyond them goes at the full rate, whenever it is asked for: the pace is made up for when it meets the even one.
        """
        # each ask of anybody comes by here: what is usual makes no calls
        gap_s = self.window_s / self.configured if self._lowered is None else self.gap_s
        if self._burst:
            self._make_up(at, gap_s)
        due, bursts = at, False  # where it stands by the pace
        if self._pace > at:
            due = max(at, self._pace_at(at, gap_s))
            bursts = due > at and weight <= self._burst_room(at)
            if bursts:
                due = at
            else:
                self._waited_at = at
        elif at - self._waited_at <= self.window_s:
            due = self._behind_since(at)
        even = due if self._even <= due else min(self._even, due + self.window_s * BURST_PART)
        even = self._even = even + weight * gap_s
        if bursts:
            burst = (even - due) / gap_s
            if burst > self._burst:  # noqa: PLR1730 - as above
                self._burst = burst
            return due, 0.0
        paced_s = weight * (self._spread_gap_s() if self._burst else gap_s)
        self._pace = due + paced_s
        return max(at, due), paced_s

    def _behind_since(self, now: float) -> float:
        """Where the pace stands; ``now`` unless it is behind while asks have to wait: at a rebalance nobody can ask, for example.

        The time that was lost is caught up with at once, so a standstill shorter than ``CATCH_UP_PART`` costs a backlog nothing. A longer
        one costs the rest: as long a hole comes back one window later. A window that is less than half full may burst instead.
        """
        if now - self._waited_at > self.window_s or self.weight < self.configured * BURST_PART or not self._is_alone(now):
            return now
        return min(now, max(self._pace, now - CATCH_UP_PART * self.window_s))

    def _pace_at(self, at: float, gap_s: float) -> float:
        """The pace, never further ahead than what is still open: a backlog read in one gulp must not push it away."""
        return min(self._pace, at + (self.open_weight + 1) * gap_s / (1 - BURST_PART))

    def _paced_gap_s(self, at: float, gap_s: float) -> float:
        self._make_up(at, gap_s)
        return self._spread_gap_s()

    def _make_up(self, at: float, gap_s: float) -> None:
        if self._even - max(at, self._pace) < gap_s:
            self._burst = 0.0  # made up for, to less than a call

    def _spread_gap_s(self) -> float:
        limit = self.limit
        return self.window_s / max(limit - self._burst, limit * (1 - BURST_PART))

    def _queue_for_resume(self, hold: Hold) -> None:
        hold.earliest = max(hold.earliest, self._resume)
        self._resume += self.gap_s

    def _drop(self, ask_id: str) -> None:
        hold = self.live.pop(ask_id)
        self.weight -= hold.weight
        self.open_weight -= hold.weight * hold.open
        for own in self.own.values():
            if own.offset > hold.offset:
                own.ahead -= hold.weight
