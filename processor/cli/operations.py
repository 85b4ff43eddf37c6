"""`processor operations` and `processor example`: what can be asked for, read from the contract and the catalogue. Neither needs Kafka."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from processor.cli.options import fail, write_json
from processor.client.csv_file import written_csv
from processor.client.table import table_row
from processor.contract.schemas import input_schema, operations
from processor.didit.catalog import WITHOUT_CALL, first_call
from processor.didit.operation import Idempotency

_IN_WORDS = {
    Idempotency.SAFE: "called again; it costs nothing",
    Idempotency.KEYED: "called again with the same Idempotency-Key; billed once",
    Idempotency.RECONCILABLE: "looked up at Didit, and adopted if it is there",
    Idempotency.SINGLE: "in_doubt; with on_doubt repeat it is made again, and billed again",
}

app = typer.Typer()


@app.command("operations")
def list_operations(
    name: Annotated[str | None, typer.Argument(metavar="[OPERATION]", help="explain one instead of listing all")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: an array, or one object")] = False,
) -> None:
    """List what a request can ask for; or explain one operation. Its input, its budget, and what happens if its answer is lost.

    Exit status: 0; 2 if there is no such operation.
    """
    if name is None:
        found = [_facts(each) for each in sorted(operations())]
        write_json(orjson.dumps(found)) if as_json else Console().print(_listing(found))
        return
    facts = _facts(_known(name)) | {"input": input_schema(name)}
    if as_json:
        write_json(orjson.dumps(facts))
        return
    _explain(facts)


@app.command("example")
def example(
    name: Annotated[str, typer.Argument(metavar="OPERATION")],
    *,
    as_csv: Annotated[bool, typer.Option("--csv", help="a CSV file of one row, for `processor batch`")] = False,
) -> None:
    """Print a small valid request, as a line for `processor publish`, or as CSV.

    Exit status: 0; 2 if there is no such operation.
    """
    request = {"request_id": f"example-{_known(name)}", "operation": name, "input": input_schema(name)["examples"][0]}
    if not as_csv:
        write_json(orjson.dumps(request))
        return
    row = table_row(request)
    typer.echo(written_csv([row], row), nl=False)


def _known(name: str) -> str:
    if name not in operations():
        near = get_close_matches(name, operations(), n=1)
        fail(f"there is no operation of this name; {f'did you mean {near[0]}?' if near else '`processor operations` lists them'}")
    return name


def _facts(name: str) -> dict[str, Any]:
    call, schema = None if name in WITHOUT_CALL else first_call(name), input_schema(name)
    return {
        "operation": name,
        "required": schema.get("required", []),
        "optional": sorted(schema.get("properties", {}).keys() - set(schema.get("required", []))),
        "call": "none" if call is None else f"{call.method} {call.path}",
        "scopes": [] if call is None else list(call.scopes),
        "if_unknown": "there is no call" if call is None else _IN_WORDS[call.idempotency],
    }


def _listing(found: list[dict[str, Any]]) -> Table:
    table = Table(Column("operation", no_wrap=True), "input needs", "budget", "Didit's call", box=None, pad_edge=False)
    for facts in found:
        table.add_row(facts["operation"], ", ".join(facts["required"]) or "-", ", ".join(facts["scopes"]), facts["call"])
    return table


def _explain(facts: Mapping[str, Any]) -> None:
    schema, console = facts["input"], Console()
    console.print(Text(f"{facts['operation']}: {facts['call']}\n{schema['description']}"))
    console.print(Text(f"budget: {', '.join(facts['scopes']) or 'none'}\nif its answer is lost: {facts['if_unknown']}\n"))
    table = Table(Column("field of input", no_wrap=True), "", "kind", "", box=None, pad_edge=False)
    for field in [*facts["required"], *facts["optional"]]:
        rule = schema["properties"].get(field, {})
        table.add_row(field, "required" if field in facts["required"] else "", ", ".join(_kinds(rule)), Text(rule.get("description", "")))
    console.print(table)
    console.print(Text(f"\nprocessor example {facts['operation']} prints a request; docs/contract.md says what comes back"))


def _kinds(rule: Any) -> Iterator[str]:
    """What a value may be: its types, or its words."""
    if not isinstance(rule, Mapping):
        return
    if "enum" in rule:
        yield " | ".join(map(str, rule["enum"]))
    elif "type" in rule:
        yield " | ".join([rule["type"]] if isinstance(rule["type"], str) else rule["type"])
