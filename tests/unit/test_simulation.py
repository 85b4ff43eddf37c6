"""The parts of the simulation: its loop, its network, its model of a partition. What they have wrong, a world would call the product's."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.offset import OffsetRequest_v2
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from simulation.disturbances import draw_disturbances
from simulation.judge import Seen, judge
from simulation.kafka.broker import Broker
from simulation.kafka.cluster import Cluster
from simulation.kafka.codes import Code
from simulation.kafka.coordination import Coordination
from simulation.kafka.partition_log import PartitionLog
from simulation.kafka.wire import BrokerConnection
from simulation.leaks import left_over
from simulation.loop import DeadlockError, Host, SimulatedLoop, SpinError
from simulation.network import Network
from simulation.starving import Published, starved

from processor.contract.records import call_reference
from processor.devkit.verifier import FinalSeen, RetrySeen
from processor.verify.findings import AuditFinding, BrokenPromise


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    made = SimulatedLoop()
    yield made
    made.close()


def run(loop: SimulatedLoop, main: Coroutine[Any, Any, Any]) -> Any:
    return loop.run_until_complete(main)


def batch(sequence: int, *, producer_id: int = 7, epoch: int = 0, transactional: bool = False) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=int(transactional), producer_id=producer_id, producer_epoch=epoch,
        base_sequence=sequence, batch_size=1000,
    )  # fmt: skip
    builder.append(0, 1, None, b"value", [])
    return bytes(builder.build())


def test_time_jumps_and_callbacks_keep_their_order(loop: SimulatedLoop) -> None:
    seen: list[str] = []

    async def main() -> float:
        began = loop.time()
        for name in "abc":
            loop.call_soon(seen.append, name)
        await asyncio.sleep(3600.0)
        return loop.time() - began

    assert 3600.0 <= run(loop, main()) < 3600.1
    assert seen == ["a", "b", "c"]


def test_a_world_in_which_nothing_can_happen_any_more_ends(loop: SimulatedLoop) -> None:
    with pytest.raises(DeadlockError):
        run(loop, asyncio.wait_for(loop.create_future(), None))


def test_what_computes_without_end_is_noticed(loop: SimulatedLoop) -> None:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(SpinError):
        run(loop, spin())


def test_a_frozen_host_does_later_what_it_did_not_do_and_a_dead_one_never(loop: SimulatedLoop) -> None:
    seen: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(1.0)
            seen.append(name)
        finally:
            seen.append(f"{name} cleans up")

    async def main() -> None:
        hosts = {name: Host(loop, name) for name in ("frozen", "dead", "up")}
        for name, host in hosts.items():
            host.spawn(work(name), name)
        await asyncio.sleep(0.5)
        hosts["frozen"].freeze()
        hosts["dead"].kill()
        await asyncio.sleep(5.0)
        assert seen == ["up", "up cleans up"]
        hosts["frozen"].thaw()
        await asyncio.sleep(1.0)
        assert seen[2:] == ["frozen", "frozen cleans up"]

    run(loop, main())


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def _pair(loop: SimulatedLoop) -> tuple[Network, Any]:
    network = Network(loop, random.Random(1))
    server, client = network.add("server"), network.add("client")
    await server.spawn(loop.create_server(Echo, None, 80), "listen")
    reading, writing = await client.spawn(asyncio.open_connection("server", 80), "connect")
    return network, (client, reading, writing)


def test_a_cut_holds_bytes_back_and_a_kill_resets_the_connection(loop: SimulatedLoop) -> None:
    async def main() -> None:
        network, (client, reading, writing) = await _pair(loop)

        async def ask() -> bytes:
            writing.write(b"hello")
            found: bytes = await reading.readexactly(5)
            return found

        assert await client.spawn(ask(), "ask") == b"hello"
        network.cut("client", "server")
        asking = client.spawn(ask(), "ask")
        await asyncio.sleep(10.0)
        assert not asking.done()
        network.heal("client", "server")
        assert await asking == b"hello"
        asking = client.spawn(reading.readexactly(1), "read")
        network.kill("server")
        with pytest.raises(ConnectionResetError):
            await asking
        with pytest.raises(ConnectionRefusedError):
            await client.spawn(asyncio.open_connection("server", 80), "connect")

    run(loop, main())


class Buffered(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.room, self.heard = bytearray(4), b""

    def get_buffer(self, _sizehint: int) -> bytearray:
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        self.heard += self.room[:nbytes]


def test_a_protocol_with_a_buffer_of_its_own_gets_as_much_at_a_time_as_it_has_room_for(loop: SimulatedLoop) -> None:
    """The product's guarded connections are such: without it the receivers of webhooks in a world took nothing, and nobody noticed."""
    listener = Buffered()

    async def main() -> None:
        network = Network(loop, random.Random(1))
        server, client = network.add("server"), network.add("client")
        await server.spawn(loop.create_server(lambda: listener, None, 80), "listen")
        _, writing = await client.spawn(asyncio.open_connection("server", 80), "connect")
        writing.write(b"hello, world")
        await asyncio.sleep(1.0)

    run(loop, main())
    assert listener.heard == b"hello, world"


