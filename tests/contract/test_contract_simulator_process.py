"""The simulator as a process of its own, as users start it: options, webhooks, a clean end."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import aiohttp
import orjson
from didit_api import KEY, SECRET, WORKFLOW, receiver, until
from typer.main import get_command

from processor.cli.app import app
from processor.devkit.processes import SimulatorProcess
from processor.simulator.config import FAULT_NAMES, Config, WebhookOptions
from processor.simulator.control import control_routes
from processor.simulator.simulator import Simulator


async def test_users_act_webhooks_leave_and_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    async with receiver() as found, aiohttp.ClientSession() as http:
        options = (
            "--behaviour",
            '{"after_s": 0.2, "odds": {"Approved": 8, "In Review > Declined": 1, "Abandoned": 1}}',
            "--webhook-url",
            found.url,
            "--webhook-secret",
            SECRET,
            "--webhook-retry-s",
            "0.1,600",
            "--webhook-faults",
            '{"doubled": 0.2, "jitter_s": 0.2, "event_id": "stable"}',
            "--switches",
            '{"auth_status": 401}',
            "--ledger",
            str(tmp_path / "ledger.jsonl"),
        )
        found.answers = [500] * 400
        with SimulatorProcess(tmp_path, *options) as simulator:
            for n in range(20):
                body = {"workflow_id": WORKFLOW, "vendor_data": f"u{n}"}
                async with http.post(f"{simulator.url}/v3/session/", json=body, headers={"x-api-key": KEY}) as answer:
                    assert answer.status == 201
            async with http.get(f"{simulator.url}/v3/sessions/", headers={"x-api-key": "wrong"}) as answer:
                assert answer.status == 401
            await until(lambda: len({body["session_id"] for body in found.bodies if "decision" in body}) == 20, "all users")
            begun = time.monotonic()
        assert time.monotonic() - begun < 5, "retries that wait do not hold it up"
        assert simulator.child.exit_status == 0, simulator.child.log_tail()
    kinds = {orjson.loads(line)["kind"] for line in (tmp_path / "ledger.jsonl").read_bytes().splitlines()}
    assert kinds == {"call", "session", "webhook"}


def test_options_that_make_no_sense_are_named() -> None:
    for option, value, word in (
        ("--behaviour", '{"odds":{"Gone":1}}', "Gone"),
        ("--switches", '{"mood":1}', "mood"),
        ("--webhook-faults", '{"lost":"some"}', "lost"),
        ("--webhook-retry-s", "soon", "webhook-retry-s"),
    ):
        done = subprocess.run([sys.executable, "-m", "processor", "simulate", option, value], capture_output=True, text=True, check=False)
        assert (done.returncode, word in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr


def test_the_document_names_every_option_fault_and_control_route() -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "simulator.md").read_text()
    for name in FAULT_NAMES:
        assert f"`{name}`" in text, name
    for field in fields(WebhookOptions):
        assert field.name in {"url", "secret", "retry_s", "timeout_s"} or f"`{field.name}`" in text, field.name
    simulate = get_command(app).commands["simulate"]  # type: ignore[attr-defined]
    for option in simulate.params:
        assert option.name in {"host", "port_file"} or f"--{option.name.replace('_', '-')}" in text, option.name
    for route in control_routes(Simulator(Config())):
        path = route.path.removeprefix("/_sim/")
        assert path in text or f"…/{path.rpartition('/')[2]}" in text, path
