"""Breakers: one for each endpoint and one for the account, as the log tells. Pure.

A breaker opens after so many failures in a row, whoever had them. When its time is over one ask is made as a *probe*: the
first in the log that says so. Its good end closes the breaker, a bad one opens it for twice as long; an end that says nothing,
or none within its promise, lets the next probe go. Only an ask made after the opening can close it.

It also opens when Didit refuses the operation: at once where the account cannot pay for it, and after 403s of so many different
requests within ten minutes without a success of any other one. Such a hold lasts for the same time after each probe, and ends with
a call that was done.
"""

from __future__ import annotations

from dataclasses import dataclass

from processor.budget.permits import REFUSALS, HealthSignal

ACCOUNT = ""  # the name of the account's breaker; no endpoint has it
_LONGEST_FACTOR = 4  # 15, 30, 60, 60 ... s
_REFUSED_S = 600.0  # 403s of different requests within this time count together
_GOOD = HealthSignal.GOOD  # a member that is looked up for each end of anybody


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When a breaker opens, and until when; times in seconds."""

    failures: int  # in a row, until it opens
    hold_s: float  # until its first probe; doubled by each probe that fails
    hold_max_s: float  # from one probe to the next at the most
    refused_requests: int  # different ones, until it opens because they are refused; one is enough where it is ``UNPAID``
    refusal_hold_s: float  # from one probe to the next then
    refusals: frozenset[HealthSignal]  # which ends count as a refusal here


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
        self._refused: dict[str, float] = {}  # requests refused since the last success: when, oldest first
        self.is_refusing = False  # it is open because the operation is refused

    def held_for_s(self, now: float) -> float:
        """Seconds until a probe is due, while Didit refuses the operation; 0 otherwise."""
        return max(0.0, self.until - now) if self.open and self.is_refusing else 0.0

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

    def is_undisturbed_by(self, health: HealthSignal) -> bool:
        """Whether such an end would change nothing: almost all ends of almost all time."""
        if self.open or self._probe is not None:
            return False
        return (health is _GOOD and not self._failed and not self._refused) or health is HealthSignal.NEUTRAL

    def ended(
        self,
        ask_id: str,
        asked_offset: int,
        offset: int,
        health: HealthSignal,
        at: float,
        *,
        request: str | None = None,
        acted: bool = False,
    ) -> None:
        """An end of any fate was read.

        Args:
            ask_id: which ask ended.
            asked_offset: where it stands in the log.
            offset: where its end stands.
            health: what it says; ``NEUTRAL`` says nothing.
            at: when it was received.
            request: digest of the request's id; None for a lookup, whose refusal is no other request's.
            acted: it was done; another answer that shows the endpoint at work says nothing of a right.
        """
        was_probe = ask_id == self._probe
        if was_probe:
            self._probe = None
        if health is HealthSignal.GOOD:
            self._failed = 0
            if acted:
                self._refused.clear()
            if asked_offset > self._opened_offset and (acted or not self.is_refusing):
                self.open, self.is_refusing, self._hold_s = False, False, self._rules.hold_s
        elif health in self._rules.refusals:
            self._note_refusal(health, request, at)
            if (self.open and was_probe) or (not self.open and self._is_refused(health)):
                self.is_refusing = True
                self._shut(offset, at, self._rules.refusal_hold_s)
        elif health is HealthSignal.BAD:
            self._failed += 1
            if self.open and was_probe:
                self._hold_s = min(2 * self._hold_s, self._rules.hold_max_s)
                self._shut(offset, at, self._hold_s)
            elif not self.open and self._failed >= self._rules.failures:
                self._shut(offset, at, self._hold_s)

    def _note_refusal(self, health: HealthSignal, request: str | None, at: float) -> None:
        if request is not None and health is not HealthSignal.UNPAID:
            self._refused.pop(request, None)
            self._refused[request] = at
        while self._refused and (len(self._refused) > self._rules.refused_requests or next(iter(self._refused.values())) < at - _REFUSED_S):
            self._refused.pop(next(iter(self._refused)))

    def _is_refused(self, health: HealthSignal) -> bool:
        return health is HealthSignal.UNPAID or len(self._refused) >= self._rules.refused_requests

    def _shut(self, offset: int, at: float, hold_s: float) -> None:
        self.open, self.until, self._opened_offset = True, at + hold_s, offset


def endpoint_rules(failures: int, hold_s: float, refused_requests: int, probe_s: float) -> BreakerRules:
    """Of an endpoint: each failed probe doubles the wait, up to four times the first; one that is refused waits ``probe_s``."""
    return BreakerRules(failures, hold_s, _LONGEST_FACTOR * hold_s, refused_requests, probe_s, REFUSALS)


def account_rules(refused_requests: int, probe_s: float) -> BreakerRules:
    """Of the account: one fault is enough, or 403s that may be the key's; the probe is slow and steady."""
    return BreakerRules(1, probe_s, probe_s, refused_requests, probe_s, frozenset({HealthSignal.DENIED}))
