"""The callers of a world: they publish each request until the brokers have acknowledged it.

Where the plan says so (``vary``) they also do what callers do: ask again, also with another content, take back, have doubts repeated, and
write what breaks the contract.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from processor.stream.topics import topic_names
from simulation import machine
from simulation.applications import Addresses
from simulation.asked import Asked
from simulation.loop import START_S
from simulation.starving import Published

if TYPE_CHECKING:
    from simulation.world import World

WORKFLOW = "9f9b1234-0000-4000-8000-1234567890ab"
_PRIORITIES = ("urgent", "normal", "bulk")
_MIXED_ATTEMPTS = 2  # at least, where settings differ
_LATER_S = (0.0, 1.0, 20.0)  # in the mean, until something more is published for a request


class Callers:
    """Publish the requests of a world. ``vary``: and what else callers do."""

    def __init__(self, world: World, *, vary: bool) -> None:
        self.asked = Asked(attempts_max=_MIXED_ATTEMPTS if world.plan.mixed else world.plan.attempts_max)
        self._world, self._plan, self._vary = world, world.plan, vary
        self._draw = random.Random(world.seed ^ 0xCA11)  # of what varies; seeds mean the same without it
        self._topics = [(begins, topic_names(world.settings("caller", begins)).requests) for begins in world.installations]
        self._addresses = Addresses(world.applications, world.seed) if world.plan.beside else None

    async def call(self) -> None:
        """Publish everything; to be run on the callers' host."""
        plan, draw = self._plan, self._world.draw
        bootstrap = self._world.settings("caller").kafka.bootstrap
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
        await producer.start()
        async with asyncio.TaskGroup() as more:
            for number in range(plan.requests):
                if number == plan.requests // 2:
                    await asyncio.sleep(plan.idle_s)
                request_id = f"r-{number:04d}"
                for begins, topic in self._topics:
                    document = self._request(number, request_id)
                    if self._vary:
                        self._varied(document)
                        for record in self._further(request_id, number, document):
                            more.create_task(self._later(producer, topic, *record))
                    await self._publish(producer, topic, b"user-%d" % number, document, request_id)
                    self.asked.acknowledged.append(f"{begins}{request_id}")
                await asyncio.sleep(draw.expovariate(1.0 / plan.every_s))
        await producer.stop()

    def _request(self, number: int, request_id: str) -> dict[str, Any]:
        world, plan = self._world, self._plan
        operation = world.draw.choice(plan.operations)
        what: dict[str, Any] = {
            "verification": {"workflow_id": WORKFLOW, "vendor_data": f"Planted-Person-{number}"},
            "session.create": {"workflow_id": WORKFLOW, "vendor_data": f"Planted-Person-{number}"},
            "aml": {"full_name": f"Planted-Person-{number}"},
            "ip.risk": {"ip_address": f"203.0.113.{number % 250 + 1}"},
            "email.send": {"email": f"planted-person-{number}@example.com"},
            "database_validation": {"issuing_state": "BRA", "identification_number": f"Planted-Person-{number}"},
        }[operation]
        document = {"request_id": request_id, "operation": operation, "input": what}
        if plan.bulk and world.draw.random() < plan.bulk:
            document["priority"] = "bulk"
        if world.draw.random() < plan.deadlines:
            expires_s = machine.EPOCH_S + world.loop.time() - START_S + world.draw.uniform(2.0, 60.0)
            document["deadline"] = datetime.fromtimestamp(expires_s, UTC).isoformat()
        return document

    def _varied(self, document: dict[str, Any]) -> None:
        draw = self._draw
        if draw.random() < 0.3:
            document["priority"] = draw.choice(_PRIORITIES)
        if draw.random() < 0.3:
            document["tenant"] = f"tenant-{draw.randrange(3)}"
        if draw.random() < 0.2:
            document["on_doubt"] = "repeat"
            self.asked.repeated.add(document["request_id"])
        if "deadline" in document:
            self.asked.expiring.add(document["request_id"])

    def _further(self, request_id: str, number: int, document: dict[str, Any]) -> list[tuple[bytes, Any, str]]:
        """Key, content and id of what else is published for a request."""
        draw, key, found = self._draw, b"user-%d" % number, list[tuple[bytes, Any, str]]()
        if draw.random() < 0.4:
            # also under another key, so in another partition
            found += [(draw.choice((key, b"again-%d" % draw.randrange(99))), document, "") for _ in range(draw.choice((1, 1, 3)))]
        if draw.random() < 0.1:
            self.asked.conflicts.add(request_id)
            other = {"request_id": request_id, "operation": "ip.risk", "input": {"ip_address": f"203.0.113.{250 - number}"}}
            found.append((draw.choice((key, b"other-%d" % number)), other, ""))
        if draw.random() < 0.25:
            cancel_id = f"c-{number:04d}"
            self.asked.cancels[cancel_id] = request_id
            cancel = {"request_id": cancel_id, "operation": "cancel", "input": {"request_id": request_id}}
            found.append((cancel_id.encode(), cancel, cancel_id))
        if draw.random() < 0.15:
            wrong_id = f"w-{number:04d}"
            wrong = draw.choice(({"operation": "none", "input": {}}, {"operation": "aml", "input": {}}, {"operation": "aml"}))
            found.append((key, {"request_id": wrong_id, **wrong}, wrong_id))
        return found

    async def _later(self, producer: AIOKafkaProducer, topic: str, key: bytes, document: Any, request_id: str) -> None:
        """Publish something more; ``request_id``: whose final result is to be waited for, if it is not waited for already."""
        await asyncio.sleep(self._draw.choice(_LATER_S) * self._draw.uniform(0.0, 2.0))
        await self._publish(producer, topic, key, document, "")
        if request_id:
            self.asked.acknowledged.append(request_id)

    async def _publish(self, producer: AIOKafkaProducer, topic: str, key: bytes | None, document: Any, request_id: str) -> None:
        headers: list[tuple[str, bytes]] = []
        if self._addresses is not None:
            topic, key, document, headers = self._addresses.addressed(key, document)
        self.asked.places.setdefault(document["request_id"], set()).add(topic)
        value = orjson.dumps(document)
        while True:
            try:
                await producer.send_and_wait(topic, value, key=key, timestamp_ms=self._world.now_ms("caller"), headers=headers)
            except KafkaError as exc:
                self._world.timeline.add(f"publishing {document['request_id']} again: {type(exc).__name__}", "caller")
            else:
                break
        if self._plan.bulk and request_id:
            at_s = machine.EPOCH_S + self._world.loop.time() - START_S
            self.asked.published[request_id] = Published(at_s, document.get("priority", "normal"))
