"""Breakers: one for each endpoint and one for the account, as the log tells. Pure.

A breaker opens after so many failures in a row, whoever had them. When its time is over one ask is made as a *probe*: the
first in the log that says so. Its good end closes the breaker, a bad one opens it for twice as long; an end that says nothing,
or none within its promise, lets the next probe go. Only an ask made after the opening can close it.
"""

from __future__ import annotations

from dataclasses import dataclass

from processor.budget.permits import HealthSignal

ACCOUNT = ""  # the name of the account's breaker; no endpoint has it
_LONGEST_FACTOR = 4  # 15, 30, 60, 60 ... s


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When a breaker opens and for how long: ``failures`` in a row, first ``hold_s``, at most ``hold_max_s``."""

    failures: int
    hold_s: float
    hold_max_s: float


class CircuitBreaker:
    """One breaker in this replica's view; times are seconds of its own clock."""

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self.open = False
        self.until = float("-inf")  # no probe before
        self._failed = 0  # in a row
        self._hold_s = rules.hold_s
        self._opened_offset = -1
        self._probe: str | None = None
        self._probe_until = float("-inf")

    def passable(self, now: float) -> bool:
        """Whether an ask is worth making: freely, or as a probe."""
        return not self.open or (now >= self.until and not self.probing(now))

    def probing(self, now: float) -> bool:
        """Whether a probe is on its way."""
        return self._probe is not None and now < self._probe_until

    def asked_as_probe(self, ask_id: str, promise_s: float, at: float) -> None:
        """An ask that says it is a probe was read; the first of them is it."""
        if self.open and at >= self.until and not self.probing(at):
            self._probe, self._probe_until = ask_id, at + promise_s

    def may_start(self, ask_id: str) -> bool:
        """Whether an own ask may start: always while closed, else only the probe."""
        return not self.open or self._probe == ask_id

    def ended(self, ask_id: str, asked_offset: int, offset: int, health: HealthSignal, at: float) -> None:
        """An end of any fate was read.

        Args:
            ask_id: which ask ended.
            asked_offset: where it stands in the log.
            offset: where its end stands.
            health: what it says; ``NEUTRAL`` says nothing.
            at: when it was received.
        """
        was_probe = ask_id == self._probe
        if was_probe:
            self._probe = None
        if health is HealthSignal.GOOD:
            self._failed = 0
            if asked_offset > self._opened_offset:
                self.open, self._hold_s = False, self._rules.hold_s
        elif health is HealthSignal.BAD:
            self._failed += 1
            if self.open and was_probe:
                self._hold_s = min(2 * self._hold_s, self._rules.hold_max_s)
                self._shut(offset, at)
            elif not self.open and self._failed >= self._rules.failures:
                self._shut(offset, at)

    def _shut(self, offset: int, at: float) -> None:
        self.open, self.until, self._opened_offset = True, at + self._hold_s, offset


def endpoint_rules(failures: int, hold_s: float) -> BreakerRules:
    """Of an endpoint: each failed probe doubles the wait, up to four times the first."""
    return BreakerRules(failures, hold_s, _LONGEST_FACTOR * hold_s)


def account_rules(probe_s: float) -> BreakerRules:
    """Of the account: one refusal is enough, and the probe is slow and steady."""
    return BreakerRules(1, probe_s, probe_s)
