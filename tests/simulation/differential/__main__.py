"""The same random programs against the model of Kafka and against a real one: what they observe must be the same.

``python -m simulation.differential --seeds 100`` starts a real broker by itself; ``--show SEED`` prints a program with what both have
answered; ``--slow`` draws time-outs of transactions and sessions too. The last line is JSON, the status is 1 if there was a difference.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from typing import Any

from simulation import machine
from simulation.differential.compare import Compared, compare, on_the_model, run_programs

_TRANSACTIONS = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000"}  # 10 s else


def main() -> int:
    """Run them, tell."""
    parser = argparse.ArgumentParser(prog="python -m simulation.differential", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one")
    parser.add_argument("--slow", action="store_true", help="with time-outs of transactions and of sessions")
    parser.add_argument("--show", type=int, metavar="SEED", help="this one alone, whole")
    parser.add_argument("--model", metavar="SEEDS", help="these alone, against the model alone: JSON")
    options = parser.parse_args()
    if options.model is not None:
        return _model([int(seed) for seed in options.model.split(",")], slow=options.slow)
    seeds = [options.show] if options.show is not None else list(range(options.first, options.first + options.seeds))
    found = asyncio.run(_both(seeds, slow=options.slow))
    for one in found:
        sys.stdout.write(one.whole() if options.show is not None else one.difference())
    differ = [one.seed for one in found if one.differs]
    sys.stdout.write(json.dumps({"programs": len(found), "steps": sum(len(one.real) for one in found), "different": differ}) + "\n")
    return 1 if differ else 0


async def _both(seeds: list[int], *, slow: bool) -> list[Compared]:
    from processor.devkit.kafka_cluster import LocalKafka  # noqa: PLC0415 - the model needs none of it

    model = asyncio.create_task(on_the_model(seeds, slow=slow))
    with LocalKafka(overrides=_TRANSACTIONS) as kafka:
        real = await run_programs(kafka.bootstrap, seeds, slow=slow)
    return compare(seeds, real, await model)


def _model(seeds: list[int], *, slow: bool) -> int:
    machine.prepare()
    from simulation.plan import Plan  # noqa: PLC0415 - the machine is to be prepared first
    from simulation.world import build  # noqa: PLC0415 - the machine is to be prepared first

    world = build(1, Plan(brokers=1, replicas=0))
    world.coordination.groups.first_wait_s = 0.0  # as the tests' broker has it
    world.start_broker(0)
    run = world.network.hosts["caller"].spawn(run_programs("kafka-0:9092", seeds, slow=slow), "programs")

    async def wait() -> dict[int, Any]:
        return await run

    sys.stdout.write(json.dumps(world.loop.run_until_complete(wait())) + "\n")
    sys.stdout.flush()
    os._exit(0)  # the world is left as it stands


if __name__ == "__main__":
    sys.exit(main())
