"""A command ends soon, and with its own status, also while no name server answers: the interpreter waited for every lookup."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from processor.runtime.event_loop import run_loop

SILENT_NAME_SERVER = """
import signal, socket, sys, time

signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored

def never(*_where, **_more):
    sys.stderr.write("looking up\\n")
    time.sleep(600)

socket.getaddrinfo = never
from processor.cli.app import app
app()
"""
A_THREAD_THAT_STAYS = """
import threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
from processor.cli.app import app
app()
"""
REQUEST = {"request_id": "r-1", "operation": "aml", "input": {"full_name": "Ann Example"}}


def _ended(driver: str, words: list[str], number: signal.Signals, word: str, folder: Path) -> tuple[int, str]:
    """Status and stderr of a command that gets a signal once it has said a word there."""
    requests = folder / "requests.jsonl"
    requests.write_text(json.dumps(REQUEST) + "\n")
    filled = [each.format(requests=requests, target=folder / "done.jsonl") for each in words]
    own = {"KAFKA__BOOTSTRAP": "kafka.example:9092", "KAFKA__INSTANCE_ID": "one", "DIDIT__API_KEY": "key", "OBSERVE__PORT": "0"}
    variables = {name: value for name, value in os.environ.items() if not name.startswith("VP_")} | {f"VP_{n}": v for n, v in own.items()}
    variables |= {"VP_WEBHOOKS__SECRETS": '["whsec-0123456789abcdef"]', "VP_WEBHOOKS__PORT": "0"}
    with subprocess.Popen(
        [sys.executable, "-c", driver, *filled], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=variables
    ) as process:
        assert process.stderr is not None
        told = ""
        try:
            while word not in told:
                line = process.stderr.readline()
                assert line, told
                told += line
            process.send_signal(number)
            _, rest = process.communicate(timeout=25)
        finally:
            process.kill()
    return process.returncode, told + rest


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["lag", "--json"],
        ["check"],
        ["publish", "{requests}"],
        ["batch", "{requests}", "{target}"],
        ["topics", "check"],
        ["retry", "list"],
        ["deadletters", "list"],
    ],
    ids=" ".join,
)
def test_an_interrupted_command_waits_for_no_name_server(words: list[str], tmp_path: Path) -> None:
    status, told = _ended(SILENT_NAME_SERVER, words, signal.SIGINT, "looking up", tmp_path)
    assert (status, "Traceback" in told) == (130, False), told


@pytest.mark.parametrize("words", [["top"], ["results", "--follow"]], ids=" ".join)
def test_what_goes_on_until_it_is_interrupted_ends_well(words: list[str], tmp_path: Path) -> None:
    status, told = _ended(SILENT_NAME_SERVER, words, signal.SIGINT, "looking up", tmp_path)
    assert (status, "Traceback" in told) == (0, False), told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["run", "webhooks"])
def test_a_process_that_is_done_is_not_held_by_a_thread(command: str, number: signal.Signals, tmp_path: Path) -> None:
    """It said that it had stopped, with status 0, and ended with 3 at the limit of the stop."""
    status, told = _ended(A_THREAD_THAT_STAYS, [command], number, "observe_listening", tmp_path)
    assert (status, '"event":"stopped"' in told) == (0, True), told


def test_names_are_looked_up_as_in_any_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    real, held = socket.getaddrinfo, threading.Event()

    def look_up(host: str, *rest: Any, **more: Any) -> Any:
        if host == "slow":
            held.wait(30)
        return real("127.0.0.1" if host == "slow" else host, *rest, **more)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo("localhost", 9092, type=socket.SOCK_STREAM)
        assert found[0][4][1] == 9092
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("\0", 9092)
        waiting = [asyncio.ensure_future(loop.getaddrinfo("slow", 1)) for _ in range(40)]  # more than are looked up at a time
        await asyncio.sleep(0)
        waiting[0].cancel()
        held.set()
        answers = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 30)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert all(isinstance(answer, list) for answer in answers[1:])

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    run_loop(main())
