"""The commands as a person types them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from commands import run_command
from rig import create_request, running

from processor.client.batch import Batch
from processor.client.batch_source import read_batch
from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker


def processor(*arguments: str, typed: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("VP_")}
    return subprocess.run(
        [sys.executable, "-m", "processor", *arguments],
        env={**clean, **environment},
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_topics_publish_and_results(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, apply=False) as rig:
        environment = {k: v for k, v in rig.environment.items() if k.startswith("VP_")}
        missing = await asyncio.to_thread(processor, "topics", "check", **environment)
        assert missing.returncode == 2
        assert "processor topics apply" in missing.stderr
        refused = rig.processor("refused")
        refused.start()
        assert await asyncio.to_thread(refused.child.wait, 120.0) == 2
        assert list(refused.events("topic_unusable"))
        applied = await asyncio.to_thread(processor, "topics", "apply", "--partitions", "3", "--replication", "1", **environment)
        assert applied.returncode == 0, applied.stderr
        assert f"created {rig.prefix}.requests" in applied.stdout
        again = await asyncio.to_thread(processor, "topics", "apply", "--partitions", "3", "--replication", "1", **environment)
        assert again.stdout.strip() == "all topics exist"
        assert (await asyncio.to_thread(processor, "topics", "check", **environment)).returncode == 0
        fewer = await asyncio.to_thread(processor, "topics", "check", **{**environment, "VP_RETRY__DELAYS_S": "[1]"})
        assert fewer.returncode == 2
        assert "VP_RETRY__DELAYS_S does not name" in fewer.stderr

        requests = tmp_path / "requests.jsonl"
        lines = [create_request(n)[1] for n in range(5)]
        requests.write_bytes(b"\n".join([*lines, b"", b'{"request_id":"x"}', b"{"]))
        bad = await asyncio.to_thread(processor, "publish", str(requests), **environment)
        assert bad.returncode == 2
        assert "line 7: missing_field at " in bad.stderr
        assert "line 8: not_json" in bad.stderr
        requests.write_bytes(b"\n".join(lines))
        good = await asyncio.to_thread(processor, "publish", str(requests), **environment)
        assert good.returncode == 0, good.stderr
        assert "published 5 requests" in good.stdout
        await rig.start("a")
        await rig.wait_finals(5)
        printed = await asyncio.to_thread(processor, "results", **environment)
        found = [orjson.loads(line) for line in printed.stdout.splitlines()]
        assert {r["request_id"] for r in found} == {f"r-{n:06d}" for n in range(5)}
        narrow = await asyncio.to_thread(
            processor, "results", "--operation", "session.create", "--status", "succeeded", "--since", "1h", "--limit", "2", **environment
        )
        assert len(narrow.stdout.splitlines()) == 2
        for none in (("--operation", "aml"), ("--status", "failed"), ("--since", "2200-01-01T00:00:00Z")):
            assert (await asyncio.to_thread(processor, "results", *none, **environment)).stdout == ""
        piped = await asyncio.to_thread(processor, "publish", "-", "--json", typed=lines[0].decode(), **environment)
        assert orjson.loads(piped.stdout) == {"published": 1, "topic": f"{rig.prefix}.requests"}


async def test_wrong_topics_are_refused_by_name(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, apply=False) as rig:
        admin = AIOKafkaAdminClient(bootstrap_servers=rig.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(f"{rig.prefix}.dead-letters", 1, 1, topic_configs={"cleanup.policy": "compact"})])
        await admin.close()
        environment = {k: v for k, v in rig.environment.items() if k.startswith("VP_")}
        applied = await asyncio.to_thread(processor, "topics", "apply", "--replication", "1", **environment)
        assert applied.returncode == 2
        assert f"{rig.prefix}.dead-letters: cleanup.policy is compact" in applied.stderr


@pytest.mark.parametrize(
    ("changed", "topic"),
    [({"VP_RETRY__DELAYS_S": "[1]"}, ".retry."), ({"VP_PRIVACY__LONGEST_DAYS": "1"}, ".dead-letters")],
    ids=["nobody reads it", "keeps for too long"],
)
async def test_apply_ends_as_check_does_where_a_person_is_needed(
    kafka: LocalKafka, tmp_path: Path, changed: dict[str, str], topic: str
) -> None:
    async with running(kafka, tmp_path) as rig:
        environment = {k: v for k, v in rig.environment.items() if k.startswith("VP_")} | changed
        commands = (("check",), ("apply", "--partitions", "3", "--replication", "1"))
        checked, applied = [await run_command(environment, "topics", *command) for command in commands]
        assert (checked.status, applied.status) == (2, 2)
        assert checked.err == applied.err
        assert f"{rig.prefix}{topic}" in applied.err


def test_a_start_that_cannot_work_says_everything_at_once() -> None:
    done = processor("run", VP_DIDIT__BASE_URL="http://x", VP_BUDGET__QUEUE_MAX="0", VP_LOG__LEVEL="x")
    assert done.returncode == 2
    for variable in ("VP_DIDIT", "VP_BUDGET__QUEUE_MAX", "VP_LOG__LEVEL"):
        assert variable in done.stderr
    assert "Traceback" not in done.stderr
    assert "VP_DIDIT__API_KEY" in processor("run").stderr


def test_brokers_that_do_not_answer_are_named() -> None:
    done = processor("topics", "check", VP_KAFKA__BOOTSTRAP="127.0.0.1:1")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_simulator_options_are_named() -> None:
    done = processor("simulate", "--faults", '{"rates":{"gremlins":1}}')
    assert done.returncode == 2
    assert "gremlins" in done.stderr


async def test_a_batch_takes_no_answer_of_another_request_under_its_id(kafka: LocalKafka, tmp_path: Path) -> None:
    """Both are answered while it waits: one of them is a conflict, whichever was first."""
    source, target = tmp_path / "people.jsonl", tmp_path / "done.jsonl"
    row = {"request_id": "b-1", "operation": "aml", "input": {"full_name": "Ann"}}
    source.write_text(json.dumps(row) + "\n")
    async with running(kafka, tmp_path) as rig:
        batch = asyncio.create_task(Batch(rig.settings, target, read_batch(source, None)).run(lambda _: None))
        try:
            await rig.publish([(b"k", json.dumps(row | {"input": {"full_name": "Bob"}}).encode())])
            async with asyncio.timeout(60):
                while len(await rig.records("requests")) < 2:
                    await asyncio.sleep(0.05)
            await rig.start("a")
            ended = await asyncio.wait_for(batch, 60)
        finally:
            batch.cancel()
            await asyncio.wait({batch})
        [mine] = map(orjson.loads, target.read_bytes().splitlines())
        [request] = [r for r in await rig.records("requests") if b"Ann" in (r.value or b"")]
        assert mine["source"] == {"topic": request.source.topic, "partition": request.source.partition, "offset": request.source.offset}
        assert (ended.done, ended.compares) == ({mine["status"]: 1}, True)


async def test_a_batch_goes_on_where_it_was_killed(kafka: LocalKafka, tmp_path: Path) -> None:
    slow = ["--faults", '{"latency_s": {"median": 0.2, "sigma": 0.2, "max": 1}}']
    async with running(kafka, tmp_path, simulator_options=slow, DIDIT__CALLS_MAX="4") as rig:
        await rig.start("a")
        source, target = tmp_path / "people.csv", tmp_path / "out.jsonl"
        rows = [f"Person {n},u-{n}" for n in range(120)]
        source.write_text("input.full_name,input.vendor_data\n" + "\n".join([*rows, "Ann Hit,u-hit"]) + "\n")
        argv = [sys.executable, "-m", "processor", "batch", str(source), str(target), "--operation", "aml"]
        child = await asyncio.create_subprocess_exec(*argv, env={**os.environ, **rig.environment}, stderr=asyncio.subprocess.PIPE)
        await rig.until(lambda: target.exists() and target.read_bytes().count(b"\n") >= 10, "10 lines")
        child.kill()
        await child.wait()
        with target.open("ab") as out:
            out.write(b'{"cut')  # as if it had died in the middle of a line
        child = await asyncio.create_subprocess_exec(*argv, env={**os.environ, **rig.environment}, stderr=asyncio.subprocess.PIPE)
        _, told = await asyncio.wait_for(child.communicate(), 60)
        assert child.returncode == 0, told.decode()
        assert b"121 of 121 requests: 121 succeeded" in told
        lines = [orjson.loads(line) for line in target.read_bytes().splitlines()]
        assert len({line["request_id"] for line in lines}) == len(lines) == 121
        assert [line["output"]["aml"]["status"] for line in lines if line["output"]["vendor_data"] == "u-hit"] == ["In Review"]
        assert len(rig.simulator.ledger()["checks"]) == 121, "nothing was asked for twice"
        assert not (tmp_path / "out.jsonl.state").exists()
        child = await asyncio.create_subprocess_exec(*argv, env={**os.environ, **rig.environment}, stderr=asyncio.subprocess.PIPE)
        _, told = await asyncio.wait_for(child.communicate(), 60)
        assert (child.returncode, b"name another file" in told) == (2, True)
        source.write_text(source.read_text() + "Somebody New,u-new\n")  # the file of the next day
        argv[5] = str(tmp_path / "next.csv")
        child = await asyncio.create_subprocess_exec(*argv, env={**os.environ, **rig.environment}, stderr=asyncio.subprocess.PIPE)
        _, told = await asyncio.wait_for(child.communicate(), 60)
        assert (child.returncode, b"122 of 122 requests: 122 succeeded" in told, b"done before: 121." in told) == (0, True, True)
        assert len((tmp_path / "next.csv").read_text().splitlines()) == 123
        assert len(rig.simulator.ledger()["checks"]) == 122, "one person is new"


def test_a_full_folder_for_temporary_files_is_told_without_a_traceback(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("request_id,operation,input.full_name\n" + "".join(f"r-{n},aml,Ann {n}\n" for n in range(2000)))
    command = [sys.executable, "-m", "processor", "batch", str(rows), "--dry-run"]
    small = ["bash", "-c", 'ulimit -f 16; exec "$@"', "bash", *command]  # no file grows beyond 16 kB
    told = subprocess.run(small, capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stderr.count("\n")) == (2, 1)
    assert "(TMPDIR)" in told.stderr
    assert "nothing was published" in told.stderr
