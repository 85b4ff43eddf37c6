"""What the operators' page reads and does, on the real topics. See ``page.ports``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from aiokafka.errors import KafkaError

from processor.clock import clock_ms
from processor.console.ports import LETTERS_A_PAGE, WAITING_MAX, ListedDeadLetters, ListedWaiting, RefusedError, UnavailableError
from processor.monitoring.history import History, Sample
from processor.monitoring.model import Overview
from processor.monitoring.monitor import LookError, Lookout
from processor.repair import redrive
from processor.repair.delayed_index import WaitingUnreadableError
from processor.repair.model import Done, Journey, Plan, Selection, Standing
from processor.repair.plan import make_plan, select
from processor.repair.request_history import journey
from processor.repair.topic_reader import RepairError
from processor.settings import Settings
from processor.stream.errors import describe


class KafkaOperations:
    """See ``page.ports.Operations``. The port is open before the brokers are found: until ``begin`` nothing can be asked."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: Lookout | None = None
        self._history = History()

    def begin(self, lookout: Lookout, history: History) -> None:
        """The brokers are there."""
        self._found, self._history = lookout, history

    @property
    def _lookout(self) -> Lookout:
        if self._found is None:
            raise UnavailableError("this replica is starting: it waits for the brokers, or reads the budget log")
        return self._found

    async def overview(self) -> Overview:
        """See ``Operations.overview``."""
        try:
            return await self._lookout.overview()
        except LookError as exc:
            raise UnavailableError(str(exc)) from exc

    def history(self) -> Mapping[str, Sequence[Sample]]:
        """See ``Operations.history``."""
        return self._history.samples()

    async def dead_letters(self, selection: Selection, *, page: int) -> ListedDeadLetters:
        """See ``Operations.dead_letters``."""
        await self._refresh()
        book = self._lookout.dead_letters
        open_ones = [letter for letter in book.letters if letter.standing is Standing.OPEN]
        found = select(open_ones, selection)[::-1]
        pages = max(1, -(-len(found) // LETTERS_A_PAGE))
        page = min(max(1, page), pages)
        return ListedDeadLetters(
            tuple(found[(page - 1) * LETTERS_A_PAGE : page * LETTERS_A_PAGE]),
            page,
            pages,
            len(found),
            tuple(sorted({name for letter in open_ones for name in (letter.reason_type, letter.reason_code)})),
            tuple(sorted({letter.operation for letter in open_ones if letter.operation})),
            book.complete,
        )

    async def plan(self, selection: Selection) -> Plan:
        """See ``Operations.plan``."""
        await self._refresh()
        book = self._lookout.dead_letters
        limits, horizon_s = redrive.limits_of(self._settings), redrive.horizon_s(self._settings)
        return make_plan(book.letters, selection, limits, now_ms=clock_ms(), busy=book.repairs.busy_ms, horizon_s=horizon_s)

    async def redrive(self, selection: Selection, by: str) -> Done:
        """See ``Operations.redrive``."""
        plan = await self.plan(selection)
        with self._told(RefusedError):
            done = await redrive.redrive(self._settings, plan.chosen, by=by)
        return replace(done, left_out={**plan.left_out, **done.left_out})

    async def discard(self, selection: Selection, by: str, note: str) -> Done:
        """See ``Operations.discard``."""
        await self._refresh()
        chosen = select(self._lookout.dead_letters.letters, selection, standings={Standing.OPEN})
        with self._told(RefusedError):
            return await redrive.discard(self._settings, chosen, by=by, note=note)

    async def waiting(self, *, reason: str | None = None) -> ListedWaiting:
        """See ``Operations.waiting``."""
        book = self._lookout.waiting
        try:
            await book.refresh()
        except WaitingUnreadableError as exc:
            raise UnavailableError(str(exc)) from exc
        records = list(book.records)
        found = sorted((r for r in records if reason is None or (r.reason or "") == reason), key=lambda r: r.due_ms)
        return ListedWaiting(tuple(found[:WAITING_MAX]), len(found), tuple(sorted({r.reason or "" for r in records})), book.complete)

    async def journey(self, request_id: str) -> Journey:
        """See ``Operations.journey``."""
        with self._told(UnavailableError):
            return await journey(self._settings, request_id)

    async def _refresh(self) -> None:
        try:
            await self._lookout.refresh_dead_letters()
        except LookError as exc:
            raise UnavailableError(str(exc)) from exc

    @contextmanager
    def _told(self, ours: type[RefusedError | UnavailableError]) -> Iterator[None]:
        """Errors as the page shows them; ``ours`` for those that say themselves what to do."""
        try:
            yield
        except RepairError as exc:
            raise ours(str(exc)) from exc
        except (KafkaError, TimeoutError, OSError) as exc:
            raise UnavailableError(f"{self._settings.kafka.bootstrap}: {describe(exc)}. Are the brokers up?") from exc
