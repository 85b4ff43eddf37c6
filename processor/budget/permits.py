"""The interface between those who call and whatever keeps the budget."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Protocol


class CallClass(IntEnum):
    """What a call is, for the order in which permits are given; lower is served more often, none starves."""

    URGENT = 0
    NORMAL = 1
    RETRY = 2
    BULK = 3


class Fate(Enum):
    """What is known of a call when its permit is given back."""

    ANSWERED = "answered"  # the server has counted it, or never will
    NOT_SENT = "not_sent"  # provably nothing left
    UNKNOWN = "unknown"  # it may still be counted


@dataclass(eq=False, slots=True)
class Permit:
    """The right to make one call now. Give it back exactly once."""

    scopes: tuple[str, ...]
    probe: bool = False  # the one call that finds out whether a suspended account works again
    released: bool = False


class BudgetClosedError(Exception):
    """The budget was closed while somebody waited; the process is stopping."""


class ScopePausedError(Exception):
    """A scope is paused for longer than it is worth to hold a request.

    Attributes:
        wait_s: until the pause ends.
    """

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"paused for {wait_s:.1f} s")
        self.wait_s = wait_s


class Budget(Protocol):
    """Keeps the limits of all scopes."""

    async def acquire(self, scopes: tuple[str, ...], call_class: CallClass) -> Permit:
        """Wait for a permit in all ``scopes`` at once; it holds a call slot of the process until it is released.

        May be cancelled at any moment without loss.

        Raises:
            ScopePausedError: if a scope is or becomes paused for long.
            BudgetClosedError: if the budget is closed meanwhile.
        """
        ...

    def release(self, permit: Permit, fate: Fate) -> None:
        """Give a permit back."""
        ...

    def pause(self, scope: str, wait_s: float) -> None:
        """After a rate-limit 429: no permit of this scope before ``wait_s`` have passed. Never shortens a pause."""
        ...

    def paused_for_s(self, scopes: tuple[str, ...]) -> float:
        """Seconds until none of the scopes is paused; 0 if none is."""
        ...

    def suspend(self, probe_after_s: float) -> None:
        """After an account fault: no permit at all, but one probe each ``probe_after_s``. Never shortens the wait."""
        ...

    def resume(self) -> None:
        """The account works (again)."""
        ...

    async def close(self) -> None:
        """End everything; whoever waits gets ``BudgetClosedError``."""
        ...
