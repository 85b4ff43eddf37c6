"""Writes docs/metrics.md from the table of metrics: `make docs`. A test holds the page to the code."""

from __future__ import annotations

from itertools import groupby

from processor.observe.metrics import TABLE

_HEAD = """# Metrics

Written from `processor/observe/metrics.py` by `make docs`; do not edit by hand.

`GET /metrics` on `VP_OBSERVE__PORT` (8070) of every replica and every webhook receiver, in Prometheus' text format. What is
published is counted after its transaction, so the counters agree with the topics; a killed process loses what it counted, never
what it published. Sum counters and gauges of the backlog over replicas; gauges of the budget are the same on all of them: take the
maximum. `application` is whose key and topics it was for, `default` where the deployment names none; what has no such label is of the
process as a whole. No label holds an id or a text from outside, so the number of series does not grow with the traffic. The process's own
memory, CPU and files are there too (`process_*`).
"""


def metrics_page() -> str:
    """The page."""
    parts = [_HEAD]
    for group, rows in groupby(TABLE, key=lambda metric: metric.group):
        lines = [f"## {group}", "", "| metric | kind | unit | labels | meaning |", "|---|---|---|---|---|"]
        for m in rows:
            labels = ", ".join(f"`{label}`" for label in m.labels) or "-"
            lines.append(f"| `{m.name}` | {m.kind} | {m.unit} | {labels} | {m.meaning} |")
        parts.append("\n".join([*lines, ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    print(metrics_page(), end="")  # noqa: T201 - its output is the page
