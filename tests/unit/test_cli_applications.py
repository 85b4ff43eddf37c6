"""`processor status` and `top` of several applications: a line for each, and none that holds up another."""

from __future__ import annotations

import asyncio
import io
from contextvars import copy_context
from typing import Any, cast

import orjson
import pytest
from operating import busy, paused, quiet
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from processor.cli import each_application
from processor.cli.app import app
from processor.cli.application_option import named_application
from processor.cli.each_application import EachApplication, follow_each
from processor.cli.render_applications import as_json, as_table
from processor.monitoring.application_lines import ApplicationLine, line_of
from processor.monitoring.model import Overview
from processor.stream.errors import KafkaFailedError, KafkaUnavailableError

LINES = [
    line_of("default", quiet()),
    line_of("shop", busy()),
    line_of("bank", paused()),
    line_of("away", None, "no broker answers at kafka-1:9092"),
    line_of("before", quiet(), "no broker answers at kafka-1:9092"),
]


def drawn(lines: list[ApplicationLine], width: int = 120) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(as_table(lines, "status"))
    return cast("io.StringIO", console.file).getvalue().splitlines()


def test_each_application_has_a_line_with_its_verdict_and_figures() -> None:
    table = drawn(LINES)
    rows = {line.split()[0]: " ".join(line.split()) for line in table[1:6]}
    assert rows["default"] == "default All is well 0 - - 0 0"
    assert rows["shop"].startswith("shop Needs somebody 4350 12 min 12:15 UTC ")
    assert rows["shop"].endswith(" 364 312")
    assert "4350 unknown - 364" in rows["bank"]
    assert rows["away"] == "away Nothing is known yet - - - - -"
    text = "\n".join(table[6:])
    assert "shop: Didit fails on aml" in text
    assert "away: no broker answers at kafka-1:9092" in text
    assert "before: not of now, but of 12:03:05 UTC: no broker answers at kafka-1:9092" in text
    assert "default:" not in text
    assert table[-1] == "`processor status --application NAME` shows one of them"


@pytest.mark.parametrize("width", [80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(cell_len(line) for line in drawn(LINES, width)) <= width


def test_scripts_get_one_object_by_name_in_which_an_endless_time_is_null() -> None:
    found = orjson.loads(as_json(LINES))["applications"]
    assert list(found) == ["default", "shop", "bank", "away", "before"]
    assert (found["shop"]["tone"], found["shop"]["drain_s"], found["shop"]["dead_letters"]) == ("bad", 725.0, 312)
    assert (found["bank"]["drain_s"], found["away"]["at_ms"]) == (None, None)


class Asked:
    """A monitor that answers with these, one after the other, the last one for ever."""

    def __init__(self, *answers: Overview | KafkaFailedError) -> None:
        self.answers, self.looks = list(answers), 0

    async def overview(self) -> Overview:
        self.looks += 1
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, KafkaFailedError):
            raise answer
        return answer


def looking(**monitors: Asked) -> EachApplication:
    return EachApplication(cast("Any", monitors))


async def test_what_cannot_be_read_of_one_stands_as_it_was_and_holds_up_no_other() -> None:
    away = KafkaUnavailableError("no broker answers")
    each = looking(shop=Asked(busy(), away), bank=Asked(away), default=Asked(quiet()))
    first, then = await each.look(), await each.look()
    assert [(line.name, line.headline) for line in first] == [
        ("shop", "Needs somebody"),
        ("bank", "Nothing is known yet"),
        ("default", "All is well"),
    ]
    assert [(line.at_ms is None, line.trouble) for line in then] == [(False, str(away)), (True, str(away)), (False, "")]


async def test_top_goes_on_looking_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shop, written = Asked(busy()), io.StringIO()
    monkeypatch.setattr(each_application, "Console", lambda: Console(file=written, width=120))
    following = asyncio.create_task(follow_each(looking(shop=shop), 0.001))
    async with asyncio.timeout(30):
        while written.getvalue().count("--application NAME") < 3:
            await asyncio.sleep(0.001)
    following.cancel()
    assert shop.looks >= 3


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["results", "--application", "shop"], "shop"),
        (["results", "--application", "shop", "find", "r-1"], "shop"),
        (["results", "find", "r-1", "--application", "bank"], "bank"),
        (["results", "--application", "shop", "find", "r-1", "--application", "bank"], "bank"),
        (["topics", "check", "--application", "shop"], "shop"),
        (["results"], None),
    ],
    ids=str,
)
def test_every_command_of_an_installation_can_name_the_application(
    words: list[str], named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VP_LANES__DRAIN_S", "-1")  # the settings end it, once the options are read
    asked: list[str | None] = []
    with monkeypatch.context() as patched:
        patched.setattr("processor.cli.options.named_application", lambda: asked.append(named_application()))
        assert copy_context().run(CliRunner().invoke, app, words).exit_code == 2
    assert asked == [named]
