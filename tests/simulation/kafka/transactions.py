"""The transaction coordinator: epochs that fence, time-outs, and markers that are written after the answer to EndTxn.

As Kafka 4 answers clients that speak the versions of aiokafka 0.14 (InitProducerId 0, AddPartitionsToTxn 0, EndTxn 0).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

from simulation.kafka.cluster import Cluster
from simulation.kafka.codes import Code

_MARKERS_S = (0.0005, 0.004)
_AGAIN_S = 0.1
_SWEEP_S = 10.0  # transaction.abort.timed.out.transaction.cleanup.interval.ms
_TIMEOUT_MS_MAX = 900_000

Offset = tuple[int, str]  # and its metadata


class Phase(enum.Enum):
    """Of a transaction; the values are Kafka's names."""

    EMPTY = "Empty"
    ONGOING = "Ongoing"
    PREPARE_COMMIT = "PrepareCommit"
    PREPARE_ABORT = "PrepareAbort"
    COMPLETE_COMMIT = "CompleteCommit"
    COMPLETE_ABORT = "CompleteAbort"


_YOUNG_S = 10.0  # a takeover does not wait for as long as an id may be idle: hours at least
_ENDING = (Phase.PREPARE_COMMIT, Phase.PREPARE_ABORT)


@dataclass(slots=True)
class Transaction:
    """What is known of a transactional id."""

    producer_id: int
    epoch: int = -1
    timeout_ms: int = 60_000
    phase: Phase = Phase.EMPTY
    began_ms: int = -1
    inited_ms: int = -1
    partitions: dict[tuple[str, int], None] = field(default_factory=dict)
    groups: dict[str, None] = field(default_factory=dict)
    offsets: dict[tuple[str, str, int], Offset] = field(default_factory=dict)  # group, topic, partition
    unwritten: int = 0  # markers and offsets that an ending transaction still has to write


