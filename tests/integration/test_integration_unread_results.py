"""Results in a batch that nobody can decode are named, and hold up no command and no client; so are requests that results are held to."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pytest
from commands import run_command
from rig import Rig, running
from test_integration_blocked import break_checksum, break_header, make_too_long, spoil

from processor.client.known_results import of_same_content
from processor.contract.decode import Accepted, decode
from processor.contract.digests import content_digest
from processor.contract.records import Unread
from processor.devkit.kafka_cluster import LocalKafka
from processor.stream.partitions import TopicPartition
from processor.stream.topic_reader import TopicReader

pytestmark = pytest.mark.broker


def request(number: int) -> bytes:
    return orjson.dumps({"request_id": f"r-{number}", "operation": "email.send", "input": {"email": f"a{number}@example.com"}})


async def _answered(rig: Rig, count: int) -> list[int]:
    """Requests that were answered one after the other; where their results stand."""
    for number in range(count):
        await rig.publish([(b"k", request(number))])
        await rig.wait_finals(number + 1)
    await rig.read_rest()
    return [record.source.offset for record in await rig.records("results")]


def _no_external(kafka: LocalKafka) -> None:
    if kafka.external:
        pytest.skip("KAFKA_BOOTSTRAP is set: the log of a broker cannot be broken; unset it to let a local one be started")


async def test_unreadable_results_are_named_and_hold_up_nobody(kafka: LocalKafka, tmp_path: Path) -> None:
    _no_external(kafka)
    async with running(kafka, tmp_path, partitions=1) as rig:
        await rig.start("one")
        offsets = await _answered(rig, 5)
        topic, requests = f"{rig.prefix}.results", f"{rig.prefix}.requests"
        spoil(kafka, topic, 0, offsets[1], break_checksum)
        spoil(kafka, topic, 0, offsets[2], break_header)
        spoil(kafka, requests, 0, 2, break_header)

        told = await run_command(rig.environment, "results")
        assert [json.loads(line)["request_id"] for line in told.out.splitlines()] == ["r-0", "r-3", "r-4"]
        assert (told.status, told.err.count(f"{topic}[0]: offsets {offsets[1]} to {offsets[1]} cannot be read")) == (1, 1)
        assert f"offsets {offsets[2]} to" in told.err

        found = await run_command(rig.environment, "results", "find", "r-3", "--json")
        assert (found.status, b"succeeded" in found.out) == (0, True), found.err
        assert sum("wrong checksum" in note for note in json.loads(found.out)["notes"]) == 2

        source, target = tmp_path / "people.jsonl", tmp_path / "done.jsonl"
        source.write_bytes(b"\n".join(request(number) for number in (0, 3, 9)) + b"\n")
        batch = await run_command(rig.environment, "batch", str(source), str(target), "--json")
        assert batch.status == 0, batch.err
        ended = json.loads(batch.out)
        assert (ended["known"], ended["by_status"], ended["unread_batches"]) == (2, {"succeeded": 3}, 3)
        assert f"{topic}[0]: offsets {offsets[1]} to" in batch.err


async def test_an_unreadable_end_of_the_results_ends_what_reads_to_the_end(kafka: LocalKafka, tmp_path: Path) -> None:
    _no_external(kafka)
    async with running(kafka, tmp_path, partitions=1) as rig:
        await rig.start("one")
        offsets = await _answered(rig, 3)
        spoil(kafka, f"{rig.prefix}.results", 0, offsets[1], make_too_long)
        told = await run_command(rig.environment, "results")
        assert [json.loads(line)["request_id"] for line in told.out.splitlines()] == ["r-0"]
        assert (told.status, f"nothing can be read from offset {offsets[1]} on" in told.err) == (1, True)
        found = await run_command(rig.environment, "results", "find", "r-0", "--json")
        assert (found.status, b"succeeded" in found.out) == (0, True), found.err


async def test_results_are_compared_beside_requests_that_nobody_can_read(kafka: LocalKafka, tmp_path: Path) -> None:
    _no_external(kafka)
    async with running(kafka, tmp_path, partitions=1) as rig:
        for number in range(4):
            await rig.publish([(b"k", request(number))])
        topic, unread = f"{rig.prefix}.requests", list[tuple[TopicPartition, Unread]]()
        tp = TopicPartition(topic, 0)
        contents = [
            content_digest(found.request) for record in await rig.records("requests") if isinstance(found := decode(record), Accepted)
        ]
        spoil(kafka, topic, 0, 1, break_header)
        spoil(kafka, topic, 0, 2, break_checksum)
        async with TopicReader(rig.settings, lambda *one: unread.append(one)) as reader:
            asked = [((tp, offset), content) for offset, content in enumerate(contents)] + [((tp, 3), contents[0])]
            assert await of_same_content(reader, topic, asked) == [True, True, True, True, False]
        assert {each.first for _, each in unread} == {1, 2}