def test_a_call_that_its_sender_has_given_up_arrives_all_the_same_when_the_link_is_whole_again(loop: SimulatedLoop) -> None:
    heard: list[str] = []
    healed_s: list[float] = []

    class Listener(Echo):
        def data_received(self, data: bytes) -> None:
            heard.append(data.decode())

        def connection_lost(self, _: Exception | None) -> None:
            heard.append(f"gone after {loop.time() - healed_s[0]:.2f} s")

    async def main() -> None:
        network = Network(loop, random.Random(1))
        server, client = network.add("server"), network.add("client")
        await server.spawn(loop.create_server(Listener, None, 80), "listen")
        network.hold_back("client", "server")

        async def give_up() -> None:
            _, writing = await asyncio.open_connection("server", 80)
            writing.write(b"call")
            writing.close()

        await client.spawn(give_up(), "call")
        await asyncio.sleep(10.0)
        assert not heard
        healed_s.append(loop.time())
        network.heal("client", "server")
        await asyncio.sleep(1.0)

    run(loop, main())
    assert heard == ["call", "gone after 0.05 s"], "whoever hears at once that nobody waits would not take the call"


def test_a_reset_on_the_way_loses_what_is_held_back(loop: SimulatedLoop) -> None:
    heard: list[bytes] = []

    class Listener(Echo):
        def data_received(self, data: bytes) -> None:
            heard.append(data)

    async def main() -> None:
        network = Network(loop, random.Random(1))
        server, client = network.add("server"), network.add("client")
        await server.spawn(loop.create_server(Listener, None, 80), "listen")
        _, writing = await client.spawn(asyncio.open_connection("server", 80), "connect")
        network.cut("client", "server")
        writing.write(b"call")
        network.reset("client", "server")
        await asyncio.sleep(1.0)
        network.heal("client", "server")
        await asyncio.sleep(1.0)

    run(loop, main())
    assert heard == []


def test_a_late_request_arrives_after_what_was_sent_again_over_a_new_connection(loop: SimulatedLoop) -> None:
    heard: list[bytes] = []

    class Listener(Echo):
        def data_received(self, data: bytes) -> None:
            heard.append(data)
            self.transport.write(data)

    async def main() -> None:
        network = Network(loop, random.Random(1))
        server, client = network.add("server"), network.add("client")
        await server.spawn(loop.create_server(Listener, None, 80), "listen")

        async def work() -> None:
            reading, writing = await asyncio.open_connection("server", 80)
            network.delay("client", "server", reset_s=0.5, arrives_s=5.0)
            writing.write(b"request")
            with pytest.raises(ConnectionResetError):
                await reading.readexactly(7)
            reading, writing = await asyncio.open_connection("server", 80)
            writing.write(b"again")
            assert await reading.readexactly(5) == b"again"
            assert heard == [b"again"]
            await asyncio.sleep(10.0)

        await client.spawn(work(), "work")

    run(loop, main())
    assert heard == [b"again", b"request"]


