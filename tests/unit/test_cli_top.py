"""The screen of `processor top`: it fits every terminal, scrolls, and obeys its keys."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import termios
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operating import NOW_MS, busy, full, paused, quiet
from rich.cells import cell_len
from rich.console import Console

from processor.cli import render_budget, render_status
from processor.cli.top import Keys, keys_of, look
from processor.cli.top_screen import ROWS_MAX, Seen, TopScreen, TopState, TopView, pressed, room_of
from processor.contract.amounts import THIN_SPACE
from processor.monitoring.model import Overview
from processor.stream.errors import KafkaUnavailableError

MEMORY = full(40)
BUSY = Seen(MEMORY.seen, MEMORY.records, MEMORY.letters, MEMORY.results)
QUIET = Seen(quiet(), (), (), ())
NOTHING = Seen()
AWAY = replace(BUSY, results=None, trouble="no broker answers at kafka-1:9092")

SITUATIONS = {"busy": BUSY, "quiet": QUIET, "nothing": NOTHING, "away": AWAY}


def drawn(seen: Seen, state: TopState, width: int, height: int) -> tuple[list[str], TopScreen]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    screen = TopScreen(seen, state)
    console.print(screen)
    return cast("io.StringIO", console.file).getvalue().split("\n"), screen


@pytest.mark.parametrize("size", [(80, 24), (110, 40)])
@pytest.mark.parametrize("view", TopView)
@pytest.mark.parametrize("situation", ["busy", "quiet", "nothing", "away"])
def test_every_view_fills_the_terminal_and_no_line_is_cut_by_it(situation: str, view: TopView, size: tuple[int, int]) -> None:
    lines, _ = drawn(SITUATIONS[situation], TopState(view), *size)
    assert len(lines) == size[1]
    assert {cell_len(line) for line in lines} <= {size[0]}
    assert "q quit" in lines[-1], "the keys are seen at 80 columns, too"


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(SITUATIONS)),
    st.lists(st.sampled_from([*TopView, "j", "k", " ", "b", "g", "x", "\x1b[A", "\x1b[B", "\x1b[5~", "\x1b[6~"]), max_size=12),
    st.integers(20, 140),
    st.integers(6, 60),
)
def test_no_key_leads_off_the_screen(situation: str, keys: list[str], width: int, height: int) -> None:
    state, seen = TopState(), SITUATIONS[situation]
    for key in keys:
        lines, screen = drawn(seen, pressed(state, key, room_of(height)), width, height)
        state = screen.state
        assert not state.ended
        assert 0 <= state.offset <= max(0, screen.body_lines - room_of(height))
        assert len(lines) == height
        assert all(cell_len(line) <= width for line in lines)


def test_each_view_shows_what_it_is_for() -> None:
    shown = {view: "\n".join(drawn(BUSY, TopState(view), 110, 40)[0]) for view in TopView}
    assert "generic-write" in shown[TopView.SUMMARY]
    assert "results of the last 30 min: succeeded 320" in shown[TopView.SUMMARY]
    assert "held" in shown[TopView.OPERATIONS]
    assert "not for 50 s" in shown[TopView.REPLICAS]
    assert "184 MB" in shown[TopView.REPLICAS]
    assert "wait-3" in shown[TopView.WAITING]
    assert "onboarding-4002" in shown[TopView.DEAD_LETTERS]
    assert all("Didit fails on aml" in text for text in shown.values()), "what is wrong stands above each"
    assert "Not of now: no broker answers" in "\n".join(drawn(AWAY, TopState(), 80, 24)[0])


def test_what_callers_wrote_moves_no_terminal() -> None:
    odd = "id\x9b2J\u202e"
    waiting = [replace(MEMORY.records[0], request_id=odd, operation="op\x1b[2J")]
    letters = [replace(MEMORY.letters[0], request_id=odd, operation="op\x1b]0;x\x07")]
    seen = replace(BUSY, waiting=waiting, dead_letters=letters)
    for view in (TopView.WAITING, TopView.DEAD_LETTERS):
        shown = "\n".join(drawn(seen, TopState(view), 160, 40)[0])
        assert "\\u009b2J\\u202e" in shown
        assert all(char.isprintable() or char == "\n" for char in shown)


def hostile(found: Any) -> Any:
    """The same, where each text looks like markup of the library that draws and would move a terminal."""
    if isinstance(found, str) and not isinstance(found, Enum):
        return f"{found}[/x]\x9b2J\x1b[2J\u202e" if found else found
    if isinstance(found, tuple):
        return tuple(map(hostile, found))
    if isinstance(found, Mapping):
        return {hostile(key): hostile(value) for key, value in found.items()}
    if is_dataclass(found):
        return replace(cast("Any", found), **{each.name: hostile(getattr(found, each.name)) for each in fields(found)})
    return found


@pytest.mark.parametrize("seen", [busy(), paused(), quiet()], ids=["busy", "paused", "quiet"])
def test_no_name_that_a_record_of_the_budget_log_chose_moves_a_terminal(seen: Overview) -> None:
    odd = hostile(seen)
    told = replace(odd.replicas[0], version="1[/x]\x1b[2J", last_error="e\x1b[2J", last_error_ms=NOW_MS)
    odd = replace(odd, replicas=(told, *odd.replicas[1:]))
    console = Console(file=io.StringIO(), width=240, color_system=None)
    console.print(render_status.screen(odd), render_status.lag_table(odd.partitions, odd.blocked), render_budget.as_table(odd.budget))
    lines = cast("io.StringIO", console.file).getvalue().split("\n")
    for view in TopView:
        lines += drawn(replace(BUSY, overview=odd), TopState(view), 240, 60)[0]
    shown = "".join(lines).replace(THIN_SPACE, " ")
    assert shown.isprintable(), sorted({char for char in shown if not char.isprintable()})
    assert "vp-0[/x]\\u009b2J\\u001b[2J\\u202e" in shown
    assert f"{told.version[0]}[/x]\\u001b[2J" in shown


@pytest.mark.parametrize("size", [(80, 24), (110, 40)])
def test_what_operators_have_paused_is_seen_at_once_on_a_small_screen(size: tuple[int, int]) -> None:
    seen = Seen(paused(), MEMORY.records, MEMORY.letters, MEMORY.results)
    summary = "\n".join(drawn(seen, TopState(), *size)[0])
    assert "Paused by an operator: all calls." in summary
    assert "paused: aml since" in summary
    replicas = "\n".join(drawn(seen, TopState(TopView.REPLICAS), *size)[0])
    for told in ("vp-0", "yes", "0.1.0", "184 MB", "1 d 2 h", "budget_log"):
        assert told in replicas
    assert "paused" in "\n".join(drawn(seen, TopState(TopView.OPERATIONS), *size)[0])


def test_scrolling_reaches_the_end_of_a_long_list_and_says_what_is_not_shown() -> None:
    state = TopState(TopView.WAITING)
    for _ in range(40):
        lines, screen = drawn(BUSY, pressed(state, " ", room_of(24)), 80, 24)
        state = screen.state
    assert f"and {len(MEMORY.records) - ROWS_MAX} more: `processor retry list`" in "\n".join(lines)
    assert pressed(state, "g", 10).offset == 0
    assert pressed(state, "d", 10) == TopState(TopView.DEAD_LETTERS)
    assert pressed(state, "q", 10).ended
    assert pressed(state, "?", 10) == state


async def test_keys_are_read_one_by_one_and_the_terminal_is_as_before_afterwards() -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    try:
        with keys_of(theirs) as keys:
            taken: list[str] = []
            os.write(ours, b"dj\x1b[B\x1b[6~q")
            async with asyncio.timeout(30):
                while len(taken) < 5:
                    await keys.wait(30)
                    taken += keys.take()
        assert taken == ["d", "j", "\x1b[B", "\x1b[6~", "q"]
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)


async def test_a_terminal_that_is_gone_ends_it() -> None:
    keys, (read_end, write_end) = Keys(), os.pipe()
    os.close(write_end)
    keys.typed(read_end)
    os.close(read_end)
    keys.typed(read_end)
    assert keys.take() == ["q", "q"]


async def test_what_cannot_be_read_stands_as_it_was() -> None:
    class Away:
        async def overview(self) -> Any:
            raise KafkaUnavailableError("no broker answers")

    seen = await look(cast("Any", Away()), BUSY)
    assert seen == replace(BUSY, trouble="no broker answers")
