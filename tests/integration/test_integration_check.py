"""`processor check` before the first start: what is there and what is not, by calls that the budget log counts."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import orjson
import pytest
from commands import Told, run_command
from rig import WORKFLOW_ID, Rig, read_whole, running

from processor.budget.log_records import Asked, decode_entry
from processor.devkit.kafka_cluster import LocalKafka
from processor.stream.topics_admin import apply_topics

pytestmark = pytest.mark.broker

ARCHIVED, MISSING = "0a000000-0000-4000-8000-000000000001", "0a000000-0000-4000-8000-000000000002"


async def checked(rig: Rig, *words: str, **more: str) -> tuple[Told, dict[str, str]]:
    """What the command says with ``--json``, and its states by check."""
    environment = {k: v for k, v in rig.environment.items() if k.startswith("VP_")} | more
    told = await run_command(environment, "check", "--json", *words)
    rows = orjson.loads(told.out)["checks"]
    return told, {row["name"]: row["state"] for row in rows}


async def drafted(rig: Rig) -> str:
    """A workflow that was made and not published."""
    body = {"features": [{"feature": "OCR"}], "status": "draft"}
    async with (
        aiohttp.ClientSession(headers={"x-api-key": str(rig.settings.didit.key())}) as http,
        http.post(f"{rig.simulator.url}/v3/workflows/", json=body) as answer,
    ):
        return str((await answer.json())["uuid"])


async def asked(rig: Rig) -> list[str]:
    """Operations of the asks in the budget log."""
    entries = await read_whole(rig.settings, f"{rig.prefix}.budget")
    records = [record for entry in entries for record in decode_entry(entry.value)]
    return [record.endpoint for record in records if isinstance(record, Asked)]


async def test_what_is_there_and_what_is_missing(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, apply=False, DIDIT__WORKFLOWS=json.dumps([WORKFLOW_ID])) as rig:
        told, states = await checked(rig)
        assert (told.status, states["topics"], states["key"]) == (2, "failed", "unknown")
        assert "first what is said of the topics" in told.text
        assert rig.simulator.ledger()["calls"] == [], "no call without a budget log to count it in"
        applied = await apply_topics(rig.settings, partitions=1, replication=1)
        assert not applied.report.faults

        rig.simulator.post("/_sim/workflows", {"known": [WORKFLOW_ID, ARCHIVED], "archived": [ARCHIVED]})
        told, states = await checked(rig)
        names = ("settings", "topics", "key", "application", "sessions", f"workflow {WORKFLOW_ID}", "credits")
        assert (told.status, states) == (0, dict.fromkeys(names, "ok")), told.err
        calls = ["session.list", "workflow.list", "billing.balance"]
        assert [call["route"] for call in rig.simulator.ledger()["calls"]] == calls
        assert await asked(rig) == calls, "each has stood in the log that all replicas share"

        rig.simulator.post("/_sim/credits", {"credits": 0})
        draft = await drafted(rig)
        words = [word for one in (draft, ARCHIVED, MISSING) for word in ("--workflow", one)]
        told, states = await checked(rig, *words)
        failed = {f"workflow {one}" for one in (draft, ARCHIVED, MISSING)} | {"credits"}
        assert (told.status, {name for name, state in states.items() if state != "ok"}) == (2, failed)

        rig.simulator.post("/_sim/api-keys", {"keys": ["another"]})
        told, states = await checked(rig)
        assert (told.status, states["key"], states["application"]) == (2, "failed", "skipped")
        assert str(rig.settings.didit.key()) not in told.text
