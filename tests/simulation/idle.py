"""What a replica does that has nothing to do: `python -m simulation.idle` prints how often it wakes and asks Kafka in a minute, as JSON.

Counted in virtual time, so no machine decides it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import Any

from simulation import machine

machine.prepare()  # before the product is imported: default arguments keep the clock of that moment

from processor.stream.topics_admin import apply_topics  # noqa: E402 - see above
from simulation.kafka.broker import Broker  # noqa: E402 - see above
from simulation.loop import Host, SimulatedLoop  # noqa: E402 - see above
from simulation.plan import Plan  # noqa: E402 - see above
from simulation.world import World, build  # noqa: E402 - see above

_PLAN = Plan(brokers=1, replicas=1, partitions=6, requests=0)
_SETTLE_S, _WATCH_S = 20.0, 60.0
_APART_S = 0.001  # a turn of the loop that comes later is another wake-up


class _Watch:
    """Counts what replicas do while it is on."""

    def __init__(self, loop: SimulatedLoop, replicas: list[str]) -> None:
        self.on, self.wakeups, self.asked = False, 0, Counter[str]()
        self._loop = loop
        run = loop._run_ready  # noqa: SLF001 - the simulation's own
        self._last = dict.fromkeys(replicas, 0.0)
        loop._run_ready = lambda count, **_: run(count, noted=True)  # type: ignore[method-assign]  # noqa: SLF001 - as above
        loop._note_step = self._note_step  # type: ignore[method-assign]  # noqa: SLF001 - as above

    def _note_step(self, handle: asyncio.Handle, host: Host | None) -> None:
        if host is not None and host.name in self._last and not handle.cancelled():
            now = self._loop.time()
            self.wakeups += self.on and now - self._last[host.name] > _APART_S
            self._last[host.name] = now

    def note_request(self, request: Any) -> None:
        """A broker was asked."""
        if self.on:
            self.asked[type(request).__name__.partition("_")[0]] += 1


class _CountingBroker(Broker):
    watch: _Watch

    async def answer(self, request: Any) -> Any:
        self.watch.note_request(request)
        return await super().answer(request)


async def _idle(world: World) -> dict[str, Any]:
    watch = _CountingBroker.watch = _Watch(world.loop, world.replicas)
    broker = _CountingBroker(0, world.cluster, world.coordination)
    world.network.hosts[world.cluster.names[0]].spawn(broker.serve(), "broker")
    await world.network.hosts["operator"].spawn(
        apply_topics(world.settings("operator"), partitions=_PLAN.partitions, replication=1), "topics apply"
    )
    for name in world.replicas:
        world.start_process(name)
    await asyncio.sleep(_SETTLE_S)
    watch.on = True
    await asyncio.sleep(_WATCH_S)
    return {"wakeups": watch.wakeups, "requests": watch.asked.total(), "of_them": dict(watch.asked.most_common())}


def main() -> None:
    """Run the world, tell."""
    world = build(0, _PLAN)
    sys.stdout.write(json.dumps(world.loop.run_until_complete(_idle(world))) + "\n")


if __name__ == "__main__":
    main()
