"""Five hundred verifications with people who do what people do, webhooks that get lost, doubled and out of order, and a kill.

And five hundred mixed checks of random people, with answers that get lost, refused or broken.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from rig import WORKFLOW_ID, running
from signing import SECRET

from processor.contract.records import call_reference
from processor.devkit.kafka_cluster import LocalKafka
from processor.didit.catalog import OPERATIONS

pytestmark = pytest.mark.broker

COUNT = 500
LATE = 30  # answers that come after the time-out
SETTLED = {"Approved", "Declined", "Kyc Expired", "Expired", "Abandoned"}
ODDS = {"Approved": 5, "Declined": 2, "Abandoned": 1, "Expired": 1, "In Review > Approved": 1, "In Review > Declined": 1}
LIMITS = {
    "session-create": {"limit": 300, "window_s": 10.0},
    "generic-write": {"limit": 300, "window_s": 10.0},
    "session-decision": {"limit": 75, "window_s": 10.0},
    "generic-get": {"limit": 200, "window_s": 10.0},
}


def verification(number: int) -> tuple[bytes, bytes]:
    what = {"workflow_id": WORKFLOW_ID, "vendor_data": f"user-{number:06d}"}
    return f"user-{number}".encode(), orjson.dumps({"request_id": f"r-{number:06d}", "operation": "verification", "input": what})


async def test_each_of_five_hundred_ends_in_exactly_one_correct_result(kafka: LocalKafka, tmp_path: Path, held_port: int) -> None:
    behaviour, hooks = {"after_s": 4.0, "odds": ODDS}, {"lost": 0.1, "doubled": 0.1, "jitter_s": 2.0}
    options = ["--limits", json.dumps(LIMITS), "--behaviour", json.dumps(behaviour), "--webhook-faults", json.dumps(hooks)]
    options += ["--switches", '{"v3_decision_counts_in_decision_scope":true}']  # a limit of looks, tighter than that of plain GETs
    options += ["--webhook-url", f"http://127.0.0.1:{held_port}/webhooks/didit", "--webhook-secret", SECRET, "--webhook-retry-s", "1,2"]
    variables = {
        "BUDGET__LIMITS": json.dumps(LIMITS),
        "FOLLOW__POLLS_S": "[10,15,20]",
        "RETRY__DELAYS_S": "[1,5,20]",
        "WEBHOOKS__PORT": str(held_port),
        "WEBHOOKS__SECRETS": json.dumps([SECRET]),
    }
    async with running(kafka, tmp_path, simulator_options=options, more=variables) as rig:
        # creates whose sessions are over when they are looked up: adopted if somebody opened them, else made again
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [{"fault": "late_reply"}] * LATE})
        receiver = await rig.receive()
        replicas = await rig.start("a", "b")
        await rig.publish([verification(n) for n in range(COUNT)])
        await rig.wait_finals(COUNT // 4)
        await asyncio.to_thread(replicas[0].child.kill)
        await asyncio.to_thread(receiver.child.kill)
        replicas[0].start()
        receiver.start()
        await rig.wait_finals(COUNT)
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


PNG = b"\x89PNG\r\n\x1a\n"
PEOPLE = {"good": PNG + b"SCORE=95 AGE=30", "bad": PNG + b"DECLINE SCORE=5 AGE=3"}
VERDICTS = {  # by operation: of a good person, of a bad one (docs/simulator.md, "What decides the result of a check")
    "aml": ("Approved", "In Review"),
    "passive_liveness": ("Approved", "Declined"),
    "face_match": ("Approved", "Declined"),
    "age_estimation": ("Approved", "Declined"),
    "id_verification": ("Approved", "Declined"),
    "poa": ("Approved", "Declined"),
    "email.risk": ("Approved", "Declined"),
    "phone.risk": ("Approved", "Declined"),
    "ip.risk": ("Approved", "In Review"),
    "email.send": ("Success", "Success"),
    "session.create": ("Not Started", "Not Started"),
}
# what is unknown after these; and what is known to have left nothing
DOUBTFUL = {"lost_reply": 0.02, "reset": 0.02, "truncated": 0.01, "error_500_html": 0.01, "error_502": 0.01, "error_503": 0.02}
HARMLESS = {"throttle_429": 0.01, "throttle_429_bare": 0.001, "slow_body": 0.01}
CHECK_LIMITS = {
    "session-create": {"limit": 100, "window_s": 5.0},
    "generic-write": {"limit": 250, "window_s": 5.0},
    "generic-get": {"limit": 250, "window_s": 5.0},
}


def mixed(number: int, draw: random.Random, folder: Path) -> tuple[str, str, Mapping[str, Any]]:
    """Operation, person and input."""
    operation, person = draw.choice(sorted(VERDICTS)), draw.choice(sorted(PEOPLE))
    good = person == "good"
    given: dict[str, Any] = {
        "aml": {"full_name": f"{'Ann' if good else 'Hit'} {number}"},
        "email.risk": {"email": f"{'ann' if good else 'disposable'}-{number}@example.com"},
        "email.send": {"email": f"ann-{number}@example.com"},
        "phone.risk": {"phone_number": f"+346{number:04d}{'7777' if good else '0001'}"},
        "ip.risk": {"ip_address": f"{'203.0.113' if good else '198.51.100'}.{number % 250 + 1}"},
        "session.create": {"workflow_id": WORKFLOW_ID, "vendor_data": f"user-{number}"},
    }.get(operation, {})
    return operation, person, given | dict.fromkeys(OPERATIONS[operation].files, f"file://{folder}/{person}.png")


def record(request_id: str, operation: str, given: Mapping[str, Any]) -> bytes:
    return orjson.dumps({"request_id": request_id, "operation": operation, "input": dict(given)})


def verdict(output: Mapping[str, Any]) -> str:
    """What a check says of the person: its own member has it, or the answer itself."""
    nested = [value["status"] for value in output.values() if isinstance(value, dict) and "status" in value]
    return str(nested[0] if nested else output["status"])


async def test_five_hundred_mixed_checks_end_right_whatever_breaks(kafka: LocalKafka, tmp_path: Path) -> None:
    for name, content in PEOPLE.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    draw = random.Random(13)
    asked = {f"m-{n:06d}": mixed(n, draw, tmp_path) for n in range(COUNT)}
    faults = {"rates": DOUBTFUL | HARMLESS, "retry_after_s": 1, "latency_s": {"median": 0.02, "sigma": 0.5, "max": 0.5}}
    options = ["--limits", json.dumps(CHECK_LIMITS), "--faults", json.dumps(faults), "--seed", "13"]
    files = {"FILES__ROOTS": json.dumps([str(tmp_path)]), "FILES__FETCH_S": "3"}  # a doubt lasts for as long as its call may take
    variables = {"BUDGET__LIMITS": json.dumps(CHECK_LIMITS), **files}
    async with running(kafka, tmp_path, simulator_options=options, more=variables) as rig:
        await rig.start("a", "b")
        await rig.publish([(name.encode(), record(name, operation, given)) for name, (operation, _, given) in asked.items()])
        await rig.wait_finals(COUNT)
        judged = await rig.judge(list(asked))
        assert judged.ok, judged
        ledger = rig.simulator.ledger()
    calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for call in ledger["calls"]:
        calls[(call["reference"] or "").rpartition(".")[0]].append(call)
    for final in rig.finals:
        operation, person, _ = asked[final["request_id"]]
        made = calls[call_reference(final["request_id"], 0).rpartition(".")[0]]
        broken = [call["fault"] for call in made if call["fault"] in DOUBTFUL]
        told = (operation, person, final["status"], final["error"], [(call["status"], call["fault"]) for call in made])
        assert sum(call["acted"] for call in made) <= 1, told
        if final["status"] == "in_doubt":
            assert broken, told
        else:
            assert final["status"] == "succeeded", told
            assert verdict(final["output"]) == VERDICTS[operation][person == "bad"], told
            assert sum(call["acted"] for call in made) == 1, told
    seen = Counter(call["fault"] for call in ledger["calls"])
    assert min(seen[fault] for fault in ("lost_reply", "reset", "error_503", "throttle_429")) > 0, seen
    assert judged.by_status["succeeded"] > COUNT * 0.85, judged.by_status
