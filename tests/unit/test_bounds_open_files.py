"""A process may open what its hard limit allows, and knows when it has done so."""

from __future__ import annotations

import subprocess
import sys

import pytest

from processor.settings import load_settings
from processor.stream import errors as stream_errors
from processor.stream.errors import KafkaUnavailableError, failure_of

ALLOW = """
import resource
from processor.bounds.open_files import allow_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
allow_open_files()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""
USE_UP = """
import os, resource
from processor.bounds.open_files import used_up_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
told = [used_up_open_files()]
for spare in (12, 4, 0):
    try:
        while len(os.listdir("/proc/self/fd")) + spare < 64 or not spare:
            os.dup(0)
    except OSError:
        pass
    told.append(used_up_open_files())
print(told)
"""


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(("soft", "hard", "then"), [(64, 512, "512 512"), (512, 512, "512 512")])
def test_the_soft_limit_is_raised_to_the_hard_one(soft: int, hard: int, then: str) -> None:
    assert run(ALLOW.format(soft=soft, hard=hard)) == then


def test_the_limit_is_told_when_all_that_it_allows_are_open() -> None:
    assert run(USE_UP) == "[None, None, 64, 64]"


def test_what_fails_for_want_of_open_files_is_not_put_down_to_the_brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    assert "does not answer (no answer in time)" in str(failure_of(TimeoutError(), settings))
    monkeypatch.setattr(stream_errors, "used_up_open_files", lambda: 1024)
    found = failure_of(TimeoutError(), settings)
    assert type(found) is KafkaUnavailableError
    assert "cannot be asked (no answer in time): this process has as many files and connections open as it may, 1024." in str(found)
