"""Whether everything that the processor needs is there: topics, API key, application, workflows, credits. For a command.

The calls to Didit take permits of the budget log, so that they stay inside the limits that all replicas share. A request through the
requests topic would need a processor that runs, and the check is to be made before the first start.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from processor.budget.permits import Budget, BudgetClosedError, Ending, HealthSignal, Parked
from processor.budget.replica_limits import ReplicaLimits
from processor.budget.replicas import CHECK_INSTANCE
from processor.budget.rules import budget_rules
from processor.budget.shared import SharedBudget
from processor.clock import clock_ms
from processor.didit.account_checks import CheckState, Found, NotAsked, SetupCheck, account_checks, no_key_checks
from processor.didit.answers import Answer
from processor.didit.calls import HttpCall
from processor.didit.catalog import OPERATIONS
from processor.didit.client import DiditClient
from processor.didit.verdicts import AccountFault, Success, Verdict
from processor.engine.calls import CallsDidit, ending_of
from processor.engine.own_calls import make_own_call
from processor.settings import Settings
from processor.stream.budget_log import KafkaBudgetLog
from processor.stream.errors import KafkaFailedError
from processor.stream.topics_admin import check_topics

_REFERENCE = "check"  # X-Request-Id of these calls
_PAGE, _PAGES_MAX = 100, 20
_CLOSE_S = 5.0
_TOPICS_FIRST = "first what is said of the topics, then check again"
_LAST = (NotAsked, AccountFault)


async def check_setup(settings: Settings, workflows: Sequence[str], *, wait_s: float) -> list[SetupCheck]:
    """Every check, in the order in which one needs the other. Changes nothing but the budget log, where its calls are counted.

    Args:
        settings: of the processors.
        workflows: ids that requests name, lower case.
        wait_s: so long each call waits for a permit, s.
    """
    topics = await _topics(settings)
    if settings.didit.key() is None:
        return [topics, *no_key_checks()]
    if topics.state is not CheckState.OK:
        without = NotAsked("Didit was not asked: each call is counted in the budget log, which must be there first", _TOPICS_FIRST)
        return [topics, *account_checks(without, without, without, workflows)]
    async with _joined_budget(settings) as budget, DiditClient(settings.didit) as client:
        return [topics, *await AccountReader(client, budget, wait_s, settings.retry.retry_after_max_s).check(workflows)]


async def _topics(settings: Settings) -> SetupCheck:
    try:
        report = await check_topics(settings)
    except KafkaFailedError as exc:
        return SetupCheck("topics", CheckState.UNKNOWN, str(exc), "this comes first: without Kafka nothing else can be looked at")
    if found := [*report.faults, *report.warnings, *report.unread]:
        return SetupCheck("topics", CheckState.FAILED, "; ".join(found), "see `processor topics check` and `processor topics apply`")
    return SetupCheck("topics", CheckState.OK, "they are as they must be")


@asynccontextmanager
async def _joined_budget(settings: Settings) -> AsyncIterator[SharedBudget]:
    limits = ReplicaLimits(CHECK_INSTANCE, 1, settings.budget.queue_max, settings.budget.pause_park_s, settings.kafka.group)
    budget = SharedBudget(KafkaBudgetLog(settings), budget_rules(settings), limits, draw=random.random)
    running = asyncio.create_task(budget.run(), name="budget")
    try:
        yield budget
    finally:
        running.cancel()
        await asyncio.wait({running}, timeout=_CLOSE_S)
        await budget.close()
    if running.done() and not running.cancelled():
        running.result()  # raises: a fault of this program


class AccountReader:
    """Calls Didit. Its findings are not shared with the replicas: the key here may be another one than that of the replicas.

    Args:
        client: makes the calls.
        budget: gives the permits.
        wait_s: so long each call waits for its permit, s.
        pause_s_max: a longer ``Retry-After`` pauses the scope no longer, s.
    """

    def __init__(self, client: CallsDidit, budget: Budget, wait_s: float, pause_s_max: float) -> None:
        self._client, self._budget, self._wait_s, self._pause_s_max = client, budget, wait_s, pause_s_max

    async def check(self, workflows: Sequence[str]) -> list[SetupCheck]:
        """All rows that need Didit. A call that gets no permit is the last one, and so is one that shows the key to be of no use."""
        sessions = await self._read("session.list", limit=1)
        listed = sessions if isinstance(sessions, _LAST) else await self._list_workflows()
        credit = listed if isinstance(listed, _LAST) else await self._read("billing.balance")
        return account_checks(sessions, listed, credit, workflows)

    async def _list_workflows(self) -> Found:
        """All pages as one; the first that is no success instead."""
        rows: list[Any] = []
        page: Found = NotAsked("")
        for number in range(_PAGES_MAX):
            page = await self._read("workflow.list", limit=_PAGE, offset=_PAGE * number)
            if not isinstance(page, Success):
                return page
            rows += page.output["results"]
            if not page.output["results"] or page.output.get("next") is None:
                return Success({"results": rows, "next": None})
        return Success({"results": rows, "next": "more"})

    async def _read(self, name: str, **query: int) -> Found:
        operation = OPERATIONS[name]
        call = HttpCall(operation, operation.path, tuple((key, str(value)) for key, value in query.items()), None, _REFERENCE)
        try:
            found = await make_own_call(
                self._client,
                self._budget,
                call,
                since_ms=clock_ms(),
                within_s=self._wait_s,
                pause_s_max=self._pause_s_max,
                ending_of=_says_nothing,
            )
        except BudgetClosedError:
            return NotAsked("Didit was not asked: the budget log cannot be used; `processor topics check` may say why")
        if found is None:
            return NotAsked(f"Didit was not asked: no call was free within {self._wait_s:g} s; `processor budget` says who uses them")
        if isinstance(found, Parked):
            return NotAsked(f"Didit was not asked: {found.code.meaning}")
        return found


def _says_nothing(answer: Answer, verdict: Verdict) -> Ending:
    """Report no health signal: the call is counted like any other, but a refusal stops no replica."""
    return replace(ending_of(answer, verdict), health=HealthSignal.NEUTRAL)
