"""The budget log in Kafka and the one in memory behave alike; and what only a real broker can do to it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition
from memory_log import MemoryLog, MemoryTopic
from rig import WIDE_LIMITS
from structlog.testing import capture_logs

from processor.budget import shared, state
from processor.budget.log import BudgetLog, Entry, LogBrokenError, LogUnavailableError
from processor.budget.log_records import Alive, decode_entry
from processor.budget.permits import Ask, CallClass, CallIdentity, Ending, Fate, HealthSignal, Permit
from processor.budget.replica_limits import ReplicaLimits
from processor.budget.rules import budget_rules
from processor.budget.shared import SharedBudget
from processor.clock import boot_clock, clock_ms
from processor.devkit.kafka_cluster import LocalKafka
from processor.settings import Settings, load_settings
from processor.stream.broker_clock import BrokerClock, ClockReading
from processor.stream.budget_log import KafkaBudgetLog

KINDS = ("memory", pytest.param("kafka", marks=pytest.mark.broker))


@pytest.fixture
def bootstrap(request: pytest.FixtureRequest, kind: str) -> str:
    """Only what is told of a Kafka starts one."""
    return request.getfixturevalue("kafka").bootstrap if kind == "kafka" else ""


class LogTopic:
    """One topic and as many clients as a test asks for."""

    def __init__(self, bootstrap: str, kind: str) -> None:
        self.bootstrap, self.kind, self.name = bootstrap, kind, f"log-{uuid.uuid4().hex[:8]}"
        self.memory, self.clients = MemoryTopic(), list[BudgetLog]()

    async def client(self) -> BudgetLog:
        log: BudgetLog = MemoryLog(self.memory)
        if self.kind == "kafka":
            log = KafkaBudgetLog(load_settings(kafka={"bootstrap": self.bootstrap}, budget={"topic": self.name}))
        self.clients.append(log)
        await log.open()
        return log

    async def create(self, **configs: str) -> None:
        if self.kind == "kafka":
            async with self.admin() as admin:
                await admin.create_topics([NewTopic(self.name, 1, 1, topic_configs={"message.timestamp.type": "LogAppendTime"} | configs)])

    async def purge(self) -> None:
        if self.kind == "memory":
            self.memory.purge()
            return
        async with self.admin() as admin:
            await admin.delete_records({TopicPartition(self.name, 0): RecordsToDelete(before_offset=-1)})

    async def recreate(self) -> None:
        if self.kind == "memory":
            self.memory.recreate()
            return
        async with self.admin() as admin:
            await admin.delete_topics([self.name])
            while self.name in await admin.list_topics():
                await asyncio.sleep(0.1)
        await self.create()

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()


@asynccontextmanager
async def place(bootstrap: str, kind: str) -> AsyncIterator[LogTopic]:
    made = LogTopic(bootstrap, kind)
    await made.create()
    try:
        yield made
    finally:
        for client in made.clients:
            await client.close()


async def read(log: BudgetLog, count: int) -> list[Entry]:
    found: list[Entry] = []
    async with asyncio.timeout(120):
        while len(found) < count:
            found += await log.read()
    return found


@pytest.mark.parametrize("kind", KINDS)
async def test_what_one_appends_all_read_in_one_order(bootstrap: str, kind: str) -> None:
    async with place(bootstrap, kind) as p:
        one, two = await p.client(), await p.client()
        done = await asyncio.gather(*(log.append(f"{n}".encode()) for n, log in enumerate([one, two] * 5)))
        assert sorted(d.offset for d in done) == list(range(10))
        one.seek(0)
        two.seek(0)
        entries = await read(one, 10)
        assert entries == await read(two, 10)
        assert {(d.offset, d.stamp_ms) for d in done} == {(e.offset, e.stamp_ms) for e in entries}, "the broker's time, in ack and record"
        assert await one.begin() == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_time_leads_to_the_first_record_at_or_after_it(bootstrap: str, kind: str) -> None:
    async with place(bootstrap, kind) as p:
        log = await p.client()
        stamps = []
        for n in range(3):
            stamps.append((await log.append(f"{n}".encode())).stamp_ms)
            await asyncio.sleep(0.02)
        assert await log.offset_at(stamps[1]) == 1
        assert await log.offset_at(stamps[0] - 10_000) == 0
        assert await log.offset_at(stamps[2] + 10_000) is None


@pytest.mark.parametrize("kind", KINDS)
async def test_a_section_is_read_beside_the_present(bootstrap: str, kind: str) -> None:
    async with place(bootstrap, kind) as p:
        log = await p.client()
        for n in range(20):
            await log.append(f"{n}".encode())
        log.seek(18)
        found = [e.offset async for entries in log.section(3, 12) for e in entries]
        assert found == list(range(3, 12))
        assert [e.offset for e in await read(log, 2)] == [18, 19]


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_new_is_no_error_and_comes_back_soon(bootstrap: str, kind: str) -> None:
    async with place(bootstrap, kind) as p:
        log = await p.client()
        await log.append(b"x")
        log.seek(1)
        async with asyncio.timeout(120):
            assert await log.read() == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["purge", "recreate"])
async def test_records_that_are_gone_break_the_log(bootstrap: str, kind: str, how: str) -> None:
    async with place(bootstrap, kind) as p:
        log = await p.client()
        for n in range(5):
            await log.append(f"{n}".encode())
        await (p.purge() if how == "purge" else p.recreate())
        log.seek(2)
        with pytest.raises(LogBrokenError):
            await asyncio.wait_for(_read_on(log), 120)


async def _read_on(log: BudgetLog) -> None:
    while True:
        await log.read()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_opened_log_may_be_opened_again(bootstrap: str, kind: str) -> None:
    async with place(bootstrap, kind) as p:
        log = await p.client()
        await log.append(b"x")
        await log.open()
        log.seek(0)
        assert [e.value for e in await read(log, 1)] == [b"x"]


async def test_a_topic_that_keeps_the_senders_time_is_refused(kafka: LocalKafka) -> None:
    async with place(kafka.bootstrap, "kafka") as p:
        p.name += "-wrong"
        await p.create(**{"message.timestamp.type": "CreateTime"})
        log = await p.client()
        for what in (log.append(b"x"), log.read(), log.open()):
            with pytest.raises(LogUnavailableError, match="LogAppendTime"):
                await what


async def test_what_is_read_tells_that_the_topic_keeps_the_senders_time_before_an_append_does(kafka: LocalKafka) -> None:
    """An ask may be read before the answer to its append: its call must not start."""
    async with place(kafka.bootstrap, "kafka") as p, p.admin() as admin:
        log, other = await p.client(), await p.client()
        await log.append(b"x")
        topic = ConfigResource(ConfigResourceType.TOPIC, p.name, configs={"message.timestamp.type": "CreateTime"})
        await admin.alter_configs([topic])
        async with asyncio.timeout(30):
            while True:
                try:
                    await other.append(b"y")
                except LogUnavailableError:
                    break
        log.seek(0)
        with pytest.raises(LogUnavailableError, match="LogAppendTime"):
            await read(log, 10**6)


@asynccontextmanager
async def following(kafka: LocalKafka, topic: str, clock: BrokerClock) -> AsyncIterator[SharedBudget]:
    """A budget that follows a topic by this clock."""
    settings = load_settings(kafka={"bootstrap": kafka.bootstrap}, budget={"topic": topic})
    budget = SharedBudget(KafkaBudgetLog(settings, clock), budget_rules(settings), ReplicaLimits("a", 10, 10, 60.0), draw=lambda: 0.5)
    running = asyncio.create_task(budget.run())
    try:
        yield budget
    finally:
        running.cancel()
        await budget.close()


async def test_calls_go_on_when_somebody_has_set_back_whose_clock_stamps_the_log(kafka: LocalKafka) -> None:
    """What was written meanwhile is read as all else: it stands at the very beginning, where each joining begins to read."""
    passed_s = 0.0
    clock = BrokerClock(60.0, lambda: ClockReading(clock_ms(), boot_clock() + passed_s))
    async with place(kafka.bootstrap, "kafka") as p, p.admin() as admin:
        topic = ConfigResource(ConfigResourceType.TOPIC, p.name, configs={"message.timestamp.type": "CreateTime"})
        await admin.alter_configs([topic])
        with capture_logs() as logs:
            async with following(kafka, p.name, clock) as budget, asyncio.timeout(120):
                while not [entry for entry in logs if entry["event"] == "budget_log_unavailable"][2:]:
                    await asyncio.sleep(0.05)
                other = await p.client()
                assert await other.end() == 1, "a joining is a name in the log, and counts as a replica for a while"
                topic.configs["message.timestamp.type"] = "LogAppendTime"
                await admin.alter_configs([topic])
                passed_s = 41.0
                while not budget.is_joined:
                    await asyncio.sleep(0.05)
        other.seek(0)
        assert len(await read(other, 2)) >= 2


async def test_a_producer_with_a_fatal_error_is_replaced(kafka: LocalKafka) -> None:
    async with place(kafka.bootstrap, "kafka") as p:
        log: Any = await p.client()
        await log.append(b"one")
        await log._producer.stop()  # noqa: SLF001 - as after an error that aiokafka never recovers from: it refuses all that is sent
        with pytest.raises(LogUnavailableError):
            await log.append(b"two")
        await log.append(b"three")
        log.seek(0)
        assert [e.value for e in await read(log, 2)] == [b"one", b"three"]


async def test_what_is_being_appended_ends_when_the_log_is_opened_again(kafka: LocalKafka) -> None:
    """Seed 10045429: it waited for half a minute for a producer that was gone, and with it all that was said behind it."""
    async with place(kafka.bootstrap, "kafka") as p:
        log = await p.client()
        await log.append(b"one")
        async with p.admin() as admin:
            await admin.delete_topics([p.name])
        waiting = asyncio.create_task(log.append(b"for a topic that is gone"))
        done, _ = await asyncio.wait({waiting}, timeout=2.0)
        assert not done, "aiokafka sends it again and again"
        await log.open()
        with pytest.raises(LogUnavailableError):
            await asyncio.wait_for(waiting, 5.0)


class SlowSecondProducer(KafkaBudgetLog):
    """Remembers its producers; the second one is there when ``go_on`` says so."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.started: list[Any] = []
        self.go_on = asyncio.Event()

    async def _started_producer(self) -> Any:
        self.started.append(await super()._started_producer())
        nth = len(self.started)
        if nth == 2:
            await self.go_on.wait()
        return self.started[nth - 1]


