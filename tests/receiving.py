"""The webhook receiver on a loopback socket, with a publisher that keeps what it is given, fails or hangs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from signing import NOW, SECRET

from processor.observe.metrics import APPLICATION, REGISTRY
from processor.runtime.http_server import listening
from processor.stream.errors import KafkaUnavailableError
from processor.webhooks.receiver import ReceiverLimits, build_receiver


class Topic:
    """A publisher that keeps what it is given; ``mood`` decides what happens first."""

    def __init__(self) -> None:
        self.written: list[tuple[bytes | None, dict[str, Any]]] = []
        self.calls = 0
        self.go = asyncio.Event()
        self.mood = "ok"

    async def publish(self, key: bytes | None, value: bytes) -> None:
        self.calls += 1
        if self.mood == "fails":
            raise KafkaUnavailableError("no broker")
        if self.mood == "raises":
            raise ValueError("Zoë Müller")
        if self.mood == "hangs":
            await self.go.wait()
        self.written.append((key, orjson.loads(value)))


class Post:
    """A client of the receiver."""

    def __init__(self, topic: Topic, url: str, session: aiohttp.ClientSession) -> None:
        self.topic, self.url, self.session = topic, url, session
        self._before = _counted()

    def counted(self, metric: str) -> dict[str, int]:
        """What ``vp_<metric>_total`` has counted since the start, by its label; what it has not counted is left out."""
        return {label: count for (name, label), count in (_counted() - self._before).items() if name == f"vp_{metric}_total"}

    async def __call__(self, body: Any, headers: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        async with self.session.post(self.url, data=body, headers=headers) as answer:
            assert answer.content_type == "application/json"
            return answer.status, await answer.json()


def _counted() -> Counter[tuple[str, str]]:
    """Of all applications: other tests may have made some."""
    found = Counter[tuple[str, str]]()
    for sample in (sample for metric in REGISTRY.collect() for sample in metric.samples):
        if sample.name.startswith("vp_webhook"):
            found[sample.name, "".join(value for name, value in sample.labels.items() if name != APPLICATION)] += int(sample.value)
    return found


@asynccontextmanager
async def receiving(*, now: Callable[[], float] = lambda: NOW, secrets: tuple[str, ...] = (SECRET,), **limits: Any) -> AsyncIterator[Post]:
    topic = Topic()
    app = build_receiver(topic.publish, lambda: tuple(s.encode() for s in secrets), limits=ReceiverLimits(**limits), now=now)
    async with listening(app, "127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
        yield Post(topic, f"http://127.0.0.1:{port}/webhooks/didit", session)
