"""Commands of ours as an operator gives them, each a process of its own. ``test_integration_cli.py`` starts them without a fork server."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fork_server import SERVER

_END_S = 90.0


@dataclass(frozen=True)
class Told:
    """What a command has said when it ended."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Command:
    """A command that goes on by itself. ``environment``: its ``VP_`` variables and whatever else it is to have beside ours."""

    def __init__(self, environment: Mapping[str, str], *words: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="command-"))
        self._out, self._err = self._folder / "out", self._folder / "err"
        for path in (self._out, self._err):
            path.touch()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("VP_")}
        self._child = SERVER.start("processor", words, inherited | dict(environment), self._out, self._err)

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    @property
    def out(self) -> bytes:
        """Standard output so far."""
        return self._out.read_bytes()

    def send_signal(self, number: int) -> None:
        self._child.send_signal(number)

    async def kill(self) -> None:
        self._child.kill()
        await asyncio.to_thread(self._child.wait, _END_S)

    async def end(self, within_s: float = _END_S) -> Told:
        """Wait for its end."""
        status = await asyncio.to_thread(self._child.wait, within_s)
        return Told(status, self.out, self._err.read_text())


async def run_command(environment: Mapping[str, str], *words: str) -> Told:
    """Give a command and wait for its end."""
    return await (await asyncio.to_thread(Command, environment, *words)).end()
