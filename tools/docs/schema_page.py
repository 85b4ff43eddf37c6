"""Writes docs/schemas.html from schemas/asyncapi.yaml and the JSON schemas: `make docs`. A test holds the page to them.

One page without scripts: the topics and who writes to them, what their records hold, and every field of every schema with its bounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import yaml

_ROOT = Path(__file__).parent.parent.parent
SCHEMAS, PAGE = _ROOT / "schemas", _ROOT / "docs" / "schemas.html"
_STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 76em; margin: 2em auto; padding: 0 1em }
body { color: #1a1a1a; background: #fff }
h1 { font-size: 1.6em } h2 { font-size: 1.25em; margin-top: 2.2em } h3 { font-size: 1.05em; margin-top: 1.8em }
table { border-collapse: collapse; width: 100%; display: block; overflow-x: auto }
td, th { text-align: left; vertical-align: top; padding: .3em .8em .3em 0 } tr { border-bottom: 1px solid #ddd }
code { font-size: .92em; overflow-wrap: anywhere } pre { background: #f4f4f4; padding: .6em; overflow-x: auto } a { color: #1a4f8b }"""
_BOUNDS = (
    ("format", "{}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "more than {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "less than {}"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("minProperties", "at least {} members"),
    ("maxProperties", "at most {} members"),
    ("pattern", "pattern {}"),
    ("default", "default {}"),
)


class Field(NamedTuple):
    """A line of a schema's table."""

    path: str  # members by a dot, items by []
    kind: str
    required: bool
    rules: tuple[str, ...]
    about: str


def page(asyncapi: Mapping[str, Any], schemas: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole page.

    Args:
        asyncapi: the AsyncAPI 3.0 document.
        schemas: by file name.
    """
    info = asyncapi["info"]
    parts = [f"<h1>{escape(info['title'])}: topics and schemas</h1><p>{escape(info['description'])}</p>"]
    parts += ["<h2>Topics</h2>", _topics(asyncapi), "<h2>Records</h2>", *_messages(asyncapi), "<h2>Schemas</h2>"]
    parts += [_schema(name, schemas[name]) for name in sorted(schemas)]
    title = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(info["title"])}</title>'
    head = f'<!doctype html>\n<html lang="en"><head>{title}<style>\n{_STYLE}\n</style></head><body>\n'
    return head + "\n".join(parts) + "\n</body></html>\n"


def fields(schema: Mapping[str, Any]) -> Iterator[Field]:
    """Every member of a schema, those of members included, in the order of the file."""
    yield from _members(schema, "")


def _topics(asyncapi: Mapping[str, Any]) -> str:
    uses: dict[str, set[str]] = {}
    for operation in asyncapi["operations"].values():
        uses.setdefault(_last(operation["channel"]["$ref"]), set()).add(operation["action"])
    rows: list[tuple[str, ...]] = []
    for name, channel in asyncapi["channels"].items():
        sends = {"send": "writes", "receive": "reads"}
        used = " and ".join(sends[action] for action in sorted(uses.get(name, ()), reverse=True)) or "-"
        messages = ", ".join(_link("record", _last(message["$ref"])) for message in channel["messages"].values())
        about = escape(channel.get("description", ""))
        for parameter, told in channel.get("parameters", {}).items():
            about += f" <code>{escape(parameter)}</code>: {escape(told['description'])} One of {escape(', '.join(told['enum']))}."
        rows.append((f"<code>{escape(channel['address'])}</code>", messages, used, about))
    return _table(("topic", "records", "the processor", ""), rows)


def _messages(asyncapi: Mapping[str, Any]) -> Iterator[str]:
    for name, message in asyncapi["components"]["messages"].items():
        headers, value = message.get("headers", {}), message["payload"]
        files = [part["$ref"] for part in headers.get("allOf", [headers]) if part]
        shown = _to_schema(value["$ref"]) if "$ref" in value else escape(value["description"].rstrip("."))
        yield f'<h3 id="record-{escape(name)}">{escape(message["title"])}</h3>'
        yield f"<p>Value: {shown}. Headers: {', '.join(map(_to_schema, files)) or 'none that are described here'}.</p>"


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    rows: list[tuple[str, ...]] = [
        (f"<code>{escape(path)}</code>", escape(kind), "yes" if required else "", "<br>".join(map(escape, rules)), escape(about))
        for path, kind, required, rules, about in fields(schema)
    ]
    file = f'<a href="../schemas/{escape(name)}"><code>{escape(name)}</code></a>'
    found = f'<h3 id="{_anchor(name)}">{escape(schema["title"])}</h3><p>{file} {escape(schema.get("description", ""))}</p>'
    if rows:
        found += _table(("member", "type", "required", "rules", ""), rows)
    examples = [f"<pre>{escape(orjson.dumps(one, option=orjson.OPT_INDENT_2).decode())}</pre>" for one in schema.get("examples", ())[:1]]
    return found + "".join(examples)


def _members(schema: Mapping[str, Any], path: str) -> Iterator[Field]:
    """What stands inside a schema: of its members, its items, and of each of its forms."""
    required = set(schema.get("required", ()))
    for name, inner in schema.get("properties", {}).items():
        if inner is not False:
            yield _field(inner, f"{path}{name}", required=name in required)
            yield from _members(inner if isinstance(inner, dict) else {}, f"{path}{name}.")
    if isinstance(items := schema.get("items"), dict):
        inside = f"{path.removesuffix('.')}[]"
        yield _field(items, inside, required=False)
        yield from _members(items, f"{inside}.")
    for form in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _members(form, path)


def _field(schema: Any, path: str, *, required: bool) -> Field:
    if not isinstance(schema, dict):
        return Field(path, "anything", required, (), "")
    rules = [words.format(schema[word]) for word, words in _BOUNDS if word in schema]
    if "enum" in schema:
        rules.append("one of " + ", ".join(map(_json, schema["enum"])))
    if "const" in schema:
        rules.append(f"always {_json(schema['const'])}")
    if schema.get("additionalProperties") is False:
        rules.append("no other members")
    return Field(path, _kind(schema), required, tuple(rules), schema.get("description", ""))


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(kind)
    forms = [_kind(form) for form in (*schema.get("anyOf", ()), *schema.get("oneOf", ()))]
    return (
        kind or " or ".join(dict.fromkeys(form for form in forms if form)) or ("" if "enum" in schema or "const" in schema else "anything")
    )


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{title}</th>" for title in titles)
    return f"<table><tr>{head}</tr>\n" + "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows) + "</table>"


def _to_schema(reference: str) -> str:
    name = reference.removeprefix("./")
    return f'<a href="#{_anchor(name)}"><code>{escape(name)}</code></a>'


def _anchor(name: str) -> str:
    return "schema-" + re.sub(r"[^a-z0-9]+", "-", name.removesuffix(".json").lower())


def _link(kind: str, name: str) -> str:
    return f'<a href="#{kind}-{escape(name)}">{escape(name)}</a>'


def _last(reference: str) -> str:
    return reference.rpartition("/")[2]


def current() -> str:
    """The page of the files as they are now."""
    schemas = {path.name: orjson.loads(path.read_bytes()) for path in SCHEMAS.glob("*.json")}
    return page(yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text()), schemas)


if __name__ == "__main__":
    PAGE.write_text(current())
