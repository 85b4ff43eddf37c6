"""Repairs answers to fetches after which a partition would never move again, and paces those that give nothing but errors. Pure.

Where the length of a batch is broken in a broker's log, nothing behind it can be found. Depending on what stands there, the broker says
that the log is corrupt, or gives nothing although there is more; aiokafka asks again, at once and for ever, and tells nobody. Here such an
answer is turned into one with a batch that cannot be read, so that the partition waits before it as before any other
(``aiokafka_results``).

Where metadata names a leader that is none (an election is under way, or a broker has just come back), each fetch is answered at once with
an error, and aiokafka fetches again at once: thousands of times a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_NO_ERROR, _CORRUPT = 0, 2  # https://kafka.apache.org/protocol.html#protocol_error_codes
_READ_COMMITTED_SINCE = 4  # version of the answer: it tells the last stable offset, behind the high watermark
_EMPTY_S = 5.0  # an answer is empty for a moment when the end moves meanwhile
_EMPTY_COUNT = 3
_REFUSED_S, _REFUSED_REST_S = 1.0, 0.1  # the latter is ``retry.backoff.ms`` of Kafka's own client
_FULL_BYTES = 1_048_576  # a fraction of what an answer may hold
UNREADABLE = bytes(8) + (49).to_bytes(4, "big") + bytes(4) + b"\x02" + b"\xff" * 44
"""A batch of the present format whose checksum is wrong and whose header makes no sense."""

_Place = tuple[str, int]


@dataclass(slots=True)
class _Empty:
    offset: int
    since_s: float
    count: int = 0


class FetchAnswers:
    """What one client was told.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._empty: dict[_Place, _Empty] = {}
        self._ends: dict[_Place, tuple[int, int]] = {}  # high watermark and last stable offset, as told last
        self._refused_s: dict[int, float] = {}  # when a broker gave nothing but errors, if it did so last

    def rest_s(self, node_id: int, response: Any) -> float:
        """For so long nothing more is to be fetched from a broker that gives nothing but errors, and did so a moment ago; else 0."""
        told = [partition for _, partitions in response.topics for partition in partitions]
        if any(one[-1] for one in told) or all(one[1] == _NO_ERROR for one in told):
            self._refused_s.pop(node_id, None)
            return 0.0
        before_s = self._refused_s.get(node_id, float("-inf"))
        now_s = self._refused_s[node_id] = self._clock()
        return _REFUSED_REST_S if now_s - before_s < _REFUSED_S else 0.0

    def corrected(self, request: Any, response: Any) -> Any:
        """The answer, changed where a partition cannot be read on. Both are of aiokafka's protocol."""
        if response.API_VERSION < _READ_COMMITTED_SINCE:
            return response
        offsets = {(topic, asked[0]): asked[1] for topic, partitions in request.topics for asked in partitions}
        given_bytes = sum(len(told[-1] or b"") for _, partitions in response.topics for told in partitions)
        response.topics = [
            (topic, [self._partition((topic, told[0]), offsets.get((topic, told[0]), 0), told, given_bytes) for told in partitions])
            for topic, partitions in response.topics
        ]
        return response

    def _partition(self, place: _Place, offset: int, told: tuple[Any, ...], given_bytes: int) -> tuple[Any, ...]:
        partition, error, high, stable, *more, records = told
        if error == _NO_ERROR:
            self._ends[place] = (high, stable)
        elif error == _CORRUPT:
            return (partition, _NO_ERROR, *self._ends.get(place, (offset, offset)), *more, UNREADABLE)
        if error != _NO_ERROR or records or offset >= stable:
            self._empty.pop(place, None)
            return told
        if given_bytes >= _FULL_BYTES:
            return told  # there may have been no room for it
        seen = self._empty.get(place)
        if seen is None or seen.offset != offset:
            seen = self._empty[place] = _Empty(offset, self._clock())
        seen.count += 1
        if seen.count < _EMPTY_COUNT or self._clock() - seen.since_s < _EMPTY_S:
            return told
        return (partition, _NO_ERROR, high, stable, *more, UNREADABLE)
