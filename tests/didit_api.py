"""A running simulator, calls to it, and a receiver of its webhooks. For contract tests; section numbers are those of the facts on Didit."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from simulator_judge import judged_faults

from processor.devkit.child_process import ChildProcess
from processor.simulator.config import Config, RateLimit, WebhookOptions
from processor.simulator.identity import MEDIA
from processor.simulator.server import running
from processor.simulator.simulator import Simulator

_LINKS = re.compile(r"http://[^\"]*?/media/([^\"?]*)\?[^\"]*")
WORKFLOW = "9f9b1234-0000-4000-8000-1234567890ab"
UNKNOWN = "11111111-2222-4333-8444-555555555555"
KEY, SANDBOX_KEY = "sim-key", "sim-sandbox-key"
SECRET = "whsec_example_secret_0123456789abcdefghijkl"
WIDE = {name: RateLimit(100_000) for name in ("session-create", "session-decision", "generic-write", "generic-get")}

Answer = tuple[int, Any, Any]  # status, document or bytes, headers


class Api:
    """A caller of the simulator."""

    def __init__(self, session: aiohttp.ClientSession, url: str, simulator: Simulator) -> None:
        self.session, self.url, self.sim = session, url, simulator
        self.faults: dict[str, None] = {}  # what Didit's OpenAPI has against the answers

    def _seen(self, method: str, path: str, answer: Answer) -> Answer:
        calls = self.sim.ledger.calls
        if not path.startswith("/_sim/") and (not calls or calls[-1].fault is None):  # a fault that a test orders is no answer of Didit's
            self.faults.update(dict.fromkeys(judged_faults(method, path, answer[0], answer[1])))
        return answer

    async def call(self, method: str, path: str, body: Any = None, key: str | None = KEY, **options: Any) -> Answer:
        typed = {"Content-Type": "application/json"} if body is not None else {}
        headers = {**typed, **({"x-api-key": key} if key else {}), **options.pop("headers", {})}
        data = orjson.dumps(body) if body is not None else None
        async with self.session.request(method, self.url + path, data=data, headers=headers, allow_redirects=False, **options) as response:
            return self._seen(method, path, await _read(response))

    async def post(self, path: str, body: Any, idempotency_key: str | None = None, key: str = KEY) -> Answer:
        extra = {"Idempotency-Key": idempotency_key} if idempotency_key is not None else {}
        return await self.call("POST", path, body, key, headers={"X-Request-Id": "ref.0", **extra})

    async def form(self, path: str, fields: dict[str, str] | None = None, key: str = KEY, /, **files: bytes) -> Answer:
        form = aiohttp.FormData(default_to_multipart=True)
        for name, value in (fields or {}).items():
            form.add_field(name, value)
        for name, raw in files.items():
            form.add_field(name, raw, filename=f"{name}.jpg", content_type="image/jpeg")
        if not fields and not files:
            form.add_field("nothing", "")
        async with self.session.post(self.url + path, data=form, headers={"x-api-key": key, "X-Request-Id": "ref.0"}) as response:
            return self._seen("POST", path, await _read(response))

    async def create(self, vendor: str | None = "u", *, key: str = KEY, **extra: Any) -> dict[str, Any]:
        body = {"workflow_id": WORKFLOW, **({"vendor_data": vendor} if vendor else {}), **extra}
        status, document, _ = await self.call("POST", "/v3/session/", body, key)
        assert status == 201, document
        found: dict[str, Any] = document
        return found

    async def settled(self, *steps: str, vendor: str = "u", key: str = KEY) -> str:
        session_id: str = (await self.create(vendor, key=key))["session_id"]
        assert await self.move(session_id, *steps) == 200
        return session_id

    async def move(self, session_id: str, *steps: str) -> int:
        """Change a status step by step, the webhook of each one sent before the next."""
        status = 200
        for step in steps:
            status, _, _ = await self.control(f"sessions/{session_id}/status", {"status": step})
            await self.idle()
        return status

    async def advance(self, by_s: float) -> None:
        """Set the clock of sessions ahead, and let be sent what is due then."""
        assert (await self.control("clock", {"advance_s": by_s}))[0] == 200
        await self.idle()

    async def idle(self) -> None:
        """Wait until no webhook is due or being sent: what has not arrived by then is not on its way."""
        await until(lambda: not self.sim.webhook_sender.busy, "no webhook is due or being sent")

    async def decision(self, session_id: str, version: str = "v3", key: str = KEY) -> dict[str, Any]:
        status, document, _ = await self.call("GET", f"/{version}/session/{session_id}/decision/", key=key)
        assert status == 200, document
        found: dict[str, Any] = document
        return found

    async def told_decision(self, session_id: str) -> dict[str, Any]:
        """The decision as a webhook tells it: its links do not lead to the simulator."""
        found: dict[str, Any] = json.loads(_LINKS.sub(rf"{MEDIA}/\1", json.dumps(await self.decision(session_id))))
        return found

    async def control(self, path: str, body: Any) -> Answer:
        return await self.call("POST", f"/_sim/{path}", body, None)

    async def codes(self, kind: str) -> dict[str, str]:
        rows = (await self.call("GET", "/_sim/codes", key=None))[1]["codes"]
        return {row["to"]: row["code"] for row in rows if row["kind"] == kind}

    async def ledger(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.call("GET", "/_sim/ledger", key=None))[1]
        return found


async def _read(response: aiohttp.ClientResponse) -> Answer:
    raw = await response.read()
    document = orjson.loads(raw) if response.content_type == "application/json" and raw else raw
    return response.status, document, response.headers


class FrozenClock:
    """Epoch seconds that pass when a test says so: what a simulator does then depends on no machine's load."""

    def __init__(self, now_s: float = 1_800_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def api(*, clock: Callable[[], float] = time.time, **options: Any) -> AsyncIterator[Api]:
    """A simulator of its own; every answer of it is judged, and the end of the context fails if one is not as documented."""
    config = Config(**{"limits": WIDE, **options})
    async with running(config, clock=clock) as (simulator, url), aiohttp.ClientSession() as session:
        a = Api(session, url, simulator)
        yield a
        assert not a.faults, "by Didit's OpenAPI:\n" + "\n".join(a.faults)


@dataclass
class Receiver:
    """What has arrived, and what is answered: ``answers`` in their order, then 200. None waits for ever."""

    url: str = ""
    arrived: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int | None] = field(default_factory=list)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [orjson.loads(raw) for _, raw in self.arrived]

    async def handle(self, request: web.Request) -> web.Response:
        self.arrived.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        status = self.answers.pop(0) if self.answers else 200
        if status is None:
            await asyncio.sleep(60)
        headers = {"Location": self.url} if status in range(300, 400) else {}
        return web.Response(status=status or 200, headers=headers)


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application()
    app.router.add_post("/hook", found.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield found
    finally:
        await runner.cleanup()


@asynccontextmanager
async def hooked(webhooks: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[tuple[Api, Receiver]]:
    """A simulator whose webhooks go to a receiver."""
    async with receiver() as found:
        given = {"url": found.url, "secret": SECRET, "timeout_s": 60.0, **(webhooks or {})}
        async with api(webhooks=WebhookOptions(**given), **options) as a:
            yield a, found


@asynccontextmanager
async def started(folder: Path, *argv: str) -> AsyncIterator[tuple[ChildProcess, str]]:
    """A simulator as a child process, and its URL; ``argv`` is what follows the interpreter."""
    port_file = folder / "port"
    options = ["--port", "0", "--port-file", str(port_file)]
    child = ChildProcess("simulator", [sys.executable, *argv, *options], {}, folder / "simulator.log")
    child.start()
    try:
        await until(lambda: port_file.is_file() or not child.alive, "the simulator listens")
        assert child.alive, child.log_tail()
        yield child, f"http://127.0.0.1:{port_file.read_text()}"
    finally:
        child.kill()


async def ended(child: ChildProcess) -> int:
    """SIGTERM, and the exit status."""
    child.terminate()
    return await asyncio.to_thread(child.wait, 60.0)


async def until(condition: Callable[[], bool], what: str, within_s: float = 60.0) -> None:
    """Wait for a named event; the bound is for what never happens, so it is generous."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {what}") from None
