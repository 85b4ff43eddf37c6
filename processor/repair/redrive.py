"""Redriving and discarding. All repairs are one line of transactions: whoever begins one fences every other one.

What is done to a dead letter and the record that says so are published in one transaction, by the one producer of the fixed id
``<group>-repairs``. A repair first starts that producer, which ends the transaction of any earlier one, and then reads the repairs
topic to its last record: from then on it knows exactly what is done, and nobody else can add to it. So a repair that was killed
anywhere, or two at once, does nothing twice, and running it again goes on.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from processor.clock import clock_ms
from processor.contract.encode import retry_output
from processor.contract.foreign_headers import copied_headers
from processor.contract.records import Output, Record
from processor.contract.repairs import Repair, RepairKind, Target, repair_value
from processor.repair.dead_letter import call_over_ms, redriven_hop
from processor.repair.dead_letter_index import RepairsLog, fetch_dead_letters
from processor.repair.model import DeadLetter, LeftOut, RepairSummary
from processor.repair.plan import SHARE, Limits, Pacer
from processor.retry.policy import delay_topic_s
from processor.settings import Settings
from processor.stream.errors import ProducerFencedError, kafka_deadline
from processor.stream.topic_reader import TopicReader
from processor.stream.topics import topic_names
from processor.stream.transactions import RepairWriter

_CHUNK = 200
_CHUNK_BYTES = 8 * 1024 * 1024
_START_S = 60.0
_READ_S = 300.0
_CLOSE_S = 5.0

OnProgress = Callable[[int, int], None]  # done, of


class RepairFencedError(Exception):
    """Another repair began; what this one had committed stays."""

    def __init__(self) -> None:
        super().__init__("another repair began and has taken over; when it is through, run this one again: it goes on where it stopped")


class RepairLine:
    """The one writer of repairs. Use as an async context manager; afterwards ``log`` holds everything that was done so far.

    Raises:
        RepairFencedError: on entering, if another repair began at the same moment.
        TopicMissingError: on entering, if a topic is missing.
        KafkaFailedError: on entering, if the brokers cannot be reached, or somebody holds a transaction open.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._names = settings, topic_names(settings)
        self.log = RepairsLog(self._names.repairs, self._names.dead_letters)
        self.reader = TopicReader(settings)
        self._writer = RepairWriter(settings, self._names)

    async def __aenter__(self) -> Self:
        try:
            await self.reader.start()
            await self.reader.partitions(self._names.repairs)
            await self._writer.start(_START_S)  # fences, and completes or aborts what was open
            async with kafka_deadline(self._settings, _READ_S):
                await self.log.refresh(self.reader, to_the_last=True)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._close()

    async def commit(self, outputs: Sequence[Output], repairs: Sequence[Repair]) -> None:
        """Outputs and the repairs that say so, in one transaction.

        Raises:
            RepairFencedError: if another repair began; nothing of it is visible.
            KafkaUnavailableError: the fate of the transaction is unknown; a new line knows.
            KafkaFailedError: if anything failed; nothing of it is visible.
        """
        try:
            await self._writer.commit(outputs, [repair_value(r) for r in repairs])
        except ProducerFencedError:
            raise RepairFencedError from None

    async def _close(self) -> None:
        await self._writer.drop(_CLOSE_S)
        await self.reader.close()


@dataclass(frozen=True, slots=True)
class _Action:
    """What all acts of one command have in common."""

    run_id: str
    by: str
    note: str | None = None

    def discarded(self, topic: str, dead_letter: DeadLetter) -> Repair:
        return Repair(
            kind=RepairKind.DISCARDED,
            run_id=self.run_id,
            at_ms=clock_ms(),
            by=self.by,
            target=Target(topic, dead_letter.partition, dead_letter.offset, dead_letter.failed_ms),
            request_id=dead_letter.request_id,
            operation=dead_letter.operation,
            reason_code=dead_letter.reason_code,
            note=self.note,
        )

    def redriven(self, topic: str, dead_letter: DeadLetter, due_ms: int) -> Repair:
        return replace(self.discarded(topic, dead_letter), kind=RepairKind.REDRIVEN, replay=dead_letter.hop.replay + 1, due_ms=due_ms)


def limits_of(settings: Settings) -> Limits:
    """Of every scope: calls and seconds."""
    return {scope: (limit.limit, limit.window_s) for scope, limit in settings.rate_limits.items()}


def horizon_s(settings: Settings) -> float:
    """What would start later is not redriven yet: the delay topics keep a record for its longest wait and a day."""
    return max(settings.retry.delays_s[-1], settings.retry.backoff_max_s, settings.retry.retry_after_max_s)


