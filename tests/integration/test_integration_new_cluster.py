"""What commands say of a Kafka that is none, and of one that is new: brokers, and not a topic yet."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from commands import run_command

from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import processor_environment

COMMANDS = [
    ("status",), ("lag",), ("budget",), ("results",), ("results", "find", "r-1"), ("retry", "list"), ("deadletters", "list"), ("verify",),
    ("pause", "--all", "--reason", "x", "--yes"), ("person", "find", "--vendor-data", "u-1"), ("topics", "check"), ("publish",),
]  # fmt: skip


@pytest.fixture(scope="module")
def new_kafka() -> Iterator[LocalKafka]:
    """A broker that nobody has asked for anything."""
    if os.environ.get("KAFKA_BOOTSTRAP"):
        pytest.skip("KAFKA_BOOTSTRAP is set")
    with LocalKafka() as cluster:
        yield cluster


@asynccontextmanager
async def web_server() -> AsyncIterator[str]:
    """The address of a server that speaks HTTP."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
async def test_a_new_cluster_is_told_to_have_no_topics(new_kafka: LocalKafka, tmp_path: Path, words: tuple[str, ...]) -> None:
    requests = tmp_path / "requests.jsonl"
    requests.write_bytes(orjson.dumps({"request_id": "r-1", "operation": "aml", "input": {"full_name": "Zoe Example"}}))
    given = (*words, str(requests)) if words == ("publish",) else words
    told = await run_command(processor_environment(new_kafka.bootstrap, "http://127.0.0.1:1", "new"), *given)
    said = " ".join((told.text + told.err).split())
    assert "new." in said, said
    assert "does not answer" not in said
    assert "`processor topics apply`" in said or words == ("lag",)
    assert told.status == {"verify": 2, "topics": 2, "publish": 2, "lag": 0}.get(words[0], 1)


@pytest.mark.parametrize("words", [("status",), ("topics", "check"), ("check", "--json")], ids=" ".join)
async def test_an_http_server_is_no_kafka(words: tuple[str, ...]) -> None:
    async with web_server() as address:
        told = await run_command(processor_environment(address, "http://127.0.0.1:1", "v"), *words)
    said = " ".join((told.text + told.err).split())
    assert told.status == 1
    assert address in said
    assert "an HTTP server listens" in said
