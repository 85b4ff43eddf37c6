from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from processor.budget.fair_queue import FairQueue
from processor.budget.permits import CallClass

BOUNDS = {
    CallClass.URGENT: 7,
    CallClass.NORMAL: 9,
    CallClass.FIRST_POLL: 13,
    CallClass.RETRY: 22,
    CallClass.BULK: 22,
    CallClass.POLL: 22,
    CallClass.LATE_POLL: 142,
}
# for one class in front, how many others are served before it
pushes = st.tuples(st.just("push"), st.sampled_from(CallClass))
steps = st.lists(pushes | st.tuples(st.just("pop"), st.none()) | st.tuples(st.just("remove"), st.integers(0, 10**6)), max_size=300)


@given(steps)
def test_nobody_starves_and_a_class_serves_its_oldest_first(steps: list[tuple[str, CallClass | int | None]]) -> None:
    queue: FairQueue[int] = FairQueue()
    waiting: dict[CallClass, list[tuple[int, int]]] = {c: [] for c in CallClass}  # waiter, ticket
    passed_over = dict.fromkeys(CallClass, 0)
    for number, (what, argument) in enumerate(steps):
        if what == "push":
            assert isinstance(argument, CallClass)
            if not waiting[argument]:
                passed_over[argument] = 0
            waiting[argument].append((number, queue.push(argument, number // 3, number)))
        elif what == "remove":
            everybody = [(c, w) for c in CallClass for w in waiting[c]]
            if everybody:
                call_class, waiter = everybody[int(argument or 0) % len(everybody)]
                queue.remove(call_class, waiter[1])
                queue.remove(call_class, waiter[1])  # a second time changes nothing
                waiting[call_class].remove(waiter)
        else:
            served = queue.pop()
            found = [c for c in CallClass if waiting[c] and waiting[c][0][0] == served]
            assert (served is None) == (not any(waiting.values()))
            if served is None:
                continue
            assert found, "not the oldest of its class"
            waiting[found[0]].pop(0)
            passed_over[found[0]] = 0
            for other in CallClass:
                if waiting[other] and other is not found[0]:
                    passed_over[other] += 1
                    assert passed_over[other] <= BOUNDS[other]
        assert len(queue) == sum(len(w) for w in waiting.values())


def test_the_shares_are_the_weights_while_all_wait() -> None:
    queue: FairQueue[CallClass] = FairQueue()
    for call_class in CallClass:
        for _ in range(1000):
            queue.push(call_class, 0, call_class)
    served = Counter(queue.pop() for _ in range(1096))
    assert [served[c] for c in CallClass] == [512, 256, 128, 64, 64, 64, 8]


def test_a_class_that_was_away_has_saved_nothing_up() -> None:
    queue: FairQueue[CallClass] = FairQueue()
    for _ in range(1000):
        queue.push(CallClass.NORMAL, 0, CallClass.NORMAL)
        queue.pop()
    for call_class in (CallClass.RETRY, CallClass.NORMAL):
        for _ in range(30):
            queue.push(call_class, 0, call_class)
    served = Counter(queue.pop() for _ in range(30))
    assert served[CallClass.NORMAL] >= 19


def test_clear_returns_everybody() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push(CallClass.BULK, 0, "a")
    queue.push(CallClass.URGENT, 0, "b")
    assert sorted(queue.clear()) == ["a", "b"]
    assert len(queue) == 0
    assert queue.pop() is None


def test_the_oldest_of_a_class_is_first_whenever_it_came() -> None:
    queue: FairQueue[str] = FairQueue()
    for since_ms, name in ((30, "c"), (10, "a"), (20, "b"), (10, "a2")):
        queue.push(CallClass.NORMAL, since_ms, name)
    assert [queue.pop() for _ in range(4)] == ["a", "a2", "b", "c"]


def test_the_last_one_makes_room_for_whoever_comes_before_it() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push(CallClass.NORMAL, 10, "old")
    queue.push(CallClass.BULK, 10, "bulk")
    assert queue.pop_last((CallClass.BULK, 20)) is None
    assert queue.pop_last((CallClass.URGENT, 20)) == ("", "bulk")
    assert queue.pop_last((CallClass.NORMAL, 10)) is None
    assert queue.pop_last((CallClass.NORMAL, 5)) == ("", "old")
    assert queue.pop_last((CallClass.URGENT, 0)) is None
    assert queue.pop() is None
    assert len(queue) == 0


@given(st.integers(1, 40), st.sampled_from(CallClass), st.lists(st.tuples(st.sampled_from(CallClass), st.integers(0, 50)), max_size=100))
def test_nobody_is_kept_out_of_a_full_line(size: int, flood: CallClass, newcomers: list[tuple[CallClass, int]]) -> None:
    queue: FairQueue[tuple[CallClass, int]] = FairQueue()
    waiting: Counter[CallClass] = Counter()
    weights = dict(zip(CallClass, (8, 4, 2, 1, 1, 1, 1 / 8), strict=True))
    shares = {call_class: weight / sum(weights.values()) for call_class, weight in weights.items()}
    for newcomer in [(flood, 25)] * size + newcomers:
        stays, leaves = True, None
        if len(queue) == size:
            found = queue.pop_last(newcomer)
            leaves = None if found is None else found[1]
            stays = leaves is not None
            sent_away = newcomer if leaves is None else leaves
            wanting = waiting[sent_away[0]] + (sent_away[0] == newcomer[0])
            assert wanting > size * shares[sent_away[0]], "its class has more than its share of the places"
        if leaves is not None:
            waiting[leaves[0]] -= 1
        if stays:
            waiting[newcomer[0]] += 1
            queue.push(*newcomer, newcomer)
        assert len(queue) == waiting.total() <= size
