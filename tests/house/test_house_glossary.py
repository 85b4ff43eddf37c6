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
PLAIN = {  # words of our own dialect -> what an engineer would search for
    r"anew": "again",
    r"passed over": "skipped",
    r"one of a kind": "unique",
    r"those who watch": "monitoring port",
    r"mend(s|ed|ing)?": "repair, fix",
    r"wished for": "enabled",
    r"he|she|his|her|him": "they, the user",
}
TEXTS = {
    path: path.read_text()
    for path in [*SOURCES, *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "deploy").rglob("*.y*ml"), ROOT / "Makefile"]
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


@pytest.mark.parametrize("word", PLAIN)
def test_texts_are_plain_technical_english(word: str) -> None:
    for path, text in TEXTS.items():
        found = re.search(rf"\b({word})\b", text)
        assert not found, f"{path.relative_to(ROOT)}: {found and found[0]!r}; say: {PLAIN[word]}"