async def test_a_log_opened_again_while_its_producer_is_replaced_keeps_one(kafka: LocalKafka) -> None:
    async with place(kafka.bootstrap, "kafka") as p:
        settings = load_settings(kafka={"bootstrap": kafka.bootstrap}, budget={"topic": p.name})
        log: Any = SlowSecondProducer(settings)
        try:
            await log.open()
            await log.append(b"one")
            await log._producer.stop()  # noqa: SLF001 - as after an error that aiokafka never recovers from
            replacing = asyncio.create_task(log.append(b"lost"))
            async with asyncio.timeout(60):
                while len(log.started) < 2:
                    await asyncio.sleep(0.01)
                await log.open()
                log.go_on.set()
                with pytest.raises(LogUnavailableError):
                    await replacing
                await log.append(b"two")
            assert [producer._closed for producer in log.started] == [True, True, False]  # noqa: SLF001 - aiokafka shows it nowhere else
        finally:
            await log.close()


async def test_no_broker_is_an_error_within_bounds() -> None:
    log = KafkaBudgetLog(load_settings(kafka={"bootstrap": "127.0.0.1:1"}))
    with pytest.raises(LogUnavailableError):
        await asyncio.wait_for(log.open(), 40)
    with pytest.raises(LogUnavailableError):
        await log.append(b"x")
    with pytest.raises(LogUnavailableError):
        log.seek(0)
    await log.close()


