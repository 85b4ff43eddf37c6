"""What `processor retry` shows at a terminal, and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

import orjson
from rich.table import Table
from rich.text import Text

from processor.cli.fitted_rows import FittedRows
from processor.contract.amounts import count
from processor.contract.codes import CodeKind, ErrorCode, read_code
from processor.contract.times import duration, relative
from processor.monitoring.formatting import verbatim
from processor.monitoring.model import DelayedView
from processor.repair.delayed import FOLLOWING, DelayedProgress
from processor.repair.model import DelayedRecord

_OPERATORS = frozenset({CodeKind.HELD, CodeKind.FORBIDDEN})  # they wait until somebody has repaired the cause
_LATE_MS = 60_000  # what is due for longer waits for more than its turn


def as_json(view: DelayedView, records: Sequence[DelayedRecord], now_ms: int) -> bytes:
    """One JSON object; times are epoch ms, ``reason`` is null for one that follows a session."""
    return orjson.dumps({"at_ms": now_ms, **asdict(view), "by_due": dict(view.by_due), "records": [asdict(r) for r in records]})


def as_table(records: Sequence[DelayedRecord], now_ms: int) -> FittedRows:
    """One row a record, or two lines; what stands in it is shown as it is."""
    table, blocks = Table(box=None, pad_edge=False), []
    for header in ("request", "operation", "due", "reason", "attempts", "where"):
        table.add_column(header, justify="right" if header == "attempts" else "left", overflow="fold")
    for r in records:
        where = f"{r.topic}[{r.partition}]@{r.offset}"
        cells = (shown(r.request_id), shown(r.operation), relative(r.due_ms, now_ms), r.reason or FOLLOWING, str(r.attempt), where)
        table.add_row(*(Text(cell) for cell in cells))
        attempts = f"{count(r.attempt, 'attempt')} before"
        blocks.append((Text(f"{cells[2]}  {cells[1]}  {cells[0]}"), Text(f"  {cells[3]}, {attempts}, {where}")))
    return FittedRows(table, blocks)


def summary(view: DelayedView) -> str:
    """How many wait, when and why."""
    if not view.count:
        return "0 waiting"
    times = ", ".join(f"{name} {number}" for name, number in view.by_due if number)
    more = "" if view.complete else " There are more: not everything was read."
    return f"{view.count} waiting, {view.due_now} of them due. By due time: {times}. By reason: {counted(view.by_reason)}.{more}"


def meaning(view: DelayedView, now_ms: int) -> str:
    """What that means, and what to do; a line for each reason that needs somebody."""
    if not view.count:
        return "No request waits for a later attempt; nothing needs to be done."
    return "\n".join([_when(view, now_ms), *_held(view.by_reason)])


def _held(reasons: Iterable[str]) -> Iterator[str]:
    for reason in reasons:
        code = read_code(reason)
        if isinstance(code, ErrorCode) and (code.kind in _OPERATORS or code is ErrorCode.WAITS_FOR_ACCOUNT):
            yield f"{reason}: {code.message} `processor retry end REQUEST_ID` ends a request, with a dead letter."


def _when(view: DelayedView, now_ms: int) -> str:
    if view.oldest_due_ms is not None and now_ms - view.oldest_due_ms > _LATE_MS:
        late = duration((now_ms - view.oldest_due_ms) / 1000)
        return (
            f"The oldest has been due for {late}: those that are due are at work or wait for the budget (`processor budget` shows pauses), "
            "or no processor runs."
        )
    if view.due_now:
        return "Those that are due are about to start or at work; nothing needs to be done."
    wait = duration(((view.next_due_ms or now_ms) - now_ms) / 1000)
    return f"None is due; the next one starts in {wait}. `processor retry release` starts them now, e.g. once the cause is gone."


def outcome(progress: DelayedProgress, within_s: float) -> str:
    """What became of a release, and how to go on."""
    again = ""
    if progress.delayed_again:
        put_off = count(sum(progress.delayed_again.values()), "was put off and waits", "were put off and wait")
        again = f" Of these, {put_off} again: {counted(progress.delayed_again)} (`processor retry list`)."
    if not progress.left:
        return f"All that were selected ({progress.named}) were started and are finished.{again}"
    return (
        f"{progress.done} of {progress.named} finished after {duration(within_s)}.{again} What is left ({progress.left}) is at work or "
        "waits for the budget, which a release does not override (`processor budget` shows pauses); or no processor runs. It goes on by "
        "itself: look with `processor retry list`, and release again what is not due and still waits after 15 minutes."
    )


def counted(counts: Mapping[str, int]) -> str:
    """``http_503 12, throttled 3``."""
    return ", ".join(f"{name} {number}" for name, number in counts.items())


def shown(text: str | None) -> str:
    """Text from outside as it is, but for what a terminal would act on; ``-`` where there is none."""
    return "-" if text is None else verbatim(text)
