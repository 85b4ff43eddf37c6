"""Field cases of kind "operate": a pod stopped in the middle of its calls, and a provider that repeats personal data in its errors."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from operator_page import OperatorPage
from rig import create_request, running
from test_integration_observe import until_ready
from test_integration_status import command

from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker

DATA = Path(__file__).parent.parent / "cases" / "data"


async def test_s03_a_stop_in_the_middle_of_long_calls(kafka: LocalKafka, tmp_path: Path) -> None:
    slow = json.dumps({"latency_s": {"median": 3, "sigma": 0.9, "max": 14}})
    async with running(
        kafka,
        tmp_path,
        simulator_options=("--faults", slow),
        DIDIT__TIMEOUT_S="15",
        LANES__DRAIN_S="3",
        BUDGET__ASK_WAIT_S="2",
        LANES__SESSION_TIMEOUT_S="150",
    ) as rig:
        (a,) = await rig.start("a")
        await rig.publish([create_request(n) for n in range(20)])
        await rig.until(lambda: len(rig.simulator.ledger()["calls"]) >= 20, "20 calls in flight")
        assert rig.settings.lanes.shutdown_s < 30
        a.child.terminate()
        status = await asyncio.to_thread(a.child.wait, 2 * rig.settings.lanes.shutdown_s)
        assert status in {0, 3}, a.child.log_tail()
        rig.simulator.post("/_sim/faults", {"rates": {}, "latency_s": {"median": 0.05, "sigma": 0.1, "max": 0.1}})
        began = time.monotonic()
        await rig.start("b")
        assert time.monotonic() - began < 100, "the group was left at once, not after a session"
        await rig.wait_finals(20)
        judged = await rig.judge([f"r-{n:06d}" for n in range(20)])
        assert judged.ok, judged
        billed = Counter(s["request_id"] for s in rig.simulator.ledger()["sessions"])
        assert set(billed.values()) == {1}
        assert len(billed) == 20
        assert judged.by_status == {"succeeded": 20}, "unfinished ones were found and adopted"


async def test_s08_what_the_provider_repeats_stays_where_it_belongs(kafka: LocalKafka, tmp_path: Path) -> None:
    case: dict[str, Any] = json.loads((DATA / "S08.json").read_text())
    words = [word.encode() for word in case["expected"]["words_absent_from_logs_metrics_traces_page_and_exit_text"]]
    async with running(kafka, tmp_path, LOG__LEVEL="debug", RETRY__ATTEMPTS_MAX="1") as rig:
        (one,) = await rig.start("one")
        await until_ready(rig, one)
        for number, answer in enumerate(case["responses"]):
            rig.simulator.post("/_sim/script", {"route": "aml", "answers": [answer]})
            (record,) = case["records"]
            value = record["value"].replace('"s08"', f'"s08-{number}"')
            await rig.publish([(record["key"].encode(), value.encode())])
            await rig.wait_finals(number + 1)
        assert [f["status"] for f in rig.finals] == ["failed", "in_doubt"]
        page = OperatorPage(one)
        seen = one.get("/metrics")[1] + one.get("/readyz")[1]
        for path in ("/", "/dead-letters", "/dead-letters/redrive", "/request?id=s08-0", "/request?id=s08-1", "/waiting"):
            seen += (await asyncio.to_thread(page.html, path)).encode()
        dead = await rig.records("dead-letters")
        position = f"{dead[0].source.partition}:{dead[0].source.offset}"
        for spoken in (
            ("status",),
            ("status", "--json"),
            ("deadletters", "list"),
            ("deadletters", "list", "--json"),
            ("deadletters", "show", position),
            ("deadletters", "show", position, "--json"),
            ("deadletters", "redrive", "--all", "--dry-run"),
            ("results", "find", "s08-0"),
            ("results", "find", "s08-1", "--json"),
            ("retry", "list"),
        ):
            seen += await command(rig, *spoken)
        seen += b"".join(name.encode() + (value or b"") for r in dead for name, value in r.headers)
        await asyncio.to_thread(one.child.stop, 20.0)
        seen += one.log_path.read_bytes()
        for word in words:
            assert word not in seen, word
        assert b"s08-0" in seen, "the request itself can be found"


async def test_completion_for_the_shell_is_there(tmp_path: Path) -> None:
    env = {**os.environ, "_PROCESSOR_COMPLETE": "complete_bash", "COMP_WORDS": "processor deadl", "COMP_CWORD": "1", "HOME": str(tmp_path)}
    script = "from processor.cli.app import app; app(prog_name='processor')"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", script, env=env, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(120):
        out, _ = await child.communicate()
    assert b"deadletters" in out
