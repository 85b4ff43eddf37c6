"""What a person at a terminal sees of the demo: live on stderr, the proof on stdout."""

from __future__ import annotations

from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from processor.contract.amounts import count
from processor.devkit.demo import DemoProgress, Report
from processor.devkit.topic_watch import TopicWatch
from processor.verify.report import promise_rows

_EVENTS_SHOWN = 6


class Screen:
    """Live at a terminal; elsewhere one line for each event."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if self._console.is_terminal else None
        self._reported = 0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, progress: DemoProgress, watch: TopicWatch | None, ledger: dict[str, Any] | None) -> None:
        """See ``demo.Display``."""
        if self._live is None:
            for event in progress.events[self._reported :]:
                self._console.print(event, highlight=False)
            self._reported = len(progress.events)
            return
        self._live.update(Group(_counts(progress, watch), *_budgets(ledger), _events(progress)), refresh=True)


def proof_table(report: Report) -> Table:
    """The end of the demo: what was shown, from where, and whether it holds."""
    found = report.audit
    table = Table(title="What this run has shown", caption="audited from the topics (read_committed) and the simulator's ledger")
    for header in ("promise", "seen", "holds"):
        table.add_column(header)
    rows = [
        ("every request has a final result", f"{count(report.requested, 'request')}, {report.missing} without", not report.missing),
        *promise_rows(found),
    ]
    for promise, seen, holds in rows:
        table.add_row(promise, seen, Text("NO", "bold red") if holds is False else Text("yes" if holds else "-", "green"))
    late_s = found.figures.late_p99_ms / 1000
    table.add_row("retries after their due time", f"p99 {late_s:.1f} s, the wait for the budget included", "")
    table.add_row("a processor was killed with SIGKILL", f"{count(report.killed, 'time')}, restarted", "")
    table.add_row("statuses", ", ".join(f"{name} {count}" for name, count in sorted(found.figures.by_status.items())), "")
    return table


def _counts(progress: DemoProgress, watch: TopicWatch | None) -> Text:
    finals = len(watch.seen.finals) if watch else 0
    retries = len(watch.seen.retries) if watch else 0
    return Text(f"requests {progress.published}/{progress.total}   final results {finals}   retries {retries}")


def _budgets(ledger: dict[str, Any] | None) -> list[Table]:
    if not ledger:
        return []
    table = Table(box=None, pad_edge=False)
    for header in ("budget", "calls", "most in a window", "limit"):
        table.add_column(header)
    for scopes in ledger["scopes"].values():
        for name, s in sorted(scopes.items()):
            table.add_row(name, str(s["calls"]), str(s["max_in_window"]), f"{s['limit']} / {s['window_s']:.0f} s")
    return [table]


def _events(progress: DemoProgress) -> Text:
    return Text("\n".join(progress.events[-_EVENTS_SHOWN:]), "dim")
