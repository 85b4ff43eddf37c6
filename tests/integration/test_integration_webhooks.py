"""`processor webhooks` on a real Kafka: what is acknowledged is in the events topic, once."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from rig import read_whole
from signing import SECRET, delivery, signed

from processor.client.topics import read_topics, topic_reader
from processor.contract.schemas import faults
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import ProcessorProcess, processor_environment, settings_of
from processor.stream.errors import KafkaRequestError
from processor.stream.topics_admin import apply_topics
from processor.webhooks.producer import EventProducer

pytestmark = pytest.mark.broker


class Hooks:
    """A receiver process, its topic, and who posts to it."""

    def __init__(self, bootstrap: str, folder: Path, **variables: str) -> None:
        prefix = f"t-{uuid.uuid4().hex[:8]}"
        secrets = {} if "WEBHOOKS__SECRETS_FILE" in variables else {"WEBHOOKS__SECRETS": f'["{SECRET}"]'}
        environment = processor_environment(bootstrap, "http://127.0.0.1:1", prefix, **{"WEBHOOKS__PORT": "0", **secrets, **variables})
        self.settings = settings_of(environment)
        self.topic = f"{prefix}.events"
        self.process = ProcessorProcess("webhooks", environment, folder, "webhooks")
        self.url = ""

    async def start(self) -> None:
        started = len(list(self.process.events("webhooks_listening")))
        self.process.start()
        await asyncio.to_thread(self.process.wait_event, "webhooks_listening", count=started + 1)
        *_, last = self.process.events("webhooks_listening")
        self.url = f"http://{last['host']}:{last['port']}{last['path']}"

    async def post(self, body: bytes, headers: dict[str, str]) -> int:
        """The status. Didit waits 5 s, of which a busy machine takes some; a receiver without a limit would wait for the brokers for 30."""
        limit = aiohttp.ClientTimeout(total=20.0)
        async with aiohttp.ClientSession(timeout=limit) as session, session.post(self.url, data=body, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def records(self) -> list[Any]:
        """All records of the events topic (read_committed), checked against their schema."""
        found: list[Any] = await read_whole(self.settings, self.topic)
        for record in found:
            assert faults("event.v1", orjson.loads(record.value)) == []
        return found


@asynccontextmanager
async def hooks(kafka: LocalKafka, folder: Path, *, apply: bool = True, **variables: str) -> AsyncIterator[Hooks]:
    found = Hooks(kafka.bootstrap, folder, **variables)
    if apply:
        await apply_topics(found.settings, partitions=3, replication=1)
    try:
        yield found
    finally:
        await asyncio.to_thread(found.process.child.stop, 25.0)


def fresh(**changes: Any) -> dict[str, Any]:
    """An event of a session of its own, signed now."""
    at = int(time.time())
    return delivery(timestamp=at, created_at=at - 4, session_id=str(uuid.uuid4()), event_id=str(uuid.uuid4())) | changes


async def test_what_is_acknowledged_is_in_the_topic_under_its_session(kafka: LocalKafka, tmp_path: Path) -> None:
    async with hooks(kafka, tmp_path, LOG__LEVEL="debug") as found:
        await found.start()
        sent = [fresh(vendor_data=f"Zoë Müller {n}", decision={"n": n, "share": 0.5}) for n in range(30)]
        statuses = await asyncio.gather(*(found.post(*signed(members)) for members in sent))
        assert statuses == [200] * 30
        assert [await found.post(*signed(members | {"event_id": str(uuid.uuid4())})) for members in sent[:3]] == [200] * 3
        only_simple = fresh()
        assert await found.post(*signed(only_simple, only="X-Signature-Simple")) == 200
        refused = fresh()
        assert await found.post(signed(refused)[0], {}) == 401
        assert await found.post(*signed(refused, secret="somebody-elses")) == 401
        assert await found.post(*signed(refused | {"timestamp": refused["timestamp"] - 400})) == 401
        assert await found.post(b"\xff\x00", {"X-Signature": "0" * 64}) == 400
        records = await found.records()
        assert {r.key.decode(): orjson.loads(r.value)["payload"] for r in records} == {
            **{members["session_id"]: members for members in sent},
            only_simple["session_id"]: None,
        }
        assert len(records) == 31
        await asyncio.to_thread(found.process.child.stop, 20.0)
        assert found.process.child.exit_status == 0
        text = found.process.log_path.read_text()
        assert "webhook_received" in text
        assert "webhook_refused" in text
        for planted in (sent[0]["session_id"], sent[0]["event_id"], "Müller", "M\\u00fcller", SECRET, "req-1", "Approved"):
            assert planted not in text, planted


async def test_a_restart_keeps_what_was_acknowledged_and_may_write_a_copy_of_the_same_meaning(kafka: LocalKafka, tmp_path: Path) -> None:
    async with hooks(kafka, tmp_path) as found:
        await found.start()
        members = fresh()
        assert await found.post(*signed(members)) == 200
        await asyncio.to_thread(found.process.child.kill)
        await found.start()
        assert await found.post(*signed(members | {"event_id": "another"})) == 200
        first, second = [orjson.loads(r.value) for r in await found.records()]
        assert first["semantic_key"] == second["semantic_key"]


async def test_a_rotation_of_secrets_needs_no_restart(kafka: LocalKafka, tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text("the-old-secret\n")
    async with hooks(kafka, tmp_path, WEBHOOKS__SECRETS_FILE=str(file)) as found:
        await found.start()
        assert await found.post(*signed(fresh(), secret="the-old-secret")) == 200
        assert await found.post(*signed(fresh(), secret="the-new-secret")) == 401
        for secrets, expected in (("the-new-secret\nthe-old-secret\n", [200, 200]), ("the-new-secret\n", [401, 200])):
            (tmp_path / "next").write_text(secrets)
            (tmp_path / "next").replace(file)
            assert [await found.post(*signed(fresh(), secret=s)) for s in ("the-old-secret", "the-new-secret")] == expected
        assert [event["count"] for event in found.process.events("webhook_secrets_changed")] == [2, 1]
        assert [event["rotation"] for event in found.process.events("webhook_received")] == [0, 1, 0, 0]


async def test_without_a_broker_a_receiver_stops_and_starts_asks_didit_to_come_again_and_writes_the_event_once(
    own_kafka: LocalKafka, tmp_path: Path
) -> None:
    async with hooks(own_kafka, tmp_path) as found:
        await found.start()
        first, members = fresh(), fresh()
        assert await found.post(*signed(first)) == 200, "the producer has been connected"
        (broker,) = own_kafka.brokers
        await asyncio.to_thread(broker.stop)
        assert await found.post(*signed(members)) == 503
        found.process.child.terminate()  # a receiver stops without any broker ...
        assert await asyncio.to_thread(found.process.child.wait, 60.0) == 0
        await found.start()  # ... and starts
        assert await found.post(*signed(members)) == 503
        broker.start()
        await asyncio.to_thread(own_kafka.wait_ready)
        again = members | {"timestamp": int(time.time())}
        assert await _until_taken(found, again) == 200
        assert await found.post(*signed(again)) == 200
        assert sorted(r.key.decode() for r in await found.records()) == sorted([first["session_id"], members["session_id"]])


async def test_while_the_broker_is_frozen_didit_is_answered_and_the_event_is_written_once(own_kafka: LocalKafka, tmp_path: Path) -> None:
    async with hooks(own_kafka, tmp_path) as found:
        await found.start()
        assert await found.post(*signed(fresh())) == 200
        (broker,) = own_kafka.brokers
        broker.freeze()
        members = fresh()
        try:
            assert await asyncio.gather(*(found.post(*signed(members)) for _ in range(3))) == [503] * 3
        finally:
            broker.thaw()
        assert await _until_taken(found, members) == 200
        assert [r.key.decode() for r in await found.records()].count(members["session_id"]) == 1


async def test_a_producer_is_built_anew_after_an_error_and_writes_nothing_that_was_given_up(own_kafka: LocalKafka, tmp_path: Path) -> None:
    async with hooks(own_kafka, tmp_path) as found:
        producer = EventProducer(found.settings)
        await producer.publish(b"k", b"{}")
        with pytest.raises(KafkaRequestError, match="MessageSizeTooLargeError"):
            await producer.publish(b"k", b"x" * 2 * found.settings.webhooks.event_bytes_max)
        await producer.publish(None, b"{}")
        (broker,) = own_kafka.brokers
        await asyncio.to_thread(broker.stop)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(producer.publish(b"given up", b"{}"), 2.0)
        async with asyncio.timeout(60):
            await producer.close()
        broker.start()
        await asyncio.to_thread(own_kafka.wait_ready)
        await producer.publish(b"k", b"{}")
        await producer.close()
        async with topic_reader(found.settings, [found.topic]) as consumer:
            records = [r for _ in range(3) for r in await read_topics(consumer, wait_s=1.0)]
        assert sorted(str(r.key) for r in records) == sorted(map(str, [b"k", None, b"k"]))
        left = [task.get_name() for task in asyncio.all_tasks() if "Sender" in str(task.get_coro())]
        assert left == [], "no sender is left behind"


async def test_a_start_that_cannot_work_says_why(kafka: LocalKafka, tmp_path: Path) -> None:
    async with hooks(kafka, tmp_path, apply=False) as found:
        found.process.start()
        assert await asyncio.to_thread(found.process.child.wait, 120.0) == 2
        (fault,) = found.process.events("topic_unusable")
        assert f"{found.topic}: does not exist; create it with `processor topics apply`" in fault["detail"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with hooks(kafka, tmp_path, WEBHOOKS__PORT=str(taken.getsockname()[1])) as found:
            found.process.start()
            assert await asyncio.to_thread(found.process.child.wait, 120.0) == 2
            assert list(found.process.events("webhooks_cannot_listen"))
    async with hooks(kafka, tmp_path, WEBHOOKS__SECRETS="[]") as found:
        found.process.start()
        assert await asyncio.to_thread(found.process.child.wait, 120.0) == 2
        assert "VP_WEBHOOKS__SECRETS: is missing (or set VP_WEBHOOKS__SECRETS_FILE)" in found.process.log_path.read_text()


_MEMORY_MB_MAX = 256  # the limit of deploy/k8s/components/webhooks


def _peak_mb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) // 1024


def _sent_away(process: ProcessorProcess) -> float:
    """Deliveries that were refused, and connections that were closed."""
    _, text = process.get("/metrics")
    names = (b"vp_webhooks_refused_total{", b"vp_connections_closed_total{")
    return sum(float(line.rsplit(b" ", 1)[1]) for line in text.splitlines() if line.startswith(names))


async def test_whoever_reaches_the_port_stops_no_honest_delivery_and_exhausts_no_memory(kafka: LocalKafka, tmp_path: Path) -> None:
    async with hooks(kafka, tmp_path) as found:
        await found.start()
        assert await found.post(*signed(fresh())) == 200
        program = Path(__file__).parent.parent / "webhook_attack.py"
        attack = await asyncio.create_subprocess_exec(sys.executable, str(program), found.url.split(":")[2].split("/")[0])
        try:
            async with asyncio.timeout(60.0):
                while await asyncio.to_thread(_sent_away, found.process) < 300:  # it is in full swing
                    await asyncio.sleep(0.1)
            for _ in range(10):
                assert await _until_taken(found, fresh()) == 200
        finally:
            attack.kill()
            await attack.wait()
        peak_mb = _peak_mb(found.process.child.pid)
        assert peak_mb < _MEMORY_MB_MAX, f"{peak_mb} MB"


async def _until_taken(found: Hooks, members: dict[str, Any]) -> int:
    """Send again as Didit does, only sooner, until the answer is no 503."""
    for _ in range(60):
        status = await found.post(*signed(members))
        if status != 503:
            return status
        await asyncio.sleep(0.5)
    return 503
