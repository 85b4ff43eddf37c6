"""How long a record of a person is there at most, topic by topic, from what the topics are like. Pure.

Kafka deletes a segment when its newest record is older than ``retention.ms``, also the one that is written to, at the next look of the
broker (``log.retention.check.interval.ms``); the files are there for ``file.delete.delay.ms`` more. A segment takes records for
``segment.ms`` from its first one on, so a record may wait that long for a newer one of its segment (Apache Kafka, "Topic Configs",
and UnifiedLog.deleteOldSegments; ``tests/integration/test_integration_person.py`` shows it on a broker).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from processor.contract.times import duration
from processor.settings import Settings
from processor.stream.topics import TopicFound, topic_names

CHECK_INTERVAL_S = 300.0  # Kafka's default of log.retention.check.interval.ms
_RETENTION_MS, _SEGMENT_MS, _DELETE_DELAY_MS = 604_800_000, 604_800_000, 60_000  # Kafka's defaults
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class TopicLifetime:
    """Of one topic. Times are seconds; None: for ever, as far as the topic's configuration says."""

    topic: str
    kept_s: float | None  # from a record's timestamp until it is gone, at most
    written_after_s: float  # from the caller's request until its last record comes to this topic, at most
    ids_only: bool = False  # request ids or their digests and names of operators, nothing of an input or an answer

    @property
    def longest_s(self) -> float | None:
        """From the caller's request until nothing of it is there any more."""
        return None if self.kept_s is None else self.kept_s + self.written_after_s


def kept_s(configs: Mapping[str, str], check_interval_s: float = CHECK_INTERVAL_S) -> float | None:
    """From a record's timestamp until the broker has deleted it, at most, s; None if it may stay for ever.

    Args:
        configs: of its topic; the timestamps are the broker's (``LogAppendTime``).
        check_interval_s: how often the broker looks for what is to be deleted.
    """
    retention_ms = int(configs.get("retention.ms", _RETENTION_MS))
    if retention_ms < 0 or "delete" not in configs.get("cleanup.policy", "delete"):
        return None
    segment_ms, delay_ms = int(configs.get("segment.ms", _SEGMENT_MS)), int(configs.get("file.delete.delay.ms", _DELETE_DELAY_MS))
    return (retention_ms + segment_ms + delay_ms) / 1000 + check_interval_s


def longest_wait_s(settings: Settings) -> float:
    """From a request until its last record is written, s: what is written again on the way begins the retention of its topic again.

    Operators' pauses, a held account and waits that Didit asks for (429) count no attempt and come on top; a ``deadline`` cuts all.
    """
    retry, follow = settings.retry, settings.follow
    tries_s = retry.attempts_max * max(retry.backoff_max_s, retry.retry_after_max_s, retry.delays_s[-1])
    follows_s = follow.longest_s + follow.later_finals_s + follow.polls_s[-1]
    return max(tries_s, follows_s)


def lifetimes(settings: Settings, found: Mapping[str, TopicFound], check_interval_s: float = CHECK_INTERVAL_S) -> list[TopicLifetime]:
    """Of every topic of the installation that exists and holds what concerns persons, in the order in which a request passes them."""
    names, wait_s = topic_names(settings), longest_wait_s(settings)
    content = (names.requests, *names.inputs[1:], names.results, names.events, names.dead_letters)
    return [
        TopicLifetime(name, kept_s(found[name].configs, check_interval_s), 0.0 if name == names.requests else wait_s, name not in content)
        for name in (*content, names.repairs, names.budget)
        if name in found
    ]


def lifetime_warnings(settings: Settings, times: Sequence[TopicLifetime]) -> list[str]:
    """Topics that keep personal data of a request for longer than is stated, each with what to do."""
    stated_s = settings.privacy.longest_days * _DAY_S
    return [
        f"{time.topic}: personal data of a request may be there for {_told(time.longest_s)} (up to {_told(time.written_after_s)} until its "
        f"last record is written, then {_told(time.kept_s)}), longer than the {settings.privacy.longest_days:g} days of "
        "VP_PRIVACY__LONGEST_DAYS; lower retention.ms and segment.ms of the topic, or VP_FOLLOW__LONGEST_S, or state a longer time"
        for time in times
        if not time.ids_only and (time.longest_s is None or time.longest_s > stated_s)
    ]


def lifetime_line(time: TopicLifetime) -> str:
    """The lifetime as one line of text."""
    what = "request ids only" if time.ids_only else "personal data"
    return f"{time.topic}: {what}, gone {_told(time.kept_s)} after a record was written, {_told(time.longest_s)} after its request came"


def _told(seconds: float | None) -> str:
    return "never" if seconds is None else duration(seconds)
