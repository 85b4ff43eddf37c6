"""One operation is paused on the real broker: its calls stop, others go on, restarts change nothing, and nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from aiokafka.admin import NewPartitions
from commands import Told, run_command
from rig import Rig, running

from processor.clock import clock_ms
from processor.contract.pauses import PauseAct, PauseKind, Pauses, encode_pause
from processor.devkit.kafka_cluster import LocalKafka
from processor.stream.topics import topic_names
from processor.stream.wakeup_feed import WakeupFeed
from processor.stream.wakeups import Wakeups
from processor.stream.writer import RecordWriter

pytestmark = pytest.mark.broker

REASON = "Didit moves its AML provider"


def request(operation: str, name: str) -> tuple[bytes, bytes]:
    given = {"full_name": f"Ann {name}"} if operation == "aml" else {"vendor_data": name}
    return name.encode(), orjson.dumps({"request_id": name, "operation": operation, "input": given})


async def pausing(rig: Rig, *words: str) -> Told:
    return await run_command(rig.environment, *words)


def called(rig: Rig) -> Counter[str]:
    return Counter(call["route"] for call in rig.simulator.ledger()["calls"])


async def flow(rig: Rig, names: list[str], until: asyncio.Event) -> None:
    """Requests of both operations, two by two, until somebody has seen enough."""
    for number in itertools.count():
        if until.is_set():
            return
        pair = [("aml", f"a-{number:04d}"), ("session.list", f"l-{number:04d}")]
        await rig.publish([request(*one) for one in pair])
        names += [name for _, name in pair]
        await asyncio.sleep(0.05)


async def others_done(rig: Rig, names: list[str], *others: str) -> None:
    """These requests of the other operation are published and done; one of the paused one stands before each."""
    before = [(f"a-{name}", "aml") for name in others]
    await rig.publish([request(operation, name) for name, operation in [*before, *((name, "session.list") for name in others)]])
    names += [*(name for name, _ in before), *others]
    await rig.until(lambda: set(others) <= rig.watch.seen.final_ids, f"results of {others}")


async def test_a_paused_operation_stays_so_over_restarts_and_then_ends_exactly_once(kafka: LocalKafka, tmp_path: Path) -> None:
    names: list[str] = []
    async with running(kafka, tmp_path) as rig:
        replicas = await rig.start("p0", "p1")
        enough = asyncio.Event()
        flowing = asyncio.create_task(flow(rig, names, enough))
        await rig.until(lambda: any(name.startswith("a-") for name in rig.watch.seen.final_ids), "a result of aml")
        paused = await pausing(rig, "pause", "--operation", "aml", "--reason", REASON, "--yes", "--json")
        enough.set()
        await flowing
        told: dict[str, Any] = orjson.loads(paused.out)
        assert (paused.status, told["not_obeying"]) == (0, []), paused.err
        assert [(act["operation"], act["reason"]) for act in told["paused"]] == [("aml", REASON)]

        await others_done(rig, names, "b-1", "b-2")
        calls = called(rig)["aml"]
        await others_done(rig, names, "b-3", "b-4")
        assert called(rig)["aml"] == calls, "all replicas obey"
        assert {orjson.loads(r.value)["operation"] for delay in (1, 2, 5) for r in await rig.records(f"retry.{delay}s")} == {"aml"}
        status = orjson.loads((await pausing(rig, "status", "--json")).out)
        assert status["diagnosis"]["verdict"].startswith("Paused by an operator: aml.")
        assert {r["instance"]: bool(r["version"] and r["memory_bytes"]) for r in status["replicas"]} == {"p0": True, "p1": True}

        for replica in replicas:
            replica.child.kill()
        for replica in replicas:
            replica.start()
        await others_done(rig, names, "b-5")
        assert [list(replica.events("pauses_read"))[-1]["paused"] for replica in replicas] == [["aml"], ["aml"]]
        assert called(rig)["aml"] == calls, "those that start know it before they call"
        audit = await pausing(rig, "verify", "--json")
        assert orjson.loads(audit.out)["waiting"]["paused"] == ["aml"]

        resumed = await pausing(rig, "resume", "--operation", "aml", "--yes", "--wait", "60")
        assert resumed.status == 0, resumed.err
        await rig.wait_finals(len(names))
        judgement = await rig.judge(names)
        assert judgement.ok, judgement
        assert called(rig)["aml"] == sum(name.startswith("a-") for name in names)
        lines = [orjson.loads(record.value) for record in await rig.records("controls")]
        assert [(line["kind"], line["operation"]) for line in lines] == [("paused", "aml"), ("resumed", "aml")], "the audit"


async def test_pauses_are_told_when_their_topic_is_read_to_its_end_and_never_in_part(kafka: LocalKafka, tmp_path: Path) -> None:
    """The first reads hold a pause of everything that was ended long ago: nobody may hear of it."""
    async with running(kafka, tmp_path) as rig:
        kinds = [PauseKind.PAUSED, *[PauseKind.PAUSED, PauseKind.RESUMED] * 700]  # a read takes 500
        acts = [PauseAct(kind, "aml" if number else None, "tester", REASON, number, str(uuid4())) for number, kind in enumerate(kinds)]
        last = [
            PauseAct(PauseKind.RESUMED, None, "tester", REASON, 1, str(uuid4())),
            PauseAct(PauseKind.PAUSED, "ip.risk", "t", REASON, 2, str(uuid4())),
        ]
        async with RecordWriter.of_one_act(rig.settings) as writer:
            await writer.send_all(topic_names(rig.settings).controls, [(None, encode_pause(act)) for act in [*acts, *last]], 30.0)
        told: list[Pauses] = []
        feed = asyncio.create_task(WakeupFeed(rig.settings, Wakeups(lambda _: False), clock_ms, told.append).run())
        try:
            await rig.until(lambda: bool(told), "the feed has read the topic")
        finally:
            feed.cancel()
        assert [[act.name for act in pauses.in_force] for pauses in told] == [["ip.risk"]]
        assert told[0].read_to == len(acts) + len(last)


async def test_a_pause_is_ended_by_those_who_made_it_though_somebody_added_partitions(kafka: LocalKafka, tmp_path: Path) -> None:
    """Records without a key go to any partition: pauses are one order only in the first."""
    async with running(kafka, tmp_path, partitions=1) as rig:
        (replica,) = await rig.start("p0")
        async with rig.admin() as admin:
            await admin.create_partitions({f"{rig.prefix}.controls": NewPartitions(8), topic_names(rig.settings).budget: NewPartitions(3)})
        for _ in range(2):
            assert (await pausing(rig, "pause", "--operation", "aml", "--reason", REASON, "--yes", "--wait", "60")).status == 0
            assert (await pausing(rig, "resume", "--operation", "aml", "--yes", "--wait", "60")).status == 0
        assert [event["paused"] for event in replica.events("pauses_read")] == [[], ["aml"], [], ["aml"], []]
        assert [record.source.partition for record in await rig.records("controls")] == [0] * 4
        (second,) = await rig.start("p1")
        await asyncio.to_thread(second.wait_event, "budget_joined")  # a start takes them: Kafka takes no partition away
