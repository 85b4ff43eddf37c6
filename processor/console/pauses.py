"""Pauses: what operators have paused, and the two acts: to pause and to resume. Each has a page that asks before anything changes."""

from __future__ import annotations

from typing import Any

import structlog

from processor.console.actions import new_action_id
from processor.console.context import PageContext, PageRequest, PageView
from processor.console.forms import BadInputError, read_name, read_pause_note, read_pause_target
from processor.contract.pauses import EVERYTHING, PauseAct, PauseKind
from processor.monitoring.model import Overview

log = structlog.get_logger(__name__)


async def listed(page_context: PageContext, _page_request: PageRequest) -> PageView:
    """What is paused, whether the replicas obey, and what can be paused."""
    seen = await _overview(page_context)
    others = [name for name in page_context.operations.pausable() if name not in {act.name for act in seen.pauses}]
    context = {"pauses": seen.pauses, "calls": seen.paused_calls, "names": others, "everything": EVERYTHING}
    return PageView("pauses.html", context)


async def plan(page_context: PageContext, page_request: PageRequest) -> PageView:
    """What the act would do, and the question why. Nothing changes."""
    kind, name = _wanted(page_context, page_request)
    seen = await _overview(page_context)
    context = {
        "kind": kind.value,
        "name": name,
        "everything": name == EVERYTHING,
        "standing": _standing(seen, name),
        "calls": seen.paused_calls.get(name, 0),
        "act_id": new_action_id(),
    }
    return PageView("pause_plan.html", context)


async def change(page_context: PageContext, page_request: PageRequest) -> PageView:
    """Pause or resume."""
    kind, name = _wanted(page_context, page_request)
    by, reason = read_name(page_request.fields), read_pause_note(page_request.fields)
    operation = None if name == EVERYTHING else name
    done = await page_context.actions.once(
        page_request.fields.get("act", ""), lambda: page_context.operations.change_pause(kind, operation, by, reason)
    )
    context: dict[str, Any] = {"kind": kind.value, "name": name, "fields": list(page_request.fields.items()), "done": done}
    if done is not None:
        log.info("page_acted", action=kind.value, run=done.run_id, count=done.count)
    return PageView("pause_done.html", context, 202 if done is None else 200)


async def _overview(page_context: PageContext) -> Overview:
    """Of this moment: what the overview page holds may be some seconds old, and somebody looks at what was just done."""
    return await page_context.operations.overview()


def _wanted(page_context: PageContext, page_request: PageRequest) -> tuple[PauseKind, str]:
    kind, name = read_pause_target(page_request.fields)
    if name != EVERYTHING and name not in page_context.operations.pausable():
        raise BadInputError("There is no such operation. Go back and choose one of the list.")
    return kind, name


def _standing(seen: Overview, name: str) -> PauseAct | None:
    return next((act for act in seen.pauses if act.name == name), None)