def test_a_clock_that_drifts_gains_until_it_is_set(loop: SimulatedLoop) -> None:
    host = Host(loop, "one")
    host.wall_offset_s = 1.0
    host.drift(0.01)

    async def main() -> tuple[float, float]:
        await asyncio.sleep(100.0)
        drifted, heir = host.wall_offset_s, host.revive()
        await asyncio.sleep(100.0)
        assert heir.wall_offset_s == pytest.approx(3.0, abs=0.01), "a new process does not set the clock"
        host.wall_offset_s = 0.0
        await asyncio.sleep(100.0)
        return drifted, host.wall_offset_s

    assert run(loop, main()) == (pytest.approx(2.0, abs=0.01), 0.0)


def test_a_partition_knows_what_comes_twice_and_refuses_what_has_a_gap_or_a_former_epoch() -> None:
    log = PartitionLog(append_time=True)
    first = log.append(batch(0), 1000)
    assert (first.code, first.base, first.stamp_ms) == (Code.NONE, 0, 1000)
    assert log.append(batch(1), 1001).base == 1
    assert log.append(batch(0), 1002) == first, "again: the first answer"
    assert log.append(batch(5), 1003).code is Code.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert log.append(batch(0, epoch=1), 1004).base == 2
    assert log.append(batch(2), 1005).code is Code.INVALID_PRODUCER_EPOCH
    assert log.end == 3


def test_the_stable_end_stands_before_an_open_transaction_and_the_aborted_are_told() -> None:
    log = PartitionLog(append_time=False)
    log.append(batch(0, producer_id=1), 1)
    log.append(batch(0, producer_id=2, transactional=True), 1)
    log.append(batch(0, producer_id=3, transactional=True), 1)
    assert (log.stable_end, log.end) == (1, 3)
    log.mark(3, 0, commit=True, now_ms=1)
    assert log.stable_end == 1
    log.mark(2, 0, commit=False, now_ms=1)
    assert (log.stable_end, log.end) == (5, 5)
    data, aborted = log.read(0, 10_000, committed=True)
    assert aborted == [(2, 1)]
    assert data == log.read(0, 10_000, committed=False)[0]


def test_retention_takes_whole_batches() -> None:
    log = PartitionLog(append_time=False)
    for sequence in range(4):
        log.append(batch(sequence), 1)
    log.delete_before(2)
    assert log.start == 2
    assert log.read(2, 1, committed=False)[0] == log.read(2, 200, committed=False)[0][: len(batch(0))]


def test_records_are_deleted_up_to_an_offset_that_there_is() -> None:
    log = PartitionLog(append_time=False)
    for sequence in range(4):
        log.append(batch(sequence, transactional=True), 1)
    assert not log.delete_before(5)
    assert not log.delete_before(-5)
    assert log.delete_before(4)
    assert (log.start, log.stable_end, log.end) == (4, 4, 4), "nothing is undecided of what is gone"
    assert log.delete_before(2)
    assert log.start == 4


def test_what_is_too_old_goes_but_never_the_last_batch() -> None:
    log = PartitionLog(append_time=True)
    for sequence, stamp_ms in enumerate((100, 300, 200, 400)):
        log.append(batch(sequence), stamp_ms)
    log.delete_older(250)
    assert log.start == 1, "the one behind it is not too old"
    log.delete_older(10_000)
    assert (log.start, log.end) == (3, 4)


def test_an_unclean_election_forgets_the_end_of_the_log_and_what_was_known_of_it() -> None:
    log = PartitionLog(append_time=True)
    log.append(batch(0), 1)
    log.append(batch(0, producer_id=8, transactional=True), 2)
    log.mark(8, 0, commit=False, now_ms=3)
    log.append(batch(1, producer_id=8, transactional=True), 4)
    log.append(batch(1), 5)
    log.drop_last(2)
    assert (log.stable_end, log.end) == (3, 3), "no transaction is open any more"
    assert log.read(0, 10_000, committed=True)[1] == [(8, 1)]
    assert log.append(batch(0), 9) == (Code.NONE, 0, 1), "a duplicate of what is left"
    assert log.append(batch(1), 9).base == 3, "what was lost is new"
    log.drop_last(2)
    assert (log.stable_end, log.end) == (1, 2), "its marker was lost: the transaction is open again"
    log.drop_last(9)
    assert (log.start, log.end) == (0, 0)
    assert log.append(batch(7), 9).base == 0, "of a producer that is not known any sequence is taken"


