"""A caller that waits for its results through the product's own client.

Its process may end; the next one asks again for what it has no result of.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, NamedTuple

from processor.client.client import VerificationClient
from processor.client.errors import BrokersUnavailableError, ResultTimeoutError
from simulation.asked import Asked

if TYPE_CHECKING:
    from simulation.world import World

HOST_NAME = "caller"
_AGAIN_S = 1.0
_ASKS_MAX = 6
_TIMEOUTS_S = (20.0, 60.0, 150.0)


class Heard(NamedTuple):
    """What a caller was told, and when: the id of a result, or none in time."""

    request_id: str
    result_id: str | None
    at_s: float


class Clients:
    """The caller of a world, over the lives of its process."""

    def __init__(self, world: World) -> None:
        self.asked, self.heard = Asked(), list[Heard]()
        self._world, draw, plan = world, random.Random(world.seed ^ 0xC11E), world.plan
        at_s, self._open = 0.0, dict[str, tuple[float, str, dict[str, Any]]]()
        for number in range(plan.requests):
            at_s += draw.expovariate(1.0 / plan.every_s)
            operation = draw.choice(("email.send", "database_validation"))
            given = {
                "email.send": {"email": f"planted-person-{number}@example.com"},
                "database_validation": {"issuing_state": "BRA", "identification_number": f"Planted-Person-{number}"},
            }[operation]
            self._open[f"r-{number:04d}"] = (at_s, operation, given)
        self._began_s = world.loop.time()

    async def call(self) -> None:
        """One life of the process."""
        while self._open:
            try:
                async with VerificationClient(kafka=self._world.settings(HOST_NAME).kafka) as client, asyncio.TaskGroup() as group:
                    for request_id in self._open:
                        group.create_task(self._ask(client, request_id))
            except* BrokersUnavailableError:
                await asyncio.sleep(_AGAIN_S)

    async def _ask(self, client: VerificationClient, request_id: str) -> None:
        at_s, operation, given = self._open[request_id]
        await asyncio.sleep(at_s - (self._world.loop.time() - self._began_s))
        draw = random.Random(f"{self._world.seed} {request_id}")
        for _ in range(_ASKS_MAX):
            try:
                result = await client.request(operation, given, timeout_s=draw.choice(_TIMEOUTS_S), request_id=request_id)
            except ResultTimeoutError:
                self._note(request_id, None)
            except BrokersUnavailableError:
                await asyncio.sleep(_AGAIN_S)
            else:
                self._note(request_id, result.result_id)
                break
        self.asked.acknowledged.append(request_id)  # what it was never told is waited for, too
        del self._open[request_id]

    def _note(self, request_id: str, result_id: str | None) -> None:
        self.heard.append(Heard(request_id, result_id, self._world.now_ms(HOST_NAME) / 1000))


def restart(world: World) -> None:
    """End the caller's process and begin another one."""
    world.kill(HOST_NAME)
    world.network.revive(HOST_NAME)
    world.start_calling()
