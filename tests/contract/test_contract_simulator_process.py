"""The simulator as a process of its own, as users start it: options, webhooks, a clean end."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import aiohttp
import orjson
import pytest
from didit_api import KEY, SECRET, WORKFLOW, ended, receiver, started, until
from typer.main import get_command
from typer.testing import CliRunner

from processor.cli.app import app
from processor.simulator.command import main, parse
from processor.simulator.config import FAULT_NAMES, Config, WebhookOptions
from processor.simulator.control import control_routes
from processor.simulator.options import SimulatorOptions, option_rows
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
        async with started(tmp_path, "-m", "processor", "simulate", *options) as (child, url):
            for n in range(20):
                body = {"workflow_id": WORKFLOW, "vendor_data": f"u{n}"}
                async with http.post(f"{url}/v3/session/", json=body, headers={"x-api-key": KEY}) as answer:
                    assert answer.status == 201
            async with http.get(f"{url}/v3/sessions/", headers={"x-api-key": "wrong"}) as answer:
                assert answer.status == 401
            await until(lambda: len({body["session_id"] for body in found.bodies if "decision" in body}) == 20, "all users")
            assert await ended(child) == 0, f"retries that are due in ten minutes do not hold it up: {child.log_tail()}"
    kinds = {orjson.loads(line)["kind"] for line in (tmp_path / "ledger.jsonl").read_bytes().splitlines()}
    assert kinds == {"call", "session", "webhook"}


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--behaviour", '{"odds":{"Gone":1}}', "Gone"),
        ("--switches", '{"mood":1}', "mood"),
        ("--webhook-faults", '{"lost":"some"}', "lost"),
        ("--webhook-retry-s", "soon", "webhook-retry-s"),
        ("--port", "65536", "port"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(option: str, value: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = CliRunner().invoke(app, ["simulate", option, value])
    assert (done.exit_code, word in done.stderr) == (2, True), done.stderr
    with pytest.raises(SystemExit) as ended:
        main([option, value])
    assert ended.value.code == 2
    assert capsys.readouterr().err == done.stderr, "both commands say the same"


def test_a_process_of_either_command_ends_with_2_and_without_a_traceback() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for command in (["processor", "simulate"], ["processor.simulator"]):
            argv = [sys.executable, "-m", *command, "--port", str(port)]
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
            assert (done.returncode, done.stdout) == (2, ""), done.stderr
            assert done.stderr.startswith(f"cannot listen on 127.0.0.1:{port}:")
            assert done.stderr.count("\n") == 1, done.stderr


def test_both_commands_have_the_options_of_the_table() -> None:
    simulate = get_command(app).commands["simulate"].load()  # type: ignore[attr-defined]
    expected = {f"--{row.name.replace('_', '-')}": row.default for row in option_rows()}
    assert {option.opts[0]: option.default for option in simulate.params} == expected
    parsed = parse(["--limits", "{}", "--ledger", "calls.jsonl", "--port", "0"])
    assert parsed == SimulatorOptions(limits="{}", ledger=Path("calls.jsonl"), port=0)
    assert parse([]) == SimulatorOptions()


def test_the_document_names_every_option_fault_and_control_route() -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "simulator.md").read_text()
    for name in FAULT_NAMES:
        assert f"`{name}`" in text, name
    for field in fields(WebhookOptions):
        assert field.name in {"url", "secret", "retry_s", "timeout_s"} or f"`{field.name}`" in text, field.name
    for row in option_rows():
        assert row.name in {"host", "port_file"} or f"--{row.name.replace('_', '-')}" in text, row.name
    for route in control_routes(Simulator(Config())):
        path = route.path.removeprefix("/_sim/")
        assert path in text or f"…/{path.rpartition('/')[2]}" in text, path
