"""Kill, freeze, rebalance, broker loss, fences: judged from the topics and the simulator's ledger."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from rig import Rig, create_request, running

from processor.devkit.child_process import ChildProcess
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import ProcessorProcess

pytestmark = pytest.mark.broker

LATENCY = ["--faults", '{"latency_s": {"median": 0.05, "sigma": 0.8, "max": 1}}']


def ids(count: int) -> list[str]:
    return [f"r-{n:06d}" for n in range(count)]


async def publish_slowly(rig: Rig, count: int, per_s: float) -> None:
    """In steady small chunks, so that every disturbance meets work in flight."""
    for begin in range(0, count, 20):
        await rig.publish([create_request(n) for n in range(begin, min(count, begin + 20))])
        await asyncio.sleep(20 / per_s)


async def test_three_processors_under_kills_freezes_and_stops(kafka: LocalKafka, tmp_path: Path) -> None:
    rng = random.Random(20_261_125)
    async with running(kafka, tmp_path, partitions=8, simulator_options=LATENCY) as rig:
        replicas = await rig.start("a", "b", "c")
        count = 1200
        publish = asyncio.create_task(publish_slowly(rig, count, 40))
        deeds = []
        while not publish.done():
            await asyncio.sleep(rng.uniform(1.5, 4.5))  # jittered: one fixed period would hide losses
            victim = rng.choice(replicas)
            deed = rng.choice(("kill", "kill", "freeze", "stop"))
            deeds.append(deed)
            if deed == "kill":
                await asyncio.to_thread(victim.child.kill)
            elif deed == "freeze":
                victim.child.freeze()
                await asyncio.sleep(rng.uniform(1.0, 9.0))  # the session ends after 6 s
                victim.child.thaw()
                continue
            else:
                await asyncio.to_thread(victim.child.stop, 20.0)
            victim.start()
        await publish
        await rig.wait_finals(count)
        judged = await rig.judge(ids(count))
        assert judged.ok, (deeds, judged)
        assert judged.by_status == {"succeeded": count}
        assert {"kill", "freeze"} <= set(deeds)


async def test_a_zombie_that_thaws_after_its_session_publishes_nothing_twice(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(
        kafka, tmp_path, partitions=4, simulator_options=["--faults", '{"latency_s": {"median": 0.4, "sigma": 0.2, "max": 1}}']
    ) as rig:
        a, b = await rig.start("a", "b")
        publish = asyncio.create_task(publish_slowly(rig, 400, 30))
        await rig.wait_finals(50)
        a.child.freeze()
        await asyncio.to_thread(b.wait_event, "partitions_assigned", count=2)  # the group has given its partitions away
        a.child.thaw()
        await publish
        await rig.wait_finals(400)
        judged = await rig.judge(ids(400))
        assert judged.ok, judged


async def test_a_second_producer_with_the_same_transactional_id_ends_the_life_and_skips_nothing(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=1) as rig:
        (a,) = await rig.start("a")
        await rig.publish([create_request(n) for n in range(50)])
        await rig.wait_finals(50)
        thief = AIOKafkaProducer(
            bootstrap_servers=rig.bootstrap,
            transactional_id=f"{rig.settings.kafka.group}-{rig.prefix}.requests-0",
            transaction_timeout_ms=5000,
        )
        await thief.start()
        await rig.publish([create_request(n) for n in range(50, 100)])
        await asyncio.to_thread(a.wait_event, "life_ended")
        await rig.wait_finals(100)
        await thief.stop()
        judged = await rig.judge(ids(100))
        assert judged.ok, judged
        assert sum(o for tp, o in (await rig.committed()).items() if tp.topic.endswith(".requests")) == 100


async def test_rebalance_storm(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=8, simulator_options=LATENCY) as rig:
        await rig.start("a")
        publish = asyncio.create_task(publish_slowly(rig, 500, 50))
        for round_number in range(4):
            guest = rig.processor(f"guest-{round_number}")
            guest.start()
            await asyncio.to_thread(guest.wait_event, "partitions_assigned")
            await asyncio.to_thread(guest.child.stop, 20.0)
        await publish
        await rig.wait_finals(500)
        judged = await rig.judge(ids(500))
        assert judged.ok, judged
        assert judged.billed_twice == 0, "a drained rebalance repeats no call"


async def test_a_rolling_restart_of_replicas_that_stay_in_the_group_moves_nothing(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=4, KAFKA__LEAVE_ON_STOP="false", LANES__SESSION_TIMEOUT_S="15") as rig:
        replicas = await rig.start("a", "b")
        await asyncio.sleep(2.0)  # the group settles
        before = [len(list(r.events("partitions_assigned"))) for r in replicas]
        publish = asyncio.create_task(publish_slowly(rig, 200, 25.0))
        for replica in replicas:
            await asyncio.to_thread(replica.child.stop, 20.0)
            replica.start()
            await asyncio.to_thread(replica.wait_event, "partitions_assigned", count=before[replicas.index(replica)] + 1)
        await publish
        await rig.wait_finals(200)
        judged = await rig.judge(ids(200))
        assert judged.ok, judged
        after = [len(list(r.events("partitions_assigned"))) for r in replicas]
        assert after == [count + 1 for count in before], "each is assigned its own partitions again, and nobody else's moved"


async def test_delayed_records_survive_a_rebalance_away_and_back(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(
        kafka, tmp_path, partitions=2, RETRY__DELAYS_S="[1,2,5]", RETRY__BACKOFF_BASE_S="6", RETRY__BACKOFF_MAX_S="6"
    ) as rig:
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [{"fault": "error_503"}] * 40})
        await rig.start("a")
        await rig.publish([create_request(n) for n in range(40)])
        await rig.until(lambda: len(rig.watch.seen.retries) >= 40, "40 retries")
        guest = rig.processor("guest")
        guest.start()
        await asyncio.to_thread(guest.wait_event, "partitions_assigned")
        await asyncio.to_thread(guest.child.stop, 20.0)
        await rig.wait_finals(40)
        judged = await rig.judge(ids(40))
        assert judged.ok, judged
        assert judged.retries == 40, "nobody wrote a waiting record again because its partition moved"


async def test_new_partitions_are_read_from_their_first_record(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=2) as rig:
        (a,) = await rig.start("a")
        await rig.publish([create_request(n) for n in range(50)])
        await rig.wait_finals(50)
        admin = AIOKafkaAdminClient(bootstrap_servers=rig.bootstrap)
        await admin.start()
        await admin.create_partitions({f"{rig.prefix}.requests": NewPartitions(6)})
        await admin.close()
        producer = AIOKafkaProducer(bootstrap_servers=rig.bootstrap)
        await producer.start()
        async with asyncio.timeout(30):
            while len(await producer.partitions_for(f"{rig.prefix}.requests")) < 6:  # the broker knows of it a moment later
                await producer.client.force_metadata_update()
        for n in range(50, 110):
            key, value = create_request(n)
            await producer.send_and_wait(f"{rig.prefix}.requests", value, key, partition=2 + n % 4)
        await producer.stop()
        await asyncio.to_thread(a.wait_event, "partitions_assigned", count=2)
        await rig.wait_finals(110)
        judged = await rig.judge(ids(110))
        assert judged.ok, judged


async def test_a_broker_that_is_killed_and_comes_back(own_kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(own_kafka, tmp_path, partitions=4, simulator_options=LATENCY) as rig:
        await rig.start("a", "b")
        await rig.publish([create_request(n) for n in range(300)])
        await rig.wait_finals(40)
        await asyncio.to_thread(own_kafka.brokers[0].kill)
        await asyncio.sleep(3.0)  # an outage has a length
        own_kafka.brokers[0].start()
        await asyncio.to_thread(own_kafka.wait_ready)
        await rig.publish([create_request(n) for n in range(300, 400)])
        await rig.wait_finals(400)
        judged = await rig.judge(ids(400))
        assert judged.ok, judged


async def test_an_outage_of_all_brokers_leaves_nothing_in_doubt(own_kafka: LocalKafka, tmp_path: Path) -> None:
    """Nobody can look up whether an e-mail was sent: what was under way when the brokers went, and ended while they were away, is kept."""
    slow = ["--faults", '{"latency_s": {"median": 1.5, "sigma": 0.1, "max": 2}}']
    long = "20"  # a broker that starts counts the silence of members for some seconds in which it cannot be reached
    async with running(
        own_kafka, tmp_path, partitions=4, simulator_options=slow, LANES__SESSION_TIMEOUT_S=long, LANES__TRANSACTION_S="5"
    ) as rig:
        replicas = await rig.start("a", "b")
        emails: dict[str, dict[str, object]] = {
            f"e-{n}": {"operation": "email.send", "input": {"email": f"a{n}@example.com"}} for n in range(60)
        }
        requests = [(name.encode(), orjson.dumps({"request_id": name, **body})) for name, body in emails.items()]
        await rig.publish(requests[:40])
        await rig.until(lambda: len(rig.simulator.ledger()["calls"]) >= 20, "calls that are under way")
        await asyncio.to_thread(own_kafka.brokers[0].kill)
        await asyncio.to_thread(replicas[0].wait_event, "publishing_waits")
        own_kafka.brokers[0].start()
        await asyncio.to_thread(own_kafka.wait_ready)
        await rig.publish(requests[40:])
        await rig.wait_finals(60)
        judged = await rig.judge([*emails])
        assert judged.ok, judged
        assert judged.by_status == {"succeeded": 60}
        assert sum(call["route"] == "email.send" for call in rig.simulator.ledger()["calls"]) == 60, "no call was made again"
        assert not [event for replica in replicas for event in replica.events("life_ended")]


async def test_a_replica_takes_as_many_connections_as_it_may_and_says_when_they_are_too_few(kafka: LocalKafka, tmp_path: Path) -> None:
    """A partition takes two connections and more: a soft limit on open files is raised, and who has used up the hard one says so."""
    async with running(kafka, tmp_path, partitions=20, LANES__RESTORE_S="3") as rig:

        def limited(limit: str) -> ProcessorProcess:
            replica = rig.processor("a")
            program = f'ulimit {limit} && exec "{sys.executable}" -m processor run'
            replica.child = ChildProcess(
                "a", ["/bin/sh", "-c", program], {"VP_KAFKA__INSTANCE_ID": "a", **rig.environment}, replica.log_path
            )
            replica.child.start()
            return replica

        few = limited("-n 64")
        await asyncio.to_thread(few.wait_event, "life_ended")
        told = next(few.events("life_ended"))["error"]
        assert "this process has as many files and connections open as it may, 64." in told
        await asyncio.to_thread(few.child.kill)
        await rig.publish([create_request(n) for n in range(60)])
        limited("-Sn 64")
        await rig.wait_finals(60)
        judged = await rig.judge(ids(60))
        assert judged.ok, judged
        assert judged.by_status == {"succeeded": 60}
