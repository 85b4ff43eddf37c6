"""The whole set-up at one moment, as `processor status` and the operators' page show it. Pure data; times are epoch ms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from processor.budget.view import BudgetView
from processor.contract.pauses import PauseAct
from processor.repair.model import DeadLetterCounts


class BlockCause(StrEnum):
    """Why nothing more can be read of an input partition, or nothing written to a partition of ours; the worst first."""

    TOPIC_MISSING = "topic_missing"  # the topic does not exist: never made, or deleted
    NO_LEADER = "no_leader"  # no broker leads it
    UNDER_MIN_ISR = "under_min_isr"  # fewer of its replicas are in sync than min.insync.replicas: it takes no records
    OFFSET_BEYOND_END = "offset_beyond_end"  # the group's offset lies beyond its end: the topic was deleted and created again
    UNREADABLE_BATCH = "unreadable_batch"  # a batch of which not even the end is certain; a person has to have it skipped
    OPEN_TRANSACTION = "open_transaction"  # a producer has begun a transaction there and neither commits nor aborts it


@dataclass(frozen=True, slots=True)
class BlockedPartition:
    """A partition that stands still: of an input topic, whoever owns it, or one that takes no records."""

    topic: str
    partition: int | None  # None: every one of the topic
    cause: BlockCause
    offset: int  # where it stands; 0 if that is not known
    hidden: int  # records and markers behind it that the brokers hold and hand out to nobody
    blocked_s: float  # for how long it has been seen so

    @property
    def name(self) -> str:
        """``topic[partition]``, or the topic."""
        return self.topic if self.partition is None else f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, slots=True)
class PartitionView:
    """One input partition."""

    topic: str
    partition: int
    floor: int  # committed offset: everything below is done
    end: int
    unfinished: int  # records that are not done; an upper bound where transaction markers were not told from records
    owner: str | None  # instance id of the replica that has it
    idle_s: float = 0.0  # for how long records have been unfinished and none of them was seen to be done


@dataclass(frozen=True, slots=True)
class Survey:
    """What the brokers say of the group and of its input topics."""

    at_ms: int
    partitions: tuple[PartitionView, ...]
    group_state: str  # as Kafka names it: Stable, PreparingRebalance, CompletingRebalance, Empty, Dead
    members: tuple[str, ...]  # instance ids
    asked_for: Mapping[str, float]  # unfinished records of the requests topic by operation; a sample, scaled
    blocked: tuple[BlockedPartition, ...] = ()
    unjudged: tuple[str, ...] = ()  # partitions that lack replicas in sync; whether too many cannot be known, for want of a right


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One replica."""

    instance: str
    partitions: int
    heard: bool  # in the budget log, in the last 45 s
    clock_off_s: float = 0.0  # by how much its clock differs from the brokers'
    in_group: bool = True  # false for one that has left or is gone: told for ten minutes
    silent_s: float = 0.0  # since it was heard; inf if that is longer ago than ten minutes
    version: str = ""  # empty if it has not said, as an earlier version does not
    uptime_s: float = 0.0
    memory_bytes: int = 0  # resident; 0 if not known
    pauses_to: int = 0  # it obeys the records of the controls topic below this offset
    last_error: str = ""  # event of the last error in its log; empty if there is none
    last_error_ms: int = 0  # by its own clock


@dataclass(frozen=True, slots=True)
class DrainView:
    """How long one scope's backlog lasts."""

    scope: str
    calls: int  # owed and due now; estimated
    drain_s: float  # of those that may pass, at the present limit and after its pause; inf while none may
    held: int = 0  # of them, those that no limit delays: they are paused, or held until a probe succeeds
    paused: int = 0  # of those, what operators have paused


@dataclass(frozen=True, slots=True)
class DelayedView:
    """Records of the delay topics that are not done."""

    count: int
    due_now: int  # of them, those whose time has come
    oldest_due_ms: int | None  # of those
    next_due_ms: int | None  # of the others
    by_reason: Mapping[str, int] = field(default_factory=dict)
    by_due: tuple[tuple[str, int], ...] = ()  # ("due", 3), ("1 min", 20), ...: how many start within that time
    complete: bool = True  # false: there are more than were read


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything."""

    at_ms: int
    group: str
    budget: BudgetView
    partitions: tuple[PartitionView, ...]
    replicas: tuple[ReplicaView, ...]
    drains: tuple[DrainView, ...]
    waiting: DelayedView
    dead_letters: DeadLetterCounts
    group_state: str = "Stable"
    blocked: tuple[BlockedPartition, ...] = ()  # what nothing more can be read of
    pauses: tuple[PauseAct, ...] = ()  # in force: what operators have paused
    paused_calls: Mapping[str, int] = field(default_factory=dict)  # owed calls that wait for a pause to end, by operation or ``all``
    unjudged: tuple[str, ...] = ()  # see ``Survey``
