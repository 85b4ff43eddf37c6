"""Erases what can be erased of one person, and tells until when the rest is there.

What was done is seen in the topics, so a run that was interrupted is run again and goes on, and a second one does nothing twice: what
ended no longer waits, what is discarded is no longer open, and a deletion at Didit is a request under an id that follows from what it
deletes, which has its result.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from processor.clock import clock_ms
from processor.contract.erasures import Erasure, encode_erasure, person_mark
from processor.contract.records import ID_NAMESPACE, Status
from processor.repair.dead_letter_index import DeadLetterIndex
from processor.repair.model import DeadLetter, DeadLetterStatus
from processor.repair.person import ERASE_PREFIX, final_status
from processor.repair.person_search import OnLook, PersonFindings, find_person
from processor.repair.redrive import discard
from processor.settings import Settings
from processor.stream.cancels import IDS_MAX, encode_cancel
from processor.stream.partitions import TopicPartition
from processor.stream.topic_reader import TopicReader
from processor.stream.topics import topic_names
from processor.stream.writer import RecordWriter

_WRITE_S = 60.0
_LOOK_S = 0.5
_DONE = frozenset({"succeeded", "gone"})
_DELETIONS = frozenset({"session.delete", "session.delete_many", "user.delete", "cancel"})


@dataclass(frozen=True, slots=True)
class ErasePlan:
    """What is to be done."""

    ends: tuple[str, ...]  # ids of requests that wait
    discards: tuple[DeadLetter, ...]  # open ones
    deletions: tuple[tuple[str, bytes], ...]  # request id, and the request
    tombstones: tuple[tuple[int, str], ...]  # partitions and keys of results that only another record of their key removes
    seen_to: Mapping[TopicPartition, int] = field(default_factory=dict)  # of the results: what comes from there on may not be in the plan


@dataclass(frozen=True, slots=True)
class EraseSummary:
    """What was done, and what is left."""

    run_id: str
    ended: int
    discarded: int
    deleted: int
    tombstones: int
    left: tuple[str, ...]  # request ids without a final result when the wait was over
    failed: tuple[str, ...]  # of the deletions, those that Didit refused
    findings: PersonFindings  # as of the end


def ends_of(found: PersonFindings) -> tuple[str, ...]:
    """The requests that are to end: all that wait but those that delete."""
    deleting = {record.request_id for record in found.records if record.operation in _DELETIONS or record.by_erasure}
    return tuple(sorted((found.waiting & found.requests) - deleting))


def left_waiting(unanswered: Sequence[str], after: ErasePlan) -> tuple[str, ...]:
    """Of requests that were to end those that still wait: where only later final results were looked for, none follows the end."""
    return tuple(request_id for request_id in unanswered if request_id in after.ends)


def deletions_of(found: PersonFindings, vendor_data: str, installation: str) -> tuple[tuple[str, bytes], ...]:
    """The requests that delete at Didit what they have not deleted yet: each session, then the person."""
    sessions = [(_erase_id(installation, s), "session.delete", _session_input(s)) for s in sorted(found.sessions)]
    known = sorted(request_id for request_id in found.requests if not request_id.startswith(ERASE_PREFIX))
    person_id = _erase_id(installation, "\n".join([vendor_data, *known, *sorted(found.sessions)]))
    wanted = [*sessions, (person_id, "user.delete", {"vendor_data_list": [vendor_data]})]
    return tuple(
        (request_id, orjson.dumps({"request_id": request_id, "operation": operation, "input": given}))
        for request_id, operation, given in wanted
        if found.answered.get(request_id) not in _DONE
    )


def _is_to_be_discarded(letter: DeadLetter, found: PersonFindings) -> bool:
    """Open, and none of a deletion that Didit has refused: that one is to be redriven when its cause is gone."""
    own = (letter.request_id or "").startswith(ERASE_PREFIX)
    return letter.status is DeadLetterStatus.OPEN and not (own and found.answered.get(letter.request_id or "") not in _DONE)


def _session_input(session_id: str) -> dict[str, str]:
    return {"session_id": session_id, "deletion_instruction": "privacy_erasure"}


def _erase_id(installation: str, what: str) -> str:
    return ERASE_PREFIX + str(uuid.uuid5(ID_NAMESPACE, f"erase\n{installation}\n{what}"))


def tombstones_of(found: PersonFindings, results: str) -> tuple[tuple[int, str], ...]:
    """Partitions and keys of results that stand in a topic that is compacted, and no tombstone behind them."""
    if results not in found.compacted:
        return ()
    places = {(r.partition, r.request_id) for r in found.records if r.topic == results and r.request_id is not None}
    return tuple(sorted(places - found.tombstoned))


async def plan_erasure(settings: Settings, vendor_data: str, on_look: OnLook) -> tuple[ErasePlan, PersonFindings]:
    """What an erasure would do now.

    Raises:
        KafkaFailedError: if something cannot be read.
    """
    names = topic_names(settings)
    async with TopicReader(settings) as reader:
        seen_to = {tp: end for tp, (_, end) in (await reader.bounds(await reader.partitions(names.results))).items()}
    found = await find_person(settings, vendor_data, on_look)
    places = {(r.partition, r.offset) for r in found.records if r.topic == names.dead_letters}
    index = DeadLetterIndex(settings)
    try:
        if places:
            await index.refresh()
        letters = [x for x in index.dead_letters if (x.partition, x.offset) in places and _is_to_be_discarded(x, found)]
    finally:
        await index.close()
    deletions = deletions_of(found, vendor_data, names.prefix)
    return ErasePlan(ends_of(found), tuple(letters), deletions, tombstones_of(found, names.results), seen_to), found


async def erase_person(
    settings: Settings, vendor_data: str, plan: ErasePlan, *, by: str, within_s: float, on_look: OnLook = lambda _what, _done, _of: None
) -> EraseSummary:
    """Do what is planned: what waits ends, dead letters are discarded, Didit deletes, tombstones are written, and it goes on record.

    Raises:
        RepairFencedError, KafkaFailedError: what was done stays; run it again to go on.
    """
    run = _Run(settings, str(uuid.uuid4()), by, time.monotonic() + within_s, on_look)
    unanswered_ends = await run.end(plan)
    if plan.discards:
        await discard(settings, plan.discards, by=by)
    after, _ = await plan_erasure(settings, vendor_data, on_look)  # a call that was under way may have made a session
    left = left_waiting(unanswered_ends, after)
    published, unanswered, failed = await run.delete(after)
    last, found = await plan_erasure(settings, vendor_data, on_look)
    await run.bury(last.tombstones)
    done = (len(plan.ends) - len(left), len(plan.discards), published, len(last.tombstones))
    if any(done):
        await run.note(Erasure(run.run_id, clock_ms(), by, person_mark(run.run_id, vendor_data), *done))
    return EraseSummary(run.run_id, *done, (*left, *unanswered), failed, found)


class _Run:
    def __init__(self, settings: Settings, run_id: str, by: str, until: float, on_look: OnLook) -> None:
        self.run_id = run_id
        self._settings, self._names, self._by, self._until, self._on_look = settings, topic_names(settings), by, until, on_look

    async def end(self, plan: ErasePlan) -> tuple[str, ...]:
        """Take requests back; those that have no final result when the time is over."""
        request_ids = plan.ends
        chunks = [request_ids[at : at + IDS_MAX] for at in range(0, len(request_ids), IDS_MAX)]
        values = [(None, encode_cancel(chunk, run_id=self.run_id, at_ms=clock_ms(), by=self._by)) for chunk in chunks]
        answered = await self._answers(self._names.repairs, values, request_ids, "ended", plan.seen_to)
        # a record that stands for another content than its id does is over, and the plan that is made next tells whether the id still waits
        return tuple(request_id for request_id in request_ids if answered.get(request_id, Status.CONFLICT) == Status.CONFLICT)

    async def delete(self, plan: ErasePlan) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
        """Publish deletions; how many, which have no final result when the time is over, and which failed."""
        deletions = plan.deletions
        values, ids = [(request_id.encode(), value) for request_id, value in deletions], [request_id for request_id, _ in deletions]
        answered = await self._answers(self._names.requests, values, ids, "deleted at Didit", plan.seen_to)
        left = tuple(request_id for request_id, _ in deletions if request_id not in answered)
        return len(deletions), left, tuple(request_id for request_id, status in answered.items() if status not in _DONE)

    async def bury(self, places: Sequence[tuple[int, str]]) -> None:
        """A tombstone behind the results of each key, in their partition: it is that of the request, not of the key's hash."""
        partitions = [partition for partition, _ in places]
        await self._write(self._names.results, [(key.encode(), None) for _, key in places], partitions)

    async def note(self, erasure: Erasure) -> None:
        """On record."""
        await self._write(self._names.repairs, [(None, encode_erasure(erasure))])

    async def _write(self, topic: str, values: Sequence[tuple[bytes | None, bytes | None]], partitions: Sequence[int] = ()) -> None:
        if values:
            async with RecordWriter.of_one_act(self._settings) as writer:
                await writer.send_all(topic, values, _WRITE_S, partitions=partitions)

    async def _answers(
        self,
        topic: str,
        values: Sequence[tuple[bytes | None, bytes | None]],
        request_ids: Collection[str],
        what: str,
        seen_to: Mapping[TopicPartition, int],
    ) -> Mapping[str, str]:
        """Write records, and look for the final results that they lead to until all are there or the time is over.

        Also for those that came since the plan was made: no other one would follow.
        """
        answered: dict[str, str] = {}
        if not values:
            return answered
        async with TopicReader(self._settings) as reader:
            partitions = await reader.partitions(self._names.results)
            bounds = await reader.bounds(partitions)
            begins = {tp: max(start, min(seen_to.get(tp, start), end)) for tp, (start, end) in bounds.items()}
            await self._write(topic, values)
            while True:
                begins = await _read_finals(reader, begins, frozenset(request_ids), answered)
                self._on_look(what, len(answered), len(request_ids))
                if len(answered) >= len(request_ids) or time.monotonic() >= self._until:
                    return answered
                await asyncio.sleep(_LOOK_S)


async def _read_finals(
    reader: TopicReader, begins: Mapping[TopicPartition, int], request_ids: frozenset[str], answered: dict[str, str]
) -> dict[TopicPartition, int]:
    """Note the final results of some requests; where to read on."""
    ends = {tp: end for tp, (_, end) in (await reader.bounds(list(begins))).items()}
    async with reader.read({tp: (begin, ends[tp]) for tp, begin in begins.items()}) as batches:
        async for batch in batches:
            for record in batch:
                if (answer := answer_in(record.value, request_ids)) is not None:
                    answered.update([answer])
    return ends


def answer_in(value: bytes | None, request_ids: Collection[str]) -> tuple[str, str] | None:
    """Which of some requests a result ends, and how. By the result itself: that of a conflict has the position of its record as its key."""
    try:
        found = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    request_id = found.get("request_id") if isinstance(found, dict) else None
    if not isinstance(request_id, str) or request_id not in request_ids:
        return None
    status = final_status(found)
    return None if status is None else (request_id, status)