def test_a_time_is_looked_up_by_the_record() -> None:
    log = PartitionLog(append_time=False)
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1000
    )
    for number in range(3):
        builder.append(number, 10 * number, None, b"value", [])
    log.append(bytes(builder.build()), 1)
    assert [log.offset_at(stamp_ms) for stamp_ms in (0, 5, 20, 21)] == [(0, 0), (1, 10), (2, 20), (-1, -1)]
    log.delete_before(2)
    assert log.offset_at(5) == (2, 20)


def test_a_seed_draws_the_same_disturbances_each_time() -> None:
    def drawn(seed: int) -> list[str]:
        found = draw_disturbances(random.Random(seed), replicas=["a", "b"], brokers=["k", "l", "m"], span_s=200.0)
        return [str(one) for one in found]

    assert drawn(3) == drawn(3) != drawn(4)
    assert {" ".join(text.split()[2:3]) for seed in range(40) for text in drawn(seed)} >= {"kill", "stop", "freeze", "cut", "reset", "log"}


def test_lives_may_end_where_a_process_ends_between_and_applications_where_their_topics_are_unusable() -> None:
    lives = [("replica-0", _LIFE), ("replica-0", _LIFE), ("replica-0", '{"event":"started"}'), ("replica-0", _LIFE)]
    assert judge(_seen(logs=lives, applications=2)) == []
    assert judge(_seen(logs=3 * lives[:1])) == [], "of one application the other rules tell"
    assert judge(_seen(logs=[("replica-0", '{"of":"shop","event":"application_gave_up"}')], topics_usable=False)) == []


def _found(kind: BrokenPromise) -> AuditFinding:
    return AuditFinding(kind, "results", 0, 7, "seen at offset 8")


_LIFE = '{"error":"RecordsRefusedError","event":"life_ended"}'


def _seen(**changes: Any) -> Seen:
    scopes = {"key": {"generic-write": {"limit": 4, "window_s": 10.0, "max_in_window": 4, "calls": 9}}}
    ledger = {"calls": [], "sessions": [], "checks": [], "scopes": scopes}
    fields: dict[str, Any] = {
        "requested": ["r-1"],
        "finals": [FinalSeen("r-1", "succeeded")],
        "retries": [],
        "ledger": ledger,
        "logs": [("replica-0", "a line")],
        "secrets": ["secret"],
        "gave_up": [],
    }
    return Seen(**(fields | changes))


def _email(at: float, reference: str = "r-1.0") -> dict[str, Any]:
    what = {"key": "key", "method": "POST", "path": "/v3/email/send/", "route": "email.send", "content": "digest", "session_id": None}
    return {**what, "at": at, "reference": reference, "acted": True, "credits": 0, "status": 200, "fault": None}


def test_the_judge_has_nothing_against_a_good_world() -> None:
    assert judge(_seen()) == []


def _unlike(number: int) -> dict[str, Any]:
    """A call of request ``r-<number>``; those of high numbers come first."""
    return {**_email(300.0 - number, call_reference(f"r-{number}", 0)), "content": f"digest {number}"}


def _turns(order: str) -> list[str]:
    """``order``: a letter for each call, b for bulk; all requests came before the first one."""
    published = {f"r-{n}": Published(0.0, "bulk" if letter == "b" else "normal") for n, letter in enumerate(order)}
    return starved(published, [_email(1.0 + n, call_reference(f"r-{n}", 0)) for n in range(len(order))], turns_max=5)


@pytest.mark.parametrize("order", ["nnnnnbnnnnnb", "b" + 20 * "n", "n", ""])
def test_who_gets_a_turn_now_and_then_or_does_not_wait_is_not_starved(order: str) -> None:
    assert _turns(order) == []


