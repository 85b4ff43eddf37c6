"""Recent results: how they ended, how long they took, and a list to search."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlencode

from processor.console.chart import outcome_chart
from processor.console.context import PageContext, PageRequest, PageView
from processor.console.forms import SPANS, read_page, read_result_filter
from processor.console.ports import RESULTS_A_PAGE, FoundResults, UnavailableError, page_of
from processor.contract.records import Status
from processor.repair.recent_result import DIGEST_CHARS, FAILED, FOLLOWED, REFUSED, RecentResult, Speed, by_minute, select_results, speeds

MINUTES = 30  # of the chart


@dataclass(frozen=True, slots=True)
class ResultsSummary:
    """What the overview says of the last half hour."""

    chart: str
    count: int
    succeeded: int
    failed: int
    refused: int  # the caller's own mistakes
    lately_a_minute: float  # in the last five whole minutes
    speed: Speed | None  # of all operations together, but for those in which people take their time
    complete: bool  # false: not all of the half hour is known


def summarize_results(found: FoundResults, now_ms: int) -> ResultsSummary:
    """The last half hour."""
    minutes = by_minute(found.results, now_ms, MINUTES)
    begin_ms = minutes[0].begin_ms
    shown = [result for result in found.results if result.finished_ms >= begin_ms]
    counts = Counter(result.status for result in shown)
    everything = speeds(_as_one(result) for result in shown if result.operation not in FOLLOWED)
    return ResultsSummary(
        outcome_chart(minutes),
        len(shown),
        counts[Status.SUCCEEDED],
        sum(counts[status] for status in FAILED),
        sum(counts[status] for status in REFUSED),
        sum(minute.total for minute in minutes[-6:-1]) / 5,
        everything[0] if everything else None,
        found.complete or len(shown) < len(found.results),
    )


async def listed(page_context: PageContext, page_request: PageRequest) -> PageView:
    """The newest results, with a filter."""
    asked = read_result_filter(page_request.fields, page_request.now_ms)
    cached = await page_context.results_cache.get()
    if cached.answer is None:
        raise UnavailableError(cached.trouble)
    found = select_results(cached.answer.results, asked.wanted)
    shown, page, pages = page_of(found, read_page(page_request.fields), RESULTS_A_PAGE)
    context = {
        "results": shown,
        "total": len(found),
        "page": page,
        "pages": pages,
        "counts": Counter(result.status for result in found).most_common(),
        "chart": outcome_chart(by_minute(found, page_request.now_ms, MINUTES)),
        "speeds": speeds(found),
        "calls": sorted(page_context.operations.call_latencies().values(), key=lambda call: (-call.count, call.operation)),
        "known": len(cached.answer.results),
        "complete": cached.answer.complete,
        "trouble": cached.trouble,
        "wanted": asked.wanted,
        "since": asked.since,
        "query": urlencode(asked.fields),
        "filtered": bool(asked.fields),
        "operations": sorted({result.operation for result in cached.answer.results if result.operation}),
        "statuses": [status for status in Status if status is not Status.WAITING],
        "spans": SPANS,
        "minutes": MINUTES,
        "digest_chars": DIGEST_CHARS,
    }
    return PageView("results.html", context)


def _as_one(result: RecentResult) -> RecentResult:
    return RecentResult(result.finished_ms, None, "all", result.status, None, 0, result.took_ms)
