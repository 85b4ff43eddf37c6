"""What lies about a person is found, erased, and gone by the time that is told; on a broker that deletes within seconds."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from commands import run_command
from rig import FAST, WORKFLOW_ID, Rig, create_request, read_whole, running

from processor.client import VerificationClient
from processor.client.topics import publish_requests, request_producer
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import processor_environment, settings_of
from processor.repair.person_erase import erase_person, plan_erasure
from processor.stream.lifetimes import kept_s
from processor.stream.topics import topic_names
from processor.stream.topics_admin import apply_topics

pytestmark = pytest.mark.broker

SHORT = {"log.retention.check.interval.ms": "500", "log.initial.task.delay.ms": "500", "log.cleaner.backoff.ms": "500"}
BROKER_LATE_MS = 10_000  # its look every half second is late on a machine that has much to do
KEPT = {"retention.ms": "2000", "segment.ms": "1000", "file.delete.delay.ms": "100"}


@pytest.fixture(scope="module")
def short_kafka() -> Iterator[LocalKafka]:
    with LocalKafka(overrides=SHORT) as cluster:
        yield cluster


async def shorten(kafka: LocalKafka, *topics: str, configs: dict[str, str] | None = None) -> None:
    """Let topics keep their records for some seconds, or as ``configs`` say."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        configs = {**(configs or KEPT), "message.timestamp.type": "LogAppendTime"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=configs) for topic in topics])
    finally:
        await admin.close()


async def test_an_idle_partition_is_emptied_within_the_computed_time(short_kafka: LocalKafka) -> None:
    environment = processor_environment(short_kafka.bootstrap, "http://127.0.0.1:9", f"t-{uuid.uuid4().hex[:8]}", **FAST)
    settings = settings_of(environment)
    await apply_topics(settings, partitions=1, replication=1)
    checked = await run_command(environment, "topics", "check")
    assert checked.status == 0, checked.text + str(checked.err)
    assert f"{topic_names(settings).dead_letters}: personal data, gone 15 d after a record was written, 29 d" in checked.text
    assert "assumed" not in checked.text, "the broker says how often it looks"
    await shorten(short_kafka, topic := topic_names(settings).requests)
    checked = await run_command(environment, "topics", "check")
    assert f"{topic}: personal data, gone 4 s after a record was written" in checked.text
    began = time.monotonic()
    await publish_requests(settings, [(b"k", b"the last record of its partition, and nothing comes after it")])
    assert len(await read_whole(settings, topic)) == 1
    within_s = kept_s(KEPT, 0.5)
    assert within_s is not None
    while await read_whole(settings, topic):
        assert time.monotonic() - began < within_s + 5, "the broker keeps it for longer than is told"
        await asyncio.sleep(0.2)
    assert time.monotonic() - began > 1.9, "retention has not been waited for"


PERSON, OTHER = "Zoë Tracer / 4711", "bystander-1"
LONG = {"RETRY__DELAYS_S": "[1,2,600]", "FOLLOW__POLLS_S": "[3600]"}
WAIT_LONG = {"status": 503, "headers": [["Retry-After", "700"]], "body": "{}"}
REFUSAL = {"status": 400, "body": '{"workflow_id":"Invalid workflow_id."}'}


def asked(request_id: str, operation: str, person: str, **given: Any) -> tuple[bytes, bytes]:
    body = {"request_id": request_id, "operation": operation, "input": {"vendor_data": person, **given}}
    return person.encode(), json.dumps(body).encode()  # with escapes, as many producers write it


