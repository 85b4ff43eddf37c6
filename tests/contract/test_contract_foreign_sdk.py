"""Every call of another project's client, the unofficial ``didit-sdk`` 0.4.0, synchronous and asynchronous, against the simulator.

What its answers mean is held by ``test_contract_foreign_client.py``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from didit_api import WORKFLOW
from foreign_sdk import didit

from processor.simulator.testing import DiditSimulator, started

PAGE = Path(__file__).parent.parent.parent / "docs" / "simulator.md"
SWITCHES = '{"absent_features": "empty", "imports_enabled": true}'  # its decision model wants lists where Didit documents null
NO_HTTP = {"close", "aclose", "parse_webhook", "verify_webhook", "with_options"}
SAME = {"get_pdf_report": "generate_pdf_report", "adownload_pdf_report": "download_pdf_report"}  # other names of the same call


@dataclass
class Story:
    """What one call needs of those before it."""

    simulator: DiditSimulator
    folder: Path
    session: str = ""
    job: str = ""

    def move(self, *steps: str) -> str:
        for step in steps:
            self.simulator.control(f"sessions/{self.session}/status", {"status": step})
        return self.session


class NothingStored:
    """A user's own table of sessions, empty."""

    def get(self, _session_id: str) -> None:
        return None


Make = Callable[[Any, Story], Any]
CALLS: dict[str, Make] = {
    "healthcheck": lambda c, _: c.healthcheck(),
    "sessions.create": lambda c, s: c.sessions.create(vendor_data=s.folder.name, workflow_id=WORKFLOW, metadata={"n": 1}),
    "sessions.get": lambda c, s: c.sessions.get(s.session),
    "sessions.list": lambda c, s: c.sessions.list(vendor_data=s.folder.name, status="Not Started", limit=5),
    "sessions.get_decision": lambda c, s: c.sessions.get_decision(s.session),
    "sessions.reconcile": lambda c, s: c.sessions.reconcile(s.session),
    "sessions.reconcile_range": lambda c, _: c.sessions.reconcile_range(source=NothingStored(), since="2026-01-01T00:00:00Z"),
    "sessions.update_status": lambda c, s: c.sessions.update_status(s.move("In Progress", "In Review"), new_status="Declined", comment="c"),
    "sessions.poll_decision": lambda c, s: c.sessions.poll_decision(s.session, timeout=10, interval=0.01),
    "sessions.generate_pdf_report": lambda c, s: c.sessions.generate_pdf_report(s.session),
    "sessions.download_pdf_report": lambda c, s: c.sessions.download_pdf_report(s.session, s.folder / "report.pdf"),
    "sessions.resubmit": lambda c, s: c.sessions.resubmit(s.session, nodes_to_resubmit=[{"node_id": "n", "feature": "FACE_MATCH"}]),
    "session_imports.create": lambda c, _: c.session_imports.create(file=b"external_id\nx\n", filename="x.csv"),
    "session_imports.get": lambda c, s: c.session_imports.get(s.job),
    "session_imports.list_errors": lambda c, s: c.session_imports.list_errors(s.job),
    "session_imports.get_template": lambda c, _: c.session_imports.get_template(),
    "risk.email": lambda c, _: c.risk.email("ann@example.com"),
    "risk.phone": lambda c, _: c.risk.phone("+34600000003"),
    "risk.ip": lambda c, _: c.risk.ip("203.0.113.9", claimed_country="ESP"),
}
# calls that Didit refuses too, and why
REFUSED = {
    "sessions.get": (404, "`sessions.get` calls a route that Didit does not document"),
    "sessions.reconcile_range": (400, "`sessions.reconcile_range` sends a moment where Didit takes a date"),
}


@pytest.fixture(scope="module")
def simulator() -> Iterator[DiditSimulator]:
    with started(["--switches", SWITCHES]) as found:
        yield found


def made(kind: str, simulator: DiditSimulator) -> Any:
    return getattr(didit, kind)(api_key=simulator.api_key, base_url=f"{simulator.url}/v3", max_retries=0)


async def result(called: Callable[[], Any]) -> tuple[Any, int]:
    """The answer, or the status of a refusal."""
    try:
        found = called()
        return (await found if inspect.isawaitable(found) else found), 0
    except didit.DiditAPIError as refused:
        return None, refused.status_code


async def test_each_call_of_either_client_works(simulator: DiditSimulator, tmp_path: Path) -> None:
    for kind, close in (("Didit", "close"), ("AsyncDidit", "aclose")):
        folder = tmp_path / kind
        folder.mkdir()
        story, client = Story(simulator, folder), made(kind, simulator)
        for name, make in CALLS.items():
            answer, refused = await result(partial(make, client, story))
            assert refused == REFUSED.get(name, (0,))[0], f"{kind}: {name}: what works leaves REFUSED, what fails is a fault of ours"
            story.session = answer.session_id if name == "sessions.create" else story.session
            story.job = answer.uuid if name == "session_imports.create" else story.job
        async with asyncio.timeout(10):  # one import at a time
            while (await result(partial(CALLS["session_imports.get"], client, story)))[0].status == "PROCESSING":
                await asyncio.sleep(0.02)
        await result(getattr(client, close))


def test_no_call_of_it_is_left_out(simulator: DiditSimulator) -> None:
    client = made("Didit", simulator)
    found = set()
    for room, owner in (("", client), *((f"{name}.", getattr(client, name)) for name in ("sessions", "session_imports", "risk"))):
        names = {name for name, _ in inspect.getmembers(owner, callable) if not name.startswith("_")}
        found |= {f"{room}{SAME.get(name, name)}" for name in names - NO_HTTP}
    client.close()
    assert found == set(CALLS)


def test_the_page_has_the_figures() -> None:
    text = PAGE.read_text()
    assert f"| `didit-sdk` 0.4.0, either client | {len(CALLS)} | {len(CALLS) - len(REFUSED)} |" in text
    for _, why in REFUSED.values():
        assert why in text, why
