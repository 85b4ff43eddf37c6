"""The life of an ask: one table of states, which ``reservations`` obeys. Pure.

::

        acquire: the request waits for a turn in the queue of its endpoint; it has no ask yet
           |
           v   its record is sent
      REQUESTED ------------------------------------.
           |   the record is read back              |
           v                                        |
        PLACED -------------------------------------|
         |   |   it may start, and is announced:    |   it waited too long, its record was lost,
         |   |   a slot is taken, its beginning     |   the breaker opened, a long pause began,
         |   v   is sent                            |   the log is joined again, the caller gave up,
         | ANNOUNCED -------------------------------|   it would leave a doubt while it waits,
         |   |   the beginning is read back         |   or the journal has an obstacle
         |   v                                      |
         | BEGUN -----------------------------------|
         |   |                                      |
         v   v   it may start (still)               v
        STARTED                                 WITHDRAWN   acquire asks again, under another id,
           |   the permit is given back                     or says why there is no permit
           v
         ENDED

What an ask holds, and what the log says of it:

==========  =====  ===================================================  ==============================================
state       slot   weight in its scopes, as every replica reads it      what the journal says of its call
==========  =====  ===================================================  ==============================================
REQUESTED   no     none before its record is read                       nothing
PLACED      no     from its record on                                   perhaps made; of an announced ask: not made
ANNOUNCED   yes    the same                                             not made
BEGUN       yes    the same                                             perhaps made
STARTED     yes    the same                                             perhaps made
ENDED       no     one window from its end on; if that is not known,    it acted, or had no effect, or was never made;
                   until its promise and a window are over              if that is not known: perhaps made
WITHDRAWN   no     none once its end is read                            never made
==========  =====  ===================================================  ==============================================

Who dies on the way leaves the log as it is: the weight of its asks is over with their promise, and calls that were perhaps made stay in
doubt. So an ask that waits is announced, if a doubt would cost a wait; it is safe by the order of the log alone. Whoever asks for the
same request later takes an ask without a beginning for a call that is not made. Its holder, however long it was frozen, starts it only
when it has read its own beginning, and not if that later ask stands before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class AskState(StrEnum):
    """Where an own ask is."""

    REQUESTED = "requested"
    PLACED = "placed"
    ANNOUNCED = "announced"
    BEGUN = "begun"
    STARTED = "started"
    ENDED = "ended"
    WITHDRAWN = "withdrawn"


TRANSITIONS: Mapping[AskState, frozenset[AskState]] = MappingProxyType(
    {
        AskState.REQUESTED: frozenset({AskState.PLACED, AskState.WITHDRAWN}),
        AskState.PLACED: frozenset({AskState.ANNOUNCED, AskState.STARTED, AskState.WITHDRAWN}),
        AskState.ANNOUNCED: frozenset({AskState.BEGUN, AskState.WITHDRAWN}),
        AskState.BEGUN: frozenset({AskState.STARTED, AskState.WITHDRAWN}),
        AskState.STARTED: frozenset({AskState.ENDED}),
        AskState.ENDED: frozenset(),
        AskState.WITHDRAWN: frozenset(),
    }
)
HOLDS_SLOT = frozenset({AskState.ANNOUNCED, AskState.BEGUN, AskState.STARTED})


def checked(before: AskState, after: AskState) -> AskState:
    """``after``, if the table leads there.

    Raises:
        ValueError: if it does not; a fault of this program.
    """
    if after not in TRANSITIONS[before]:
        raise ValueError(f"an ask that is {before} cannot become {after}")
    return after