@pytest.mark.parametrize(("order", "who"), [("nnnnnnb", "bulk"), ("nnbnnnnnnbn", "bulk"), ("bbbbbbn", "normal")])
def test_who_waits_while_others_have_more_turns_than_allowed_is_starved(order: str, who: str) -> None:
    assert _turns(order) == [f"{who}: 6 calls of others in a row"]


def test_who_comes_late_has_waited_from_then_on() -> None:
    published = {f"r-{n}": Published(0.0, "normal") for n in range(9)} | {"r-9": Published(8.5, "bulk"), "r-10": Published(0.0, "bulk")}
    assert starved(published, [_email(1.0 + n, call_reference(f"r-{n}", 0)) for n in range(10)], 5) == [], "r-10 was never called"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (
            {
                "published": {"r-0": Published(0.0, "bulk"), **{f"r-{n}": Published(0.0, "normal") for n in range(1, 200)}},
                "ledger": {**_seen().ledger, "calls": [_unlike(n) for n in range(199, -1, -1)]},
            },
            "starved",
        ),
        ({"sent_away": {"r-1": 21, "r-2": 20}}, "sent away again and again"),
        ({"finals": []}, "no final result"),
        ({"finals": [FinalSeen("r-1", "succeeded"), FinalSeen("r-1", "in_doubt")]}, "two final results"),
        (
            {
                "retries": [RetrySeen("r-1", 1, due_ms=11_000)],
                "ledger": {**_seen().ledger, "calls": [_email(10.5, call_reference("r-1", 1))]},
            },
            "retried early",
        ),
        (
            {"finals": [FinalSeen("r-1", "in_doubt")], "certain": True},
            "in_doubt for no reason",
        ),
        ({"logs": [("replica-0", '{"error":"x","event":"life_ended","level":"error"}')], "steady": True}, "a life ended for no reason"),
        ({"left_over": ["replica-0: 2 of GroupCoordinator._heartbeat_routine"]}, "a client is ended in part"),
        (
            {"finals": [FinalSeen("r-1", "in_doubt")], "never_asked": frozenset({"r-1"})},
            "in doubt though nobody has asked to call",
        ),
        ({"logs": [("replica-0", "my secret")]}, "personal data in a log"),
        ({"logs": [("replica-0", '{"error":"ValueError","event":"life_ended"}')]}, "a fault of the program"),
        ({"gave_up": [("replica-0", 1)]}, "a replica gave up"),
        ({"busiest": {"replica-0": 401, "webhooks-0": 400}}, "asks too often"),
        ({"logs": [("replica-0", '{"of":"shop","event":"application_gave_up"}')]}, "an application gave up"),
        ({"logs": [("replica-0", _LIFE), *3 * [("replica-1", _LIFE)]], "applications": 2}, "lives end again and again"),
        (
            {"ledger": {**_seen().ledger, "scopes": {"key": {"s": {"limit": 4, "window_s": 10.0, "max_in_window": 5, "calls": 5}}}}},
            "over the limit",
        ),
        ({"ledger": {**_seen().ledger, "calls": [_email(1.0), _email(9.0)]}}, "done twice"),
        ({"ledger": {**_seen().ledger, "checks": [{"reference": f"x.{n}", "credits": 1} for n in (0, 1)]}}, "billed twice"),
        ({"failed_acts": ["erase: TopicMissingError"]}, "an operator cannot act"),
        ({"monitored": ["replica-0: /readyz: 503"]}, "monitored"),
        ({"failed_callbacks": [("replica-0", "asyncio: Exception in callback")]}, "a callback failed"),
        ({"ledger": {**_seen().ledger, "webhooks": 10 * [{"answer": "connection_error"}]}}, "no webhook is taken"),
        ({"audited": [_found(BrokenPromise.REDRIVEN_TWICE)]}, "verify: redriven_twice"),
        ({"audited": [_found(BrokenPromise.WINDOW_OVER)]}, "verify: window_over"),
    ],
)
def test_the_judge_names_each_broken_promise(changes: dict[str, Any], rule: str) -> None:
    assert [violation.rule for violation in judge(_seen(**changes))] == [rule]


