"""Dead letters: the list, the dry run, and the two acts. What is confirmed is never more than what was shown."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import structlog

from processor.console.actions import new_action_id
from processor.console.context import PageContext, PageRequest, PageView
from processor.console.forms import (
    SPANS,
    BadInputError,
    SelectionForm,
    frozen,
    read_name,
    read_note,
    read_page,
    read_selection,
    selection_fields,
)
from processor.repair.model import REPLAYS_MAX, DeadLetter, RepairSummary, Selection

_SAMPLE = 20  # records that a dry run shows one by one

log = structlog.get_logger(__name__)


async def listed(page_context: PageContext, page_request: PageRequest) -> PageView:
    """Open dead letters, with a filter."""
    asked = read_selection(page_request.fields, page_request.now_ms)
    found = await page_context.operations.dead_letters(asked.selection, page=read_page(page_request.fields))
    return PageView("dead_letters.html", {"found": found, "spans": SPANS, **_asked(asked)})


async def plan_redrive(page_context: PageContext, page_request: PageRequest) -> PageView:
    """The dry run: what a redrive would do. Nothing changes."""
    asked = _chosen(page_request)
    selection = frozen(asked.selection, page_request.now_ms)
    plan = await page_context.operations.plan(selection)
    confirmed = replace(selection, count_max=len(plan.chosen))
    context = {
        "plan": plan,
        "kinds": _kinds(plan.chosen),
        "sample": plan.chosen[:_SAMPLE],
        "selection": selection,
        "insisting": urlencode(selection_fields(replace(asked.selection, in_doubt=True))),
        "again": urlencode(selection_fields(replace(asked.selection, replays_max=REPLAYS_MAX + 1))),
        **_form(confirmed, asked),
    }
    return PageView("redrive.html", context)


async def plan_discard(page_context: PageContext, page_request: PageRequest) -> PageView:
    """What a discard would set aside, and the question why."""
    asked = _chosen(page_request)
    selection = frozen(asked.selection, page_request.now_ms)
    found = await page_context.operations.dead_letters(selection, page=1)
    confirmed = replace(selection, count_max=found.total)
    context = {"found": found, "kinds": _kinds(found.dead_letters), "sample": found.dead_letters[:_SAMPLE], **_form(confirmed, asked)}
    return PageView("discard.html", context)


async def redrive(page_context: PageContext, page_request: PageRequest) -> PageView:
    """Do what the dry run has shown."""
    selection = _confirmed(page_request)
    by = read_name(page_request.fields)
    done = await page_context.actions.once(page_request.fields.get("act", ""), lambda: page_context.operations.redrive(selection, by))
    return _outcome("redrive", done, page_request)


async def discard(page_context: PageContext, page_request: PageRequest) -> PageView:
    """Set aside what was shown, with a note."""
    selection = _confirmed(page_request)
    by, note = read_name(page_request.fields), read_note(page_request.fields)
    done = await page_context.actions.once(page_request.fields.get("act", ""), lambda: page_context.operations.discard(selection, by, note))
    return _outcome("discard", done, page_request)


def _chosen(page_request: PageRequest) -> SelectionForm:
    asked = read_selection(page_request.fields, page_request.now_ms)
    if page_request.fields.get("ticked") and not asked.selection.positions:
        raise BadInputError("No dead letter is ticked. Go back and tick those that you mean, or take all that match.")
    return asked


def _confirmed(page_request: PageRequest) -> Selection:
    selection = read_selection(page_request.fields, page_request.now_ms).selection
    if selection.until_ms is None or selection.count_max is None:
        raise BadInputError("Do a dry run first: it says how many and until when (count_max, until_ms), and the form carries that.")
    return selection


def _outcome(action: str, done: RepairSummary | None, page_request: PageRequest) -> PageView:
    if done is None:
        return PageView("at_work.html", {"act": action, "folder": "/dead-letters", "fields": list(page_request.fields.items())}, 202)
    log.info("page_acted", action=action, run=done.run_id, count=done.count)
    return PageView("done.html", {"act": action, "done": done})


def _asked(asked: SelectionForm) -> dict[str, Any]:
    """What a list repeats of its question."""
    fields = selection_fields(asked.selection)
    if asked.since:
        fields = [(name, value) for name, value in fields if name != "since_ms"] + [("since", asked.since)]
    return {"selection": asked.selection, "since": asked.since, "query": urlencode(fields), "filtered": bool(fields), "fields": fields}


def _form(confirmed: Selection, asked: SelectionForm) -> dict[str, Any]:
    """What the form of an act carries."""
    return {"fields": selection_fields(confirmed), "act_id": new_action_id(), "back": _asked(asked)["query"]}


def _kinds(dead_letters: tuple[DeadLetter, ...]) -> list[tuple[str, str, int]]:
    """Operation, reason and how many, the most first."""
    counted = Counter((dead_letter.operation or "unreadable", dead_letter.reason_type) for dead_letter in dead_letters)
    return [(operation, reason, count) for (operation, reason), count in counted.most_common()]