async def in_every_topic(rig: Rig, person: str, name: str) -> None:
    """A result, a dead letter, a request that waits, a followed session, and an event of it."""
    create = {"workflow_id": WORKFLOW_ID}
    await rig.publish([asked(f"{name}-done", "session.create", person, **create)])
    await rig.until(lambda: f"{name}-done" in rig.watch.seen.final_ids, "a session")
    assert next(f["status"] for f in rig.finals if f["request_id"] == f"{name}-done") == "succeeded"
    (over,) = [s["session_id"] for s in rig.simulator.ledger()["sessions"] if s["request_id"] == f"{name}-done"]
    for step in ("In Progress", "Approved"):  # else the next one is given the same session
        rig.simulator.post(f"/_sim/sessions/{over}/status", {"status": step})
    rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [REFUSAL]})
    await rig.publish([asked(f"{name}-refused", "session.create", person, **create)])
    await rig.until(lambda: f"{name}-refused" in rig.watch.seen.final_ids, "a dead letter")
    rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [WAIT_LONG]})
    await rig.publish([asked(f"{name}-waits", "session.create", person, **create)])
    await rig.until(lambda: any(r.request_id == f"{name}-waits" for r in rig.watch.seen.retries), "a waiting request")
    await rig.publish([asked(f"{name}-followed", "verification", person, **create)])
    await rig.until(lambda: any(r.request_id == f"{name}-followed" for r in rig.watch.seen.retries), "a followed session")
    (session_id,) = [s["session_id"] for s in rig.simulator.ledger()["sessions"] if s["request_id"] == f"{name}-followed"]
    event = {"session_id": session_id, "status": "In Progress", "verified_by": "v2", "vendor_data": person, "payload": None}
    async with request_producer(rig.settings) as producer:
        await producer.send_and_wait(f"{rig.prefix}.events", orjson.dumps(event), session_id.encode())


def on_disk(kafka: LocalKafka, prefix: str, needles: list[bytes]) -> list[str]:
    """Files of an installation's topics that hold one of these texts."""
    files = [path for folder in kafka.folders for path in folder.rglob(f"{prefix}.*/*") if path.is_file()]
    held = [path for path in files if any(needle in path.read_bytes() for needle in needles)]
    return [f"{path.parent.name}/{path.name}" for path in held]


async def test_a_person_with_records_in_every_topic_is_found_erased_and_gone_in_time(short_kafka: LocalKafka, tmp_path: Path) -> None:
    (named := tmp_path / "person").write_text(PERSON + "\n")
    async with running(short_kafka, tmp_path, partitions=2, more=LONG) as rig:
        names = topic_names(rig.settings)
        await shorten(short_kafka, names.results, configs={"cleanup.policy": "compact,delete", "max.message.bytes": "2000000"})
        (a,) = await rig.start("a")
        await in_every_topic(rig, PERSON, "p")
        await in_every_topic(rig, OTHER, "o")
        command = ("--vendor-data-file", str(named), "--json")
        found = (await run_command(rig.environment, "person", "find", *command)).lines[0]
        assert found["counts"] == {names.requests: 4, names.results: 3, names.retry(600): 2, names.dead_letters: 1, names.events: 1}
        assert found["waiting"] == ["p-followed", "p-waits"]
        assert found["complete"]
        sessions = found["sessions"]
        assert sorted(sessions) == sorted(s["session_id"] for s in rig.simulator.ledger()["sessions"] if s["request_id"].startswith("p-"))
        assert not [r for r in found["records"] if (r["request_id"] or "p-").startswith("o-")]

        calls = len(rig.simulator.ledger()["calls"])
        dry = await run_command(rig.environment, "person", "erase", *command)
        assert dry.lines[0]["planned"] == {"ends": 2, "discards": 1, "deletions": 3, "tombstones": 3}
        assert (dry.status, len(rig.simulator.ledger()["calls"]), len(rig.finals)) == (0, calls, 4)

        done = await run_command(rig.environment, "person", "erase", *command, "--yes")
        assert done.status == 0, done.err
        assert done.lines[0]["done"] | {"run_id": ""} == {
            "run_id": "", "ended": 2, "discarded": 1, "deleted": 3, "tombstones": 7, "left": [], "failed": []
        }  # fmt: skip
        routes = Counter(c["route"] for c in rig.simulator.ledger()["calls"][calls:])
        assert routes == {"session.delete": 2, "user.delete": 1}
        ended = {f["request_id"]: (f["status"], f["error"]["code"]) for f in rig.finals if f["request_id"] in ("p-waits", "p-followed")}
        assert ended == {"p-waits": ("in_doubt", "cancelled"), "p-followed": ("failed", "cancelled")}, "the first one's call may have acted"
        again = await run_command(rig.environment, "person", "erase", *command, "--yes")
        assert (again.status, again.lines[0]["planned"]) == (0, {"ends": 0, "discards": 0, "deletions": 0, "tombstones": 0})
        assert len(rig.simulator.ledger()["calls"]) == calls + 3, "nothing is deleted twice"
        records = [r.value for r in await rig.records("repairs")]
        assert [orjson.loads(v)["kind"] for v in records] == ["cancelled", "discarded", "erased"], "and nothing goes on record twice"
        log = await asyncio.to_thread(a.log_path.read_bytes)
        told = b"".join([*records, log, done.out, done.err.encode(), dry.out, again.out])
        assert PERSON.encode() not in told
        assert json.dumps(PERSON)[1:-1].encode() not in told
        buried = {r.key.decode() for r in await rig.records("results") if r.value is None and r.key is not None}
        assert {key for key in buried if not key.startswith("erase-")} == {"p-done", "p-refused", "p-waits", "p-followed"}
        other = (await run_command(rig.environment, "person", "find", "--vendor-data", OTHER, "--json")).lines[0]
        assert (other["waiting"], other["counts"][names.dead_letters]) == (["o-followed", "o-waits"], 1), "others are left alone"
        verified = await run_command(rig.environment, "verify", "--older-than", "1s")
        assert verified.status == 0, verified.text

        await asyncio.to_thread(a.child.stop, 20.0)
        await all_is_gone_in_time(short_kafka, rig, command, sessions)


