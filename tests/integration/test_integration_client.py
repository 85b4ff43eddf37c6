"""The helper for callers, on a real broker."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rig import WORKFLOW_ID, running

from processor.client import ClientClosedError, InvalidRequestError, ResultTimeoutError, VerificationClient
from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker


async def test_a_service_asks_and_gets_its_answers(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, FOLLOW__POLLS_S="[1]") as rig, VerificationClient(settings=rig.settings) as client:
        await rig.start("a", "b")
        found = await asyncio.gather(*(client.request("aml", {"full_name": f"Ann {n}"}, timeout_s=60) for n in range(20)))
        assert all(r.succeeded and r.is_final and r.output["aml"]["status"] == "Approved" for r in found)
        assert len({r.output["request_id"] for r in found}) == 20

        given = {"workflow_id": WORKFLOW_ID, "vendor_data": "user-1"}
        statuses = []
        async for result in client.follow("verification", given, timeout_s=60):
            statuses.append(result.status)
            if result.status == "waiting":
                for step in ("In Progress", "Approved"):
                    rig.simulator.post(f"/_sim/sessions/{result.output['session_id']}/status", {"status": step})
        assert statuses == ["waiting", "succeeded"]

        everything = client.results()
        first = asyncio.ensure_future(anext(everything))
        await asyncio.sleep(0)
        chosen = await client.submit(
            "email.send", {"email": "a@example.com"}, priority="urgent", deadline=datetime.now(UTC) + timedelta(minutes=5)
        )
        assert (await asyncio.wait_for(first, 60)).request_id == chosen
        await everything.aclose()

        other = await client.request("aml", {"full_name": "Someone Else"}, timeout_s=60, request_id=chosen)
        assert (other.status, other.error and other.error["code"]) == ("conflict", "request_id_reused")

        with pytest.raises(InvalidRequestError, match=r"input\.full_name") as caught:
            await client.submit("aml", {})
        assert caught.value.code == "missing_field"


async def test_what_takes_too_long_says_so_and_goes_on(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig, VerificationClient(settings=rig.settings) as client:
        with pytest.raises(ResultTimeoutError, match="r-1"):
            await client.request("aml", {"full_name": "Ann"}, timeout_s=0.5, request_id="r-1")
        again = asyncio.ensure_future(client.request("aml", {"full_name": "Ann"}, timeout_s=60, request_id="r-1"))
        await rig.start("a")
        assert (await again).succeeded, "both records end; one call was made"
        assert len(rig.simulator.ledger()["checks"]) == 1
    with pytest.raises(ClientClosedError):
        await client.submit("aml", {"full_name": "Ann"})
