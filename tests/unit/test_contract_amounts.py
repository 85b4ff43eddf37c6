"""One and many, in every text that says how many."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from string import Formatter

import pytest

from processor.contract.amounts import count, number
from processor.monitoring.diagnosis import Finding, FindingKind
from processor.monitoring.diagnosis_text import _TEXTS, statement

ROOM = Path(__file__).parents[2] / "processor"
MANY = re.compile(r" [a-z]+s\b")
NO_NOUN = (" bytes", " shows")  # a size is never one byte; what follows --limit


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 calls wait"), (1, "1 call waits"), (1.0, "1 call waits"), (2, "2 calls wait"), (1234, "1\u202f234 calls wait")],
)
def test_count_says_one_or_many(value: float, text: str) -> None:
    assert count(value, "call waits", "calls wait") == text
    assert count(value, "call") == text.removesuffix(" wait").removesuffix(" waits").replace("call waits", "call")


def test_number_groups_by_three() -> None:
    assert number(1_234_567.4) == "1\u202f234\u202f567"


@pytest.mark.parametrize("kind", FindingKind)
def test_a_finding_about_one_says_one(kind: FindingKind) -> None:
    names = {name for text in _TEXTS[kind] for _, name, _, _ in Formatter().parse(text) if name not in (None, "subject")}
    told = statement(Finding(kind, "aml", dict.fromkeys(map(str, names), 1.0)))
    assert not re.search(r"\b1 [a-z]{2,}s\b (?!of)", told), told


def test_no_text_writes_its_plural_by_hand() -> None:
    paths = [path for path in ROOM.rglob("*.py") if "simulator" not in path.parts]
    assert [(str(path), found) for path in paths if (found := list(_by_hand(ast.parse(path.read_text()))))] == []


def _by_hand(tree: ast.Module) -> Iterator[str]:
    """Texts that put ``(s)`` behind a word, or a noun of many behind a count that may be one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"\w\(e?s\)", node.value):
            yield node.value
        if isinstance(node, ast.JoinedStr):
            for figure, text in pairwise(node.values):
                if isinstance(figure, ast.FormattedValue) and isinstance(text, ast.Constant):
                    counted = re.search(r"^(len|sum)\(|count$|total(\(\))?$", ast.unparse(figure.value))
                    noun = MANY.match(str(text.value))
                    if counted and noun and noun[0] not in NO_NOUN:
                        yield ast.unparse(node)
