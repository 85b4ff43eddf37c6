"""Programs on both sides, and what differs."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from simulation.differential.program import draw_program
from simulation.differential.runner import Runner

_TESTS = Path(__file__).parent.parent.parent
_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class Compared:
    """What a seed's program observed on each side."""

    seed: int
    real: list[Any]
    model: list[Any]

    @property
    def differs(self) -> bool:
        """Whether the sides have shown the program something else."""
        return self.real != self.model

    def difference(self) -> str:
        """The first step that differs, with those before it; nothing if none does."""
        for number, (real, model) in enumerate(zip_longest(self.real, self.model)):
            if real != model:
                before = "".join(f"    {json.dumps(row)}\n" for row in self.real[max(0, number - 12) : number])
                return f"seed {self.seed}, step {number}:\n{before}  real  {json.dumps(real)}\n  model {json.dumps(model)}\n"
        return ""

    def whole(self) -> str:
        """Every step; both answers where they differ."""
        lines = []
        for real, model in zip_longest(self.real, self.model):
            lines.append(f"  {json.dumps(real)}" if real == model else f"R {json.dumps(real)}\nM {json.dumps(model)}")
        return "\n".join(lines) + "\n"


async def run_programs(bootstrap: str, seeds: Sequence[int], *, slow: bool = False) -> dict[int, Any]:
    """The programs of some seeds, a few at once: what each has observed."""
    turns, prefix = asyncio.Semaphore(_AT_ONCE), uuid.uuid4().hex[:8]

    async def one(seed: int) -> Any:
        async with turns:
            return await Runner(bootstrap, f"{prefix}-{seed}-", slow=slow).run(draw_program(seed, slow=slow))

    found = await asyncio.gather(*(one(seed) for seed in seeds))
    return dict(zip(seeds, found, strict=True))


async def on_the_model(seeds: Sequence[int], *, slow: bool = False) -> dict[str, Any]:
    """The same against the model, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(_TESTS), "PYTHONHASHSEED": "0"}
    chosen = ["--model", ",".join(str(seed) for seed in seeds), *(["--slow"] if slow else [])]
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulation.differential", *chosen, env=environment, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, limit=2**26,
    )  # fmt: skip
    said, wrong = await run.communicate()
    if not said:
        raise AssertionError(wrong.decode()[-3000:])
    found: dict[str, Any] = json.loads(said)
    return found


def compare(seeds: Sequence[int], real: Mapping[int, Any], model: Mapping[str, Any]) -> list[Compared]:
    """Side by side; ``model`` as it comes out of JSON."""
    return [Compared(seed, json.loads(json.dumps(real[seed])), model[str(seed)]) for seed in seeds]
