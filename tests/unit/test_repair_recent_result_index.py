"""The newest results are kept, each is read once, and a client that failed is not used again."""

from __future__ import annotations

import orjson
import pytest
from memory_topics import MemoryTopics

from processor.repair.recent_result_index import RecentResultIndex
from processor.settings import load_settings
from processor.stream.errors import KafkaUnavailableError

RESULTS = "verification.results"


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> MemoryTopics:
    return MemoryTopics().instead_of_kafka(monkeypatch)


def write(topics: MemoryTopics, *request_ids: str) -> None:
    for name in request_ids:
        topics.write(RESULTS, orjson.dumps({"kind": "final", "status": "succeeded", "request_id": name, "operation": "aml"}))


def ids(index: RecentResultIndex) -> list[str | None]:
    return [result.request_id for result in index.results]


async def test_the_newest_are_kept_and_each_is_read_once(topics: MemoryTopics) -> None:
    index = RecentResultIndex(load_settings(), kept_max=3)
    write(topics, "a", "b")
    await index.refresh()
    assert (ids(index), index.complete) == (["b", "a"], True)
    write(topics, "c", "d")
    await index.refresh()
    assert (ids(index), index.complete) == (["d", "c", "b"], False)
    write(topics, *"efghij")
    await index.refresh()
    assert ids(index) == ["j", "i", "h"]
    assert topics.asked == [(0, 2), (2, 4), (7, 10)], "what is too old to be kept is not read"
    assert topics.clients == ["started"]


async def test_a_topic_that_was_made_again_is_read_from_its_beginning(topics: MemoryTopics) -> None:
    index = RecentResultIndex(load_settings())
    write(topics, "a", "b", "c")
    await index.refresh()
    topics.records.clear()
    write(topics, "x")
    await index.refresh()
    assert ids(index) == ["x"]


async def test_a_client_that_failed_is_closed_and_the_next_call_goes_on_with_another(topics: MemoryTopics) -> None:
    index = RecentResultIndex(load_settings())
    write(topics, "a")
    topics.failures[RESULTS] = 0, KafkaUnavailableError("no leader")
    with pytest.raises(KafkaUnavailableError):
        await index.refresh()
    assert topics.clients == ["started", "closed"]
    topics.failures.clear()
    await index.refresh()
    assert ids(index) == ["a"]
    await index.close()
    assert topics.clients == ["started", "closed", "started", "closed"]
