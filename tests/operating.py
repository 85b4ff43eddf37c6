"""The operators' page on a loopback port, over a set-up that lives in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from processor.budget.view import BreakerView, BudgetView, ScopeView
from processor.console.auth import Access
from processor.console.ports import LETTERS_A_PAGE, WAITING_A_PAGE, FoundResults, ListedDeadLetters, ListedWaiting, UnavailableError
from processor.console.runbooks import Links
from processor.console.server import add_page
from processor.contract.pauses import PauseAct, PauseKind
from processor.contract.records import Hop, Source, Status
from processor.monitoring.history import BacklogSample, Sample
from processor.monitoring.latency import CallLatency
from processor.monitoring.model import DelayedView, DrainView, Overview, PartitionView, ReplicaView
from processor.repair.delayed import DelayedSelection, select
from processor.repair.model import (
    DeadLetter,
    DeadLetterCounts,
    DeadLetterStatus,
    DelayedRecord,
    HistoryEntry,
    LeftOut,
    Plan,
    RepairSummary,
    RequestHistory,
    Selection,
)
from processor.repair.recent_result import RecentResult, person_digest
from processor.settings import ObserveSettings

NOW_MS = 1_764_072_185_000  # 2025-11-25 12:03:05 UTC
TOKEN = "correct-horse-battery"


def scope(name: str, configured: int = 300, **changes: Any) -> ScopeView:
    made = ScopeView(name, configured, configured, 60.0, 0, 0, 0, 0, 0.0, 0, {})
    return replace(made, **changes)


def dead_letter(offset: int, request_id: str | None = None, **changes: Any) -> DeadLetter:
    made = DeadLetter(
        partition=offset % 3,
        offset=offset,
        failed_ms=NOW_MS - 60_000 * (offset + 1),
        request_id=request_id if request_id is not None else f"onboarding-{4000 + offset}",
        operation="aml",
        reason_type="exhausted",
        reason_code="http_503",
        reason_message="every attempt failed; redrive the dead letter once the cause is gone.",
        reason_field=None,
        http_status=503,
        hop=Hop(Source("verification.requests", 1, offset), NOW_MS - 7_200_000, attempt=5),
        attempts=6,
        came_from=Source("verification.retry.1h", 1, offset),
        key_digest="ab12",
        size_bytes=812,
    )
    return replace(made, **changes)


def waits(offset: int, in_s: float, **changes: Any) -> DelayedRecord:
    made = DelayedRecord(
        "verification.retry.1m", 1, offset, NOW_MS + round(in_s * 1000), f"wait-{offset}", "aml", "http_503", 2, 0, Source("r", 0, offset)
    )
    return replace(made, **changes)


def quiet() -> Overview:
    """Nothing to do."""
    return Overview(
        NOW_MS,
        "verification-processor",
        BudgetView(tuple(scope(n) for n in ("generic-get", "generic-write", "session-create")), (), ("vp-0",), 0.0),
        (PartitionView("verification.requests", 0, 4, 4, 0, "vp-0"),),
        (ReplicaView("vp-0", 1, heard=True),),
        (),
        DelayedView(0, 0, None, None),
        DeadLetterCounts(0),
    )


def told(view: ReplicaView, **changes: Any) -> ReplicaView:
    """A replica that tells of itself."""
    facts = replace(view, version="0.1.0", uptime_s=93_784.0, memory_bytes=184_000_000, pauses_to=2)
    return replace(facts, **changes)


def paused() -> Overview:
    """Two pauses, of one operation and of all calls; a replica with an error, and one that is gone."""
    by_ann = PauseAct(PauseKind.PAUSED, "aml", "ann@ops-1", "Didit moves its AML provider until noon", NOW_MS - 780_000, "r")
    of_all = replace(by_ann, operation=None, by="Bo", reason="credits run out, waiting for the top-up", at_ms=NOW_MS - 60_000)
    seen = busy()
    gone = ReplicaView("vp-9", 0, heard=False, in_group=False, silent_s=200.0)
    replicas = (told(seen.replicas[0], last_error="budget_log_unavailable", last_error_ms=NOW_MS - 130_000), *seen.replicas[1:], told(gone))
    drains = tuple(replace(d, drain_s=float("inf"), held=d.calls, paused=d.calls) for d in seen.drains)
    calls = {"aml": 740, "all": 3600}
    return replace(
        seen, budget=replace(seen.budget, breakers=()), pauses=(of_all, by_ann), replicas=replicas, drains=drains, paused_calls=calls
    )


def busy() -> Overview:
    """The budget sets the pace, one scope is paused, one operation fails."""
    scopes = (
        scope("generic-get", 600, used=41, live=43, open=2),
        scope("generic-write", 300, limit=240, used=232, live=240, open=8, waiting=310, throttled_lately=2),
        scope("session-create", 600, used=410, live=431, open=21, waiting=12),
        scope("session-decision", 100, used=96, live=100, open=4, waiting=44, paused_for_s=35.0),
        scope("session-generate-pdf", 50),
    )
    names = ("vp-0", "vp-1", "vp-2")
    tiers = [("verification.requests", 6), ("verification.retry.10s", 4), ("verification.retry.1m", 4)]
    partitions = [
        PartitionView(topic, p, 120_000 + 371 * p, 120_400 + 380 * p, 400 + 9 * p if "requests" in topic else 7 * p, names[p % 3])
        for topic, many in tiers
        for p in range(many)
    ]
    by_due = (("due", 3), ("1 min", 41), ("10 min", 212), ("1 h", 96), ("later", 12))
    return Overview(
        NOW_MS,
        "verification-processor",
        BudgetView(scopes, (BreakerView("aml", 12.0, probing=False),), names, 0.0),
        tuple(partitions),
        tuple(
            told(ReplicaView(name, 5 - n % 2, heard=name != "vp-2", silent_s=2.0 if name != "vp-2" else 50.0))
            for n, name in enumerate(names)
        ),
        (DrainView("generic-write", 2900, 725.0), DrainView("session-create", 1240, 124.0), DrainView("session-decision", 210, 161.0)),
        DelayedView(364, 3, NOW_MS - 4000, NOW_MS + 2000, {"http_503": 212, "following": 118, "timeout": 34}, by_due),
        DeadLetterCounts(312, {"exhausted": 240, "request_refused": 51, "invalid_request": 17, "in_doubt": 4}, 1200, 9),
    )


def samples(end_ms: int, limit: int, used: int) -> list[Sample]:
    """A quarter of an hour with a hole and a lowered limit."""
    found = []
    for n in range(450):
        at_ms = end_ms - 900_000 + 2_000 * (n + 1)
        if 120 < n < 150:
            continue
        share = min(1.0, n / 200) * (0.93 + 0.07 * ((n * 7919) % 13) / 13)
        found.append(Sample(at_ms, round(used * share), limit if n > 300 else round(limit * 1.25), used, 10))
    return found


@dataclass
class Memory:
    """``Operations`` on what it holds. ``mood``: ok, away, hangs, breaks."""

    seen: Overview = field(default_factory=quiet)
    letters: list[DeadLetter] = field(default_factory=list)
    records: list[DelayedRecord] = field(default_factory=list)
    journeys: dict[str, RequestHistory] = field(default_factory=dict)
    results: list[RecentResult] = field(default_factory=list)
    latencies: dict[str, CallLatency] = field(default_factory=dict)
    mood: str = "ok"
    asked: int = 0
    actions: list[tuple[Any, ...]] = field(default_factory=list)
    now_ms: int = NOW_MS
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def _mood(self) -> None:
        if self.mood == "away":
            raise UnavailableError("The brokers cannot be reached.")
        if self.mood == "breaks":
            raise RuntimeError("Zoë Müller")
        if self.mood == "hangs":
            await self.go.wait()

    async def overview(self) -> Overview:
        self.asked += 1
        await self._mood()
        return replace(self.seen, at_ms=self.now_ms)

    def history(self) -> Mapping[str, Sequence[Sample]]:
        return {s.scope: samples(self.now_ms, s.limit, s.used) for s in self.seen.budget.scopes if s.used}

    def _chosen(self, wanted: Selection) -> list[DeadLetter]:
        found = [one for one in self.letters if one.status is DeadLetterStatus.OPEN and _names(wanted, one)]
        return sorted(found, key=lambda one: one.failed_ms)

    def backlog_history(self) -> Sequence[BacklogSample]:
        if not self.seen.waiting.count:
            return ()
        rise = [min(n, 90) for n in range(240)]
        return [BacklogSample(self.now_ms - 15_000 * (239 - n), 26 * rise[n], 4 * rise[n], None if n < 20 else n + 72) for n in range(240)]

    def call_latencies(self) -> Mapping[str, CallLatency]:
        return self.latencies

    async def recent_results(self) -> FoundResults:
        await self._mood()
        return FoundResults(tuple(self.results), complete=len(self.results) < 5_000)

    async def dead_letters(self, selection: Selection, *, page: int) -> ListedDeadLetters:
        await self._mood()
        found = self._chosen(selection)[::-1]
        pages = max(1, -(-len(found) // LETTERS_A_PAGE))
        page = min(page, pages)
        shown = tuple(found[(page - 1) * LETTERS_A_PAGE :][:LETTERS_A_PAGE])
        reasons = sorted({one.reason_type for one in self.letters} | {one.reason_code for one in self.letters})
        return ListedDeadLetters(
            shown, page, pages, len(found), tuple(reasons), tuple(sorted({one.operation or "" for one in self.letters}))
        )

    async def plan(self, selection: Selection) -> Plan:
        await self._mood()
        chosen, left = [], {LeftOut.IN_DOUBT: 0, LeftOut.REPLAYED: 0}
        for one in self._chosen(selection):
            if one.reason_type == "in_doubt" and not selection.in_doubt:
                left[LeftOut.IN_DOUBT] += 1
            elif one.hop.replay >= selection.replays_max:
                left[LeftOut.REPLAYED] += 1
            else:
                chosen.append(one)
        return Plan(tuple(chosen[: selection.count_max]), {k: v for k, v in left.items() if v}, len(chosen) * 0.8)

    async def redrive(self, selection: Selection, by: str) -> RepairSummary:
        plan = await self.plan(selection)
        self.actions.append(("redrive", selection, by))
        return self._identity(plan.chosen, DeadLetterStatus.REDRIVEN)

    async def discard(self, selection: Selection, by: str, note: str) -> RepairSummary:
        await self._mood()
        self.actions.append(("discard", selection, by, note))
        return self._identity(self._chosen(selection)[: selection.count_max], DeadLetterStatus.DISCARDED)

    def _identity(self, chosen: Sequence[DeadLetter], status: DeadLetterStatus) -> RepairSummary:
        positions = {one.position for one in chosen}
        self.letters = [replace(one, status=status) if one.position in positions else one for one in self.letters]
        return RepairSummary(f"run-{len(self.actions)}", len(positions))

    def pausable(self) -> Sequence[str]:
        return ("aml", "session.create", "session.decision")

    async def change_pause(self, kind: PauseKind, operation: str | None, by: str, reason: str) -> RepairSummary:
        await self._mood()
        self.actions.append((kind, operation, by, reason))
        others = tuple(act for act in self.seen.pauses if act.operation != operation)
        act = PauseAct(kind, operation, by, reason, self.now_ms, "11111111-2222-4333-8444-555555555555")
        self.seen = replace(self.seen, pauses=(*others, act) if kind is PauseKind.PAUSED else others)
        return RepairSummary(act.run_id, 1)

    async def waiting(self, *, reason: str | None = None, page: int = 1) -> ListedWaiting:
        await self._mood()
        found = sorted((r for r in self.records if reason is None or (r.reason or "") == reason), key=lambda r: r.due_ms)
        pages = max(1, -(-len(found) // WAITING_A_PAGE))
        page = min(page, pages)
        shown = tuple(found[(page - 1) * WAITING_A_PAGE :][:WAITING_A_PAGE])
        return ListedWaiting(shown, page, pages, len(found), tuple(sorted({r.reason or "" for r in self.records})))

    async def waiting_named(self, wanted: DelayedSelection, *, end: bool) -> Sequence[DelayedRecord]:
        await self._mood()
        return select([r for r in self.records if end or r.reason != "waits_for_account"], wanted, self.now_ms)

    async def release(self, wanted: DelayedSelection, by: str, *, end: bool) -> RepairSummary:
        chosen = await self.waiting_named(wanted, end=end)
        self.actions.append(("end" if end else "release", wanted, by))
        self.records = [r for r in self.records if r not in chosen]
        return RepairSummary(f"run-{len(self.actions)}", len(chosen))

    async def request_history(self, request_id: str) -> RequestHistory:
        await self._mood()
        return self.journeys.get(request_id, RequestHistory(request_id, ()))


def _names(wanted: Selection, one: DeadLetter) -> bool:
    return (
        (not wanted.reasons or bool({one.reason_type, one.reason_code} & wanted.reasons))
        and (not wanted.operations or one.operation in wanted.operations)
        and (not wanted.request_ids or one.request_id in wanted.request_ids)
        and (not wanted.positions or (one.partition, one.offset) in wanted.positions)
        and (wanted.since_ms is None or one.failed_ms >= wanted.since_ms)
        and (wanted.until_ms is None or one.failed_ms < wanted.until_ms)
    )


def finished(many: int = 400) -> list[RecentResult]:
    """The results of half an hour and more, the newest first; most have succeeded."""
    kinds = [
        (Status.FAILED, "http_400"),
        (Status.REJECTED, "unknown_field"),
        (Status.EXPIRED, "deadline_passed"),
        (Status.IN_DOUBT, "call_unanswered"),
    ]
    names = ("aml", "session.create", "id_verification", "verification")
    found = []
    for n in range(many):
        status, code = kinds[n // 9 % 4] if n % 9 == 0 else (Status.SUCCEEDED, None)
        operation = None if status is Status.REJECTED else names[n % 4]
        found.append(
            RecentResult(
                NOW_MS - 5_000 * n - 40 * (n % 7) ** 3,
                f"onboarding-{9000 - n}",
                operation,
                status,
                code,
                1 + n % 2,
                900 + 370 * (n % 11),
                person_digest(f"user-{n % 50}"),
            )
        )
    return found


def full(many: int = 120) -> Memory:
    """A busy set-up with dead letters of several kinds, waiting records and a journey."""
    kinds: list[dict[str, Any]] = [
        {},
        {
            "operation": "session.create",
            "reason_type": "request_refused",
            "reason_code": "http_400",
            "http_status": 400,
            "reason_message": "Didit refused the request; correct it and publish it under a new request_id.",
        },
        {"operation": "id_verification", "reason_type": "in_doubt", "reason_code": "call_unanswered", "http_status": None},
        {
            "reason_type": "invalid_request",
            "reason_code": "unknown_field",
            "reason_field": "input.nam",
            "http_status": None,
            "operation": None,
        },
    ]
    dead_letters = [dead_letter(n, **kinds[0 if n % 5 < 2 else n % 4]) for n in range(many)]
    dead_letters[3:6] = [dead_letter(3, "Null"), dead_letter(4, "No"), dead_letter(5, "<script>alert(1)</script>")]
    dead_letters[6] = replace(dead_letter(6, "old-friend"), hop=replace(dead_letter(6).hop, replay=3))
    dead_letters[7] = dead_letter(7, "  two  spaces ")
    records = [waits(n, 3.0 * n - 4, reason=None if n % 3 == 0 else "http_503", replay=n % 2) for n in range(260)]
    at = Source("verification.requests", 1, 5)
    steps = (
        HistoryEntry(NOW_MS - 7_200_000, "requested", str(at), "Came in from its caller.", {"operation": "aml", "priority": "normal"}),
        HistoryEntry(
            NOW_MS - 7_195_000, "waiting", "verification.retry.10s[0]@88", "Attempt 1 failed; tried again after 10 s.", {"code": "http_503"}
        ),
        HistoryEntry(
            NOW_MS - 7_100_000, "waiting", "verification.retry.1m[2]@41", "Attempt 2 failed; tried again after 1 min.", {"code": "timeout"}
        ),
        HistoryEntry(
            NOW_MS - 360_000, "result", "verification.results[3]@990", "Final result: failed.", {"status": "failed", "attempts": 6}
        ),
        HistoryEntry(NOW_MS - 360_000, "dead-letter", "verification.dead-letters[2]@5", "Every attempt failed.", {"code": "http_503"}),
    )
    document = {"request_id": "<script>alert(1)</script>", "operation": "aml", "input": {"full_name": "***", "date_of_birth": "***"}}
    journeys = {"<script>alert(1)</script>": RequestHistory("<script>alert(1)</script>", steps, document)}
    return Memory(busy(), dead_letters, records, journeys, finished())


@asynccontextmanager
async def operating(
    memory: Memory | Mapping[str, Memory],
    *,
    now_ms: int | None = None,
    host: str = "127.0.0.1",
    links: Links | None = None,
    **settings: Any,
) -> AsyncIterator[str]:
    """Serve the page of one application, or of several; gives its base URL. Without ``now_ms`` the clock stands at the (first) memory's."""
    app = web.Application()
    observe = ObserveSettings(host=host, **settings)
    applications = memory if isinstance(memory, Mapping) else {"default": memory}
    first = next(iter(applications.values()))
    clock = (lambda: first.now_ms / 1000) if now_ms is None else (lambda: now_ms / 1000)
    add_page(app, applications, Access(observe, clock=time.monotonic), now=clock, group="verification-processor", links=links)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
