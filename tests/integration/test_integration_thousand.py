"""A thousand verifications with people who do what people do, webhooks that get lost, doubled and out of order, and a kill."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import defaultdict
from pathlib import Path

import orjson
import pytest
from rig import WORKFLOW_ID, running
from signing import SECRET

from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker

COUNT = 1000
LATE = 60  # answers that come after the time-out
SETTLED = {"Approved", "Declined", "Kyc Expired", "Expired", "Abandoned"}
ODDS = {"Approved": 5, "Declined": 2, "Abandoned": 1, "Expired": 1, "In Review > Approved": 1, "In Review > Declined": 1}
LIMITS = {
    "session-create": {"limit": 600, "window_s": 10.0},
    "generic-write": {"limit": 600, "window_s": 10.0},
    "session-decision": {"limit": 150, "window_s": 10.0},
    "generic-get": {"limit": 400, "window_s": 10.0},
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def verification(number: int) -> tuple[bytes, bytes]:
    what = {"workflow_id": WORKFLOW_ID, "vendor_data": f"user-{number:06d}"}
    return f"user-{number}".encode(), orjson.dumps({"request_id": f"r-{number:06d}", "operation": "verification", "input": what})


async def test_each_of_a_thousand_ends_in_exactly_one_correct_result(kafka: LocalKafka, tmp_path: Path) -> None:
    port = free_port()
    behaviour, hooks = {"after_s": 4.0, "odds": ODDS}, {"lost": 0.1, "doubled": 0.1, "jitter_s": 2.0}
    options = ["--limits", json.dumps(LIMITS), "--behaviour", json.dumps(behaviour), "--webhook-faults", json.dumps(hooks)]
    options += ["--switches", '{"v3_decision_counts_in_decision_scope":true}']  # a limit of looks, tighter than that of plain GETs
    options += ["--webhook-url", f"http://127.0.0.1:{port}/webhooks/didit", "--webhook-secret", SECRET, "--webhook-retry-s", "1,2"]
    variables = {
        "BUDGET__LIMITS": json.dumps(LIMITS),
        "FOLLOW__POLLS_S": "[10,15,20]",
        "RETRY__DELAYS_S": "[1,5,20]",
        "WEBHOOKS__PORT": str(port),
        "WEBHOOKS__SECRETS": json.dumps([SECRET]),
    }
    async with running(kafka, tmp_path, simulator_options=options, more=variables) as rig:
        # creates whose sessions are over when they are looked up: adopted if somebody opened them, else made again
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [{"fault": "late_reply"}] * LATE})
        receiver = await rig.receive()
        replicas = await rig.start("a", "b")
        await rig.publish([verification(n) for n in range(COUNT)])
        await rig.wait_finals(COUNT // 4, within_s=60)
        await asyncio.to_thread(replicas[0].child.kill)
        await asyncio.to_thread(receiver.child.kill)
        replicas[0].start()
        receiver.start()
        await rig.wait_finals(COUNT, within_s=120)
        judged = await rig.judge([f"r-{n:06d}" for n in range(COUNT)])
        assert judged.ok, judged
        assert set(judged.by_status) == {"succeeded", "expired"}
        assert len([r for r in await rig.records("results") if orjson.loads(r.value)["kind"] == "progress"]) == COUNT

        ledger = rig.simulator.ledger()
        assert not [c for c in ledger["calls"] if c["status"] == 429], "looks keep within their budget"
        told: dict[str, set[str]] = defaultdict(set)  # every status that a session ever had, sent or lost
        for delivery in ledger["webhooks"]:
            told[delivery["session_id"]].add(delivery["status"])
        for final in rig.finals:
            session_id, status = final["output"]["session_id"], final["output"]["status"]
            assert told[session_id] & SETTLED == {status}, (status, told[session_id])
            assert final["status"] == ("expired" if status in {"Expired", "Abandoned"} else "succeeded")
        outcomes = {d["answer"] for d in ledger["webhooks"]}
        assert "lost" in outcomes
        polls = sum(c["route"] == "session.decision" for c in ledger["calls"])
        assert polls < 2 * COUNT, "most ended by their webhook"