def test_stamps_prove_nothing_where_the_clocks_of_brokers_were_set() -> None:
    by_times = [_found(BrokenPromise.WINDOW_OVER), _found(BrokenPromise.RETRY_STARTED_EARLY), _found(BrokenPromise.STARTED_IN_PAUSE)]
    assert judge(_seen(audited=by_times, steps=True)) == []
    assert len(judge(_seen(audited=by_times))) == 3
    assert len(judge(_seen(audited=[_found(BrokenPromise.DOUBLE_FINAL)], steps=True))) == 1


def test_what_a_client_is_told_of_brokers_is_hashed_alike_in_each_run(loop: SimulatedLoop) -> None:
    """Clients keep sets of it, and Python 3.11 hashes None by its address: worlds of three brokers were not the same twice."""
    network = Network(loop, random.Random(1))
    names = ["kafka-0", "kafka-1", "kafka-2"]
    for name in names:
        network.add(name)
    cluster = Cluster(loop, random.Random(2), names, lambda name: network.hosts[name])
    told = run(loop, Broker(0, cluster, Coordination(cluster)).answer(MetadataRequest_v5(topics=[], allow_auto_topic_creation=False)))
    assert len(told.brokers) == 3
    assert not any(part is None for node in told.brokers for part in node)


def test_a_new_leader_does_not_know_at_first_where_its_partition_ends(loop: SimulatedLoop) -> None:
    """As a real one: test_integration_blocked.py."""
    network = Network(loop, random.Random(1))
    names = ["kafka-0", "kafka-1", "kafka-2"]
    for name in names:
        network.add(name)
    cluster = Cluster(loop, random.Random(2), names, lambda name: network.hosts[name])
    topic = cluster.create("t", 1, 3, {})
    topic.logs[0].append(batch(0), 1)

    def told(which: int) -> tuple[int, int]:
        leader = Broker(cluster.leader(topic, 0), cluster, Coordination(cluster))
        (row,) = run(loop, leader.answer(OffsetRequest_v2(-1, 1, [("t", [(0, which)])]))).topics[0][1]
        return row[1], row[3]

    assert told(-1) == (Code.NONE, 1)
    former = cluster.leader(topic, 0)
    network.hosts[names[former]].kill()
    cluster._notice(former)  # noqa: SLF001 - what it does after some seconds
    assert [told(which) for which in (-1, -2, 5_000)] == [(Code.LEADER_NOT_AVAILABLE, -1), (Code.NONE, 0), (Code.LEADER_NOT_AVAILABLE, -1)]
    run(loop, asyncio.sleep(4.1))
    assert told(-1) == (Code.NONE, 1)


def test_the_end_of_a_transaction_waits_for_replicas_and_not_for_a_topic_that_was_deleted(loop: SimulatedLoop) -> None:
    """As with a real one (KIP-890, and what test_integration_blocked.py shows of its brokers)."""
    network = Network(loop, random.Random(1))
    network.add("kafka-0")
    cluster = Cluster(loop, random.Random(2), ["kafka-0"], lambda name: network.hosts[name])
    transactions = Coordination(cluster).transactions
    _, producer_id, epoch = transactions.init("id", 60_000)
    key = ("id", producer_id, epoch)

    def ends() -> bool:
        run(loop, asyncio.sleep(1.0))
        return transactions.init("id", 60_000)[0] is not Code.CONCURRENT_TRANSACTIONS

    for name in ("short", "gone"):
        log = cluster.create(name, 2, 1, {}).logs[1]
        transactions.add_partitions(key, [(name, 1)])
        assert log.append(batch(0, producer_id=producer_id, epoch=epoch, transactional=True), 1).code is Code.NONE
        cluster.refused.add(name)
        assert transactions.end(key, commit=True) is Code.NONE
        assert not ends()
        assert log.stable_end == 0
        if name == "gone":
            del cluster.topics[name]
            cluster.create(name, 1, 1, {})  # without the partition that was written to
        cluster.refused.discard(name)
        assert ends()
        assert (log.stable_end == log.end) == (name == "short")
        key = ("id", producer_id, epoch := epoch + 1)
    assert [len(cluster.every[name]) for name in ("short", "gone")] == [2, 3]


