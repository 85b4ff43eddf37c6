"""Pausing on the page: what is asked, what is refused, and that a form acts once."""

from __future__ import annotations

import html
from dataclasses import replace

import pytest
from operating import Memory, full, operating, paused, quiet
from test_console import PageUser, fields_of, open_visitor

from processor.contract.pauses import PauseKind

WHY = [("note", "Didit moves\nits provider"), ("by", "Zoë")]


async def test_an_operation_is_paused_and_resumed_with_a_reason_and_a_name_and_only_once() -> None:
    memory = Memory(quiet())
    async with operating(memory) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        _, text = await visitor.get("/pauses")
        assert "Nothing is paused." in text
        _, text = await visitor.get("/pauses/change?kind=paused&operation=aml")
        assert "Nothing has changed yet." in text
        form = fields_of(text, "/pauses/change")
        for missing in ([("by", "Zoë")], [("note", "why")], [("by", "Zoë"), ("note", "  ")]):
            assert (await visitor.post("/pauses/change", [*form, *missing]))[0] == 400
        assert memory.actions == []
        for _ in range(2):
            status, text = await visitor.post("/pauses/change", [*form, *WHY])
            assert status == 200
            assert "is paused." in text
        assert memory.actions == [(PauseKind.PAUSED, "aml", "Zoë", "Didit moves its provider")]
        _, text = await visitor.get("/pauses")
        assert "Didit moves its provider" in text
        assert '<option value="aml">' not in text, "it is paused already"
        _, text = await visitor.get("/pauses/change?kind=resumed&operation=aml")
        status, text = await visitor.post("/pauses/change", [*fields_of(text, "/pauses/change"), *WHY])
        assert (status, memory.actions[-1][:2]) == (200, (PauseKind.RESUMED, "aml"))


async def test_every_call_is_paused_by_its_own_word() -> None:
    memory = Memory(quiet())
    async with operating(memory) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        _, text = await visitor.get("/pauses/change?kind=paused&operation=all")
        assert "keep it shorter than the topics keep their records" in text
        await visitor.post("/pauses/change", [*fields_of(text, "/pauses/change"), *WHY])
        assert memory.actions[0][:2] == (PauseKind.PAUSED, None)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/pauses/change", "Choose an operation"),
        ("/pauses/change?kind=slowed&operation=aml", "Choose an operation"),
        ("/pauses/change?kind=paused&operation=%3Cb%3E", "operation is a name"),
        ("/pauses/change?kind=paused&operation=nothing", "There is no such operation"),
    ],
)
async def test_what_cannot_be_paused_is_refused(path: str, says: str) -> None:
    async with operating(full()) as url, open_visitor() as session:
        status, text = await PageUser(url, session).get(path)
        assert status == 400
        assert says in html.unescape(text)


async def test_forms_of_others_pause_nothing() -> None:
    memory = full()
    async with operating(memory) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        _, text = await visitor.get("/pauses/change?kind=paused&operation=aml")
        form = [*fields_of(text, "/pauses/change"), *WHY]
        assert (await visitor.post("/pauses/change", form, **{"Sec-Fetch-Site": "cross-site"}))[0] == 403
        assert (await visitor.post("/pauses/change", [(n, "x" if n == "csrf" else v) for n, v in form]))[0] == 403
        assert memory.actions == []


async def test_the_overview_names_pauses_and_tells_of_each_replica_what_it_said() -> None:
    seen = paused()
    odd = replace(seen.pauses[1], reason="<script>alert(1)</script>")
    async with operating(Memory(replace(seen, pauses=(seen.pauses[0], odd)))) as url, open_visitor() as session:
        _, text = await PageUser(url, session).get("/")
        assert "Paused by an operator: all calls." in text
        assert "credits run out, waiting for the top-up" in text
        assert "<script>alert(1)" not in text
        assert "&lt;script&gt;alert(1)" in text
        assert "unknown until resumed" in text
        for told in ("0.1.0", "1 d 2 h", "184 MB", "budget_log_unavailable", "left 3 min 20 s ago"):
            assert told in text