async def test_an_erasure_does_not_wait_for_a_result_that_came_after_its_plan(short_kafka: LocalKafka, tmp_path: Path) -> None:
    """As a person reads the plan, and says yes: nothing follows a final result."""
    async with running(short_kafka, tmp_path, partitions=2, more=LONG) as rig:
        await rig.start("a")
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [WAIT_LONG]})
        await rig.publish([asked("planned", "session.create", PERSON, workflow_id=WORKFLOW_ID)])
        await rig.until(lambda: any(r.request_id == "planned" for r in rig.watch.seen.retries), "a waiting request")
        plan, _ = await plan_erasure(rig.settings, PERSON, lambda _what, _done, _of: None)
        assert plan.ends == ("planned",)
        taken_back = {"request_id": "of-its-caller", "operation": "cancel", "input": {"request_id": "planned"}}
        await rig.publish([(b"k", orjson.dumps(taken_back))])
        await rig.until(lambda: {"planned", "of-its-caller"} <= rig.watch.seen.final_ids, "a final result")
        async with asyncio.timeout(60):
            done = await erase_person(rig.settings, PERSON, plan, by="tester", within_s=3600.0)
        assert (done.ended, done.left, done.failed) == (1, (), ())


async def holds(rig: Rig, topic: str, needles: list[bytes]) -> bool:
    """Whether a reader of a topic sees one of these texts."""
    records = await read_whole(rig.settings, topic)
    return any(needle in (r.value or b"") + (r.key or b"") + str(r.headers).encode() for r in records for needle in needles)


async def all_is_gone_in_time(kafka: LocalKafka, rig: Rig, command: tuple[str, ...], sessions: list[str]) -> None:
    """With topics that forget within seconds nothing of the person is left when it is told to be: to no reader, and on no disk."""
    names = topic_names(rig.settings)
    topics = (*names.inputs, names.results, names.events, names.dead_letters)
    await shorten(kafka, *topics)
    last = (await run_command(rig.environment, "person", "find", *command)).lines[0]
    needles = [PERSON.encode(), json.dumps(PERSON)[1:-1].encode(), *(session.encode() for session in sessions)]
    while time.time() * 1000 < last["last_gone_ms"]:
        await asyncio.sleep(0.2)
    while left := [topic for topic in topics if await holds(rig, topic, needles)]:
        assert time.time() * 1000 < last["last_gone_ms"] + BROKER_LATE_MS, left
    while left := on_disk(kafka, rig.prefix, needles):
        assert time.time() * 1000 < last["last_gone_ms"] + BROKER_LATE_MS, left
        await asyncio.sleep(0.2)
    gone = (await run_command(rig.environment, "person", "find", *command)).lines[0]
    assert (gone["records"], gone["last_gone_ms"]) == ([], 0)


