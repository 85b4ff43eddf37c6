"""The end of a process, in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys
from processor.runtime.shutdown import end_process

class Held:
    def __del__(self):
        print("freed one by one", flush=True)

held = Held()
held.itself = held
atexit.register(print, "said at the end")
print("printed", end=" ")
sys.stderr.write("logged")
end_process({status})
"""


@pytest.mark.parametrize("status", [0, 1, 3])
def test_a_process_that_has_closed_everything_says_its_last_and_frees_nothing(status: int) -> None:
    """Seen with 2 000 partitions and 3.2 GB: stopped in 2 s, gone after 38 s, and the limit of 31 s ended nothing."""
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(status=status)], check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (status, "printed said at the end\n", "logged")


@pytest.mark.parametrize("command", ["run", "webhooks"])
def test_the_commands_that_run_until_they_are_stopped_end_so(command: str) -> None:
    program = f"""
import sys
from processor.cli import {command} as module
from processor.runtime import shutdown
assert module.end_process is shutdown.end_process
module.settings_or_fail = lambda: type("S", (), {{"installations": (), "log": None, "webhooks": None}})()
module.configure_logs = module.allow_open_files = lambda *_: None
module.service.run = lambda _: 3
class Held:
    def __del__(self):
        print("freed one by one", flush=True)
held = Held()
held.itself = held
module.{command}()
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
