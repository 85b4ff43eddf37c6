"""How often a consumer fetches: at once while little comes, forty times a second where much does; by aiokafka's own loop of fetches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from virtual_time import run_virtual

from processor.settings import load_settings
from processor.stream import clients
from processor.stream.fetch_pace import FETCH_PAUSE_S, FetchPace
from processor.stream.partitions import TopicPartition

TP = TopicPartition("t", 0)
SETTINGS = load_settings(kafka={"bootstrap": "127.0.0.1:1"})


def wait_s(rate_per_s: float, count: int, seconds: float = 10.0) -> float:
    """The wait after records that came ``count`` at a time, when a fetch is just sent."""
    pace, now = FetchPace(), 0.0
    while now < seconds:
        now += count / rate_per_s
        pace.began(now)
        pace.taken(count, now)
    return pace.wait_s(now)


@pytest.mark.parametrize(
    ("rate_per_s", "count", "low_s", "high_s"),
    [(1, 1, 0, 0), (75, 1, 0, 0), (95, 1, 0, 0), (150, 2, 0.006, 0.011), (300, 4, 0.0249, 0.0251), (5000, 500, 0.0249, 0.0251)],
)
def test_the_wait_grows_with_what_comes(rate_per_s: float, count: int, low_s: float, high_s: float) -> None:
    assert low_s <= wait_s(rate_per_s, count) <= high_s


def test_the_time_that_a_fetch_took_is_part_of_the_wait() -> None:
    pace = FetchPace()
    pace.began(100.0)
    pace.taken(5000, 100.0)
    assert pace.wait_s(100.01) == pytest.approx(FETCH_PAUSE_S - 0.01)
    assert pace.wait_s(100.0 + FETCH_PAUSE_S) == pytest.approx(0.0)
    assert pace.wait_s(101.0) == 0.0


def test_the_flood_is_over_with_the_first_record_after_a_rest() -> None:
    pace = FetchPace()
    pace.taken(5000, 100.0)
    pace.began(110.0)
    pace.taken(1, 110.0)
    assert pace.wait_s(110.0) == 0.0


class Brokers:
    """A client whose one broker answers a fetch at the first record, or when the request's time is up."""

    _metadata_max_age_ms = 30_000

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.cluster = SimpleNamespace(leader_for_partition=lambda _: 1, broker_metadata=lambda _: None)
        self.written_at: list[float] = []
        self.asked_at: list[float] = []
        self._new = asyncio.Event()

    def write(self) -> None:
        self.written_at.append(self._loop.time())
        self._new.set()

    async def send(self, _: int, request: Any) -> Any:
        self.asked_at.append(self._loop.time())
        topic, [(number, offset, _)] = request.topics[0]
        if offset >= len(self.written_at):
            self._new.clear()
            await asyncio.wait({asyncio.ensure_future(self._new.wait())}, timeout=0.1)
        end = len(self.written_at)
        told = (number, 0, end, end, 0, None, -1, b"".join(map(_batch, range(offset, end))))
        return SimpleNamespace(API_VERSION=11, topics=[(topic, [told])])


def _batch(offset: int) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1000
    )
    builder.append(offset=0, timestamp=1, key=None, value=b"v", headers=[])
    return offset.to_bytes(8, "big") + bytes(builder.build())[8:]


async def followed(build: Callable[[Any], Any], gaps_s: list[float]) -> tuple[list[float], list[float]]:
    """How long each record, written with these gaps, was not had, and when fetches were sent."""
    consumer, brokers, subscriptions = build(SETTINGS), Brokers(), SubscriptionState()
    kind = type(consumer).start.__globals__["Fetcher"]  # what its start() makes
    subscriptions.assign_from_user([TP])
    subscriptions.seek(TP, 0)
    fetcher = kind(brokers, subscriptions, fetch_max_wait_ms=100, isolation_level="read_committed")
    late_s: list[float] = []

    async def read() -> None:
        while len(late_s) < len(gaps_s):
            for records in (await fetcher.fetched_records([TP], 0.1, 500)).values():
                late_s.extend(asyncio.get_running_loop().time() - brokers.written_at[record.offset] for record in records)

    async with asyncio.timeout(sum(gaps_s) + 1):
        async with asyncio.TaskGroup() as work:
            work.create_task(read())
            for gap_s in gaps_s:
                await asyncio.sleep(gap_s)
                brokers.write()
    await fetcher.close()
    await consumer.stop()
    return late_s, brokers.asked_at


def test_what_comes_seldom_is_had_at_once() -> None:
    late_s, asked_at = run_virtual(followed(clients.build_consumer, [1 / 75] * 300))
    assert max(late_s) < 0.001
    assert len(asked_at) > 290, "a fetch for each"


def test_of_much_some_share_a_fetch_and_none_is_had_later_than_the_pause() -> None:
    late_s, asked_at = run_virtual(followed(clients.build_consumer, [1 / 300] * 1200))
    assert len(late_s) == 1200
    assert max(late_s) <= FETCH_PAUSE_S + 0.001
    last = [at for at in asked_at if at > asked_at[-1] - 1.0]
    assert 35 <= len(last) <= 42, "300 without a pace"


def test_a_record_after_the_flood_is_had_at_once() -> None:
    late_s, _ = run_virtual(followed(clients.build_consumer, [1 / 400] * 1200 + [0.5, 5.0, 0.01, 0.01]))
    assert max(late_s[-4:]) < 0.001


@pytest.mark.parametrize("build", [clients.build_reader, clients.build_log_consumer, clients.build_onlooker])
def test_who_waits_for_each_record_fetches_at_once_whatever_comes(build: Callable[[Any], Any]) -> None:
    late_s, _ = run_virtual(followed(build, [1 / 300] * 600))
    assert max(late_s) < 0.001
