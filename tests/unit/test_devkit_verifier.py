"""The judge of the demo must find what is wrong; and the demo's load is what it says."""

from __future__ import annotations

from typing import Any

from processor.contract.decode import Accepted, Rejected, decode
from processor.contract.records import Record, Source, call_reference
from processor.devkit.demo import demo_limits
from processor.devkit.verifier import FinalSeen, RetrySeen, judge, percentile
from processor.devkit.workload import plan_load


def ledger(calls: list[dict[str, Any]] | None = None, most: int = 5, sessions: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    scope = {"limit": 10, "window_s": 1.0, "calls": 7, "max_in_window": most}
    return {"calls": calls or [], "sessions": sessions or [], "checks": [], "scopes": {"key": {"session-create": scope}}}


def call(request_id: str, hop: int, at: float) -> dict[str, Any]:
    return {"reference": call_reference(request_id, hop), "at": at}


def test_a_clean_run_is_clean() -> None:
    finals = [FinalSeen("a", "succeeded"), FinalSeen("b", "rejected")]
    judged = judge(["a", "b"], finals, [RetrySeen("a", 1, 1000)], ledger([call("a", 0, 0.5), call("a", 1, 1.02)]))
    assert judged.ok
    assert judged.late_retry_p99_ms == 20.0
    assert judged.scopes["session-create"]["max_in_window"] == 5


def test_each_broken_promise_is_found() -> None:
    good = [FinalSeen("a", "succeeded")]
    assert judge(["a", "b"], good, [], ledger()).missing == ("b",)
    assert judge(["a"], good * 2, [], ledger()).duplicated == ("a",)
    again = [*good, FinalSeen("a", "succeeded", replay=1)]
    assert judge(["a"], again, [], ledger()).ok, "a redrive has a final result of its own"
    assert judge(["a"], [*again, again[1]], [], ledger()).duplicated == ("a",)
    assert judge(["a"], good, [RetrySeen("a", 1, 2000)], ledger([call("a", 1, 1.5)])).early_retries == 1
    over = judge(["a"], good, [], ledger(most=11))
    twice = [{"request_id": "a", "created_at": 1.0}, {"request_id": "a", "created_at": 9.0}]
    assert judge(["a"], good, [], ledger(sessions=twice)).billed_twice == 1
    for expired_at, billed_twice in ((5.0, 0), (9.5, 1)):
        first = {**twice[0], "expired_at": expired_at}
        assert judge(["a"], good, [], ledger(sessions=[first, twice[1]])).billed_twice == billed_twice
    assert not over.ok
    assert not judge(["a", "b"], good, [], ledger()).ok
    assert not judge(["a"], good * 2, [], ledger()).ok


def test_percentiles() -> None:
    assert percentile([], 0.99) == 0.0
    assert percentile(range(100), 0.99) == 99
    assert percentile([3, 1, 2], 0.5) == 2


def test_the_load_is_mixed_and_every_bad_record_is_bad() -> None:
    load = plan_load(300, seed=3)
    assert load.total == 300
    assert plan_load(300, seed=3) == load
    for planned in load.first:
        decoded = decode(Record(Source("t", 0, 0), planned.key, planned.value))
        assert isinstance(decoded, Rejected) == planned.request_id.startswith("demo-bad")
        if isinstance(decoded, Accepted):
            assert decoded.request.request_id == planned.request_id
        else:
            assert decoded.request_id == planned.request_id
    assert all(limit["limit"] >= 12 for limit in demo_limits(load).values())
