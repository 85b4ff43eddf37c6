"""Redrives and discards under way. Each form carries an id: a second click or a reload gives its result and never acts again."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from processor.console.faults import LoggedFaultError, log_fault
from processor.console.forms import BadInputError
from processor.console.ports import RefusedError, UnavailableError
from processor.repair.model import RepairSummary

ACT_S = 300.0  # an act is cut off then
ANSWER_S = 8.0  # a page waits so long, and says then that it goes on
_HELD_MAX = 64
_ID_LENGTH = 22
_REST = "What was done stays done; a new dry run shows the rest."


def new_action_id() -> str:
    """The id of one form."""
    return secrets.token_urlsafe(16)


class Actions:
    """Does one act at a time and remembers what the last ones came to."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[str, asyncio.Task[RepairSummary]] = OrderedDict()
        self._one = asyncio.Lock()

    async def once(self, action_id: str, action: Callable[[], Awaitable[RepairSummary]]) -> RepairSummary | None:
        """Do it, unless the id is known; None if it is still at work.

        Raises:
            BadInputError: if the id is none of ours.
            RefusedError: if too many are under way, if it was cut off, or as ``action`` says.
        """
        if len(action_id) != _ID_LENGTH:
            raise BadInputError("The form is not whole. Go back, and do the dry run again.")
        task = self._tasks.get(action_id)
        if task is None:
            self._make_room()
            task = self._tasks[action_id] = asyncio.create_task(self._run(action))
            task.add_done_callback(_consume_error)
        await asyncio.wait({task}, timeout=ANSWER_S)
        return task.result() if task.done() else None

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=5.0)

    def _make_room(self) -> None:
        while len(self._tasks) >= _HELD_MAX:
            done = next((action_id for action_id, task in self._tasks.items() if task.done()), None)
            if done is None:
                raise RefusedError(f"{_HELD_MAX} acts are under way already. Wait until one of them has ended.")
            del self._tasks[done]

    async def _run(self, action: Callable[[], Awaitable[RepairSummary]]) -> RepairSummary:
        try:
            async with asyncio.timeout(ACT_S), self._one:
                return await action()
        except TimeoutError:
            raise RefusedError(f"It was cut off after {ACT_S / 60:.0f} minutes. {_REST}") from None
        except UnavailableError as exc:
            raise RefusedError(f"{exc} {_REST}") from None
        except (RefusedError, BadInputError):
            raise
        except Exception as exc:  # noqa: BLE001 - the page may be gone; the text could quote a record
            log_fault("action", exc)
            raise LoggedFaultError from None


def _consume_error(task: asyncio.Task[RepairSummary]) -> None:
    """Nobody may come back to ask; all that is a fault is in the log."""
    if not task.cancelled():
        task.exception()
