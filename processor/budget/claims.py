"""Claims of this replica: requests that are answered without a call, on their way into the log and back.

A rejected request needs no budget, but its copies must not be answered again, whichever replica has them. So it says in the log
that it is there, and is answered once that is read back: the order of the log decides who was first, as it does for calls.
"""

from __future__ import annotations

import asyncio
import itertools

from processor.budget.call_journal import CallJournal, PriorCalls
from processor.budget.log_records import Claimed
from processor.budget.log_writer import LogWriter
from processor.budget.permits import BudgetClosedError, CallIdentity, Conflict, Duplicate, InDoubt

_READ_BACK_S = 30.0  # then it is claimed again: the log may have lost it


class Claims:
    """Those that wait to be read back; as many as there are records at work.

    Args:
        writer: sends records to the log.
    """

    def __init__(self, writer: LogWriter) -> None:
        self._writer, self._client, self._numbers, self._closed = writer, "", itertools.count(), False
        self._waiting: dict[str, asyncio.Future[PriorCalls | None]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def follow(self, client: str) -> None:
        """The log is read again, under another name: what was claimed under the earlier one is claimed again."""
        self.withdraw_all()
        self._client = client

    async def claim(self, identity: CallIdentity) -> Duplicate | Conflict | InDoubt | None:
        """See ``permits.Budget.claim``.

        Raises:
            BudgetClosedError: the budget is closed.
        """
        while not self._closed:
            prior_calls = await self._send(identity)
            if prior_calls is not None:
                return prior_calls.obstacle
        raise BudgetClosedError

    async def _send(self, identity: CallIdentity) -> PriorCalls | None:
        """Who was first; None if the claim was not read back."""
        claim_id = f"{self._client}-c{next(self._numbers)}"
        read_back = self._waiting[claim_id] = asyncio.get_running_loop().create_future()
        self._writer.post(Claimed(claim_id, identity), for_s=_READ_BACK_S)
        try:
            async with asyncio.timeout(_READ_BACK_S):
                answer: PriorCalls | None = await read_back
                return answer
        except TimeoutError:
            return None
        finally:
            del self._waiting[claim_id]

    def read(self, claimed: Claimed, offset: int, journal: CallJournal) -> None:
        """A claim of anybody was read, and stands in the journal; of one that was appended twice the first counts."""
        if claimed.id in self._waiting:
            self._answer(claimed.id, journal.prior_calls(claimed.identity, offset))

    def withdraw_all(self) -> None:
        """The log is not followed any more."""
        for claim_id in self._waiting:
            self._answer(claim_id, None)

    def close(self) -> None:
        """Nobody waits any more."""
        self._closed = True
        self.withdraw_all()

    def _answer(self, claim_id: str, answer: PriorCalls | None) -> None:
        read_back = self._waiting.get(claim_id)
        if read_back is not None and not read_back.done():
            read_back.set_result(answer)