@pytest.mark.broker
async def test_with_a_wrong_clock_no_call_starts_until_it_is_set_right(kafka: LocalKafka) -> None:
    wrong_ms, passed_s = -90_000, 0.0
    clock = BrokerClock(60.0, lambda: ClockReading(clock_ms() + wrong_ms, boot_clock() + passed_s))
    async with place(kafka.bootstrap, "kafka") as p:
        with capture_logs() as logs:
            async with following(kafka, p.name, clock) as budget, asyncio.timeout(120):
                while not any(entry["event"] == "budget_log_unavailable" for entry in logs):
                    await asyncio.sleep(0.05)
                assert not budget.is_joined
                assert clock.skew_s == pytest.approx(-90, abs=5)
                (told,) = (entry["detail"] for entry in logs if entry["event"] == "clock_wrong")
                assert told.startswith("this machine's clock differs from the brokers' by ")
                assert abs(clock.now_ms() - clock_ms()) < 5000, "due times are the brokers' all the same"
                wrong_ms, passed_s = 0, 41.0
                while not budget.is_joined:
                    await asyncio.sleep(0.05)
    assert [entry["event"] for entry in logs if entry["event"].startswith("clock_")] == ["clock_wrong", "clock_right"]


class Earlier(SharedBudget):
    """A replica of the version before: it reads no entries of several records, and does not say that it does."""

    def _alive(self, *, lost: bool, log_name: str = "") -> Alive:
        self._writer.may_group = lambda: False
        return replace(super()._alive(lost=lost, log_name=log_name), reads_groups=False)


