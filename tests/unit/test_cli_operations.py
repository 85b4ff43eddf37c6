"""`processor operations` and `processor example`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from processor.cli.app import app
from processor.client.batch_source import read_batch
from processor.contract.schemas import input_schema, operations


def printed(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == status, done.output
    return done.output


@pytest.mark.parametrize("name", operations())
def test_every_example_is_a_valid_request_as_a_line_and_as_csv(name: str, tmp_path: Path) -> None:
    lines, table = tmp_path / "requests.jsonl", tmp_path / "requests.csv"
    lines.write_text(printed("example", name))
    table.write_text(printed("example", name, "--csv"))
    (of_line,), (of_row,) = read_batch(lines, None), read_batch(table, None)
    assert json.loads(of_line.value) == json.loads(of_row.value)
    assert of_line.operation == name
    assert len(input_schema(name)["examples"]) == 1


def test_operations_are_listed_and_explained() -> None:
    rows = json.loads(printed("operations", "--json"))
    assert {row["operation"] for row in rows} == set(operations())
    text = printed("operations", "aml")
    assert all(part in text for part in ("POST /v3/aml/", "generic-write", "full_name", "required", "Idempotency-Key"))
    assert json.loads(printed("operations", "verification", "--json"))["required"] == ["workflow_id"]


@pytest.mark.parametrize("command", ["operations", "example"])
def test_a_misspelt_operation_is_answered_with_the_nearest(command: str) -> None:
    assert "did you mean session.create?" in printed(command, "session.creat", status=2)
