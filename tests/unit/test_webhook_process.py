"""The receiver as a real process, without brokers: it ends when one of its tasks fails, and ends when it is asked to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = """
import sys
from processor.observe.logs import configure_logs
from processor.settings import load_settings
from processor.webhooks import service

async def broken(*_):
    raise ZeroDivisionError("Zoë Müller")

if "broken" in sys.argv:
    service._watch_topic = broken
settings = load_settings()
configure_logs(settings.log)
sys.exit(service.run(settings))
"""


def start(*words: str) -> subprocess.Popen[str]:
    env = os.environ | {
        "VP_KAFKA__BOOTSTRAP": "127.0.0.1:1",
        "VP_OBSERVE__PORT": "0",
        "VP_WEBHOOKS__PORT": "0",
        "VP_WEBHOOKS__SECRETS": '["a-secret"]',
        "PYTHONPATH": str(Path(__file__).parent.parent.parent),
    }
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *words], env=env, stderr=subprocess.PIPE, text=True)


def events(lines: str) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    return {entry["event"]: entry for entry in found if "event" in entry}


def test_a_task_that_fails_ends_the_process_with_its_name_in_the_log() -> None:
    child = start("broken")
    _, text = child.communicate(timeout=60)
    assert child.returncode == 1, text
    assert "Zoë" not in text
    log = events(text)
    failed = log["task_failed"]
    assert (failed["level"], failed["task"], failed["error"]) == ("critical", "webhook topic", "ZeroDivisionError")
    assert failed["at"].startswith("<string>:")
    assert log["stopped"]["status"] == 1


def test_sigterm_ends_it_with_status_0_while_the_brokers_are_away() -> None:
    child = start()
    assert child.stderr is not None
    lines = []
    for line in child.stderr:
        lines.append(line)
        if "webhooks_listening" in line:
            child.send_signal(signal.SIGTERM)
            break
    _, rest = child.communicate(timeout=60)
    assert child.returncode == 0, lines
    assert events(rest)["stopped"]["status"] == 0
