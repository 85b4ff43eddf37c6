"""Dead letters: the list, the dry run, and the two acts. What is confirmed is never more than what was shown."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import structlog

from processor.console.actions import new_act_id
from processor.console.context import Shown, Site, Visit
from processor.console.forms import (
    SPANS,
    Asked,
    BadInputError,
    frozen,
    read_name,
    read_note,
    read_page,
    read_selection,
    selection_fields,
)
from processor.repair.model import REPLAYS_MAX, DeadLetter, Done, Selection

_SAMPLE = 20  # records that a dry run shows one by one

log = structlog.get_logger(__name__)


async def listed(site: Site, visit: Visit) -> Shown:
    """Open dead letters, with a filter."""
    asked = read_selection(visit.fields, visit.now_ms)
    found = await site.operations.dead_letters(asked.selection, page=read_page(visit.fields))
    return Shown("dead_letters.html", {"found": found, "spans": SPANS, **_asked(asked)})


async def plan_redrive(site: Site, visit: Visit) -> Shown:
    """The dry run: what a redrive would do. Nothing changes."""
    asked = _chosen(visit)
    selection = frozen(asked.selection, visit.now_ms)
    plan = await site.operations.plan(selection)
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
    return Shown("redrive.html", context)


async def plan_discard(site: Site, visit: Visit) -> Shown:
    """What a discard would set aside, and the question why."""
    asked = _chosen(visit)
    selection = frozen(asked.selection, visit.now_ms)
    found = await site.operations.dead_letters(selection, page=1)
    confirmed = replace(selection, count_max=found.total)
    context = {"found": found, "kinds": _kinds(found.letters), "sample": found.letters[:_SAMPLE], **_form(confirmed, asked)}
    return Shown("discard.html", context)


async def redrive(site: Site, visit: Visit) -> Shown:
    """Do what the dry run has shown."""
    selection = _confirmed(visit)
    by = read_name(visit.fields)
    done = await site.acts.once(visit.fields.get("act", ""), lambda: site.operations.redrive(selection, by))
    return _outcome("redrive", done, visit)


async def discard(site: Site, visit: Visit) -> Shown:
    """Set aside what was shown, with a note."""
    selection = _confirmed(visit)
    by, note = read_name(visit.fields), read_note(visit.fields)
    done = await site.acts.once(visit.fields.get("act", ""), lambda: site.operations.discard(selection, by, note))
    return _outcome("discard", done, visit)


def _chosen(visit: Visit) -> Asked:
    asked = read_selection(visit.fields, visit.now_ms)
    if visit.fields.get("ticked") and not asked.selection.positions:
        raise BadInputError("No dead letter is ticked. Go back and tick those that you mean, or take all that match.")
    return asked


def _confirmed(visit: Visit) -> Selection:
    selection = read_selection(visit.fields, visit.now_ms).selection
    if selection.until_ms is None or selection.count_max is None:
        raise BadInputError("Do a dry run first: it says how many and until when (count_max, until_ms), and the form carries that.")
    return selection


def _outcome(act: str, done: Done | None, visit: Visit) -> Shown:
    if done is None:
        return Shown("at_work.html", {"act": act, "fields": list(visit.fields.items())}, 202)
    log.info("page_acted", act=act, run=done.run_id, count=done.count)
    return Shown("done.html", {"act": act, "done": done})


def _asked(asked: Asked) -> dict[str, Any]:
    """What a list repeats of its question."""
    fields = selection_fields(asked.selection)
    if asked.since:
        fields = [(name, value) for name, value in fields if name != "since_ms"] + [("since", asked.since)]
    return {"selection": asked.selection, "since": asked.since, "query": urlencode(fields), "filtered": bool(fields), "fields": fields}


def _form(confirmed: Selection, asked: Asked) -> dict[str, Any]:
    """What the form of an act carries."""
    return {"fields": selection_fields(confirmed), "act_id": new_act_id(), "back": _asked(asked)["query"]}


def _kinds(letters: tuple[DeadLetter, ...]) -> list[tuple[str, str, int]]:
    """Operation, reason and how many, the most first."""
    counted = Counter((letter.operation or "unreadable", letter.reason_type) for letter in letters)
    return [(operation, reason, count) for (operation, reason), count in counted.most_common()]