class TransactionCoordinator:
    """All transactional ids of the cluster.

    Args:
        cluster: whose partitions get the markers.
        apply_offset: called for each offset of a transaction that is committed: group, topic, partition, offset.
    """

    def __init__(self, cluster: Cluster, apply_offset: Callable[[str, str, int, Offset], None]) -> None:
        self._cluster, self._apply_offset = cluster, apply_offset
        self.transactions: dict[str, Transaction] = {}
        self.sweep_s = cluster.draw.uniform(0.0, _SWEEP_S)  # transactions that are too old are looked for only now and then

    def init(self, transactional_id: str, timeout_ms: int) -> tuple[Code, int, int]:
        """InitProducerId: error, producer id and epoch. Fences whoever has the id now."""
        if not 0 < timeout_ms <= _TIMEOUT_MS_MAX:
            return Code.INVALID_TRANSACTION_TIMEOUT, -1, -1
        found = self.transactions.get(transactional_id)
        if found is None:
            found = self.transactions[transactional_id] = Transaction(self._cluster.new_producer_id())
        if found.phase in _ENDING:
            return Code.CONCURRENT_TRANSACTIONS, -1, -1
        if found.phase is Phase.ONGOING:
            found.epoch += 1
            self._end(found, commit=False)
            return Code.CONCURRENT_TRANSACTIONS, -1, -1
        found.epoch, found.timeout_ms, found.phase = found.epoch + 1, timeout_ms, Phase.EMPTY
        found.inited_ms = int(1000 * self._cluster.loop.time())
        return Code.NONE, found.producer_id, found.epoch

    def check(self, transactional_id: str, producer_id: int, epoch: int) -> tuple[Transaction | None, Code]:
        """The transaction of a producer, or why it is not its own."""
        found = self.transactions.get(transactional_id)
        if found is None or found.producer_id != producer_id:
            return None, Code.INVALID_PRODUCER_ID_MAPPING
        return found, Code.NONE if found.epoch == epoch else Code.INVALID_PRODUCER_EPOCH

    def forget_idle(self) -> None:
        """What ``transactional.id.expiration.ms`` does: ids without an open transaction are known no more, but for those that are new."""
        busy, young_ms = (Phase.ONGOING, *_ENDING), int(1000 * (self._cluster.loop.time() - _YOUNG_S))
        self.transactions = {
            name: found
            for name, found in self.transactions.items()
            if found.phase in busy or (found.phase is Phase.EMPTY and found.inited_ms > young_ms)
        }

    def _begin(self, found: Transaction) -> None:
        if found.phase is not Phase.ONGOING:
            found.phase, found.began_ms = Phase.ONGOING, int(1000 * self._cluster.loop.time())
            epoch = found.epoch
            began_ms = found.began_ms
            self._cluster.later(found.timeout_ms / 1000 + self.sweep_s, lambda: self._expire(found, epoch, began_ms))

    def _expire(self, found: Transaction, epoch: int, began_ms: int) -> None:
        if (found.phase, found.epoch, found.began_ms) != (Phase.ONGOING, epoch, began_ms):
            return
        found.epoch += 1
        self._end(found, commit=False)

    def add_partitions(self, key: tuple[str, int, int], partitions: list[tuple[str, int]]) -> Code:
        """AddPartitionsToTxn. ``key``: transactional id, producer id, epoch."""
        found, code = self._ready(key)
        if found is not None and not code:
            self._begin(found)
            found.partitions.update(dict.fromkeys(partitions))
        return code

    def add_group(self, key: tuple[str, int, int], group: str) -> Code:
        """AddOffsetsToTxn."""
        found, code = self._ready(key)
        if found is not None and not code:
            self._begin(found)
            found.groups[group] = None
        return code

    def add_offsets(self, key: tuple[str, int, int], group: str, offsets: dict[tuple[str, int], Offset]) -> Code:
        """TxnOffsetCommit: they count once the transaction is committed."""
        found, code = self.check(*key)
        if found is not None and not code:
            if found.phase is not Phase.ONGOING or group not in found.groups:
                return Code.INVALID_TXN_STATE
            found.offsets.update({(group, *tp): offset for tp, offset in offsets.items()})
        return code

    def end(self, key: tuple[str, int, int], *, commit: bool) -> Code:
        """EndTxn; the markers follow."""
        found, code = self.check(*key)
        if found is None or code:
            return code
        if found.phase is Phase.ONGOING:
            self._end(found, commit=commit)
            return Code.NONE
        if found.phase in _ENDING:
            same = (found.phase is Phase.PREPARE_COMMIT) is commit
            return Code.CONCURRENT_TRANSACTIONS if same else Code.INVALID_TXN_STATE
        done = Phase.COMPLETE_COMMIT if commit else Phase.COMPLETE_ABORT
        return Code.NONE if found.phase is done else Code.INVALID_TXN_STATE

    def may_write(self, key: tuple[str, int, int], partition: tuple[str, int]) -> Code:
        """Whether a batch may be appended: the leader asks (KIP-890)."""
        found, code = self.check(*key)
        if found is None or code:
            return code
        return Code.NONE if found.phase is Phase.ONGOING and partition in found.partitions else Code.INVALID_TXN_STATE

    def _ready(self, key: tuple[str, int, int]) -> tuple[Transaction | None, Code]:
        found, code = self.check(*key)
        if found is not None and not code and found.phase in _ENDING:
            return found, Code.CONCURRENT_TRANSACTIONS
        return found, code

    def _end(self, found: Transaction, *, commit: bool) -> None:
        found.phase = Phase.PREPARE_COMMIT if commit else Phase.PREPARE_ABORT
        found.unwritten = len(found.partitions) + 1
        for tp in list(found.partitions):
            self._mark_later(found, tp, commit=commit)
        self._cluster.later(self._cluster.draw.uniform(*_MARKERS_S), lambda: self._apply(found, commit=commit))

    def _mark_later(self, found: Transaction, tp: tuple[str, int], *, commit: bool, delay_s: float | None = None) -> None:
        delay_s = self._cluster.draw.uniform(*_MARKERS_S) if delay_s is None else delay_s
        self._cluster.later(delay_s, lambda: self._mark(found, tp, commit=commit))

    def _mark(self, found: Transaction, tp: tuple[str, int], *, commit: bool) -> None:
        topic, log = self._cluster.topics.get(tp[0]), self._cluster.log(*tp)
        leader = self._cluster.leader(topic, tp[1]) if topic is not None and log is not None else -1
        if topic is not None and log is not None and not (self._cluster.works(leader) and self._cluster.enough_replicas(topic)):
            self._mark_later(found, tp, commit=commit, delay_s=_AGAIN_S)
            return
        if log is not None:  # else it was deleted
            log.mark(found.producer_id, found.epoch, commit=commit, now_ms=self._cluster.stamp_ms(leader))
        del found.partitions[tp]
        self._finish(found, commit=commit)

    def _apply(self, found: Transaction, *, commit: bool) -> None:
        for (group, topic, partition), offset in found.offsets.items() if commit else ():
            self._apply_offset(group, topic, partition, offset)
        found.offsets, found.groups = {}, {}
        self._finish(found, commit=commit)

    def _finish(self, found: Transaction, *, commit: bool) -> None:
        found.unwritten -= 1
        if not found.unwritten:
            found.phase = Phase.COMPLETE_COMMIT if commit else Phase.COMPLETE_ABORT
