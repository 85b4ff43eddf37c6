"""Our clients differ from aiokafka's; aiokafka itself stays as it is, for everybody else in the process."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
)
from aiokafka.structs import PartitionMetadata
from virtual_time import run_virtual

from processor.settings import load_settings
from processor.stream import aiokafka_stop, clients, recovery
from processor.stream.aiokafka_names import with_names
from processor.stream.partitions import TopicPartition

AWAY, HERE = 1, 2

# every module of aiokafka, before and after: each attribute, also of its classes, must be the very same object
CHECK = """
import asyncio, importlib, inspect, pkgutil, sys
import aiokafka

modules = [importlib.import_module(m.name) for m in pkgutil.walk_packages(aiokafka.__path__, "aiokafka.")]

def seen():
    found = {}
    for module in [aiokafka, *modules]:
        for name, value in list(vars(module).items()):
            if name in ("__warningregistry__", "__builtins__"):
                continue
            found[module.__name__, name] = value
            if inspect.isclass(value) and value.__module__.startswith("aiokafka"):
                found |= {(module.__name__, name, k): v for k, v in vars(value).items() if k not in COUNTERS}
    return found

COUNTERS = ("_PRODUCER_CLIENT_ID_SEQUENCE", "__abstractmethods__", "_abc_impl", "__doc__")
before = seen()
__ACT__
after = seen()
changed = [k for k in before.keys() | after.keys() if k not in before or k not in after or before[k] is not after[k]]
assert len(before) > 1000, len(before)
sys.exit(f"changed: {changed}" if changed else 0)
"""
BUILD = """
from processor.settings import load_settings
from processor.stream import clients, recovery

async def build():
    s = load_settings()
    made = [clients.build_consumer(s), clients.build_reader(s), clients.build_event_producer(s), clients.build_admin(s, 1)]
    await asyncio.gather(*(client.close() if hasattr(client, "close") else client.stop() for client in made))

asyncio.run(build())
"""


@pytest.mark.parametrize(
    "act",
    ["import processor.client", "import processor.stream.clients", "import processor.cli.app, processor.worker.service", BUILD],
    ids=["client", "clients", "everything", "built"],
)
def test_aiokafka_is_the_same_before_and_after(act: str) -> None:
    done = subprocess.run([sys.executable, "-c", CHECK.replace("__ACT__", act)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_name_that_aiokafka_does_not_use_is_told() -> None:
    with pytest.raises(AttributeError, match="bootstrap of this aiokafka does not use Elsewhere"):
        with_names(AIOKafkaClient.bootstrap, Elsewhere=object)


async def test_every_client_of_ours_asks_without_making_topics() -> None:
    settings = load_settings(kafka={"bootstrap": "127.0.0.1:1"})
    consumers = [
        clients.build_consumer,
        clients.build_reader,
        clients.build_onlooker,
        clients.build_log_consumer,
        clients.build_group_consumer,
    ]
    producers: list[Any] = [
        clients.build_repair_producer,
        clients.build_log_producer,
        clients.build_event_producer,
        clients.build_request_producer,
    ]
    made: list[Any] = [*(build(settings) for build in consumers), *(build(settings) for build in producers)]
    made += [clients.build_lane_producer(settings, TopicPartition("t", 0)), clients.build_admin(settings, 1.0)]
    try:
        for client in made:
            inner = client.client if hasattr(client, "client") else client._client  # noqa: SLF001 - a consumer has no public one
            names = type(inner)._known_update.__globals__  # noqa: SLF001 - the name that is replaced in aiokafka
            request = names["MetadataRequest"](["t"])
            assert request._allow_auto_topic_creation is False, client  # noqa: SLF001 - what goes over the wire
    finally:
        await asyncio.gather(*(client.close() if hasattr(client, "close") else client.stop() for client in made))


@dataclass(frozen=True)
class _Broker:
    nodeId: int = 1  # noqa: N815 - aiokafka's name


@dataclass
class _Connection:
    """Keeps what is asked, and knows no broker."""

    asked: list[Any] = field(default_factory=list)
    brokers: tuple[()] = ()

    async def send(self, request: Any) -> _Connection:
        self.asked.append(request._topics)  # noqa: SLF001 - what goes over the wire
        return self


async def test_a_client_without_topics_does_not_ask_for_those_of_the_whole_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = clients.build_lane_producer(load_settings(kafka={"bootstrap": "127.0.0.1:1"}), TopicPartition("t", 0))
    client, connection = producer.client, _Connection()
    monkeypatch.setattr(client.cluster, "brokers", lambda: {_Broker()})

    async def connect(_: int) -> _Connection:
        return connection

    monkeypatch.setattr(client, "_get_conn", connect)
    monkeypatch.setattr(client, "_bootstrap_after", float("inf"))
    try:
        for topics in (set(), {"t.results"}, None):
            await client._metadata_update(client.cluster, topics)  # noqa: SLF001 - what its own tasks call
        assert connection.asked == [[], ["t.results"], None], "none, one, and all for those who name no set"
    finally:
        await producer.stop()


@pytest.mark.parametrize("kind", CoordinationType)
def test_a_broker_that_goes_while_it_is_asked_for_a_coordinator_does_not_end_the_producer(kind: CoordinationType) -> None:
    """Seed 10008489: the sender ended with "Unexpected error during batch delivery", and the life of all lanes with it."""

    async def main() -> None:
        producer = clients.build_lane_producer(load_settings(kafka={"bootstrap": "127.0.0.1:1"}), TopicPartition("t", 0))
        client, found = producer.client, SimpleNamespace(error_code=0, coordinator_id=3)
        answers: list[Any] = [KafkaConnectionError("closed"), NodeNotReadyError("away"), found]

        async def send(*_: object) -> object:
            if isinstance(answer := answers.pop(0), Exception):
                raise answer
            return answer

        async def done(*_: object, **__: object) -> bool:
            return True

        known = [None, 1, 1, 1]  # a broker that has just started names none
        client.send, client.ready, client.force_metadata_update = send, done, done
        client.get_random_node = lambda: known[0] if len(known) == 1 else known.pop(0)
        assert await producer._sender._find_coordinator(kind, "g") == 3  # noqa: SLF001 - what its own tasks call
        assert answers == []
        await producer.stop()

    run_virtual(main())


def test_where_a_topic_is_that_is_gone_is_asked_ten_times_a_second() -> None:
    """As often as Kafka's own client does; aiokafka asks as fast as it gets answers, which are hundreds a second."""

    async def ask(*, led: bool) -> float:
        producer = clients.build_lane_producer(load_settings(kafka={"bootstrap": "127.0.0.1:1"}), TopicPartition("t", 0))
        client, loop = producer.client, asyncio.get_running_loop()
        if led:
            client.cluster._partitions["t"] = {0: PartitionMetadata("t", 0, 1, [1], [1], None)}  # noqa: SLF001 - as an answer leaves it

        async def answered(*_: object) -> bool:
            return True

        client._metadata_updated = answered  # noqa: SLF001 - nobody is there to be asked
        began = loop.time()
        for _ in range(11):
            await client._metadata_update(client.cluster, {"t"})  # noqa: SLF001 - what its own task calls
        await producer.stop()
        return loop.time() - began

    assert run_virtual(ask(led=False)) == pytest.approx(1.0, abs=0.01)
    assert run_virtual(ask(led=True)) < 0.01