async def let_wait(rig: Rig, count: int) -> list[str]:
    rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [WAIT_LONG] * count})
    await rig.publish([create_request(n) for n in range(count)])
    await rig.until(lambda: len(rig.watch.seen.retries) >= count, f"{count} waiting records")
    return [f"r-{n:06d}" for n in range(count)]


async def test_a_request_that_its_caller_takes_back_ends_once_and_others_wait_on(short_kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(short_kafka, tmp_path, partitions=2, more=LONG) as rig:
        await rig.start("a", "b")
        first, second = await let_wait(rig, 2)
        await rig.publish([asked("followed", "verification", "user-9", workflow_id=WORKFLOW_ID)])
        await rig.until(lambda: len(rig.watch.seen.retries) >= 3, "a followed session")
        async with VerificationClient(kafka=rig.settings.kafka) as client:
            cancels = [await client.cancel(request_id) for request_id in (first, "followed", "nobody")]
            await rig.wait_finals(5)
            cancels.append(await client.cancel("followed"))
            await rig.wait_finals(6)
        finals = {f["request_id"]: f for f in rig.finals}
        assert set(finals) == {first, "followed", *cancels}, f"{second} waits on"
        assert (finals[first]["status"], finals[first]["error"]["code"]) == ("in_doubt", "cancelled"), "its first call may have acted"
        assert (finals["followed"]["status"], finals["followed"]["error"]["code"]) == ("failed", "cancelled")
        assert {finals[c]["status"] for c in cancels} == {"succeeded"}
        assert await rig.records("dead-letters") == []
        assert len(rig.simulator.ledger()["calls"]) == 3, "no call of any of them"
        await rig.read_rest()
        assert max(Counter(f["request_id"] for f in rig.finals).values()) == 1
        assert (await run_command(rig.environment, "verify", "--older-than", "1s")).status == 0


async def test_a_cancel_that_races_a_release_and_a_kill_leaves_one_final_result_each(short_kafka: LocalKafka, tmp_path: Path) -> None:
    slow = {"rates": {}, "latency_s": {"median": 0.05, "sigma": 0.1, "max": 0.2}}
    async with running(short_kafka, tmp_path, partitions=2, more={**LONG, "DIDIT__CALLS_MAX": "3"}) as rig:
        a, _ = await rig.start("a", "b")
        ids = await let_wait(rig, 24)
        rig.simulator.post("/_sim/faults", slow)
        async with VerificationClient(kafka=rig.settings.kafka) as client:
            released = asyncio.create_task(run_command(rig.environment, "retry", "release", "--all", "--yes", "--wait", "0"))
            await rig.until(lambda: len(rig.watch.seen.final_ids) >= 3, "the first ones are done")
            cancels = list(await asyncio.gather(*(client.cancel(request_id) for request_id in ids[:12])))
            a.child.kill()
            cancels += await asyncio.gather(*(client.cancel(request_id) for request_id in ids[12:]))
            await rig.wait_finals(48)
            await released
        judged = await rig.judge([*ids, *cancels])
        assert (judged.missing, judged.duplicated, judged.billed_twice) == ((), (), 0)
        ends = Counter(f["status"] for f in rig.finals if f["request_id"] in ids)
        assert set(ends) <= {"succeeded", "in_doubt"}, "each had a call before it waited, which may have acted"
        assert ends["succeeded"] >= 3
        made = Counter(s["request_id"] for s in rig.simulator.ledger()["sessions"])
        told = {f["request_id"] for f in rig.finals if f["status"] == "succeeded"}
        assert told - set(cancels) <= set(made), "a success is one of Didit's"
        assert max(made.values()) == 1
        assert (await run_command(rig.environment, "verify", "--older-than", "1s")).status == 0
