"""The documents say what the code does: settings, topics, commands, error codes, log events, links."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema_rs
import orjson
import pytest
from jsonschema import Draft202012Validator
from typer.main import get_command

from processor.cli import app
from processor.metrics_page import metrics_page
from processor.settings import load_settings
from processor.settings_page import configuration_page
from processor.stream.topics import topic_specs

ROOT = Path(__file__).parent.parent.parent
DOCS = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}
README = (ROOT / "README.md").read_text()
SOURCES = {path: path.read_text() for path in (ROOT / "processor").rglob("*.py")}


def test_the_configuration_page_is_the_code() -> None:
    assert DOCS["configuration.md"] == configuration_page(), "run `make docs`"


def test_the_metrics_page_is_the_code() -> None:
    assert DOCS["metrics.md"] == metrics_page(), "run `make docs`"


def test_every_command_is_documented() -> None:
    command = get_command(app)
    assert hasattr(command, "commands")
    text = README + "".join(DOCS.values())
    for name in command.commands:
        assert re.search(rf"processor {name}|make {name}", text), name


def test_every_topic_is_in_the_readme() -> None:
    for spec in topic_specs(load_settings(), partitions=1, replication=1):
        tail = spec.name.removeprefix("verification.").removeprefix("retry")
        assert spec.name in README or f"`{tail}`" in README, spec.name


def test_every_log_event_is_documented() -> None:
    for path, text in SOURCES.items():
        for event in re.findall(r"log\.(?:info|warning|error|critical)\(\s*\"([a-z_]+)\"", text):
            assert f"`{event}`" in DOCS["operations.md"], f"{event} of {path.name}"


def test_every_error_code_of_the_contract_is_documented() -> None:
    for name in ("decode.py", "headers.py", "strict_json.py", "schemas.py"):
        text = (ROOT / "processor" / "contract" / name).read_text()
        codes = re.findall(r"(?:JsonFault|HeaderFault|_error)\(\s*\"([a-z_]+)\"", text)
        codes += re.findall(r"^    \"[a-zA-Z]+\": \"([a-z_]+)\",$", text, re.MULTILINE) if name == "schemas.py" else []
        for code in codes:
            assert f"`{code}`" in DOCS["contract.md"], code


def test_every_link_between_documents_leads_somewhere() -> None:
    for where, text in [(ROOT, README), *((ROOT / "docs", text) for text in DOCS.values())]:
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (where / target).exists(), target


def test_every_guarantee_names_tests_that_exist() -> None:
    names = set(re.findall(r"`(test_\w+\.py)`", DOCS["guarantees.md"]))
    assert names
    for name in names:
        assert list((ROOT / "tests").rglob(name)), name


@pytest.mark.parametrize("path", sorted((ROOT / "schemas").glob("*.json")), ids=lambda p: p.name)
def test_schemas_are_valid_by_two_opinions(path: Path) -> None:
    schema = orjson.loads(path.read_bytes())
    jsonschema_rs.meta.validate(schema)
    Draft202012Validator.check_schema(schema)


def test_the_asyncapi_document_refers_to_files_that_exist() -> None:
    text = (ROOT / "schemas" / "asyncapi.yaml").read_text()
    for name in re.findall(r"\./([\w.-]+\.json)", text):
        assert (ROOT / "schemas" / name).exists(), name
    for tail in ("requests", "results", "events", "retry.{delay}", "dead-letters", "repairs"):
        assert f"address: verification.{tail}\n" in text