async def redrive(
    settings: Settings,
    chosen: Sequence[DeadLetter],
    *,
    by: str,
    share: float = SHARE,
    note: str | None = None,
    on_progress: OnProgress = lambda _done, _of: None,
) -> RepairSummary:
    """Give dead letters a new round: to the delay topics, each with its start under a share of the budget.

    Args:
        settings: where, and the limits.
        chosen: as of a plan; those that were dealt with since are left out.
        by: who does it, for the audit.
        share: of every scope's limit, above 0 and at most 1.
        note: for the audit.
        on_progress: told after each transaction.

    Raises:
        ValueError: for a share that is none.
        RepairFencedError, KafkaFailedError: what was committed stays; run it again to go on.
    """
    names, action, bytes_max = topic_names(settings), _Action(str(uuid.uuid4()), by, note), settings.lanes.output_bytes_max
    left_out: Counter[LeftOut] = Counter()
    count, last_ms = 0, None
    promise_ms = int(1000 * settings.promise_s_max)
    Pacer({}, share)  # a share that is none is refused before anything begins
    async with RepairLine(settings) as line:
        await line.reader.partitions(*names.inputs[1:])  # a topic that is not there could be made by the broker, and read by nobody
        pacer = Pacer(limits_of(settings), share, line.log.busy_ms)
        for chunk in _chunks(chosen):
            open_ones = [dead_letter for dead_letter in chunk if line.log.done_to(dead_letter) is None]
            records = await fetch_dead_letters(line.reader, names.dead_letters, open_ones)
            there = [
                (dead_letter, record)
                for dead_letter in open_ones
                if (record := records.get((dead_letter.partition, dead_letter.offset))) is not None
            ]
            now_ms = clock_ms()
            until_ms = now_ms + horizon_s(settings) * 1000
            fit = [(x, record) for x, record in there if _redriven(settings, x, record, now_ms, now_ms).size_bytes <= bytes_max]
            slots = [(x, record, pacer.slot(x, max(now_ms, call_over_ms(x, now_ms, promise_ms)), until_ms)) for x, record in fit]
            due = [(x, record, due_ms) for x, record, due_ms in slots if due_ms is not None]
            left_out[LeftOut.HANDLED] += len(chunk) - len(open_ones)
            left_out[LeftOut.GONE] += len(open_ones) - len(there)
            left_out[LeftOut.TOO_LARGE] += len(there) - len(fit)
            left_out[LeftOut.LATER] += len(fit) - len(due)
            if due:
                outputs = [_redriven(settings, dead_letter, record, due_ms, now_ms) for dead_letter, record, due_ms in due]
                await line.commit(outputs, [action.redriven(names.dead_letters, dead_letter, due_ms) for dead_letter, _, due_ms in due])
                last_ms = max([last_ms or 0, *(due_ms for _, _, due_ms in due)])
            count += len(due)
            on_progress(count + sum(left_out.values()), len(chosen))
    return RepairSummary(action.run_id, count, {why: n for why, n in left_out.items() if n}, last_ms)


async def discard(
    settings: Settings,
    chosen: Sequence[DeadLetter],
    *,
    by: str,
    note: str | None = None,
    on_progress: OnProgress = lambda _done, _of: None,
) -> RepairSummary:
    """Note that dead letters need nothing more. The topic keeps them; they are only listed no more.

    Raises:
        RepairFencedError, KafkaFailedError: what was committed stays; run it again to go on.
    """
    names, action = topic_names(settings), _Action(str(uuid.uuid4()), by, note)
    count = handled = 0
    async with RepairLine(settings) as line:
        for chunk in _chunks(chosen):
            open_ones = [dead_letter for dead_letter in chunk if line.log.done_to(dead_letter) is None]
            if open_ones:
                await line.commit((), [action.discarded(names.dead_letters, dead_letter) for dead_letter in open_ones])
            count, handled = count + len(open_ones), handled + len(chunk) - len(open_ones)
            on_progress(count + handled, len(chosen))
    return RepairSummary(action.run_id, count, {LeftOut.HANDLED: handled} if handled else {})


def _redriven(settings: Settings, dead_letter: DeadLetter, record: Record, due_ms: int, now_ms: int) -> Output:
    # the delay topics have lanes of their own, so a redrive never stands in front of live requests; the tier follows the wait,
    # so that it does not stand in front of short waits either
    delay_s = delay_topic_s((due_ms - now_ms) / 1000, settings.retry.delays_s)
    hop = replace(redriven_hop(dead_letter, due_ms), copied=copied_headers(record.headers, settings.lanes.copy_headers))
    return retry_output(record, hop, delay_s)


def _chunks(dead_letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
    chunk: list[DeadLetter] = []
    size = 0
    for dead_letter in dead_letters:
        if chunk and (len(chunk) >= _CHUNK or size + dead_letter.size_bytes > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(dead_letter)
        size += dead_letter.size_bytes
    if chunk:
        yield chunk
