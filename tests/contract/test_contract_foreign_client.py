"""A client from another project, the unofficial ``didit-sdk`` 0.4.0, against the simulator: session calls, webhooks, risks, imports.

Its decision model takes lists only, where Didit documents null for features that have not run, hence the switch.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from didit_api import KEY, SECRET, WORKFLOW, Api, FrozenClock, Receiver, hooked
from foreign_sdk import didit

from processor.simulator.config import Behaviour, RateLimit, Switches

LISTS = Switches(absent_features="empty")


@asynccontextmanager
async def client(a: Api, key: str = KEY) -> AsyncIterator[Any]:
    made = didit.AsyncDidit(api_key=key, base_url=f"{a.url}/v3", webhook_secret=SECRET, max_retries=0)
    async with made as found:
        yield found


async def test_its_session_calls_work_from_create_to_report() -> None:
    async with hooked(switches=LISTS) as (a, _), client(a) as c:
        assert (await c.healthcheck()).is_healthy
        created = await c.sessions.create(
            vendor_data="user-é-1", workflow_id=WORKFLOW, callback="https://app.example/done", language="es", metadata={"n": 1.0}
        )
        assert created.status == didit.SessionStatus.NOT_STARTED
        assert created.url == f"https://verify.didit.me/es/session/{created.session_token}"
        again = await c.sessions.create(vendor_data="user-é-1", workflow_id=WORKFLOW)
        assert again.session_id == created.session_id, "an unfinished session comes back"
        assert (await c.sessions.get_decision(created.session_id)).status == "Not Started"
        page = await c.sessions.list(vendor_data="user-é-1", workflow_id=WORKFLOW, limit=10)
        assert (page.count, page.results[0].session_id) == (1, created.session_id)
        await a.move(created.session_id, "In Progress", "In Review")
        assert (
            await c.sessions.update_status(created.session_id, new_status="Declined", comment="blurred")
        ).session_id == created.session_id
        decision = await c.sessions.get_decision(created.session_id)
        assert decision.status == didit.SessionStatus.DECLINED
        assert decision.document.document_number.startswith("P")
        assert decision.has_warning("LOW_FACE_MATCH_SIMILARITY")
        assert decision.biometrics.face_match is False
        assert (await c.sessions.generate_pdf_report(created.session_id)).startswith(b"%PDF-")
        nodes = [{"node_id": "node-2", "feature": "FACE_MATCH"}]
        assert (await c.sessions.resubmit(created.session_id, nodes_to_resubmit=nodes)).session_id == created.session_id
        assert (await c.sessions.get_decision(created.session_id)).requires_resubmission


async def test_it_polls_a_session_to_its_end() -> None:
    async with hooked(switches=LISTS, behaviour=Behaviour(after_s=0.05, odds={"Approved": 1.0})) as (a, _), client(a) as c:
        created = await c.sessions.create(vendor_data="u", workflow_id=WORKFLOW)
        decision = await c.sessions.poll_decision(created.session_id, timeout=60.0, interval=0.01)
        assert decision.status == didit.SessionStatus.APPROVED


async def test_it_knows_our_errors() -> None:
    async with hooked(limits={"generic-get": RateLimit(2, 30.0)}) as (a, _), client(a) as c, client(a, "wrong") as stranger:
        with pytest.raises(didit.DiditNotFoundError):
            await c.sessions.get_decision("11111111-2222-4333-8444-555555555555")
        with pytest.raises(didit.DiditPermissionError):
            await stranger.sessions.create(vendor_data="u", workflow_id=WORKFLOW)
        with pytest.raises(didit.DiditAPIError) as refused:
            await c.sessions.create(vendor_data="u", workflow_id="no-uuid")
        assert refused.value.status_code == 400
        await c.sessions.list()
        await c.sessions.list()
        with pytest.raises(didit.DiditRateLimitError) as limited:
            await c.sessions.list()
        assert 1 <= limited.value.retry_after <= 30


async def test_it_reads_risks_and_imports() -> None:
    async with hooked(switches=Switches(imports_enabled=True)) as (a, _), client(a) as c:
        assert (await c.risk.email("ann@example.com")).is_approved
        assert (await c.risk.email("disposable@example.com")).is_disposable
        assert (await c.risk.phone("+34600000002")).is_virtual
        assert (await c.risk.ip("198.51.100.1", claimed_country="ESP")).is_data_center
        assert (await c.risk.phone("+34600000003")).score == 4.0
        job = await c.session_imports.create(file=b"external_id\nx\n", filename="x.csv")
        assert (await c.session_imports.get(job.uuid)).total_rows == 1
        assert (await c.session_imports.list_errors(job.uuid)).count == 0


def read(found: Receiver, number: int, drop: str | None = None) -> Any:
    headers, raw = found.arrived[number]
    kept = {name: value for name, value in headers.items() if name != drop}
    return didit.parse_webhook_payload(raw, kept, SECRET)


async def test_it_verifies_our_webhooks_by_either_signature_and_no_forged_one() -> None:
    odds = {"In Review > Resubmitted > Approved": 1.0}
    async with hooked(switches=LISTS, behaviour=Behaviour(after_s=50, odds=odds), clock=FrozenClock(time.time())) as (a, found):
        metadata = {"whole": 1.0, "half": 0.5, "deep": [{"é": 2.0, "name": "Zoë 👩‍💻 \u2028"}]}
        created = await a.create("user-é-1", metadata=metadata)
        for _ in range(25):  # of the 150 to 225 s of the user
            await a.advance(10)
        assert len(found.arrived) == 4
        events = [read(found, number) for number in range(4)]
        assert [event.status.value for event in events] == ["In Progress", "In Review", "Resubmitted", "Approved"]
        for number, event in enumerate(events):
            assert (event.session_id, event.webhook_type, event.metadata) == (created["session_id"], "status.updated", metadata)
            for drop in ("x-signature", "x-signature-v2", "x-timestamp"):
                assert read(found, number, drop).event_id == event.event_id
        headers, raw = found.arrived[0]
        for forged, secret in ((raw.replace(b"In Progress", b"Approved"), SECRET), (raw, "another secret")):
            with pytest.raises(didit.DiditSignatureError):
                didit.parse_webhook_payload(forged, headers, secret)


async def test_it_cannot_read_the_documented_nulls_without_the_switch() -> None:
    async with hooked() as (a, _), client(a) as c:
        with pytest.raises(ValueError, match="valid list"):
            await c.sessions.get_decision((await a.create())["session_id"])
