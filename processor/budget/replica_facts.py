"""What a replica says of itself with each sign of life, for people. Pure; nothing of it decides about a call."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NUMBER_MAX = 2**53


@dataclass(frozen=True, slots=True)
class ReplicaFacts:
    """One replica at one moment."""

    version: str
    uptime_s: int
    memory_bytes: int  # resident; 0 where the machine does not say
    pauses_to: int = 0  # it obeys the records of the controls topic below this offset
    error: str = ""  # the last one that it logged: the name of the event, never its text
    error_ms: int = 0  # when, epoch ms by its own clock


def write_facts(facts: ReplicaFacts) -> list[Any]:
    """As it stands in a sign of life."""
    return [facts.version, facts.uptime_s, facts.memory_bytes, facts.pauses_to, facts.error, facts.error_ms]


def read_facts(raw: Any) -> ReplicaFacts | None:
    """The same back; None for anything else, also of a later version: a sign of life counts without it."""
    if type(raw) is not list or len(raw) < 6:  # noqa: PLR2004 - members of the record; a later version may add some behind them
        return None
    version, uptime_s, memory_bytes, pauses_to, error, error_ms = raw[:6]
    numbers = (uptime_s, memory_bytes, pauses_to, error_ms)
    if not all(type(number) is int and 0 <= number <= _NUMBER_MAX for number in numbers):
        return None
    if type(version) is not str or not _VERSION.fullmatch(version) or type(error) is not str or not (not error or _CODE.fullmatch(error)):
        return None
    return ReplicaFacts(version, uptime_s, memory_bytes, pauses_to, error, error_ms)
