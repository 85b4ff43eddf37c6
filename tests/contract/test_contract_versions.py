"""What an earlier version has written means the same today, and what it cannot read is told to whoever goes back to it.

``fixtures/records.<version>.jsonl`` was written by that version itself (``tests/written_records.py``), with what each record meant to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from written_records import LOG, MEANINGS, words, written

from processor.budget.log_records import LogRecord
from processor.contract.headers import _FIELDS
from processor.contract.pauses import PauseKind
from processor.contract.records import OutputKind, ResultKind, Status
from processor.contract.repairs import RepairKind

FILES = sorted((Path(__file__).parent / "fixtures").glob("records.*.jsonl"))
UPGRADING = Path(__file__).parent.parent.parent / "docs" / "upgrading.md"


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def differences(then: Any, now: Any, path: str = "") -> Iterator[str]:
    """Where a meaning of before is not that of today. Members may have been added."""
    if isinstance(then, dict) and isinstance(now, dict):
        for name, value in then.items():
            yield from differences(value, now.get(name, "is gone"), f"{path}.{name}")
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for index, (value, other) in enumerate(zip(then, now, strict=True)):
            yield from differences(value, other, f"{path}[{index}]")
    elif then != now:
        yield f"{path}: {then!r} was written, {now!r} is read"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_an_earlier_version_wrote_means_the_same_today(path: Path) -> None:
    records = [line for line in lines(path) if line["kind"] != "words"]
    assert {line["kind"] for line in records} == set(MEANINGS), "every kind of record is there"
    for number, line in enumerate(records, 1):
        found = list(differences(line["meaning"], orjson.loads(orjson.dumps(MEANINGS[line["kind"]](line)))))
        assert not found, f"{path.name}:{number} ({line['kind']}): {found}"


def test_the_file_of_a_version_holds_all_that_it_can_write() -> None:
    """Whoever adds a record, a header or a status adds it to ``written_records.py`` too."""
    found = list(written())
    assert {type(record) for record in LOG} == set(get_args(LogRecord))
    assert {name for line in found for name, _ in line.get("headers", ())} >= set(_FIELDS)
    documents = [orjson.loads(line["value"]) for line in found if line["kind"] in {"result", "repair", "pause"}]
    assert {d.get("kind") for d in documents} >= {*RepairKind, *PauseKind, *ResultKind}
    assert {d.get("status") for d in documents} >= set(Status)
    assert {*OutputKind} == {"results", "retry", "dead-letters", "requests", "repairs"}, "what lanes write has a line, but for forwards"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_an_earlier_version_cannot_read_is_told_to_who_goes_back(path: Path) -> None:
    """Each name that it does not know stands in the section "Back" of docs/upgrading.md."""
    (known,) = (line["words"] for line in lines(path) if line["kind"] == "words")
    _, _, section = UPGRADING.read_text().partition("\n## Back\n")
    told = set(re.findall(r"`([^`\n]+)`", section.partition("\n## ")[0]))
    for where, names in words().items():
        assert set(names) - set(known[where]) <= told, f"{where} that {path.name} does not have and docs/upgrading.md does not name"
