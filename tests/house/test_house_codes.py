"""A code is spelled in one place, `contract/codes.py`, a type in `contract/error_types.py`; all others name the member.

So no test has to be told of a move.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from processor.contract.codes import ErrorCode, ErrorType
from processor.didit.catalog import COMPOSITES
from processor.webhooks.refusals import RefusedReason

PROCESSOR = Path(__file__).parent.parent.parent / "processor"
SPELLED: dict[str, set[str]] = {  # where the words are defined
    "contract/codes.py": set(ErrorCode),
    "contract/error_types.py": set(ErrorType),
    "webhooks/refusals.py": set(RefusedReason),
    "didit/catalog.py": set(COMPOSITES),
}
WORDS: set[str] = set().union(*SPELLED.values())
# words that are also other words, and of whom
ALLOWED = {
    "contract/records.py": ({"expired", "conflict", "in_doubt"}, "statuses of a result"),
    "contract/repairs.py": ({"redriven"}, "what was done to a dead letter"),
    "repair/model.py": ({"redriven", "in_doubt", "conflict", "too_large"}, "status of a dead letter; why a redrive leaves it out"),
    "console/views.py": ({"redriven"}, "a step in the history of a request"),
    "cli/dead_letters.py": ({"redriven"}, "what a command says that it did"),
    "observe/metrics.py": ({"throttled"}, "a part of the name vp_throttled_total"),
    "console/forms.py": ({"in_doubt"}, "a field of a form"),
    "engine/log_events.py": ({"conflict"}, "a label of vp_duplicates_total"),
    "cli/topics.py": ({"too_long"}, "what a topic keeps for too long, a member of the JSON"),
    "devkit/demo.py": ({"reset"}, "a fault of the simulator"),
    "didit/verdicts.py": ({"cooldown", "throttled"}, "words in answers of Didit's"),
    "stream/oauth_tokens.py": ({"invalid_request"}, "an error of RFC 6749"),
    "settings/kafka.py": ({"verification"}, "the default prefix of topics"),
}
LEVELS = {"debug", "info", "warning", "error", "critical"}


def _literals(path: Path) -> Iterator[tuple[str, int]]:
    """Every text that a module spells out, but names of log events: those have a table of their own."""
    tree = ast.parse(path.read_text())
    events = {
        id(node)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS and call.args
        for node in ast.walk(call.args[0])
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in events:
            yield node.value, node.lineno


def _spelled(name: str) -> set[str]:
    return {text for text, _ in _literals(PROCESSOR / name)}


@pytest.mark.parametrize(
    "path", [p for p in sorted(PROCESSOR.rglob("*.py")) if "simulator" not in p.parts], ids=lambda p: str(p.relative_to(PROCESSOR))
)
def test_no_code_is_spelled_out_a_second_time(path: Path) -> None:
    name = str(path.relative_to(PROCESSOR))
    allowed = SPELLED.get(name, set()) | ALLOWED.get(name, (set(), ""))[0]
    found = [f"{name}:{line} {text!r}" for text, line in _literals(path) if text in WORDS - allowed]
    assert not found, f"use the member of the enum: {found}"


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_allowed_is_still_needed(name: str) -> None:
    words, why = ALLOWED[name]
    assert words <= _spelled(name), "take it off the list"
    assert why


@pytest.mark.parametrize("name", SPELLED)
def test_the_check_sees_what_is_spelled_out(name: str) -> None:
    assert SPELLED[name] <= _spelled(name)
