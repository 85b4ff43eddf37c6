"""The simulation's model of Kafka and the real one show a client the same: offsets, errors, fencing, generations, what is committed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from simulation.differential.compare import compare, run_programs
from simulation.differential.compare import on_the_model as programs_on_the_model
from simulation.differential.program import draw_program
from simulation.script import Script

from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker

_SEEDS = (21, 45, 59, 65, 128, 175, 183, 191)  # a handful; more by hand: docs/simulation.md
_TESTS = Path(__file__).parent.parent


async def on_the_model() -> list[Any]:
    environment = {**os.environ, "PYTHONPATH": str(_TESTS), "PYTHONHASHSEED": "0"}
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulation.script", env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, wrong = await run.communicate()
    assert said, wrong.decode()[-2000:]
    seen: list[Any] = json.loads(said)
    return seen


async def test_the_model_of_kafka_shows_a_client_what_the_real_one_shows(kafka: LocalKafka) -> None:
    real, model = await asyncio.gather(Script(kafka.bootstrap, f"{uuid.uuid4().hex[:8]}-").run(), on_the_model())
    assert model == json.loads(json.dumps(real))
    assert {
        "create",
        "sent",
        "ends",
        "epochs",
        "commit of the former",
        "committed",
        "sequence",
        "generation",
        "compacted",
        "3 partitions",
    } <= {what for what, *_ in real}


async def test_random_programs_observe_the_same_of_the_model_and_of_the_real_one(kafka: LocalKafka) -> None:
    real, model = await asyncio.gather(run_programs(kafka.bootstrap, _SEEDS), programs_on_the_model(_SEEDS))
    found = compare(_SEEDS, real, model)
    assert not [one.seed for one in found if one.differs], "".join(one.difference() for one in found)
    assert all(len(one.real) > len(draw_program(one.seed)) for one in found), "each has run to its end"
