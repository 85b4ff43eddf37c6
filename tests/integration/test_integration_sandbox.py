"""A sandbox: a verification ends without its user. With the key of a live application Didit refuses that, and nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from rig import WORKFLOW_ID, Rig, create_request, running

from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker


def request(request_id: str, operation: str, **given: Any) -> tuple[bytes, bytes]:
    return b"u", orjson.dumps({"request_id": request_id, "operation": operation, "input": given})


def made(rig: Rig) -> list[dict[str, Any]]:
    sessions: list[dict[str, Any]] = rig.simulator.ledger()["sessions"]
    return sessions


def simulations(rig: Rig) -> list[bool]:
    """Of each call: whether it changed something."""
    return [call["acted"] for call in rig.simulator.ledger()["calls"] if call["route"] == "sandbox.simulate"]


async def test_a_verification_of_a_sandbox_ends_without_its_user(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=1, DIDIT__API_KEY="sim-sandbox-key", FOLLOW__POLLS_S="[1]") as rig:
        await rig.start("a")
        await rig.publish([request("v", "verification", workflow_id=WORKFLOW_ID, vendor_data="u")])
        await rig.until(lambda: len(made(rig)) == 1, "a session")
        session_id = made(rig)[0]["session_id"]
        rig.simulator.post("/_sim/script", {"route": "sandbox.simulate", "answers": [{"fault": "lost_reply"}]})
        await rig.publish([request("s", "sandbox.simulate", session_id=session_id, new_status="Declined", comment="a test")])
        await rig.wait_finals(2)
        finals = {final["request_id"]: final for final in rig.finals}
        assert (finals["s"]["status"], finals["s"]["output"]["status"]) == ("succeeded", "Declined")
        assert (finals["v"]["status"], finals["v"]["output"]["status"]) == ("succeeded", "Declined"), "a decline is a success"
        assert simulations(rig) == [True, True], "made again after the lost reply, with the same effect"
        judged = await rig.judge(["v", "s"])
        assert (judged.missing, judged.duplicated, judged.billed_twice) == ((), (), 0)


async def test_a_live_key_is_refused(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=1) as rig:
        await rig.start("a")
        await rig.publish([create_request(1)])
        await rig.wait_finals(1)
        session_id = rig.finals[0]["output"]["session_id"]
        wrong = request("wrong", "sandbox.simulate", session_id=session_id, new_status="Not Started")
        await rig.publish([request("live", "sandbox.simulate", session_id=session_id, new_status="Approved"), wrong])
        await rig.wait_finals(3)
        ends = {final["request_id"]: (final["status"], final["error"]["code"], final["error"]["field"]) for final in rig.finals[1:]}
        assert ends == {"live": ("failed", "not_permitted", None), "wrong": ("rejected", "not_allowed", "input.new_status")}
        assert simulations(rig) == [False], "refused by Didit, and not tried again"
        assert (await rig.judge(["r-000001", "live", "wrong"])).missing == ()
