"""``examples/``: each program asks the product and understands its answers, also when it asks again, and beside a conflict."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from example_programs import BUILDERS, run_example
from rig import running

from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker

ANN, BOB = '{"full_name": "Ann Example", "vendor_data": "user-17"}', '{"full_name": "Bob Example"}'


@pytest.mark.parametrize("language", BUILDERS)
async def test_an_example_asks_and_gets_its_answer(kafka: LocalKafka, tmp_path: Path, language: str) -> None:
    (built := tmp_path / "built").mkdir()
    words = await asyncio.to_thread(BUILDERS[language], built)
    async with running(kafka, tmp_path, partitions=2) as rig:
        starting = asyncio.ensure_future(rig.start("a"))
        told = await asyncio.to_thread(run_example, words, rig.environment, "aml", ANN, "ask-1")
        await starting
        assert told == (0, "ask-1 succeeded", ""), told
        again, other = await asyncio.gather(  # results of the same id, side by side: each is to take its own
            asyncio.to_thread(run_example, words, rig.environment, "aml", ANN, "ask-1"),
            asyncio.to_thread(run_example, words, rig.environment, "aml", BOB, "ask-1"),
        )
        assert again == (0, "ask-1 succeeded", ""), again
        assert other[:2] == (1, "ask-1 conflict"), other
        assert other[2].startswith("request_id_reused: "), other
        status, out, error = await asyncio.to_thread(run_example, words, rig.environment, "aml", "no JSON")
        assert (status, out) == (2, ""), "nothing was published"
        assert "usage" in error
        await rig.read_rest()
        assert sorted(final["status"] for final in rig.finals) == ["conflict", "succeeded"], "a copy is no further result"
