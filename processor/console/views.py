"""The pages that only read: overview, one request's journey."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson
from markupsafe import Markup

from processor.console.chart import usage_chart
from processor.console.context import PageContext, PageRequest, PageSite, PageView
from processor.console.forms import read_request_id
from processor.console.results import summarize_results
from processor.console.summary import Summary, summarize
from processor.console.trends import trends
from processor.contract.times import duration
from processor.monitoring.application_lines import ApplicationLine, line_of
from processor.monitoring.history import Sample

_PARTITIONS_MAX = 200  # shown; the rest is counted
_DOCUMENT_MAX = 50_000  # characters
_INDEX_S = 4.0  # the index waits so long for an application of which nothing is known
_STEPS_MAX = 500  # shown, the last ones; the rest is counted
_STANDING = {"requested", "dead-letter", "redriven", "discarded"}  # steps that say whether there is something to repair


async def overview(page_context: PageContext, page_request: PageRequest) -> PageView:
    """Everything at a glance; the last known one while Kafka is away."""
    cached, results = await asyncio.gather(page_context.overview_cache.get(), page_context.results_cache.get())
    if cached.answer is None:
        return PageView("away.html", {"trouble": cached.trouble}, 503)
    found = cached.answer
    summary = summarize(found)
    history = page_context.operations.history()
    blocked = {(b.topic, b.partition): b.cause.replace("_", " ") for b in found.blocked}
    partitions = sorted(
        found.partitions, key=lambda p: ((p.topic, p.partition) not in blocked, p.owner is not None, -p.unfinished, p.topic, p.partition)
    )
    context = {
        "overview": found,
        "summary": summary,
        "trouble": cached.trouble,
        "charts": _charts(history, summary, page_request.now_ms if not cached.trouble else found.at_ms),
        "results": None if results.answer is None else summarize_results(results.answer, page_request.now_ms),
        "results_trouble": results.trouble,
        "trends": trends(page_context.operations.backlog_history(), page_request.now_ms),
        "sampled": {scope for scope, samples in history.items() if samples},
        "partitions": partitions[:_PARTITIONS_MAX],
        "blocked": blocked,
        "partitions_more": len(partitions) - _PARTITIONS_MAX,
    }
    return PageView("overview.html", context)


def index(contexts: Mapping[str, PageContext]) -> Callable[[PageSite, PageRequest], Awaitable[PageView]]:
    """All applications, a line for each. One that cannot be asked holds up no other: it is shown as it was known."""

    async def show(_site: PageSite, _page_request: PageRequest) -> PageView:
        lines = await asyncio.gather(*(_line(name, page_context) for name, page_context in contexts.items()))
        return PageView("applications.html", {"lines": lines})

    return show


async def _line(name: str, page_context: PageContext) -> ApplicationLine:
    try:
        async with asyncio.timeout(_INDEX_S):
            cached = await page_context.overview_cache.get()
    except TimeoutError:  # the question goes on, and whoever looks again has its answer
        return line_of(name, None, f"No answer for {duration(_INDEX_S)}.")
    return line_of(name, cached.answer, cached.trouble)


async def request_history(page_context: PageContext, page_request: PageRequest) -> PageView:
    """Everything that is known of one request."""
    request_id = read_request_id(page_request.fields, "id")
    found = await page_context.operations.request_history(request_id) if request_id else None
    standing = [step.what for step in found.steps if step.what in _STANDING] if found else []
    context = {
        "request_id": request_id,
        "found": found,
        "steps": found.steps[-_STEPS_MAX:] if found else (),
        "open": standing[-1:] == ["dead-letter"],
        "document": _document(found.request if found else None),
    }
    return PageView("journey.html", context)


def _charts(history: Mapping[str, Sequence[Sample]], summary: Summary, now_ms: int) -> Mapping[str, Markup]:
    return {c.view.scope: usage_chart(history.get(c.view.scope, ()), now_ms, c.view.limit) for c in summary.scopes}


def _document(request: Mapping[str, Any] | None) -> str:
    if request is None:
        return ""
    text = orjson.dumps(request, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=lambda _: "***").decode()
    return text if len(text) <= _DOCUMENT_MAX else text[:_DOCUMENT_MAX] + "\n… (cut)"
