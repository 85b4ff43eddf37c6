"""What is known of dead letters and repairs stays when a look fails, and the next one goes on with another client."""

from __future__ import annotations

import pytest
from dead_letters import dead_letter
from memory_topics import MemoryTopics

from processor.contract.repairs import Repair, RepairKind, Target, repair_value
from processor.repair.dead_letter_index import DeadLetterIndex
from processor.settings import load_settings
from processor.stream.errors import KafkaUnavailableError

LETTERS, REPAIRS = "verification.dead-letters", "verification.repairs"
RUN = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> MemoryTopics:
    return MemoryTopics(batch=2).instead_of_kafka(monkeypatch)


@pytest.mark.parametrize("failing", [LETTERS, REPAIRS])
async def test_what_was_read_before_a_failure_stands_and_the_next_look_goes_on(topics: MemoryTopics, failing: str) -> None:
    """Discarded ones stayed open for as long as the process lived: what had been read of the repairs was not read again."""
    index, letters = DeadLetterIndex(load_settings()), [dead_letter("verification", n, failed_ms=1000 + n) for n in range(4)]
    for letter in letters:
        assert letter.value is not None
        topics.write(LETTERS, letter.value, headers=letter.headers)
    for number in range(3):
        topics.write(REPAIRS, repair_value(Repair(RepairKind.DISCARDED, RUN, 1, "tester", Target(LETTERS, 0, number, 1000 + number))))
    topics.failures[failing] = 1, KafkaUnavailableError("no leader")
    with pytest.raises(KafkaUnavailableError):
        await index.refresh()
    assert topics.clients == ["started", "closed"]
    topics.failures.clear()
    await index.refresh()
    assert (index.counts.open, index.counts.discarded) == (1, 3)
    assert topics.asked[-2:] == ([(2, 4), (0, 3)] if failing == LETTERS else [(4, 4), (2, 3)]), "each record is read once"
    await index.close()
    assert topics.clients == ["started", "closed"] * 2