class Answers(asyncio.Transport):
    """What a broker has written to a client, and when."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__({"peername": ("10.0.0.9", 1)})
        self.written: list[tuple[float, int]] = []
        self._loop = loop

    def write(self, data: Any) -> None:
        self.written.append((self._loop.time(), struct.unpack_from(">i", data, 8)[0]))


def test_a_quota_is_told_in_each_answer_and_nothing_more_is_read_for_so_long(loop: SimulatedLoop) -> None:
    """KIP-219; test_integration_quotas.py has real brokers."""
    network, transport = Network(loop, random.Random(1)), Answers(loop)
    network.add("kafka-0")
    cluster = Cluster(loop, random.Random(2), ["kafka-0"], lambda name: network.hosts[name])
    broker = Broker(0, cluster, Coordination(cluster))
    for held_s in (0.0, 1.5):
        cluster.throttled_s.update({"10.0.0.9": held_s} if held_s else {})
        connection = BrokerConnection(broker.answer, loop.fail, cluster.slow_reads_s, cluster.throttled_s)

        async def ask(connection: BrokerConnection = connection) -> None:
            connection.connection_made(transport)
            frame = struct.pack(">hhih", 3, 5, 1, -1) + MetadataRequest_v5([], False).encode()  # noqa: FBT003 - aiokafka's structs take positions only
            connection.data_received(2 * (struct.pack(">i", len(frame)) + frame))
            await asyncio.sleep(5.0)

        run(loop, ask())
    at_s, told_ms = zip(*transport.written, strict=True)
    assert told_ms == (0, 0, 1500, 1500)
    assert at_s[1] - at_s[0] < 0.1
    assert at_s[3] - at_s[2] == pytest.approx(1.5, abs=0.1)


class GroupCoordinator:
    async def _heartbeat_routine(self) -> None:
        await asyncio.sleep(1.0)


def test_two_members_of_the_group_in_one_process_are_one_too_many(loop: SimulatedLoop) -> None:
    async def main() -> None:
        host = Host(loop, "replica-0")
        for name, wrong in (("of a member", []), ("of a life that is over", ["replica-0: 2 of GroupCoordinator._heartbeat_routine"])):
            host.spawn(GroupCoordinator()._heartbeat_routine(), name)  # noqa: SLF001 - as aiokafka's
            assert left_over([host], 0) == wrong
        host.freeze()
        assert left_over([host], 0) == [], "it may end them when it thaws"
        host.thaw()
        await asyncio.sleep(2.0)
        assert left_over([host], 0) == []

    run(loop, main())


class Sender:
    async def _sender_routine(self) -> None:
        await asyncio.sleep(1.0)


class AIOKafkaClient:
    async def _md_synchronizer(self) -> None:
        await asyncio.sleep(1.0)


def test_producers_of_no_partition_and_clients_that_nobody_uses_are_left_over(loop: SimulatedLoop) -> None:
    async def main() -> None:
        host = Host(loop, "replica-0")
        for number in range(3):
            host.spawn(Sender()._sender_routine(), f"{number}")  # noqa: SLF001 - as aiokafka's
        assert left_over([host], 2) == []
        assert left_over([host], 1) == ["3 producers for 1 partitions"]
        for number in range(7):
            host.spawn(AIOKafkaClient()._md_synchronizer(), f"{number}")  # noqa: SLF001 - as aiokafka's
        assert left_over([host], 2) == ["replica-0: 7 clients, 0 of them read and 3 write"]
        await asyncio.sleep(2.0)  # they end

    run(loop, main())


def test_a_callback_that_fails_is_told_and_the_loop_goes_on(loop: SimulatedLoop) -> None:
    told: list[str] = []
    loop.set_exception_handler(lambda _loop, context: told.append(f"{context['message']}: {context['exception']!r}"))

    def fail() -> None:
        raise ValueError("of a callback")

    loop.call_soon(fail)
    run(loop, asyncio.sleep(1.0))
    assert len(told) == 1
    assert "Exception in callback" in told[0]
    assert "of a callback" in told[0]
