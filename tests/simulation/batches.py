"""A caller that runs a file through `processor batch`, and the same command again whenever it has ended before its time."""

from __future__ import annotations

import asyncio
import csv
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from processor.client import batch
from processor.client.batch_source import read_batch
from processor.client.topics import publish_requests
from processor.stream.errors import KafkaFailedError
from simulation.asked import Asked
from simulation.clients import HOST_NAME, Heard

if TYPE_CHECKING:
    from simulation.world import World

_AGAIN_S = 1.0
_CHUNK, _SLOW_S = 3, 1.0  # a file of a few rows is published in parts, so that it can be interrupted, as a long one is


class Batches:
    """The caller of a world, over the lives of its process. Its files are real ones."""

    def __init__(self, world: World) -> None:
        self.asked, self.heard, self.rows = Asked(), list[Heard](), list[tuple[str, str]]()
        self._world, draw = world, random.Random(world.seed ^ 0xC11E)
        self._folder = Path(tempfile.mkdtemp(prefix="vp-world-"))
        self._source, self._target = self._folder / "people.jsonl", self._folder / draw.choice(("done.jsonl", "done.csv"))
        self._begins_s = world.loop.time() + draw.uniform(3.0, 12.0)  # disturbances fall into its beginning, too
        lines = [{"request_id": f"r-{number:04d}", **_request(draw, number)} for number in range(world.plan.requests)]
        self._source.write_bytes(b"\n".join(map(orjson.dumps, lines)))
        batch._CHUNK = _CHUNK  # noqa: SLF001 - a constant of the product
        setattr(batch, publish_requests.__name__, _publish_slowly)
        batch.Batch._lock = lambda *_: None  # type: ignore[method-assign]  # noqa: SLF001 - files of a process that was killed stay open here

    async def call(self) -> None:
        """One life of the process: the command, again and again until it has all results."""
        await asyncio.sleep(self._begins_s - self._world.loop.time())
        while not self.rows:
            found = read_batch(self._source, None)
            try:
                await batch.Batch(self._world.settings(HOST_NAME), self._target, found).run(lambda _: None)
            except KafkaFailedError:
                await asyncio.sleep(_AGAIN_S)
            else:
                self.asked.acknowledged = [item.request_id for item in found]
                self._hear()

    def _hear(self) -> None:
        """What its file tells; nothing else is left of it."""
        at_s = self._world.now_ms(HOST_NAME) / 1000
        if self._target.suffix == ".csv":
            with self._target.open(newline="", encoding="utf-8-sig") as file:
                self.rows = [(row["request_id"], row["status"]) for row in csv.DictReader(file)]
        else:
            lines = [orjson.loads(line) for line in self._target.read_bytes().splitlines()]
            self.rows = [(line["request_id"], line["status"]) for line in lines]
            self.heard = [Heard(line["request_id"], line["result_id"], at_s) for line in lines]
        left = {path.name for path in self._folder.iterdir()} - {self._source.name, self._target.name}
        assert not left, left
        shutil.rmtree(self._folder)


async def _publish_slowly(*args: Any) -> None:
    await asyncio.sleep(_SLOW_S)
    await publish_requests(*args)
    await asyncio.sleep(_SLOW_S)


def _request(draw: random.Random, number: int) -> dict[str, object]:
    if draw.random() < 0.5:
        return {"operation": "email.send", "input": {"email": f"planted-person-{number}@example.com"}}
    what = {"issuing_state": "BRA", "identification_number": f"Planted-Person-{number}"}
    return {"operation": "database_validation", "input": what}
