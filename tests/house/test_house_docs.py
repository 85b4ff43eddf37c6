"""The documents say what the code does: settings, topics, commands, codes, log events, promises, links. And the other way round."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema_rs
import orjson
import pytest
from jsonschema import Draft202012Validator
from typer.main import get_command

import processor
from processor.budget.ask_states import TRANSITIONS
from processor.cli.app import LazyCommand, app
from processor.console.summary import STATES
from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.schemas import operations
from processor.didit.verdicts import Verdict
from processor.monitoring.diagnosis import Tone
from processor.repair.model import LeftOut
from processor.settings import load_settings
from processor.stream.topics import topic_specs
from processor.verify.findings import BrokenPromise
from processor.webhooks.event_writer import WriteOutcome
from processor.webhooks.refusals import RefusedReason
from tools.docs.codes import contract_page
from tools.docs.configuration import configuration_page
from tools.docs.metrics import metrics_page
from tools.docs.rights import rights_page

ROOT = Path(__file__).parent.parent.parent
DOCS = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}
AT_ROOT = {path.name: path.read_text() for path in ROOT.glob("*.md")}
README = AT_ROOT["README.md"]
EVERYTHING = "\n".join([*AT_ROOT.values(), *DOCS.values()])
TREES = [ast.parse(path.read_text()) for path in (ROOT / "processor").rglob("*.py")]
PROMISES = [f"G{number}" for number in range(1, 9)]
GONE = {"VP_BUDGET__SHARE", "VP_IMAGES__ROOTS"}  # named to say that it is gone


def test_the_configuration_page_is_the_code() -> None:
    assert DOCS["configuration.md"] == configuration_page(), "run `make docs`"


def test_the_metrics_page_is_the_code() -> None:
    assert DOCS["metrics.md"] == metrics_page(), "run `make docs`"


def test_the_tables_of_codes_are_the_code() -> None:
    assert DOCS["contract.md"] == contract_page(DOCS["contract.md"]), "run `make docs`"
    for word in [*ErrorType, *ErrorCode]:
        assert f"| `{word}` |" in DOCS["contract.md"], word


def test_the_table_of_rights_is_the_code() -> None:
    assert DOCS["deploy.md"] == rights_page(DOCS["deploy.md"]), "run `make docs`"
    with pytest.raises(ValueError, match="no table of rights"):
        rights_page(DOCS["deploy.md"].replace("<!-- rights -->", ""))


def test_a_table_of_codes_that_is_not_there_is_missed() -> None:
    with pytest.raises(ValueError, match="has the tables"):
        contract_page(DOCS["contract.md"].replace("<!-- codes: wait -->", ""))


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    loaded = command.load() if isinstance(command, LazyCommand) else command
    for name, below in getattr(loaded, "commands", {}).items():
        yield (*path, name)
        yield from _commands(below, (*path, name))


COMMANDS = list(_commands(get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_is_documented(path: tuple[str, ...]) -> None:
    *groups, name = path
    assert re.search(rf"processor {' '.join([*groups, ''])}(?:[a-z]+\|)*{name}\b|make {name}", EVERYTHING)


def test_every_command_that_is_named_exists() -> None:
    known = {path[:1] for path in COMMANDS} | {(*path[:1], path[1]) for path in COMMANDS if len(path) > 1}
    groups = {path[0] for path in COMMANDS if len(path) > 1}
    for name, below in re.findall(r"(?:`|^|bin/|-- )processor ([a-z]+)(?: ([a-z]+))?", EVERYTHING, re.MULTILINE):
        assert (name,) in known, name
        assert name not in groups or not below or (name, below) in known, (name, below)


def test_every_setting_that_is_named_exists() -> None:
    settings = set(re.findall(r"^\| `(VP_\w+)`", DOCS["configuration.md"], re.MULTILINE))
    for name in set(re.findall(r"VP_[A-Z]+__[A-Z_]+", EVERYTHING)) - GONE:
        assert name in settings or (name.endswith("_") and any(s.startswith(name) for s in settings)), name


def test_every_metric_that_is_named_exists() -> None:
    metrics = set(re.findall(r"^\| `(vp_\w+)`", DOCS["metrics.md"], re.MULTILINE))
    for page, text in DOCS.items():
        for name in re.findall(r"`(vp_[a-z_]+)`", text):
            assert name in metrics | {"vp_request_id", "vp_adopted"}, f"{name} in {page}"


def test_every_topic_is_in_the_readme() -> None:
    for spec in topic_specs(load_settings(), partitions=1, replication=1):
        tail = spec.name.removeprefix("verification.").removeprefix("retry")
        assert spec.name in README or f"`{tail}`" in README, spec.name


def test_the_security_page_knows_how_long_each_topic_keeps_what() -> None:
    rows = [line for line in DOCS["security.md"].split("## What leaves", 1)[0].splitlines() if line.startswith("|")]
    for spec in topic_specs(load_settings(), partitions=1, replication=1):
        tail = "retry.*" if ".retry." in spec.name else spec.name.removeprefix("verification.")
        days = int(spec.configs["retention.ms"]) // 86_400_000
        kept = "for ever" if spec.keeps_all else f"{days} days"
        assert any(f"`{tail}`" in row and kept in row for row in rows), (tail, kept)


def test_every_operation_is_documented() -> None:
    table = DOCS["contract.md"].split("\n## Operations\n", 1)[1].split("\n##", 1)[0]
    for name in operations():
        assert f"`{name}`" in table, f"{name} is not in docs/contract.md, Operations"


LEVELS = {"debug", "info", "warning", "error", "critical"}


def _strings(node: ast.AST) -> set[str]:
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def _logged(call: ast.Call) -> set[str]:
    """The event that a call logs, or hands to whom logs it."""
    if isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS and ast.unparse(call.func.value) in {"log", "self._log"}:
        return _strings(call.args[0])
    if isinstance(call.func, ast.Name) and call.func.id == "AlertEvent":
        return _strings(call.args[1])
    return set()


EVENTS = {event for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.Call) for event in _logged(node)}


def test_every_log_event_is_documented_and_every_one_that_is_exists() -> None:
    table = DOCS["operations.md"].split("## Log events", 1)[1].split("\n## ", 1)[0]
    cells = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", table, re.MULTILINE)
    assert {event for cell in cells for event in re.findall(r"`([a-z_]+)`", cell)} == EVENTS


@pytest.mark.parametrize("path", [p for p in (ROOT / "processor").rglob("*.py") if ">>> " in p.read_text()], ids=lambda p: p.stem)
def test_examples_in_docstrings_are_true(path: Path) -> None:
    found = doctest.testmod(importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts)))
    assert (found.failed, found.attempted > 0) == (0, True)


@pytest.mark.parametrize("page", ["architecture.md", "tracing.md"])
def test_every_verdict_is_documented(page: str) -> None:
    assert [kind.__name__ for kind in get_args(Verdict) if f"`{kind.__name__}`" not in DOCS[page]] == []


def test_every_state_of_a_tile_that_is_not_well_is_documented() -> None:
    told = {f"`{state}`" for kind, state in STATES.items() if kind.tone is not Tone.GOOD}
    assert [state for state in sorted(told) if state not in DOCS["page.md"]] == []


def test_the_page_on_pacing_knows_every_state_of_an_ask() -> None:
    rows = re.findall(r"^\| \*(\w+)\* \|([^|]*)\|", DOCS["pacing.md"], re.MULTILINE)
    assert {name: set(re.findall(r"\*(\w+)\*", then)) - {"single"} for name, then in rows} == {
        before: set(afters) - {"withdrawn"} for before, afters in TRANSITIONS.items()
    }


def test_every_type_and_status_of_a_result_is_documented() -> None:
    schema = orjson.loads((ROOT / "schemas" / "result.v1.json").read_bytes())["properties"]
    types = schema["error"]["oneOf"][1]["properties"]["type"]["enum"]
    for word in [*types, *schema["status"]["enum"], *schema["kind"]["enum"], *schema]:
        assert f"`{word}`" in DOCS["contract.md"] or word == "schema_version", word


def _first_cells(page: str, title: str) -> set[str]:
    """The words in code in the first column of the first table of a section."""
    table = DOCS[page].split(f"\n## {title}\n", 1)[1].split("\n| ", 1)[1].split("\n\n", 1)[0]
    return {word for line in table.splitlines()[2:] for word in re.findall(r"`([a-z0-9_]+)`", line.split(" | ", 1)[0])}


def test_every_reason_of_a_dead_letter_and_to_leave_it_out_is_documented() -> None:
    ended = {ErrorType.EXPIRED, ErrorType.CANCELLED}
    assert _first_cells("repair.md", "Decide") == set(ErrorType) - ended, "what expired or was taken back is no dead letter"
    assert _first_cells("repair.md", "Redrive") == set(LeftOut)
    for why in LeftOut:
        assert f"| `{why}` | {why.meaning} | {why.remedy}" in DOCS["repair.md"], why


def test_every_finding_of_an_audit_is_documented() -> None:
    assert _first_cells("verify.md", "What is judged") == set(BrokenPromise)
    for kind in BrokenPromise:
        assert f"| `{kind}` | {kind.meaning} | {kind.remedy} |" in DOCS["verify.md"], kind


def test_the_page_on_waiting_names_reasons_that_exist() -> None:
    named = _first_cells("waiting.md", "What waits where, and why") - {"http_503", ErrorCode.HEADER_UNKNOWN}
    assert named <= {code for code in ErrorCode if code.waits}


def test_every_answer_to_a_webhook_is_documented_under_its_status() -> None:
    section = DOCS["webhooks.md"].split("## What is answered", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (\d{3}) \| (.+) \|$", section, re.MULTILINE)
    said = {(int(status), word) for status, rest in rows for word in re.findall(r"`([a-z_]+)`", rest)}
    not_written = set(WriteOutcome) - {WriteOutcome.PUBLISHED, WriteOutcome.DUPLICATE}
    assert said == {(reason.status, str(reason)) for reason in RefusedReason} | {(503, str(outcome)) for outcome in not_written}


def test_every_module_that_a_page_names_exists() -> None:
    for name, page in [*DOCS.items(), ("README.md", README)]:
        for path in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|json|yaml))`", page):
            assert any((ROOT / folder / path).exists() for folder in ("", "processor", "tests", "deploy")), f"{name} names {path}"


def test_package_and_architecture_page_show_the_same_rooms() -> None:
    rooms = {path.stem for path in (ROOT / "processor").iterdir() if not path.name.startswith(("_", "py."))}
    tree = re.findall(r"^    (\w+)/? +\S", processor.__doc__ or "", re.MULTILINE)
    page = DOCS["architecture.md"]
    described = re.findall(r"^\| `(\w+)/?` \|", page.split("## Rooms", 1)[1].split("## Who imports whom", 1)[0], re.MULTILINE)
    assert set(tree) == set(described) == rooms
    assert tree == described, "in one order"


def test_the_runbook_of_a_failing_task_tells_what_each_task_is_for() -> None:
    code = "".join(path.read_text() for path in (ROOT / "processor").rglob("*.py"))
    told = re.findall(r"^\| `([a-z -]+)` \|", (ROOT / "docs/runbooks/VerificationTaskFailing.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(re.findall(r'start_restarting\("([^"]+)"', code))


def test_every_link_between_documents_leads_somewhere() -> None:
    for where, text in [*((ROOT, text) for text in AT_ROOT.values()), *((ROOT / "docs", text) for text in DOCS.values())]:
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", text):
            page = (where / target).read_text() if target.endswith(".md") else text
            assert (where / target).exists(), target
            assert not anchor or anchor in _anchors(page), anchor


def _anchors(page: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    assert README.count("\n") <= 110
    for name in DOCS:
        assert f"](docs/{name})" in README, name


def _promise(name: str) -> str:
    return DOCS["guarantees.md"].split(f"\n## {name}. ", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize("name", PROMISES)
def test_every_promise_says_when_it_holds_where_it_ends_and_what_shows_it(name: str) -> None:
    said = _promise(name)
    for part in ("**By**", "**Assumes**", "**Limits**", "**Redrive**", "**Release**", "**Shown by**"):
        assert part in said or part.lower() in said, part
    assert re.search(r"`test_\w+\.py`", said.split("**Shown by**", 1)[1])


def test_every_test_that_a_page_names_exists() -> None:
    names = set(re.findall(r"`(?:tests/\w+/)?(test_\w+\.py)`", EVERYTHING))
    assert names
    for name in names:
        assert list((ROOT / "tests").rglob(name)), name


@pytest.mark.parametrize("path", sorted((ROOT / "schemas").glob("*.json")), ids=lambda p: p.name)
def test_schemas_are_valid_by_two_opinions(path: Path) -> None:
    schema = orjson.loads(path.read_bytes())
    jsonschema_rs.meta.validate(schema)
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", sorted((ROOT / "schemas").glob("*.json")), ids=lambda p: p.name)
def test_examples_of_schemas_are_valid_and_members_of_records_are_described(path: Path) -> None:
    schema = orjson.loads(path.read_bytes())
    for example in schema.get("examples", ()):
        jsonschema_rs.validate(schema, example)
    if not path.name.startswith("input."):  # those are Didit's own fields, which its pages describe
        assert [name for name, member in schema["properties"].items() if not {"description", "const"} & set(member)] == []


def test_the_asyncapi_document_refers_to_files_that_exist() -> None:
    text = (ROOT / "schemas" / "asyncapi.yaml").read_text()
    for name in re.findall(r"\./([\w.-]+\.json)", text):
        assert (ROOT / "schemas" / name).exists(), name
    for spec in topic_specs(load_settings(), partitions=1, replication=1):
        name = re.sub(r"\.retry\..*", ".retry.{delay}", spec.name)
        assert f"address: {name}\n" in text or spec.is_log, f"{name} is not in schemas/asyncapi.yaml"


def test_the_schema_page_is_of_the_schemas_as_they_are() -> None:
    pytest.importorskip("yaml", reason="yaml is not here (`make deploy-check` installs it)")
    from tools.docs import schema_page  # noqa: PLC0415 - it needs yaml

    assert schema_page.PAGE.read_text() == schema_page.current(), "write it again: make docs"


def test_the_schema_page_names_every_member_at_any_depth() -> None:
    pytest.importorskip("yaml", reason="yaml is not here (`make deploy-check` installs it)")
    from tools.docs.schema_page import fields  # noqa: PLC0415 - it needs yaml

    inner = {"type": "object", "required": ["b"], "properties": {"b": {"type": ["string", "null"], "maxLength": 9, "pattern": "^x"}}}
    schema = {
        "required": ["a"],
        "properties": {"a": inner, "list": {"type": "array", "items": inner}, "gone": False, "any": True, "kind": {"enum": ["x", 1]}},
        "anyOf": [{"properties": {"or": {"const": None}}}],
    }
    found = {field.path: field for field in fields(schema)}
    assert list(found) == ["a", "a.b", "list", "list[]", "list[].b", "any", "kind", "or"]
    assert (found["a.b"].kind, found["a.b"].required, found["a.b"].rules) == (
        "string or null",
        True,
        ("at most 9 characters", "pattern ^x"),
    )
    assert found["kind"].rules == ('one of "x", 1',)
    assert found["or"].rules == ("always null",)
