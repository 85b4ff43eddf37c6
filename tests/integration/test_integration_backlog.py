"""A mixed backlog larger than the lines of the fleet, on a real broker: the simulator's ledger says whether calls ever stop meanwhile."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from rig import WORKFLOW_ID, create_request, running
from test_integration_shared_budget import limits

from processor.contract.records import call_reference
from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker

LIMIT, WINDOW_S = 100, 5.0
PACE_S = WINDOW_S / LIMIT
SLACK_S = 0.02  # both machines are this one: their clocks do not drift
GAP_MAX_S = 1.0
PLACES = 6  # of a line
PARTS = {"verification": 45, "session.create": 80, "aml": 35}  # four times what the lines below have places for


def request(number: int, operation: str) -> tuple[bytes, bytes]:
    if operation == "session.create":
        return create_request(number)
    about = {"full_name": f"Ann {number}"} if operation == "aml" else {"workflow_id": WORKFLOW_ID}
    given = {**about, "vendor_data": f"user-{number:06d}"}
    return f"user-{number:06d}".encode(), orjson.dumps({"request_id": f"r-{number:06d}", "operation": operation, "input": given})


async def test_calls_go_on_while_anything_waits_in_any_topic(kafka: LocalKafka, tmp_path: Path) -> None:
    told = limits(WINDOW_S, generic_write=LIMIT)
    options = ["--limits", told, "--behaviour", json.dumps({"after_s": 1, "odds": {"Approved": 1}})]
    variables = {"BUDGET__LIMITS": told, "BUDGET__QUEUE_MAX": str(PLACES), "BUDGET__SLACK_S": str(SLACK_S), "FOLLOW__POLLS_S": "[1,2]"}
    async with running(kafka, tmp_path, simulator_options=options, more=variables) as rig:
        await rig.start("a", "b")
        await rig.publish([request(0, "aml")])  # another operation is wanted within the hour: requests are sent away
        await rig.wait_finals(1)
        operations = [operation for operation, count in PARTS.items() for _ in range(count)]
        await rig.publish([request(1 + n, operation) for n, operation in enumerate(operations)])
        count = len(operations)
        await rig.wait_finals(1 + count)
        judged = await rig.judge([f"r-{n:06d}" for n in range(1 + count)])
        assert judged.ok, judged
        assert judged.by_status == {"succeeded": 1 + count}

        at = sorted(call["at"] for call in rig.simulator.ledger()["calls"] if call["method"] == "POST")[1:]
        assert len(at) == count
        longest_s = max(after - before for before, after in pairwise(at))
        assert longest_s <= GAP_MAX_S, f"no call for {longest_s:.1f} s while requests waited"
        used = (count - 1) * PACE_S * (WINDOW_S + SLACK_S) / WINDOW_S / (at[-1] - at[0])
        assert used >= 0.97, f"{used:.1%} of the windows"
        parked = [r for d in (1, 2, 5) for r in await rig.records(f"retry.{d}s") if dict(r.headers).get("vp-last-error") == b"queue_full"]
        assert PLACES * 4 < len(parked) <= 1.1 * count, "sent away once, those for whom two lines on two replicas had no place"


FLOOD, SMALL = 500, 5


def of_tenant(number: int, tenant: str) -> tuple[bytes, bytes]:
    given = {"full_name": f"Ann {number}", "vendor_data": f"user-{number:06d}"}
    value = {"request_id": f"r-{number:06d}", "operation": "aml", "tenant": tenant, "input": given}
    return b"one partition", orjson.dumps(value)


async def test_requests_of_small_tenants_leave_before_the_flood_of_another_that_lies_before_them(kafka: LocalKafka, tmp_path: Path) -> None:
    told = limits(WINDOW_S, generic_write=LIMIT)
    variables = {"BUDGET__LIMITS": told, "BUDGET__QUEUE_MAX": "20", "BUDGET__SLACK_S": str(SLACK_S)}
    async with running(kafka, tmp_path, simulator_options=["--limits", told], more=variables) as rig:
        await rig.start("a", "b")
        await rig.publish([of_tenant(n, "flood") for n in range(FLOOD)])
        await rig.publish([of_tenant(FLOOD + n, f"small-{n}") for n in range(SMALL)])
        ids = [f"r-{n:06d}" for n in range(FLOOD + SMALL)]
        await rig.wait_finals(len(ids))
        judged = await rig.judge(ids)
        assert judged.ok, judged
        assert judged.by_status == {"succeeded": len(ids)}

        calls = sorted((call["at"], call["reference"]) for call in rig.simulator.ledger()["calls"] if call["method"] == "POST")
        small = {call_reference(name, 0) for name in ids[FLOOD:]}
        places = [place for place, (_, reference) in enumerate(calls) if reference in small]
        assert len(places) == SMALL, "none of them was sent away"
        assert places[-1] - places[0] <= 3 * SMALL, "they take turns with the flood, once they are read"
        assert places[-1] < FLOOD / 2, "reading past the flood takes less than its calls"
        ended = [at for at, _ in calls]
        assert max(after - before for before, after in pairwise(ended)) <= GAP_MAX_S, "the budget is in use all the time"
