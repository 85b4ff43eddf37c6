"""A newcomer that leaves out what is over in every window concludes what one concludes that leaves out nothing."""

from __future__ import annotations

from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.budget.log_records import Asked, Begun, Ended, Failed, LogRecord, Paused
from processor.budget.permits import CallIdentity, HealthSignal
from processor.budget.state import BudgetState, Rules

RULES = Rules({"a": (5, 60.0), "b": (3, 20.0)}, 30.0, 60.0, 30.0, 0.1, 10.0, 3600.0, 600.0, 3, 15.0, 30.0)
NOW_S = 1000.0
ids = st.sampled_from([f"c-{n}" for n in range(12)])
records: st.SearchStrategy[LogRecord] = st.one_of(
    st.builds(
        Asked,
        ids,
        st.sampled_from((("a",), ("b",), ("a", "b"), ("a", "unknown"))),
        st.sampled_from((30.0, 90.0, 500.0)),
        st.just("op"),
        probe=st.booleans(),
        identity=st.one_of(st.none(), st.builds(CallIdentity, ids, st.just("c"), ids, st.just("t[0]"), st.integers(0, 9))),
        announced=st.booleans(),
    ),
    st.builds(Begun, ids),
    st.builds(Ended, ids, used=st.booleans(), acted=st.booleans(), health=st.sampled_from(HealthSignal)),
    st.builds(Failed, ids),
    st.builds(Paused, st.sampled_from(("a", "b")), st.sampled_from((1.0, 700.0))),
)


def in_order(found: list[tuple[float, LogRecord]]) -> list[tuple[float, LogRecord]]:
    """By time, and no ask twice: of one that is appended again much later a newcomer may hold the weight for longer."""
    asked: set[str] = set()
    history = []
    for at, record in sorted(found, key=lambda item: item[0]):
        if not isinstance(record, Asked) or record.id not in asked:
            history.append((at, record))
        if isinstance(record, Asked):
            asked.add(record.id)
    return history


histories = st.lists(st.tuples(st.floats(0, NOW_S), records), max_size=80).map(in_order)


@settings(max_examples=full(100), deadline=None, derandomize=True)
@given(history=histories, asks=st.lists(st.sampled_from((("a",), ("b",), ("a", "b"))), max_size=6))
def test_what_is_over_by_now_may_be_left_out(history: list[tuple[float, LogRecord]], asks: list[tuple[str, ...]]) -> None:
    whole, newcomer = BudgetState(RULES, 0.0), BudgetState(RULES, 0.0)
    newcomer.follow_on(BudgetState(RULES, 0.0), "", NOW_S)
    assert newcomer.counts_from > 0
    for state in (whole, newcomer):
        for offset, (at, record) in enumerate(history):
            state.apply(record, offset, at, int(1000 * at))
        for window in state.windows.values():
            window.expire(NOW_S)
    for scope, window in whole.windows.items():
        other = newcomer.windows[scope]
        assert (window.weight, window.open_weight, window.limit, window.paused_until) == (
            other.weight,
            other.open_weight,
            other.limit,
            other.paused_until,
        )
        assert {i: (h.until, h.open, h.weight) for i, h in window.live.items()} == {
            i: (h.until, h.open, h.weight) for i, h in other.live.items()
        }
    for name in whole.breakers | newcomer.breakers:
        assert vars(whole.breaker(name)) | {"_rules": None} == vars(newcomer.breaker(name)) | {"_rules": None}
    own = [Asked(f"own-{n}", scopes, 90.0, "op") for n, scopes in enumerate(asks)]
    for state in (whole, newcomer):
        for n, asked in enumerate(own):
            state.apply(asked, 1000 + n, NOW_S, int(1000 * NOW_S), mine=True)
    for scope, window in whole.windows.items():
        assert {i: hold.ahead for i, hold in window.own.items()} == {i: hold.ahead for i, hold in newcomer.windows[scope].own.items()}
    for call in range(12):
        identity = CallIdentity(f"c-{call}", "c", "c-0", "t[0]", 1)
        assert whole.journal.prior_calls(identity, 2000) == newcomer.journal.prior_calls(identity, 2000)
