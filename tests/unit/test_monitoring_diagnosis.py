"""The diagnosis: what the bottleneck is, which of it leads, and the words for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from processor.budget.view import BreakerView, BudgetView, PaceView, ScopeView
from processor.console.summary import STATES, summarize
from processor.monitoring.diagnosis import Area, Finding, FindingKind, Tone, diagnose
from processor.monitoring.diagnosis_text import headline, verdict
from processor.monitoring.drain import Owed, drains
from processor.monitoring.model import BlockCause, BlockedPartition, DelayedView, DrainView, Overview, PartitionView, ReplicaView
from processor.repair.model import DeadLetterCounts

CREATE = ScopeView("session-create", 600, 600, 60.0, 0, 0, 0, 0, 0.0, 0, {})
WRITE = ScopeView("generic-write", 300, 300, 60.0, 0, 0, 0, 0, 0.0, 0, {})
BUDGET = BudgetView((CREATE, WRITE), (), ("one",), 0.0)
WELL = Overview(
    1000,
    "g",
    BUDGET,
    (PartitionView("v.requests", 0, 5, 5, 0, "one"),),
    (ReplicaView("one", 1, heard=True),),
    (DrainView("session-create", 0, 0.0), DrainView("generic-write", 0, 0.0)),
    DelayedView(0, 0, None, None),
    DeadLetterCounts(0),
)
LONG = (DrainView("session-create", 6000, 600.0), DrainView("generic-write", 0, 0.0))
SHORT = (replace(LONG[0], calls=5, drain_s=1.0), LONG[1])
UNOWNED = (PartitionView("v.requests", 0, 5, 9, 4, None),)
TRANSACTION = BlockedPartition("v.requests", 0, BlockCause.OPEN_TRANSACTION, 5, 4, 9.0)
HELD = (BreakerView("account", 5.0, probing=False),)


def budget(create: ScopeView = CREATE, **changes: Any) -> BudgetView:
    return replace(BUDGET, scopes=(create, WRITE), **changes)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({}, "backlog_empty", "Nothing waits for budget."),
        ({"dead_letters": DeadLetterCounts(3)}, "dead_letters_open", "Dead letters that want a decision: 3. Work goes on."),
        ({"drains": SHORT, "budget": budget(replace(CREATE, live=1))}, "backlog_drains", "The backlog drains in 1 s."),
        ({"drains": SHORT}, "calls_idle", "5 calls wait in session-create, and none was made in the last 1 min."),
        ({"blocked": (TRANSACTION,)}, "open_transaction", "An open transaction blocks v.requests[0]. Held back for 9 s now: 4 offsets."),
        ({"blocked": (replace(TRANSACTION, cause=BlockCause.NO_LEADER),)}, "no_leader", "v.requests[0] has no leader."),
        (
            {"blocked": (replace(TRANSACTION, cause=BlockCause.UNDER_MIN_ISR),)},
            "under_min_isr",
            "v.requests[0] has fewer replicas in sync than min.insync.replicas. Nothing can be written to it, for 9 s now;",
        ),
        ({"unjudged": ("v.a[0]", "v.a[1]")}, "replicas_lacking", "v.a[0], v.a[1] lacks replicas in sync. Whether too many"),
        ({"blocked": (replace(TRANSACTION, cause=BlockCause.OFFSET_BEYOND_END),)}, "offset_beyond_end", "VP_KAFKA__ON_MISSING_OFFSETS"),
        ({"blocked": (BlockedPartition("v.requests", None, BlockCause.TOPIC_MISSING, 0, 0, 0.0),)}, "topic_missing", "v.requests does not"),
        ({"blocked": tuple(replace(TRANSACTION, partition=p) for p in range(5))}, "open_transaction", "v.requests[2] and 2 more."),
        ({"partitions": (replace(WELL.partitions[0], unfinished=2, idle_s=61.0),)}, "partition_idle", "v.requests[0] stands still."),
        ({"partitions": (replace(WELL.partitions[0], unfinished=2, idle_s=59.0),)}, "backlog_empty", "Nothing waits for budget."),
        ({"at_ms": 90_000, "waiting": DelayedView(1, 1, 1_000, None)}, "retries_overdue", "Retries are late by 1 min 29 s."),
        ({"budget": budget(breakers=HELD), "drains": LONG}, "account_refused", "Didit refuses the account. Key, application or contract"),
        ({"budget": budget(breakers=(BreakerView("aml", 5.0, probing=False),))}, "operation_failing", "Didit fails on aml."),
        ({"replicas": (ReplicaView("one", 1, heard=False),)}, "no_replica", "No replica is heard. Unfinished records: 0."),
        ({"replicas": ()}, "no_replica", "No replica is heard."),
        ({"group_state": "Empty", "partitions": UNOWNED}, "no_replica", "No replica is heard. Unfinished records: 4."),
        ({"group_state": "PreparingRebalance", "partitions": UNOWNED}, "rebalancing", "A rebalance is under way."),
        ({"partitions": UNOWNED}, "partitions_unowned", "Partitions without an owner: 1."),
        ({"replicas": (*WELL.replicas, ReplicaView("gone", 0, heard=False, in_group=False))}, "backlog_empty", "Nothing waits for budget."),
        ({"replicas": (*WELL.replicas, ReplicaView("two", 1, heard=False))}, "replica_silent", "two has not been heard for 45 s."),
        (
            {"replicas": (*WELL.replicas, ReplicaView("two", 1, heard=True, clock_off_s=90.0))},
            "clock_wrong",
            "The clock of two differs from the brokers' by 1 min 30 s. Beyond VP_BUDGET__CLOCK_SKEW_MAX_S",
        ),
        ({"replicas": (ReplicaView("one", 1, heard=True, clock_off_s=4.0),)}, "backlog_empty", "Nothing waits for budget."),
        ({"budget": budget(blocked_for_s=90.0)}, "budget_log_lost", "The budget log was lost. No call starts for 1 min 30 s"),
        ({"budget": budget(replace(CREATE, limit=540))}, "limit_lowered", "Its limit is 540 of 600 for now."),
        ({"budget": budget(replace(CREATE, throttled_lately=1))}, "rate_limited", "In ten minutes: 1. The limit is as configured"),
        ({"budget": budget(replace(CREATE, paused_for_s=30.0)), "drains": LONG}, "asked_to_wait", "Calls go on in 30 s by themselves"),
        (
            {"budget": budget(replace(CREATE, used=590)), "drains": LONG},
            "budget_full",
            "there, 6\u202f000 calls, takes 10 min.",
        ),
        ({"budget": budget(replace(CREATE, live=590, waiting=1))}, "budget_full", "The budget is the bottleneck in session-create."),
        ({"budget": budget(replace(CREATE, used=590))}, "backlog_empty", "Nothing waits for budget."),
        ({"budget": budget(replace(CREATE, used=100)), "drains": LONG}, "budget_unused", "only 100 of 600 are used."),
        ({"drains": (replace(LONG[0], drain_s=float("inf")), LONG[1])}, "backlog_stuck", "No call of session-create may pass."),
        # a burst has left and half of the window is used: the rest waits for the pace, not for the replicas
        (
            {"budget": budget(replace(CREATE, used=300, pace=PaceView(next_call_s=9.0))), "drains": LONG},
            "budget_full",
            "6\u202f000 calls",
        ),
        (
            {"budget": budget(replace(CREATE, live=100, pace=PaceView(next_call_s=0.2))), "drains": SHORT},
            "backlog_drains",
            "The backlog drains in 1 s.",
        ),
    ],
)
def test_the_verdict_names_what_holds_things_up(change: dict[str, Any], kind: str, words: str) -> None:
    found = diagnose(replace(WELL, **change))
    assert found.leading.kind == kind
    assert words in verdict(found)


def test_what_is_worse_leads_whatever_comes_first() -> None:
    everything = replace(
        WELL,
        budget=budget(replace(CREATE, limit=500, used=500, waiting=3, paused_for_s=9.0), breakers=(BreakerView("aml", 5.0, probing=True),)),
        drains=LONG,
        dead_letters=DeadLetterCounts(1),
    )
    assert [f.kind for f in diagnose(everything).findings] == [
        "operation_failing",
        "limit_lowered",
        "asked_to_wait",
        "budget_full",
        "backlog_long",
        "dead_letters_open",
    ]


def test_unused_budget_is_not_blamed_on_the_replicas_when_something_else_holds_the_calls() -> None:
    for change in (
        {"budget": budget(replace(CREATE, paused_for_s=400.0))},
        {"budget": budget(breakers=(BreakerView("aml", 5.0, probing=False),))},
        {"budget": budget(blocked_for_s=90.0)},
        {"group_state": "PreparingRebalance"},
    ):
        assert diagnose(replace(WELL, drains=LONG, **change)).of_area(Area.BACKLOG) == Finding(
            FindingKind.BACKLOG_LONG, "session-create", {"calls": 6000, "drain_s": 600.0, "used": 0, "limit": 600}
        )


def test_the_headline_never_contradicts_the_sentence_below_it() -> None:
    """258 of 300 used and 900 calls owed was "All is well" over "The budget is the bottleneck"."""
    write = replace(WRITE, live=262, used=258, open=4, waiting=40)
    view = BudgetView((write,), (), ("one",), 0.0)
    seen = replace(WELL, budget=view, drains=drains(Owed({"generic-write": 900}, {}), view))
    found = diagnose(seen)
    assert (headline(found), found.leading.kind) == ("Worth a look", "budget_full")
    assert [(t.name, t.tone, t.state) for t in summarize(seen).tiles[:2]] == [
        ("Budget", Tone.WATCH, "Sets the pace"),
        ("Backlog", Tone.GOOD, "Drains"),
    ]


def test_what_a_breaker_holds_is_not_said_to_drain() -> None:
    """60 calls of a failing operation were "Backlog: less than 1 s, drains, done at about 21:08"."""
    view = budget(breakers=(BreakerView("aml", 5.0, probing=False),))
    seen = replace(WELL, budget=view, drains=drains(Owed({"generic-write": 60}, {"generic-write": 60}), view))
    found = diagnose(seen)
    assert [f.kind for f in found.findings] == ["operation_failing", "backlog_stuck"]
    tile = summarize(seen).tiles[1]
    assert (tile.tone, tile.state, tile.figure, tile.text) == (
        Tone.BAD,
        "Stands still",
        "60",
        "calls owed in generic-write, and none may pass now",
    )
    mixed = replace(WELL, budget=view, drains=drains(Owed({"generic-write": 360}, {"generic-write": 60}), view))
    assert [f.kind for f in diagnose(mixed).findings] == ["operation_failing", "backlog_held", "backlog_drains"]
    tile = summarize(mixed).tiles[1]
    assert (tile.tone, tile.figure, tile.text) == (Tone.WATCH, "60", "calls held in generic-write; 300 others done in 1 min")


def test_a_partition_that_stands_still_is_not_told_where_something_else_explains_it() -> None:
    idle = replace(WELL, partitions=(replace(WELL.partitions[0], unfinished=2, idle_s=300.0),))
    full = budget(replace(CREATE, used=590, live=590, waiting=3))
    assert FindingKind.PARTITION_IDLE not in {f.kind for f in diagnose(replace(idle, budget=full)).findings}
    blocked = diagnose(replace(idle, blocked=(TRANSACTION,))).findings
    assert [f.kind for f in blocked if f.area is Area.BACKLOG] == ["open_transaction", "backlog_empty"]


@pytest.mark.parametrize("cause", BlockCause)
def test_every_cause_of_a_block_is_told_and_bad(cause: BlockCause) -> None:
    found = diagnose(replace(WELL, blocked=(replace(TRANSACTION, cause=cause),)))
    assert (found.tone, found.leading.kind, found.leading.subject) == (Tone.BAD, cause.value, "v.requests[0]")


def test_every_kind_has_its_words() -> None:
    assert STATES.keys() == set(FindingKind)
    assert {kind.area for kind in FindingKind} == set(Area)


def test_a_single_429_shows_nobody_else_at_the_key() -> None:
    assert not replace(CREATE, throttled_lately=1).foreign
    assert replace(CREATE, throttled_lately=2).foreign
    assert replace(CREATE, limit=599).foreign
