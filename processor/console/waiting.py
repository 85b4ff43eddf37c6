"""What waits for its time: the list, and the two acts, release and end. What is confirmed is exactly what was shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

import structlog

from processor.console.actions import new_action_id
from processor.console.context import PageContext, PageRequest, PageView
from processor.console.forms import BadInputError, read_name, read_page, read_reason, read_waiting_selection
from processor.repair.delayed import FOLLOWING

log = structlog.get_logger(__name__)

RELEASE, END = "release", "end"


async def listed(page_context: PageContext, page_request: PageRequest) -> PageView:
    """Records that wait, by due time."""
    reason = read_reason(page_request.fields)
    found = await page_context.operations.waiting(reason=reason, page=read_page(page_request.fields))
    query = "" if reason is None else urlencode({"reason": reason or "-"})
    return PageView("waiting.html", {"found": found, "records": found.records, "reason": reason, "query": query})


def plan(action: str) -> Callable[[PageContext, PageRequest], Awaitable[PageView]]:
    """The page that shows what ``release`` or ``end`` would take, and asks. Nothing changes."""

    async def show(page_context: PageContext, page_request: PageRequest) -> PageView:
        wanted = read_waiting_selection(page_request.fields)
        if page_request.fields.get("ticked") and not wanted.positions:
            raise BadInputError("No request is ticked. Go back and tick those that you mean, or take all that match.")
        records = await page_context.operations.waiting_named(wanted, end=action == END)
        context = {
            "act": action,
            "records": records,
            "kinds": Counter((r.operation or "unreadable", r.reason or FOLLOWING) for r in records).most_common(),
            "most": wanted.count_max,
            "fields": [("position", r.position) for r in records],
            "act_id": new_action_id(),
        }
        return PageView("release.html", context)

    return show


def act(action: str) -> Callable[[PageContext, PageRequest], Awaitable[PageView]]:
    """Do what was shown."""

    async def show(page_context: PageContext, page_request: PageRequest) -> PageView:
        wanted, by = read_waiting_selection(page_request.fields), read_name(page_request.fields)
        if not wanted.positions:
            raise BadInputError("Choose first: the form carries the positions of what it has shown.")
        operations, action_id = page_context.operations, page_request.fields.get("act", "")
        done = await page_context.actions.once(action_id, lambda: operations.release(wanted, by, end=action == END))
        if done is None:
            context = {"act": action, "folder": "/waiting", "fields": list(page_request.fields.items())}
            return PageView("at_work.html", context, 202)
        log.info("page_acted", action=action, run=done.run_id, count=done.count)
        return PageView("released.html", {"act": action, "done": done})

    return show
