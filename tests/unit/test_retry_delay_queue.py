from __future__ import annotations

from processor.retry.delay_queue import DelayQueue


def test_items_leave_by_due_time_and_in_order_of_arrival() -> None:
    queue: DelayQueue[str] = DelayQueue(count_max=10, bytes_max=1000)
    for ticket, (due_ms, item) in enumerate(((20, "c"), (10, "a"), (20, "d"), (10, "b"), (30, "e"))):
        queue.push(due_ms, ticket, item, 1)
    assert queue.next_due_ms == 10
    assert queue.pop_due(9, 10) == []
    assert queue.pop_due(20, 3) == ["a", "b", "c"]
    assert queue.pop_due(20, 3) == ["d"]
    assert len(queue) == 1


def test_count_and_bytes_bound_the_room() -> None:
    by_count: DelayQueue[str] = DelayQueue(count_max=2, bytes_max=1000)
    by_count.push(1, 1, "a", 1)
    assert by_count.room
    by_count.push(1, 2, "b", 1)
    assert not by_count.room
    by_bytes: DelayQueue[str] = DelayQueue(count_max=10, bytes_max=100)
    by_bytes.push(1, 1, "a", 100)
    assert not by_bytes.room
    by_bytes.pop_due(1, 1)
    assert by_bytes.room


def test_clear_forgets_everything() -> None:
    queue: DelayQueue[str] = DelayQueue(count_max=1, bytes_max=1)
    queue.push(5, 1, "a", 10)
    queue.clear()
    assert (len(queue), queue.held_bytes, queue.next_due_ms, queue.room) == (0, 0, None, True)