def test_brokers_none_of_which_answers_are_asked_less_and_less_often_and_at_once_again_when_one_has() -> None:
    """Each round tries to connect to all of them; a replica has a client for each of its partitions."""

    async def main() -> list[float]:
        producer = clients.build_lane_producer(load_settings(kafka={"bootstrap": "127.0.0.1:1"}), TopicPartition("t", 0))
        client, loop = producer.client, asyncio.get_running_loop()
        answers, asked_s = [False, False, False, False, False, True, False, True, True], []

        async def answered(*_: object) -> bool:
            asked_s.append(loop.time())
            return answers[len(asked_s) - 1]

        client._metadata_updated = answered  # noqa: SLF001 - nobody is there to be asked
        for _ in answers:
            await client._metadata_update(client.cluster, ())  # noqa: SLF001 - what its own task calls
        await producer.stop()
        return [round(after_s - before_s, 3) for before_s, after_s in itertools.pairwise(asked_s)]

    assert run_virtual(main()) == [0.1, 0.2, 0.4, 0.5, 0.5, 0.0, 0.1, 0.0]


def test_a_broker_that_cannot_be_reached_is_tried_less_and_less_often_and_others_as_ever() -> None:
    async def main() -> tuple[list[float], int, list[float]]:
        producer = clients.build_lane_producer(load_settings(kafka={"bootstrap": "127.0.0.1:1"}), TopicPartition("t", 0))
        client, loop, tried, asked_s = producer.client, asyncio.get_running_loop(), list[tuple[int, float]](), list[float]()
        began_s = loop.time()

        async def connect(node_id: int, **_: object) -> object | None:
            tried.append((node_id, loop.time() - began_s))
            return None if node_id == AWAY else object()

        async def answered(*_: object) -> bool:
            asked_s.append(loop.time() - began_s)
            return True

        client._opened_conn, client._metadata_updated = connect, answered  # noqa: SLF001 - nobody is there
        for _ in range(200):
            assert not await client.ready(AWAY)
            assert await client.ready(HERE)
            await asyncio.sleep(0.01)
        for _ in range(3):
            await client._metadata_update(client.cluster, ())  # noqa: SLF001 - what its own task calls
        await producer.stop()
        return [at_s for node_id, at_s in tried if node_id == AWAY], sum(node_id == HERE for node_id, _ in tried), asked_s

    away_s, here_count, asked_s = run_virtual(main())
    assert away_s == pytest.approx([0.0, 0.1, 0.3, 0.7, 1.2, 1.7], abs=0.05)
    assert here_count == 200
    assert asked_s == pytest.approx([2.0, 2.1, 2.2], abs=0.01), (
        "who leads what may change at any moment, and not hundreds of times a second"
    )