@pytest.mark.parametrize("kind", KINDS)
async def test_several_records_go_into_one_entry_once_everybody_reads_them(
    bootstrap: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two versions side by side, then the newer one alone, then a newcomer that reads its entries back."""
    monkeypatch.setattr(state, "_GROUPS_AFTER_S", 2.0)
    monkeypatch.setattr(shared, "ALIVE_EVERY_S", 0.3)
    async with place(bootstrap, kind) as p, AsyncExitStack() as stack:

        async def replica(name: str, of: type[SharedBudget] = SharedBudget) -> tuple[SharedBudget, asyncio.Task[None]]:
            rules = budget_rules(load_settings(budget={"limits": WIDE_LIMITS}))
            budget = of(await p.client(), rules, ReplicaLimits(name, 50, 100, 60.0), draw=lambda: 0.0)
            task = asyncio.create_task(budget.run())
            stack.push_async_callback(asyncio.wait, {task})
            stack.callback(task.cancel)
            while not budget.is_joined:
                await asyncio.sleep(0.02)
            return budget, task

        async def calls(*budgets: SharedBudget) -> list[int]:
            """Five calls of each; how many records the entries of that time hold."""
            log = await p.client()
            log.seek(since := (await log.append(b"{}")).offset)
            for _ in range(3):
                identities = [CallIdentity(uuid.uuid4().hex, "c", "f", "t[0]", n) for n in range(5 * len(budgets))]
                asks = [Ask("session.create", ("session-create", "generic-write"), CallClass.NORMAL, 0, i) for i in identities]
                permits = await asyncio.gather(*(budgets[n % len(budgets)].acquire(ask) for n, ask in enumerate(asks)))
                for n, permit in enumerate(permits):
                    assert isinstance(permit, Permit), permit
                    budgets[n % len(budgets)].release(permit, Ending(Fate.ANSWERED, HealthSignal.GOOD, acted=True))
            await asyncio.sleep(0.3)  # the last ends
            end = (await log.append(b"{}")).offset
            return [len(decode_entry(entry.value)) for entry in await read(log, end - since + 1)]

        async with asyncio.timeout(60):
            old, old_task = await replica("old", Earlier)
            new, _ = await replica("new")
            assert set(await calls(old, new)) == {1}
            assert old.malformed_count <= 2, "only what this test has written to find its way"
            old_task.cancel()
            await asyncio.sleep(2.5)
            assert max(await calls(new)) > 1
            newcomer, _ = await replica("newcomer")
            assert len(newcomer.state.journal) == len(new.state.journal) == 45
            assert max(await calls(new, newcomer)) > 1
            await asyncio.sleep(0.5)
            assert [len(b.state.journal) for b in (new, newcomer)] == [75, 75]
            assert [w.open_weight for b in (new, newcomer) for w in b.state.windows.values()] == [0] * 2 * len(new.state.windows)
