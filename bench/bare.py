"""The loop that a good engineer writes by hand: getmany, POST with aiohttp, send the result, commit. No promises beyond that."""

from __future__ import annotations

import asyncio
import os
import uuid

import aiohttp
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

CONCURRENCY = int(os.environ["BENCH_CONCURRENCY"])
COMMIT_S = 0.5


async def main() -> None:
    bootstrap, url, prefix = os.environ["VP_KAFKA__BOOTSTRAP"], os.environ["VP_DIDIT__BASE_URL"], os.environ["VP_KAFKA__TOPIC_PREFIX"]
    consumer = AIOKafkaConsumer(
        f"{prefix}.requests", bootstrap_servers=bootstrap, group_id=f"{prefix}-bare", enable_auto_commit=False, auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5, max_batch_size=262_144)
    await consumer.start()
    await producer.start()
    slots = asyncio.Semaphore(CONCURRENCY)
    headers = {"x-api-key": "sim-key", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work(value: bytes) -> None:
            request = orjson.loads(value)
            async with slots, session.post(f"{url}/v3/session/", data=orjson.dumps(request["input"]), headers=headers) as response:
                answer = orjson.loads(await response.read())
            result = {"result_id": str(uuid.uuid4()), "request_id": request["request_id"], "status": "succeeded", "output": answer}
            await (await producer.send(f"{prefix}.results", orjson.dumps(result), request["request_id"].encode()))

        committed_at = asyncio.get_running_loop().time()
        tasks: set[asyncio.Task[None]] = set()
        while True:
            for batch in (await consumer.getmany(timeout_ms=100, max_records=500)).values():
                for record in batch:
                    task = asyncio.create_task(work(record.value))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            while len(tasks) > 2 * CONCURRENCY:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            now = asyncio.get_running_loop().time()
            if now - committed_at > COMMIT_S:
                if tasks:
                    await asyncio.wait(set(tasks))  # so that the committed position is done
                await consumer.commit()
                committed_at = now


uvloop.run(main())
