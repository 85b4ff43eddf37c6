"""The glossary names what exists, and words that were given up do not come back."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in GLOSSARY.splitlines() if line.startswith("| ")]
TERMS = [row for row in ROWS if row[0] != "term"]
SOURCES = {path: path.read_text() for path in sorted((ROOT / "processor").rglob("*.py"))}
# names that mean something else in Kafka's world, or two things in ours: old -> new
RENAMED = {
    "Outbox": "LogWriter",
    "Follower": "LogReader",
    "Lookout": "GroupMonitor",
    "Surveyor": "GroupInspector",
    "Surveying": "OverviewSampler",
    "Pulse": "ProcessStatus",
    "Hints": "Wakeups",
    "EventFeed": "WakeupFeed",
    "CallBook": "CallIndex",
    "DeadLetterBook": "DeadLetterIndex",
    "WaitingBook": "DelayedIndex",
    "Recollection": "ReplayedCalls",
    "ImageSettings": "FileSettings",
}


@pytest.mark.parametrize("row", TERMS, ids=lambda row: row[0])
def test_every_term_stands_where_the_glossary_says(row: list[str]) -> None:
    assert len(row) == 4, row
    path, _, symbol = row[3].partition(" ")
    text = SOURCES[ROOT / "processor" / path.strip("`")]
    if symbol:
        assert re.search(rf"^(class|def|async def) {symbol.strip('`')}\b", text, re.MULTILINE), row[3]


def test_no_term_is_defined_twice() -> None:
    terms = Counter(term for row in TERMS for term in row[0].split(", "))
    assert [term for term, count in terms.items() if count > 1] == []


def test_no_class_name_stands_for_two_things() -> None:
    names = Counter(name for text in SOURCES.values() for name in re.findall(r"^class (\w+)", text, re.MULTILINE) if name[0] != "_")
    assert [name for name, count in names.items() if count > 1] == []


def test_words_that_were_given_up_do_not_come_back() -> None:
    for path, text in SOURCES.items():
        for old, new in RENAMED.items():
            assert not re.search(rf"\b{old}\b", text), f"{path}: {old} is called {new}"
