"""Every broker comes back under another address, and only the bootstrap name still leads to it: work goes on without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from rig import create_request, running

from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker

WITHIN_S = 60.0
LINES_MAX = 40  # of a processor, over the whole outage; aiokafka alone says hundreds


class BootstrapName:
    """A port that always leads to where the broker is, as a name in DNS does."""

    def __init__(self, target: int) -> None:
        self.target, self.port = target, 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        for one, other in ((reader, back), (there, writer)):
            task = asyncio.create_task(self.pipe(one, other))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.close()


@asynccontextmanager
async def bootstrap_name(target: int) -> AsyncIterator[BootstrapName]:
    name = BootstrapName(target)
    server = await asyncio.start_server(name.connected, "127.0.0.1", 0)
    name.port = server.sockets[0].getsockname()[1]
    try:
        yield name
    finally:
        server.close()
        for task in name.tasks:
            task.cancel()


async def test_work_goes_on_where_the_brokers_have_gone(own_kafka: LocalKafka, tmp_path: Path, other_port: int) -> None:
    (broker,) = own_kafka.brokers
    async with (
        bootstrap_name(broker.ports.client) as name,
        running(SimpleNamespace(bootstrap=f"127.0.0.1:{name.port}"), tmp_path, partitions=1) as rig,
    ):
        (replica,) = await rig.start("a")
        await rig.publish([create_request(1)])
        await rig.wait_finals(1)
        before = len(list(replica.events()))
        await asyncio.to_thread(broker.stop)
        broker.move(other_port)
        broker.start()
        await asyncio.to_thread(own_kafka.wait_ready)
        name.target = broker.ports.client
        await rig.publish([create_request(2)])
        await rig.wait_finals(2, within_s=WITHIN_S)
        assert replica.child.alive
        assert len(list(replica.events("brokers_moved"))) == 1
        assert len(list(replica.events())) - before < LINES_MAX
