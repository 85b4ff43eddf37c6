"""Reads the events, the repairs and the controls topic in every replica, whoever owns which lane.

The first two may wake a request that waits here; the third says what operators have paused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import orjson
import structlog

from processor.contract.pauses import UNREAD, PauseAct, PauseFormatError, Pauses, read_pause
from processor.contract.records import Hint, Record
from processor.settings import Settings
from processor.stream.cancels import CancelFormatError, read_cancel
from processor.stream.errors import KafkaFailedError, describe
from processor.stream.partitions import TopicPartition
from processor.stream.reader import PartitionReader
from processor.stream.releases import ReleaseFormatError, read_release
from processor.stream.topics import PAUSES_PARTITION, topic_names
from processor.stream.wakeups import KEPT_MS, Wakeups

log = structlog.get_logger(__name__)

_AGAIN_S = 5.0
_READ_MS = 5000  # a broker answers a fetch as soon as there is a byte, and what is read here never changes
_WARN_S = 60.0
_FOREIGN = "something else writes to the topic; restrict it"
_PAUSES_UNKNOWN = "no call starts before it is known what operators have paused: the controls topic must be readable"
_UNREADABLE = "requests go on by looking at their sessions, and what is released waits until it is due"


class WakeupFeed:
    """One reader without a group. What it misses starts when it is due.

    Args:
        settings: how to reach Kafka.
        hints: who waits for events and releases.
        clock_ms: by which the lanes ask how old these are, epoch ms.
        on_pauses: told of the operators' pauses when the whole topic is read, and when they change; never of what is known in part.
    """

    def __init__(
        self, settings: Settings, hints: Wakeups, clock_ms: Callable[[], int], on_pauses: Callable[[Pauses], None] = lambda _pauses: None
    ) -> None:
        self._settings, self._hints, self._clock_ms, self._on_pauses = settings, hints, clock_ms, on_pauses
        self._pauses, self._heard = Pauses(), UNREAD  # as read; as told
        self._controls_end = 0  # of the controls topic, when the reader was started
        self._names = topic_names(settings)
        self._controls = TopicPartition(self._names.controls, PAUSES_PARTITION)
        self._warn_at: dict[str, float] = {}

    async def run(self) -> None:
        """Read until cancelled; while Kafka cannot be read, try again."""
        while True:
            reader = PartitionReader(self._settings, if_gone="latest", wait_ms=_READ_MS)
            try:
                await self._start(reader)
                self._tell_pauses(reader)
                while True:
                    reader.assign_added()
                    for records in (await reader.poll(wait_ms=_READ_MS, records_max=500)).values():
                        for record in records:
                            self.apply_record(record)
                    self._tell_pauses(reader)
            except KafkaFailedError as exc:
                log.warning("events_unreadable", detail=describe(exc), hint=_UNREADABLE if self._heard.known else _PAUSES_UNKNOWN)
            finally:
                await reader.close()
            await asyncio.sleep(_AGAIN_S)

    def apply_record(self, record: Record) -> None:
        """A record of these topics was read; one that is nothing of ours is skipped."""
        if record.source.topic == self._names.controls:
            if record.source.partition == PAUSES_PARTITION:
                self._pauses = self._pauses.after(self._read_pause(record), record.source.offset)
        elif record.source.topic == self._names.repairs:
            self._apply_release(record)
        elif (hint := read_hint(record, self._clock_ms())) is not None:
            self._hints.note_event(hint)

    def _apply_release(self, record: Record) -> None:
        now_ms = self._clock_ms()
        try:
            if (cancel := read_cancel(record.value)) is not None:
                self._hints.cancels.note_cancel(cancel, now_ms, record.timestamp_ms)
                return
            release = read_release(record.value)
        except (ReleaseFormatError, CancelFormatError) as fault:
            if self._may_warn("repair"):
                log.warning("repair_malformed", source=str(record.source), detail=str(fault), hint=_FOREIGN)
            return
        if release is not None and release.topic in self._names.inputs:
            self._hints.releases.note_release(release, now_ms)

    def _read_pause(self, record: Record) -> PauseAct | None:
        try:
            return read_pause(record.value)
        except PauseFormatError as fault:
            if self._may_warn("pause"):
                log.warning("pause_malformed", source=str(record.source), detail=str(fault), hint=_FOREIGN)
            return None

    def _may_warn(self, kind: str) -> bool:
        """Once a minute of each kind."""
        if time.monotonic() < self._warn_at.get(kind, 0.0):
            return False
        self._warn_at[kind] = time.monotonic() + _WARN_S
        return True

    def _tell_pauses(self, reader: PartitionReader) -> None:
        """Say what is paused, if the topic is read and that is news."""
        if self._heard == self._pauses or (reader.position(self._controls) or 0) < self._controls_end:
            return
        self._heard = self._pauses
        self._on_pauses(self._pauses)
        names = sorted(act.name for act in self._pauses.in_force)
        log.info("pauses_read", paused=names, read_to=self._pauses.read_to)

    async def _start(self, reader: PartitionReader) -> None:
        await reader.start()
        await reader.partitions(self._names.controls)  # it must be there
        partitions = await reader.partitions(self._names.events, self._names.repairs)
        since_ms = self._clock_ms() - KEPT_MS  # what came while we were away
        begins = await reader.offsets_at(partitions, since_ms)
        bounds = await reader.bounds([*partitions, self._controls])
        begin, self._controls_end = bounds[self._controls]
        self._pauses = Pauses()
        positions = {tp: bounds[tp][1] if (at := begins[tp]) is None else at for tp in partitions}
        reader.assign(positions | {self._controls: begin})


def read_hint(record: Record, now_ms: int) -> Hint | None:
    """What a record of the events topic says; None for anything that is no event of ours.

    Of a topic with ``CreateTime`` it is stamped by the clock of its receiver. An event of the future would wake its session at each of its
    steps, and one of before what is kept would wake nobody: both are taken for events of now.
    """
    try:
        event = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    session_id = event.get("session_id") if isinstance(event, dict) else None
    at_ms = record.timestamp_ms if now_ms - KEPT_MS <= record.timestamp_ms <= now_ms else now_ms
    return Hint(session_id, at_ms, event) if isinstance(session_id, str) else None
