"""The parts of the page that need no server: wording, forms, charts, the summary, the shared overview, acts, tries."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import orjson
import pytest
from multidict import MultiDict
from operating import NOW_MS, Memory, busy, quiet, samples, scope, waits

from processor.budget.view import BreakerView, BudgetView
from processor.console import actions as actions_module
from processor.console import answer_cache as latest_module
from processor.console.actions import Actions, new_action_id
from processor.console.answer_cache import AnswerCache
from processor.console.auth import host_of, is_loopback
from processor.console.chart import bar, usage_chart
from processor.console.context import with_code
from processor.console.forms import (
    BadInputError,
    frozen,
    read_name,
    read_note,
    read_reason,
    read_request_id,
    read_selection,
    selection_fields,
)
from processor.console.ports import RefusedError
from processor.console.summary import summarize
from processor.contract.amounts import count, number
from processor.monitoring.delayed_view import delayed_view
from processor.monitoring.diagnosis import Tone
from processor.monitoring.formatting import one_line_json, percent, verbatim
from processor.monitoring.model import DrainView, Overview, PartitionView
from processor.repair.model import REPLAYS_MAX, RepairSummary, Selection

THIN = "\u202f"


def test_numbers_are_as_people_read_them() -> None:
    assert [number(n) for n in (0, 999, 1234, 1_234_567)] == ["0", "999", f"1{THIN}234", f"1{THIN}234{THIN}567"]
    assert [count(n, "record") for n in (0, 1, 2)] == ["0 records", "1 record", "2 records"]
    assert [percent(a, 300).replace(THIN, " ") for a in (0, 1, 299, 300, 330)] == ["0 %", "1 %", "99 %", "100 %", "110 %"]


def test_a_selection_survives_its_fields() -> None:
    chosen = Selection(
        reasons=frozenset({"exhausted", "http_503"}),
        operations=frozenset({"session.create"}),
        request_ids=frozenset({" <Null>& "}),
        positions=frozenset({(3, 1042), (0, 0)}),
        since_ms=5,
        until_ms=6,
        count_max=7,
        in_doubt=True,
    )
    assert read_selection(MultiDict(selection_fields(chosen)), NOW_MS).selection == chosen
    assert selection_fields(Selection()) == []
    insisting = read_selection(MultiDict({"replayed": "1"}), NOW_MS).selection
    assert insisting.replays_max > REPLAYS_MAX
    assert selection_fields(insisting) == [("replayed", "1")]


def test_since_is_a_length_of_time_and_until_freezes_a_selection() -> None:
    assert read_selection(MultiDict({"since": "30s"}), NOW_MS).selection.since_ms == NOW_MS - 30_000, "as commands take it"
    asked = read_selection(MultiDict({"since": "6h"}), NOW_MS)
    assert (asked.since, asked.selection.since_ms) == ("6h", NOW_MS - 21_600_000)
    held = frozen(asked.selection, NOW_MS)
    assert held.until_ms == NOW_MS + 1
    assert frozen(held, NOW_MS + 99).until_ms == NOW_MS + 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("since", "soon"),
        ("since", "0m"),
        ("since_ms", "-1"),
        ("until_ms", "9" * 17),
        ("count_max", "1e3"),
        ("count_max", "\u0663"),
        ("position", "1"),
        ("position", "1:2:3"),
        ("position", "-1:2"),
        ("reason", "a b"),
        ("operation", "<script>"),
        ("request_id", "x" * 129),
        ("request_id", "a\x00b"),
        ("in_doubt", "yes"),
    ],
)
def test_wrong_fields_are_named(field: str, value: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_selection(MultiDict({field: value}), NOW_MS)
    assert value not in str(caught.value) or len(value) < 3
    assert field.partition("_")[0] in str(caught.value).lower()


def test_a_field_given_twice_is_not_guessed_at() -> None:
    with pytest.raises(BadInputError, match="more than once"):
        read_selection(MultiDict([("since", "1h"), ("since", "6h")]), NOW_MS)


def test_names_and_notes_must_say_something() -> None:
    assert read_name(MultiDict({"by": "  Zoë "})) == "Zoë"
    assert read_note(MultiDict({"note": "seen with\r\n the caller"})) == "seen with the caller"
    for read, name, wrong in [(read_name, "by", ""), (read_name, "by", "x" * 61), (read_name, "by", "a\nb"), (read_note, "note", " \n ")]:
        with pytest.raises(BadInputError):
            read(MultiDict({name: wrong}))


def test_a_request_id_is_taken_verbatim() -> None:
    for text in ("Null", "No", " two  spaces ", "<script>", "ключ/№1", "0x10"):
        assert read_request_id(MultiDict({"id": text}), "id") == text
    assert [read_reason(MultiDict({"reason": r})) for r in ("", "-", "http_503")] == [None, "", "http_503"]


def test_every_reason_that_the_overview_counts_leads_to_its_records() -> None:
    records = [waits(0, 5.0, reason=None), waits(1, 5.0, reason="http_503")]
    for word, many in delayed_view(records, NOW_MS).by_reason.items():
        reason = read_reason(MultiDict({"reason": word or "-"}))
        assert len([r for r in records if (r.reason or "") == reason]) == many, word


def test_a_chart_says_in_words_what_it_draws_and_breaks_at_silence() -> None:
    svg = str(usage_chart(samples(NOW_MS, 240, 232), NOW_MS, 240))
    assert 'aria-label="Calls used in the last 15 minutes: now 2' in svg
    line = re.findall(r'class="chart-line" d="([^"]+)"', svg)[0]
    assert line.count("M") == 2, "a hole in the samples is a hole in the line"
    limit = re.findall(r'class="chart-limit" d="([^"]+)"', svg)[0]
    assert limit.count("V") == 1, "one step"
    assert "style" not in svg
    assert "No samples" in usage_chart((), NOW_MS, 240)
    assert all(0 <= float(y) <= 100 for y in re.findall(r",(-?[\d.]+)", line))


def test_a_bar_of_something_is_seen() -> None:
    widths = [re.findall(r'bar-fill"[^>]*width="([\d.]+)"', bar(v, w))[0] for v, w in ((0, 9), (1, 10_000), (9, 9), (12, 9), (1, 0))]
    assert widths == ["0", "1.5", "100", "100", "0"]


def changed(**budget: Any) -> Overview:
    return replace(quiet(), budget=replace(quiet().budget, **budget))


def test_a_quiet_set_up_is_well() -> None:
    found = summarize(quiet())
    assert (found.tone, found.notices) == (Tone.GOOD, ())
    assert [t.name for t in found.tiles] == ["Budget", "Backlog", "Replicas", "Didit", "Dead letters"]


@pytest.mark.parametrize(
    ("seen", "tile", "tone", "state"),
    [
        (changed(blocked_for_s=130.0), 0, Tone.BAD, "Held"),
        (changed(scopes=(scope("a", used=290, live=300, waiting=9),)), 0, Tone.WATCH, "Sets the pace"),
        (changed(scopes=(scope("a", limit=200, used=3),)), 0, Tone.WATCH, "Lowered"),
        (changed(scopes=(scope("a", used=290, live=300),)), 0, Tone.GOOD, "Has room"),
        (replace(quiet(), partitions=(PartitionView("r", 0, 1, 9, 8, None),)), 2, Tone.BAD, "Not enough"),
        (replace(quiet(), group_state="Empty"), 2, Tone.BAD, "None"),
        (replace(quiet(), group_state="PreparingRebalance"), 2, Tone.WATCH, "Rebalancing"),
        (replace(quiet(), drains=(DrainView("a", 50, float("inf")),)), 1, Tone.BAD, "Stands still"),
        (replace(quiet(), drains=(DrainView("generic-get", 50, 20.0), DrainView("generic-write", 5, 900.0))), 1, Tone.WATCH, "Too slow"),
        (replace(busy(), drains=(DrainView("generic-write", 5, 900.0),)), 1, Tone.WATCH, "Takes its time"),
        (replace(quiet(), drains=(DrainView("a", 50, 20.0),)), 1, Tone.GOOD, "Drains"),
        (changed(breakers=(BreakerView("account", 1.0, probing=True),)), 3, Tone.BAD, "Refuses the account"),
        (changed(breakers=(BreakerView("aml", 1.0, probing=False),)), 3, Tone.BAD, "Fails"),
        (changed(scopes=(scope("a", paused_for_s=30.0),)), 3, Tone.WATCH, "Asked us to wait"),
        (changed(scopes=(scope("a", throttled_lately=2),)), 3, Tone.WATCH, "Throttles"),
        (busy(), 4, Tone.WATCH, "To repair"),
    ],
)
def test_the_tiles_name_the_bottleneck(seen: Overview, tile: int, tone: Tone, state: str) -> None:
    found = summarize(seen)
    assert (found.tiles[tile].tone, found.tiles[tile].state) == (tone, state)
    assert (found.tone is Tone.GOOD) == (tone is Tone.GOOD)


def test_everything_that_is_not_well_is_told_once() -> None:
    found = summarize(busy())
    assert (found.headline, found.title) == ("Needs somebody", "Didit fails on aml")
    assert [n.title for n in found.notices] == [
        "generic-write is held below its configured limit",
        "Didit asked to wait in session-decision",
        "vp-2 has not been heard for 45 s",
        "The budget is the bottleneck in generic-write",
        "The budget is the bottleneck in session-decision",
        "Dead letters that want a decision: 312",
    ]
    assert summarize(replace(quiet(), group_state="Empty")).notices == (), "the verdict says it"
    nothing = Overview(0, "g", BudgetView((), (), (), 0.0), (), (), (), quiet().waiting, quiet().dead_letters)
    assert summarize(nothing).tiles[0].text == "no call has been asked for yet"


async def test_open_pages_share_one_question() -> None:
    now = 0.0
    memory = Memory()
    latest = AnswerCache("overview", memory.overview, clock=lambda: now)
    seen = await asyncio.gather(*(latest.get() for _ in range(20)))
    assert memory.asked == 1
    assert len({id(s.answer) for s in seen}) == 1
    now = 1.9
    await latest.get()
    assert memory.asked == 1
    now = 2.1
    await latest.get()
    assert memory.asked == 2


async def test_the_last_known_overview_is_shown_while_kafka_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latest_module, "FRESH_S", 0.0)
    monkeypatch.setattr(latest_module, "PATIENCE_S", 0.05)
    memory = Memory()
    latest = AnswerCache("overview", memory.overview)
    first = await latest.get()
    assert first.trouble == ""
    memory.mood = "away"
    assert await latest.get() == replace(first, trouble="The brokers cannot be reached.")
    memory.mood = "breaks"
    broken = await latest.get()
    assert broken.answer == first.answer
    assert "Zoë" not in broken.trouble
    memory.mood = "hangs"
    assert (await latest.get()).trouble.startswith("No answer")
    asked = memory.asked
    assert (await latest.get()).answer == first.answer
    assert memory.asked == asked, "one question at a time"
    memory.mood = "ok"
    memory.go.set()
    await asyncio.sleep(0)
    assert (await latest.get()).trouble == ""
    await latest.close()


async def test_nothing_is_known_before_the_first_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latest_module, "ASK_S", 0.05)
    memory = Memory(mood="hangs")
    latest = AnswerCache("overview", memory.overview)
    seen = await latest.get()
    assert seen.answer is None
    assert seen.trouble.startswith("No answer within")
    await latest.close()


async def test_an_act_is_done_once_whatever_is_clicked() -> None:
    actions, done = Actions(), []

    async def action() -> RepairSummary:
        await asyncio.sleep(0)
        done.append(1)
        return RepairSummary("run-1", 3)

    action_id = new_action_id()
    assert await asyncio.gather(*(actions.once(action_id, action) for _ in range(5))) == [RepairSummary("run-1", 3)] * 5
    assert len(done) == 1
    with pytest.raises(BadInputError):
        await actions.once("", action)
    await actions.close()


async def test_a_slow_act_goes_on_and_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions_module, "ANSWER_S", 0.01)
    actions, go = Actions(), asyncio.Event()

    async def action() -> RepairSummary:
        await go.wait()
        return RepairSummary("run-1", 1)

    action_id = new_action_id()
    assert await actions.once(action_id, action) is None
    go.set()
    await asyncio.sleep(0)
    assert await actions.once(action_id, action) == RepairSummary("run-1", 1)
    await actions.close()


async def test_an_act_that_breaks_off_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions_module, "ACT_S", 0.01)
    actions = Actions()
    for mood, says in (("hangs", "cut off"), ("away", "brokers cannot be reached")):
        memory = Memory(mood=mood)
        with pytest.raises(RefusedError, match=f"{says}.* a new dry run shows the rest"):
            await actions.once(new_action_id(), lambda memory=memory: memory.redrive(Selection(), "Zoë"))  # type: ignore[misc]
    await actions.close()


async def test_acts_under_way_are_bounded_and_end_with_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions_module, "ANSWER_S", 0.0)
    monkeypatch.setattr(actions_module, "_HELD_MAX", 2)
    actions, before = Actions(), asyncio.all_tasks()
    for _ in range(2):
        assert await actions.once(new_action_id(), Memory(mood="hangs").go.wait) is None  # type: ignore[arg-type]
    with pytest.raises(RefusedError, match="under way"):
        await actions.once(new_action_id(), Memory().go.wait)  # type: ignore[arg-type]
    await actions.close()
    assert asyncio.all_tasks() == before


def test_loopback_names() -> None:
    assert all(is_loopback(host_of(h)) for h in ("localhost", "localhost:8070", "127.0.0.1:8070", "[::1]:8070", "127.8.8.8", "LOCALHOST"))
    assert not any(
        is_loopback(host_of(h)) for h in ("", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[", "10.0.0.1")
    )


@pytest.mark.parametrize("char", [*"\u2028\u2029\x85\x1b\x7f\x9b\u202a\u202e\u2066\u2069\u200e\u200f\u061c\ufeff\r\n", "\U000e0001"])
def test_nothing_that_a_terminal_acts_on_is_left_in_a_text_or_in_json(char: str) -> None:
    text = f"a{char}b é \U0001f600"
    assert char not in verbatim(text)
    written = one_line_json(orjson.dumps({"request_id": text, text: [text]}))
    assert char.encode() not in written
    assert orjson.loads(written) == {"request_id": text, text: [text]}, "the same value"
    assert len(written.decode().splitlines()) == 1
    assert "é \U0001f600" in written.decode()


def test_a_command_in_a_sentence_is_code_and_everything_else_is_escaped() -> None:
    assert with_code("Start `processor run`, or look.") == "Start <code>processor run</code>, or look."
    assert with_code("<b>`<i>`") == "&lt;b&gt;<code>&lt;i&gt;</code>"
