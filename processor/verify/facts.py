"""What one record says that a judge needs, in few bytes: digests and positions, no id and no input. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum, IntFlag
from itertools import starmap
from typing import NamedTuple

from processor.contract.records import Status

STATUSES = tuple(Status)  # by the number that a fact holds
NO_MARK = b""
_FORM = struct.Struct("<B15s15sBIQqqIIiHB16s")
FACT_BYTES = _FORM.size


class FactKind(IntEnum):
    """What was read."""

    REQUEST = 1  # a record of the requests topic
    RETRY = 2  # a record of a delay topic
    RESULT = 3  # a final result
    DEAD_LETTER = 4
    REDRIVE = 5  # the audit record of a redrive
    ASK = 6  # the call of a record of a delay topic was asked for, or made
    BILL = 7  # something that was paid for
    HANDED_ON = 8  # a record that names another application: it owes nothing here, and may be rejected or ended here all the same


class Trait(IntFlag):
    """What else is known of a record."""

    NAMED = 1  # its request_id could be read
    REPEAT = 2  # on_doubt: repeat
    MAY_START_EARLY = 4  # it waits for a session or for room in its line
    DOUBT = 8  # a call of unknown fate was made
    SETTLED = 16  # its first final result is published; later ones are looked for
    FOLLOWS = 32  # its session is there
    REDRIVEN = 64  # the first record of a round that an operator gave
    OF_REQUESTS = 128  # of a result: its source is a record of the requests topic
    BY_HAND = 256  # of a result: an operator has ended the request
    OWES_DEAD_LETTER = 512  # of a result: a dead letter goes with it
    UNPLACED = 1024  # of a dead letter: it does not say where the caller's record stood
    BY_LEDGER = 2048  # of an ask: when the call came to Didit, by the ledger
    COPY = 4096  # of a result: it repeats one, for somebody who asked again
    PAID_AGAIN = 8192  # of a result: its call may have been billed, and a round that an operator insists on calls again
    BEGAN_SESSION = 16384  # a call of this redriven round has made its session, or found it


class Fact(NamedTuple):
    """One record. Times are epoch ms; ``topic`` is a number in the judge's list of topics.

    Attributes:
        request: digest of the request id, or of the position of the caller's record where none could be read.
        first: digest of the position of the caller's own record.
        due_ms: of a retry and a redrive; of a result the offset of its source; of an ask its offset in the log.
        hop: of a record; of a result the partition of its source; of a redrive the partition of its dead letter.
        version: of a later final result; -1 if its result_id is none of ours.
        mark: of a request and a retry the digest of the content; of a redrive offset and time of its dead letter.
    """

    kind: int
    request: bytes
    first: bytes
    topic: int
    partition: int
    offset: int
    stamp_ms: int
    due_ms: int = 0
    hop: int = 0
    replay: int = 0
    version: int = 0
    traits: int = 0
    status: int = 0
    mark: bytes = NO_MARK

    @property
    def position(self) -> tuple[int, int, int]:
        """Topic, partition, offset."""
        return self.topic, self.partition, self.offset

    def has(self, trait: Trait) -> bool:
        """Whether a trait is among its own."""
        return bool(self.traits & trait)


def started_over(retries: Iterable[Fact]) -> int:
    """Redriven rounds of one request that had a session to follow, which was over, and so began another one."""
    began, without = set(), set()
    for fact in retries:
        if fact.has(Trait.BEGAN_SESSION):
            began.add((fact.first, fact.replay))
        if fact.has(Trait.REDRIVEN) and not fact.has(Trait.FOLLOWS):
            without.add((fact.first, fact.replay))
    return len(began - without)


def pack(fact: Fact) -> bytes:
    """A fact in ``FACT_BYTES`` bytes.

    Raises:
        struct.error: for a number that has no room, which no record that Kafka holds has.
    """
    return _FORM.pack(*fact)


def unpack(packed: bytes) -> Iterator[Fact]:
    """The facts that stand one behind the other in these bytes."""
    return starmap(Fact, _FORM.iter_unpack(packed))
