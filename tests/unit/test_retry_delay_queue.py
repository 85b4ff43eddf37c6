from __future__ import annotations

from processor.retry.delay_queue import DelayQueue


def test_items_leave_by_due_time_and_in_order_of_arrival() -> None:
    queue: DelayQueue[str] = DelayQueue()
    for ticket, (due_ms, item) in enumerate(((20, "c"), (10, "a"), (20, "d"), (10, "b"), (30, "e"))):
        queue.push(due_ms, ticket, item)
    assert queue.next_due_ms == 10
    assert queue.pop_due(9, 10) == []
    assert queue.pop_due(20, 3) == ["a", "b", "c"]
    assert queue.pop_due(20, 3) == ["d"]
    assert len(queue) == 1


def test_an_item_that_was_removed_does_not_leave_again() -> None:
    queue: DelayQueue[str] = DelayQueue()
    for ticket, due_ms in enumerate((10, 20, 10)):
        queue.push(due_ms, ticket, f"{ticket}")
    assert (queue.remove(0), queue.remove(0), queue.holds(0), queue.holds(1)) == ("0", None, False, True)
    assert (queue.next_due_ms, queue.pop_due(30, 10)) == (10, ["2", "1"])


def test_items_that_leave_long_before_their_time_leave_nothing_behind() -> None:
    queue: DelayQueue[str] = DelayQueue()
    queue.push(10**9, 0, "a")
    for ticket in range(1, 20_000):
        queue.push(10**9 + 1, ticket, "b")
        assert queue.remove(ticket) == "b"
    assert len(queue._heap) < 2_000  # noqa: SLF001 - what holds memory
    assert (len(queue), queue.next_due_ms, queue.pop_due(2 * 10**9, 10)) == (1, 10**9, ["a"])


def test_clear_forgets_everything() -> None:
    queue: DelayQueue[str] = DelayQueue()
    queue.push(5, 1, "a")
    queue.clear()
    assert (len(queue), queue.next_due_ms) == (0, None)
