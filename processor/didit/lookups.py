"""How a call of unknown fate is looked up: one row for each operation that leaves a trace. Pure: calls come out, answers go in."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from processor.contract.records import Hop, Request
from processor.didit.calls import HttpCall
from processor.didit.catalog import OPERATIONS
from processor.didit.check_traces import check_lookup
from processor.didit.reconcile import session_lookup
from processor.didit.reconcile_transactions import transaction_lookup

Lookup = Generator[HttpCall, Any, Any]
"""Yields the calls that read, is sent Didit's answer to each (None if what it names is gone), and returns what the call of unknown
fate would have answered; None if it has left no trace; ``Inconclusive`` if that cannot be told."""

_CHECKS = {row.name: partial(check_lookup, row, row.trace) for row in OPERATIONS.values() if row.trace is not None}
LOOKUPS: Mapping[str, Callable[[Request, Hop], Lookup]] = MappingProxyType(
    {
        "session.create": session_lookup,
        "transaction.create": transaction_lookup,
        **_CHECKS,
    }
)


@dataclass(frozen=True, slots=True)
class LookedUp:
    """A lookup has ended; ``output`` as ``Lookup`` returns it."""

    output: Any


def step(lookup: Lookup, answer: Any) -> HttpCall | LookedUp:
    """The next call of a lookup, or its end; the first ``answer`` is None."""
    try:
        return lookup.send(answer)
    except StopIteration as ended:
        return LookedUp(ended.value)
