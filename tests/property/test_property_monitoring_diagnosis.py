"""Whatever the overview: headline, tiles, cards, `processor status` and its JSON say the same."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from io import StringIO

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from processor.budget.view import BreakerView, BudgetView, ScopeView
from processor.cli import render_status
from processor.console.summary import STATES, Summary, summarize
from processor.contract.pauses import PauseAct, PauseKind
from processor.monitoring.diagnosis import Area, FindingKind, Tone, diagnose
from processor.monitoring.diagnosis_text import HEADLINES
from processor.monitoring.model import DelayedView, DrainView, Overview, PartitionView, ReplicaView
from processor.repair.model import DeadLetterCounts

COLOURS = {Tone.GOOD: "32", Tone.WATCH: "33", Tone.BAD: "31"}  # ANSI
COUNTS = st.integers(0, 5000)
SECONDS = st.sampled_from([0.0, 0.4, 59.0, 299.0, 301.0, 90_000.0])
SCOPES = ("session-create", "generic-write")


@st.composite
def scopes(draw: st.DrawFn, name: str) -> ScopeView:
    configured = draw(st.sampled_from([50, 300]))
    limit, used = draw(st.integers(1, configured)), draw(st.integers(0, 330))
    live = used + draw(st.integers(0, 20))
    return ScopeView(name, configured, limit, 60.0, live, used, live - used, draw(COUNTS), draw(SECONDS), draw(st.integers(0, 3)), {})


@st.composite
def overviews(draw: st.DrawFn) -> Overview:
    names = ("one", "two")[: draw(st.integers(0, 2))]
    breakers = tuple(BreakerView(name, draw(SECONDS), draw(st.booleans())) for name in draw(st.sets(st.sampled_from(["account", "aml"]))))
    return Overview(
        1_764_072_185_000,
        "g",
        BudgetView(tuple(draw(scopes(name)) for name in SCOPES), breakers, names, draw(SECONDS)),
        tuple(PartitionView("v.requests", p, 0, 9, 9, draw(st.sampled_from([None, "one"]))) for p in range(draw(st.integers(0, 2)))),
        tuple(ReplicaView(name, 1, heard=draw(st.booleans())) for name in names),
        tuple(DrainView(name, draw(COUNTS), draw(SECONDS | st.just(math.inf)), draw(st.integers(0, 3))) for name in SCOPES),
        DelayedView(draw(COUNTS), 0, None, None),
        DeadLetterCounts(draw(st.integers(0, 2)), {"exhausted": 1}),
        draw(st.sampled_from(["Stable", "PreparingRebalance", "CompletingRebalance", "Empty", "Dead"])),
    )


def shown(o: Overview) -> str:
    out = StringIO()
    Console(file=out, width=1000, force_terminal=True, color_system="standard").print(render_status.screen(o))
    return out.getvalue()


@settings(deadline=None)  # a screen is drawn: how long that takes a busy machine decides
@given(overviews())
def test_everything_that_is_shown_agrees(o: Overview) -> None:
    summary, found = summarize(o), diagnose(o)
    told = orjson.loads(render_status.as_json(o))["diagnosis"]
    assert told["tone"] == summary.tone == found.tone
    assert told["headline"] == summary.headline == HEADLINES[found.tone]
    verdict = f"{summary.title}. {summary.advice}".rstrip()
    assert told["verdict"] == verdict
    assert [f["kind"] for f in told["findings"]] == [f.kind for f in found.findings]
    screen = shown(o)
    assert f"\x1b[1;{COLOURS[found.tone]}m{summary.headline}. {verdict}" in screen
    for notice in summary.notices:
        assert f"\x1b[1;{COLOURS[notice.tone]}m{notice.title}. {notice.text}".rstrip() in screen
    check_tones(summary)
    assert {STATES[f.kind] for f in found.complaints} >= {t.state for t in summary.tiles if t.tone is not Tone.GOOD}


def check_tones(summary: Summary) -> None:
    worst = max((tile.tone for tile in summary.tiles), key=lambda tone: tone.weight)
    assert worst is summary.tone, "the headline is as bad as the worst tile"
    assert len(summary.tiles) == len(Area)
    for tone in (*(n.tone for n in summary.notices), *(c.tone for c in summary.scopes)):
        assert tone.weight <= summary.tone.weight


@given(overviews())
def test_a_tile_is_calm_only_if_nothing_of_its_area_is_wrong(o: Overview) -> None:
    found = diagnose(o)
    for area, tile in zip(Area, summarize(o).tiles, strict=True):
        wrong = [f for f in found.complaints if f.area is area]
        assert (tile.tone is Tone.GOOD) == (not wrong)


@settings(deadline=None)
@given(overviews(), st.sets(st.sampled_from(["aml", "session.create", "all"]), min_size=1))
def test_what_operators_have_paused_is_the_bottleneck_unless_something_is_broken(o: Overview, names: set[str]) -> None:
    acts = [PauseAct(PauseKind.PAUSED, None if name == "all" else name, "ann", "moved", o.at_ms - 5000, "r") for name in sorted(names)]
    drains = tuple(DrainView(d.scope, d.calls + 1, math.inf, d.calls + 1, d.calls + 1) for d in o.drains)
    o = replace(o, pauses=tuple(acts), drains=drains, paused_calls=dict.fromkeys(names, 7))
    found = diagnose(o)
    told = [f for f in found.findings if f.kind is FindingKind.PAUSED]
    assert {f.subject for f in told} == names
    assert found.tone is Tone.BAD or found.leading in told
    assert not any(f.kind in {FindingKind.BACKLOG_STUCK, FindingKind.BUDGET_UNUSED, FindingKind.CALLS_IDLE} for f in found.findings)
    screen = shown(o)
    assert all(f"paused: {name} since" in screen and "by ann: moved" in screen for name in names)
    assert "is unknown until `processor resume`" in screen
    assert re.search(rf"{SCOPES[0]}.* unknown\b", screen), "when it is done"
    summary = summarize(o)
    assert any(tile.state == "Paused" and "unknown" in tile.text for tile in summary.tiles) or found.tone is Tone.BAD
