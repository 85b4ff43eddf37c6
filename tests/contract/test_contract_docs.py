"""Every record that a page shows is one: judged by the published schemas and a validator that the product does not use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples" / "README.md", ROOT / "clients/python/README.md"]
LEFT_OUT = "…"
PLACES = {  # what a schema wants where a page leaves a value out
    "result_id": "11111111-2222-4333-8444-555555555555",
    "session_id": "11111111-2222-4333-8444-555555555555",
    "sha256": "0" * 64,
    "received_at": "2026-11-25T12:00:00.000Z",
    "finished_at": "2026-11-25T12:00:01.000Z",
}


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Every JSON object of a page, wherever it stands, that is in no other one."""
    decoder, at = json.JSONDecoder(), 0
    while (at := text.find("{", at)) >= 0:
        try:
            found, at = decoder.raw_decode(text, at)
        except ValueError:
            at += 1
            continue
        yield found


def _filled(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _filled(member, key) for key, member in value.items() if key != LEFT_OUT}
    if isinstance(value, list):
        return [_filled(member, name) for member in value]
    return PLACES.get(name, "left-out") if value == LEFT_OUT else value


def _schemas_of(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Which schemas judge an object of a page, and what of it."""
    if "result_id" in document:
        yield "result.v1", document
    elif "semantic_key" in document:
        yield "event.v1", document
    elif "files" in document and "not_stored" in document:
        yield "output.session.media.v1", document
    elif {"request_id", "operation"} <= document.keys():
        yield "request.v1", document
        yield f"input.{document['operation']}.v1", document.get("input")


SHOWN = [
    pytest.param(schema, _filled(part), id=f"{page.name}-{number}-{schema}")
    for page in PAGES
    for number, document in enumerate(_objects(page.read_text()))
    for schema, part in _schemas_of(document)
]


@pytest.mark.parametrize(("schema", "document"), SHOWN)
def test_a_record_that_a_page_shows_is_valid(schema: str, document: Any) -> None:
    judge = Draft202012Validator(
        json.loads((ROOT / "schemas" / f"{schema}.json").read_text()), format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    assert [f"{error.json_path}: {error.message}" for error in judge.iter_errors(document)] == []


def test_records_of_each_kind_are_found() -> None:
    kinds = {str(param.values[0]) for param in SHOWN}
    assert {"request.v1", "result.v1", "event.v1", "output.session.media.v1", "input.aml.v1", "input.cancel.v1"} <= kinds