def test_a_topic_is_asked_for_once_more_if_a_question_under_way_did_not_name_it() -> None:
    """Its answer ends the wait, and aiokafka does not notice: `person erase` was told that a topic did not exist, in most worlds."""

    async def main() -> None:
        reader = clients.build_reader(load_settings(kafka={"bootstrap": "127.0.0.1:1"}))
        client, asked = reader._client, list[set[str]]()  # noqa: SLF001 - nobody is there to be asked

        async def answer(cluster: Any, topics: set[str]) -> bool:
            asked.append(set(topics))
            await asyncio.sleep(0.1)
            there = asked[-1] & {"t.requests", "t.results"}
            cluster._partitions = {topic: {0: PartitionMetadata(topic, 0, 1, [1], [1], None)} for topic in there}  # noqa: SLF001 - as an answer leaves it
            return True

        client._metadata_update = answer  # noqa: SLF001 - as above
        synchronizing = asyncio.ensure_future(client._md_synchronizer())  # noqa: SLF001 - as start() does
        client.set_topics(["t.results"])
        await asyncio.sleep(0.05)
        assert asked == [{"t.results"}], "it is under way"
        assert await clients.partitions_of(reader, "t.requests") == [TopicPartition("t.requests", 0)]
        assert await clients.partitions_of(reader, "t.none") == []
        await aiokafka_stop.end_task(synchronizing, 1.0)
        await aiokafka_stop.stop_client(reader, 1.0)

    run_virtual(main())


async def test_a_client_that_finds_nobody_says_why() -> None:
    reader = clients.build_reader(load_settings(kafka={"bootstrap": "127.0.0.1:1"}))
    try:
        with pytest.raises(KafkaConnectionError) as raised:
            await reader.start()
        assert isinstance(raised.value.__cause__, ConnectionRefusedError)
    finally:
        await aiokafka_stop.stop_client(reader, 3.0)


class Leader:
    """What the leader of a partition answers to each question of where it ends, in turn; from the last one on the same."""

    def __init__(self, *answers: int | KafkaError) -> None:
        self._answers, self.asked = list(answers), 0

    async def _proc_offset_requests(self, asked: dict[TopicPartition, int]) -> dict[TopicPartition, tuple[int, None]]:
        await asyncio.sleep(0)
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, KafkaError):
            raise answer
        return dict.fromkeys(asked, (answer, None))


def asking(leader: Leader) -> Any:
    """A consumer, as far as it is needed; its metadata is refreshed at once."""

    async def refreshed() -> bool:
        await asyncio.sleep(0)
        return True

    return SimpleNamespace(_fetcher=leader, _client=SimpleNamespace(force_metadata_update=refreshed))


def test_a_leader_that_is_not_there_is_asked_again_and_one_that_does_not_know_the_end_is_told() -> None:
    place = TopicPartition("t", 3)

    async def main() -> None:
        elsewhere = Leader(NodeNotReadyError(), NotLeaderForPartitionError(place), 7)
        assert await clients.offsets_of(asking(elsewhere), [place], clients.END) == {place: 7}
        assert elsewhere.asked == 3
        new = Leader(LeaderNotAvailableError(place), 7)
        with pytest.raises(LeaderNotAvailableError):
            await clients.offsets_of(asking(new), [place], clients.END)
        assert new.asked == 1

    run_virtual(main())


def test_the_first_record_of_a_time_is_asked_for_until_a_leader_answers() -> None:
    """offsets_for_times() gave up after the time of one request, in which a leader that hangs is not replaced yet."""
    place = TopicPartition("t", 3)

    async def main() -> None:
        hangs = Leader(*[RequestTimedOutError()] * 3, NotLeaderForPartitionError(place), 7)
        assert await recovery.offset_at(asking(hangs), place, 1) == 7
        assert await recovery.offset_at(asking(Leader(-1)), place, 1) is None

    run_virtual(main())


def test_the_end_that_a_new_leader_does_not_know_yet_is_asked_for_again_for_a_second() -> None:
    place = TopicPartition("t", 3)

    async def main() -> None:
        now = asyncio.get_running_loop().time
        soon = Leader(LeaderNotAvailableError(place), LeaderNotAvailableError(place), 7)
        assert await recovery._find_end(asking(soon), place, 7) == 7  # noqa: SLF001 - what a takeover asks, without the rest
        began, never = now(), Leader(LeaderNotAvailableError(place))
        with pytest.raises(LeaderNotAvailableError):
            await recovery._find_end(asking(never), place, 7)  # noqa: SLF001 - as above
        assert now() - began == pytest.approx(1.0, abs=0.01), "a takeover is to say that it waits, and to let others go on"

    run_virtual(main())
