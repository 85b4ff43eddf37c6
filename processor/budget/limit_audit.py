"""A second opinion on the limits, from the log alone: answers in any window, by the broker's clock. Pure.

Of all answers of one window take the call that was asked for last. The others were asked for before it, and each of them was live
when it started: else its hold, which lasts a window from when its end was *received*, would have been over, and its answer would
lie outside of this window. So there are never more than the limit, whichever replica looks, and however late it reads.

An end that is told after the promise of its ask, as after an outage of the log, is left out: its hold is over with the promise and a
window, and when its call was answered the log does not say.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping


class LimitAudit:
    """Counts answered calls that are more in one window than any replica has ever been allowed.

    Args:
        limits: calls and seconds, by scope.
    """

    def __init__(self, limits: Mapping[str, tuple[int, float]]) -> None:
        self.counts: Counter[str] = Counter()  # by scope; must stay empty
        self._allowed = {scope: limit for scope, (limit, _) in limits.items()}
        self._window_ms = {scope: int(1000 * window_s) for scope, (_, window_s) in limits.items()}
        self._answers: dict[str, deque[int]] = {scope: deque() for scope in limits}
        self._read_ms = self._counted_ms = -1  # the last answer read; up to this one an earlier reading of the log has counted

    def follow_on(self, earlier: LimitAudit) -> None:
        """The log is read again: what was counted stays, and what is read once more is not counted again."""
        self.counts, self._counted_ms = earlier.counts, max(earlier._read_ms, earlier._counted_ms)

    def allow(self, limits: Mapping[str, int]) -> None:
        """A replica has named its limits: until it is restarted with others it may use them."""
        self._allowed |= {scope: max(limit, self._allowed[scope]) for scope, limit in limits.items() if scope in self._allowed}

    def answered(self, scope: str, weight: int, stamp_ms: int) -> None:
        """The end of a call that counts in this scope was appended at ``stamp_ms``, within its promise."""
        answers = self._answers[scope]
        if stamp_ms > self._read_ms:  # noqa: PLR1730 - for each end of anybody, in each scope: a call costs more
            self._read_ms = stamp_ms
        if weight == 1:
            answers.append(stamp_ms)
        else:
            answers.extend((stamp_ms,) * weight)
        over_ms = stamp_ms - self._window_ms[scope]
        while answers and answers[0] <= over_ms:
            answers.popleft()
        if len(answers) > self._allowed[scope]:
            if stamp_ms > self._counted_ms:
                self.counts[scope] += weight
            answers.popleft()  # one call too many is one alarm
