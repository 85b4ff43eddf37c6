"""`processor top`: looks again and again, draws, and obeys keys."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import termios
import tty
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from processor.cli import render_status
from processor.cli.top_screen import Seen, TopScreen, TopState, pressed, room_of
from processor.monitoring.monitor import GroupMonitor
from processor.repair.model import DeadLetterStatus
from processor.repair.recent_result import RecentResult
from processor.stream.errors import KafkaFailedError

_KEY = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|.", re.DOTALL)  # an arrow is one key of several characters
_KEYS_MAX = 100  # typed and not yet obeyed
_RESULTS_S = 5.0  # results that do not come within this time are left out


class Keys:
    """What is typed at a terminal, a key at a time. An arrow comes as one text."""

    def __init__(self) -> None:
        self._typed: deque[str] = deque(maxlen=_KEYS_MAX)
        self._some = asyncio.Event()

    def typed(self, descriptor: int) -> None:
        """Take what is there; a terminal that is gone is a wish to end."""
        try:
            raw = os.read(descriptor, 1024)
        except OSError:
            raw = b""
        self._typed.extend(_KEY.findall(raw.decode(errors="replace")) if raw else ["q"])
        self.wake()

    def wake(self) -> None:
        """End a wait although nothing was typed."""
        self._some.set()

    def take(self) -> list[str]:
        """All that were typed since."""
        self._some.clear()
        taken = list(self._typed)
        self._typed.clear()
        return taken

    async def wait(self, within_s: float) -> None:
        """Return when a key is there, or the time is over."""
        try:
            async with asyncio.timeout(within_s):
                await self._some.wait()
        except TimeoutError:
            return


@contextmanager
def keys_of(descriptor: int) -> Iterator[Keys]:
    """The keys of a terminal, which is as it was before afterwards; none of what is no terminal."""
    keys = Keys()
    if not os.isatty(descriptor):
        yield keys
        return
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, keys.typed, descriptor)
    try:
        yield keys
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


async def look(monitor: GroupMonitor, before: Seen) -> Seen:
    """Everything as it is now; what cannot be read stands as it was."""
    try:
        overview = await monitor.overview()
    except KafkaFailedError as exc:  # the brokers may come back
        return Seen(before.overview, before.waiting, before.dead_letters, before.results, str(exc))
    waiting = sorted(monitor.waiting.records, key=lambda record: record.due_ms)
    open_ones = [letter for letter in monitor.dead_letters.dead_letters if letter.status is DeadLetterStatus.OPEN]
    return Seen(overview, waiting, open_ones[::-1], await _results(monitor))


async def _results(monitor: GroupMonitor) -> Sequence[RecentResult] | None:
    try:
        async with asyncio.timeout(_RESULTS_S):
            await monitor.recent_results.refresh()
    except (KafkaFailedError, TimeoutError):
        return None
    return monitor.recent_results.results


async def follow(monitor: GroupMonitor, every_s: float) -> None:
    """Show it until somebody ends it; the last screen stays. What is no terminal gets one screen of `status` after the other."""
    console = Console()
    if console.is_terminal:
        await _Top(monitor, every_s, console).run()
    seen = Seen()
    while not console.is_terminal:
        seen = await look(monitor, seen)
        console.print(Text(seen.trouble) if seen.trouble or seen.overview is None else render_status.screen(seen.overview))
        await asyncio.sleep(every_s)


class _Top:
    """The screen of one terminal."""

    def __init__(self, monitor: GroupMonitor, every_s: float, console: Console) -> None:
        self._monitor, self._every_s, self._console = monitor, every_s, console
        self._drawn = TopScreen(Seen(), TopState())

    async def run(self) -> None:
        with keys_of(sys.stdin.fileno()) as keys:
            looking = asyncio.create_task(self._look(keys))
            try:
                with Live(self._drawn, console=self._console, screen=True, auto_refresh=False) as live:
                    while not self._drawn.state.ended and not looking.done():
                        live.update(self._drawn, refresh=True)
                        await keys.wait(self._every_s)
                        self._obey(keys.take())
            finally:
                looking.cancel()
                await asyncio.wait({looking}, timeout=1.0)
                self._console.print(self._drawn)
                self._console.print()
            if not looking.cancelled():
                looking.result()  # it never ends by itself but by a fault

    def _obey(self, typed: list[str]) -> None:
        state = self._drawn.state
        for key in typed:
            state = pressed(state, key, room_of(self._console.height))
        self._drawn = TopScreen(self._drawn.seen, state)

    async def _look(self, keys: Keys) -> None:
        while True:
            seen = await look(self._monitor, self._drawn.seen)
            self._drawn = TopScreen(seen, self._drawn.state)
            keys.wake()
            await asyncio.sleep(self._every_s)
