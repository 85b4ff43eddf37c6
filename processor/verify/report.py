"""What an audit came to: for a person, for a program, and as a page to file. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import orjson

from processor.contract.amounts import count, number
from processor.contract.times import duration, utc
from processor.verify.findings import SHOWN_MAX, AuditFinding, BrokenPromise, Findings
from processor.verify.judge import Figures
from processor.verify.log_audit import LogFigures
from processor.verify.waiting import WaitingPlace, WaitingRequests

_ID_CHARS_MAX = 128
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 76em; margin: 2em auto; padding: 0 1em; color: #1a1a1a }}
h1 {{ font-size: 1.5em }} h2 {{ font-size: 1.15em; margin-top: 2em }}
table {{ border-collapse: collapse; width: 100% }} td, th {{ text-align: left; vertical-align: top; padding: .3em .8em .3em 0 }}
tr {{ border-bottom: 1px solid #ddd }} code {{ font-size: .92em }} .good {{ color: #17672f }} .bad {{ color: #a31515 }}
</style></head><body>
<h1>{title}</h1><p class="{tone}"><strong>{headline}</strong></p>
{body}
</body></html>
"""


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """One request that waits. Times are epoch ms."""

    asked_at: str  # position of the caller's record
    stands_at: str  # and of the record that stands for it now
    place: WaitingPlace
    since_ms: int
    due_ms: int | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Everything that an audit has seen. Times are epoch ms."""

    installation: str
    group: str
    at_ms: int
    since_ms: int | None
    older_s: float
    judged_from_ms: int
    findings: Findings
    figures: Figures
    log: LogFigures
    waiting: WaitingRequests
    oldest: tuple[WaitingRequest, ...] = ()
    progress: int = 0
    foreign: int = 0
    handed_on: int = 0  # requests that are for other applications
    acts: int = 0
    billing: bool = False
    scopes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    account_held: bool = False
    paused: tuple[str, ...] = ()  # by operators: operations, or ``all``
    spilled_bytes: int = 0
    notes: tuple[str, ...] = ()

    @property
    def over_by_ledger(self) -> tuple[str, ...]:
        """Scopes that the ledger saw over their limit, by the clock of whoever counts."""
        return tuple(sorted(scope for scope, seen in self.scopes.items() if seen["max_in_window"] > seen["limit"]))

    @property
    def clean(self) -> bool:
        """Whether no promise is broken."""
        return not self.findings.total and not self.over_by_ledger

    def count(self, *kinds: BrokenPromise) -> int:
        """Findings of some kinds."""
        return sum(self.findings.counts[kind] for kind in kinds)


PROMISES: tuple[tuple[str, tuple[BrokenPromise, ...]], ...] = (
    (
        "every request has a final result, or waits visibly",
        (BrokenPromise.MISSING_RESULT, BrokenPromise.DELETED_UNFINISHED),
    ),
    (
        "and only one, from its own record and round",
        (
            BrokenPromise.DOUBLE_FINAL,
            BrokenPromise.FOREIGN_RESULT,
            BrokenPromise.COPY_OF_NOTHING,
            BrokenPromise.RESULT_WITHOUT_REQUEST,
            BrokenPromise.RESULT_WITHOUT_ROUND,
        ),
    ),
    ("an offset is committed only with its outcome", (BrokenPromise.OFFSET_BEYOND_WORK, BrokenPromise.UNFINISHED_AFTER_FINAL)),
    ("what failed has a dead letter, and only that", (BrokenPromise.DEAD_LETTER_WITHOUT_RESULT, BrokenPromise.RESULT_WITHOUT_DEAD_LETTER)),
    (
        "a retry is published in time, once, and never starts early",
        (BrokenPromise.RETRY_TWICE, BrokenPromise.RETRY_PUBLISHED_LATE, BrokenPromise.RETRY_STARTED_EARLY, BrokenPromise.STARTED_IN_PAUSE),
    ),
    ("no window holds more calls than its limit", (BrokenPromise.WINDOW_OVER,)),
    ("nothing is paid for twice", (BrokenPromise.BILLED_TWICE,)),
    (
        "every repair is in the audit, and the audit is true",
        (
            BrokenPromise.REDRIVE_WITHOUT_AUDIT,
            BrokenPromise.AUDIT_WITHOUT_REDRIVE,
            BrokenPromise.AUDIT_WITHOUT_DEAD_LETTER,
            BrokenPromise.REDRIVEN_TWICE,
            BrokenPromise.ENDED_WITHOUT_AUDIT,
        ),
    ),
)
"""What is looked at, in the order of the report, and the findings that break it."""
_HOLDS = {True: "yes", False: "NO", None: "-"}


def headline(report: AuditReport) -> str:
    """The verdict in one sentence."""
    figures = report.figures
    judged = f"{count(figures.requests, 'request')}, {count(figures.finals, 'final result')}"
    if report.clean:
        return f"clean: no promise is broken ({judged})"
    over = f", {count(len(report.over_by_ledger), 'scope')} over the limit by the ledger" if report.over_by_ledger else ""
    return f"{count(report.findings.total, 'finding')} of {count(len(report.findings.counts), 'kind')}{over} ({judged})"


def promise_rows(report: AuditReport) -> Iterator[tuple[str, str, bool | None]]:
    """Promise, what was seen, and whether it holds; None if it was not judged, as nothing says what was billed."""
    seen = [
        f"{count(report.figures.requests, 'request')}, {count(report.waiting.by_place.total(), 'waits', 'wait')}",
        count(report.figures.finals, "final result"),
        f"group {report.group}",
        count(report.figures.dead_letters, "dead letter"),
        count(report.figures.retries, "retry", "retries"),
        f"{count(report.log.answered, 'answered call')} in the budget log",
        f"{number(report.figures.bills)} paid" if report.billing else "not judged: no --billing",
        f"{count(report.figures.redrives, 'redrive')}, {number(report.acts)} released or ended",
    ]
    for (promise, kinds), text in zip(PROMISES, seen, strict=True):
        broken = report.count(*kinds)
        unknown = kinds == (BrokenPromise.BILLED_TWICE,) and not report.billing and not broken
        yield promise, text + (f"; {count(broken, 'finding')}" if broken else ""), None if unknown else not broken
    for scope, figures in sorted(report.scopes.items()):
        yield (
            f"budget {scope}: at most {figures['limit']:.0f} in any {figures['window_s']:.0f} s, by the ledger",
            f"{count(figures['calls'], 'call')}, at most {figures['max_in_window']:.0f} in a window",
            scope not in report.over_by_ledger,
        )


def figure_rows(report: AuditReport) -> Iterator[tuple[str, str]]:
    """What else was counted."""
    figures = report.figures
    yield "statuses", ", ".join(f"{status} {number(many)}" for status, many in sorted(figures.by_status.items())) or "none"
    yield "duplicates (another record has the result)", number(figures.duplicates)
    yield "copies of results, for those who asked again", number(figures.copies)
    yield "asked again after they were forgotten", number(figures.asked_again)
    yield f"without a result and younger than {duration(report.older_s)}", number(figures.too_young)
    yield "too old to be judged", number(figures.too_old)
    yield "progress results", number(report.progress)
    if report.handed_on:
        yield "requests handed on to other applications", number(report.handed_on)
    yield "records of results, repairs and controls that are none of ours", number(report.foreign)
    for place, many in sorted(report.waiting.by_place.items()):
        yield f"waits: {place}", number(many)
    if report.account_held:
        yield "waits: the account is held", "yes: no call leaves, see `processor status`"
    if report.paused:
        yield "waits: paused by operators", ", ".join(report.paused)


def text_report(report: AuditReport) -> str:
    """Plain text for a terminal or a file."""
    lines = [f"Audit of {report.installation} (group {report.group}), {utc(report.at_ms)}", headline(report), ""]
    for promise, seen, holds in promise_rows(report):
        lines.append(f"  {_HOLDS[holds]:3}  {promise}: {seen}")
    lines += ["", *(f"  {name}: {value}" for name, value in figure_rows(report))]
    if report.judged_from_ms:
        lines.append(f"  judged: what came since {utc(report.judged_from_ms)}")
    lines += [f"  note: {note}" for note in report.notes]
    for kind, findings in _by_kind(report):
        lines += ["", f"{kind} ({number(report.findings.counts[kind])}): {kind.meaning}", f"  to do: {kind.remedy}"]
        lines += [f"  {finding.place}  {_shown_id(finding.request_id)}{finding.text}" for finding in findings]
        lines += _rest(report, kind)
    if report.oldest:
        lines += ["", f"the oldest that wait ({len(report.oldest)} of {number(report.waiting.by_place.total())}):"]
    for row in report.oldest:
        due = f", due {utc(row.due_ms)}" if row.due_ms is not None else ""
        lines.append(f"  {row.asked_at}  {_shown_id(row.request_id)}since {utc(row.since_ms)}; at {row.stands_at}: {row.place}{due}")
    return "\n".join(lines) + "\n"


def html_report(report: AuditReport) -> str:
    """One page without scripts or links, to file."""
    parts = [_table(("promise", "seen", "holds"), [(p, s, _HOLDS[holds]) for p, s, holds in promise_rows(report)])]
    parts.append("<h2>Figures</h2>" + _table(("", ""), list(figure_rows(report))))
    parts += [f"<p>{escape(note)}</p>" for note in report.notes]
    for kind, findings in _by_kind(report):
        parts.append(
            f"<h2>{escape(kind)} ({number(report.findings.counts[kind])})</h2><p>{escape(kind.meaning)}. To do: {escape(kind.remedy)}.</p>"
        )
        parts.append(_table(("place", "request id", "seen"), [(f.place, f.request_id or "", f.text) for f in findings]))
        parts += [f"<p>{escape(line.strip())}</p>" for line in _rest(report, kind)]
    if report.oldest:
        rows = [(r.asked_at, r.request_id or "", utc(r.since_ms), f"{r.stands_at}: {r.place}") for r in report.oldest]
        parts.append("<h2>The oldest that wait</h2>" + _table(("asked at", "request id", "since", "where"), rows))
    title = f"Audit of {report.installation}, {utc(report.at_ms)}"
    return _PAGE.format(
        title=escape(title), tone="good" if report.clean else "bad", headline=escape(headline(report)), body="\n".join(parts)
    )


def json_report(report: AuditReport) -> bytes:
    """One document for a program."""
    return orjson.dumps(
        {
            "schema_version": 1,
            "installation": report.installation,
            "group": report.group,
            "at_ms": report.at_ms,
            "since_ms": report.since_ms,
            "older_than_s": report.older_s,
            "judged_from_ms": report.judged_from_ms,
            "clean": report.clean,
            "counts": {kind.value: report.findings.counts[kind] for kind in BrokenPromise},
            "findings": [
                {
                    "kind": f.kind.value,
                    "topic": f.topic,
                    "partition": f.partition,
                    "offset": f.offset,
                    "request_id": f.request_id,
                    "text": f.text,
                }
                for f in report.findings.kept
            ],
            "figures": _figures_document(report),
            "waiting": _waiting_document(report),
            "scopes": report.scopes,
            "over_by_ledger": report.over_by_ledger,
            "notes": report.notes,
        }
    )


def _figures_document(report: AuditReport) -> dict[str, object]:
    figures = report.figures
    return {
        "requests": figures.requests,
        "finals": figures.finals,
        "by_status": dict(figures.by_status),
        "retries": figures.retries,
        "dead_letters": figures.dead_letters,
        "redrives": figures.redrives,
        "released_or_ended": report.acts,
        "duplicates": figures.duplicates,
        "asked_again": figures.asked_again,
        "copies": figures.copies,
        "too_young": figures.too_young,
        "too_old": figures.too_old,
        "progress": report.progress,
        "foreign": report.foreign,
        "handed_on": report.handed_on,
        "asks": report.log.asks,
        "answered": report.log.answered,
        "bills": figures.bills if report.billing else None,
        "late_retry_p99_ms": figures.late_p99_ms if figures.late_ms else None,
        "spilled_bytes": report.spilled_bytes,
    }


def _waiting_document(report: AuditReport) -> dict[str, object]:
    waiting = report.waiting
    return {
        "count": waiting.by_place.total(),
        "older": waiting.old,
        "account_held": report.account_held,
        "paused": list(report.paused),
        "by_place": {place.name.lower(): waiting.by_place[place] for place in WaitingPlace},
        "oldest": [
            {
                "request": row.asked_at,
                "request_id": row.request_id,
                "stands_at": row.stands_at,
                "place": row.place.name.lower(),
                "since_ms": row.since_ms,
                "due_ms": row.due_ms,
            }
            for row in report.oldest
        ],
    }


def _by_kind(report: AuditReport) -> Iterator[tuple[BrokenPromise, list[AuditFinding]]]:
    for kind in BrokenPromise:
        found = sorted((f for f in report.findings.kept if f.kind is kind), key=lambda f: (f.topic, f.partition, f.offset))
        if found:
            yield kind, found


def _rest(report: AuditReport, kind: BrokenPromise) -> list[str]:
    more = report.findings.counts[kind] - SHOWN_MAX
    return [f"  and {number(more)} more"] if more > 0 else []


def _shown_id(request_id: str | None) -> str:
    """On a terminal nothing of it may act."""
    if request_id is None:
        return ""
    return f"{''.join(char if char.isprintable() else '?' for char in request_id[:_ID_CHARS_MAX])!r}  "


def _table(names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
