"""Didit's own OpenAPI 3.0.0, out of the source distribution of ``didit-sdk`` on the package index: an outside judge, never committed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from processor.devkit.jars import cache_folder
from processor.didit.catalog import OPERATIONS, Operation

_ARCHIVE = "didit_sdk-0.4.0"
_PINNED = "didit-sdk==0.4.0 --hash=sha256:f6af28b2ef4cb01c2d12492f4ed1165177a7f6f621e0d3819f973dd505865932"
_FETCH_S = 120.0


def document() -> Mapping[str, Any]:
    """The whole document, fetched once for each machine; without it a test is skipped, and fails in CI."""
    found = _document()
    if not isinstance(found, str):
        return found
    if "CI" in os.environ:
        raise RuntimeError(found)
    pytest.skip(found)


def available() -> bool:
    """Whether the document is to be had; in CI it must be."""
    try:
        return bool(document())
    except pytest.skip.Exception:
        return False


@cache
def _document() -> Mapping[str, Any] | str:
    """Read once in a process; or why it is not to be had, so that the index is not asked again by every test."""
    archive = cache_folder().parent / f"verification-processor-{_ARCHIVE}.tar.gz"
    if not archive.exists() and (fault := _fetch(archive)):
        return fault
    with tarfile.open(archive) as tar:
        member = tar.extractfile(f"{_ARCHIVE}/tests/contracts/openapi_v3.json")
        assert member is not None
        found: dict[str, Any] = json.load(member)
    return found


def _fetch(archive: Path) -> str:
    """Why it was not given; empty if it was."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        pins = Path(folder) / "pins.txt"
        pins.write_text(_PINNED + "\n")
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-build-isolation",
            "--no-binary",
            ":all:",
        ]
        done = subprocess.run(
            [*pip, "--require-hashes", "-d", folder, "-r", str(pins)], check=False, capture_output=True, text=True, timeout=_FETCH_S
        )
        if done.returncode != 0:
            return f"the package index does not give the source of didit-sdk 0.4.0, which holds Didit's OpenAPI: {done.stderr[-300:]}"
        (Path(folder) / archive.name.removeprefix("verification-processor-")).replace(archive)  # atomic
    return ""


def resolved(node: Any) -> Any:
    """A node, or what it refers to."""
    while isinstance(node, dict) and "$ref" in node:
        target: Any = document()
        for part in node["$ref"].split("/")[1:]:
            target = target[part.replace("~1", "/").replace("~0", "~")]  # RFC 6901
        node = target
    return node


@dataclass(frozen=True)
class Endpoint:
    """A documented path and method."""

    path: str  # as the document writes it
    method: str

    @property
    def described(self) -> Mapping[str, Any]:
        """What the document says of it."""
        found: Mapping[str, Any] = document()["paths"][self.path][self.method.lower()]
        return found

    @property
    def statuses(self) -> frozenset[int]:
        """Every documented status; a class of them (``5XX``) documents no one answer."""
        return frozenset(int(status) for status in self.described["responses"] if status.isdigit())

    def kinds(self, status: int) -> Mapping[str, Any]:
        """Each content type of an answer, with its schema; empty if it has no body."""
        found: Mapping[str, Any] = resolved(self.described["responses"][str(status)]).get("content", {})
        return found

    def shape_faults(self, status: int, body: Any) -> list[str]:
        """What the document has against the status of an answer, and its schema against the body."""
        if status not in self.statuses:
            return [f"{status} is not documented"]
        validator = _answer_validator(self, status)
        return [f"{_at(error.instance_path)}: {error.message[:150]}" for error in validator.iter_errors(body)] if validator else []

    def faults(self, status: int, body: Any) -> list[str]:
        """What the document has against an answer; a body that is bytes is no JSON.

        A success is judged by its members too: each one that it has is documented, and each documented one is there.
        """
        if status not in self.statuses:
            return self.shape_faults(status, body)
        kinds = self.kinds(status)
        if not kinds:  # of an error's body the document may say nothing
            return [] if status >= 400 or not body else [f"{status} has a body"]
        if isinstance(body, bytes) or "application/json" not in kinds:
            return [] if isinstance(body, bytes) and "application/json" not in kinds else [f"{status} has another type of body"]
        schema = kinds["application/json"].get("schema", {})
        return sorted(dict.fromkeys(self.shape_faults(status, body) + (_member_faults(schema, body, "") if status < 300 else [])))


@cache
def _answer_validator(endpoint: Endpoint, status: int) -> Any | None:
    """None if the document describes no JSON body."""
    schema = endpoint.kinds(status).get("application/json", {}).get("schema")
    return None if schema is None else jsonschema_rs.Draft4Validator(as_json_schema(schema))


def endpoint(method: str, path: str) -> Endpoint | None:
    """The documented endpoint that a path belongs to; None if there is none. A path without variables comes first."""
    for template in sorted(document()["paths"], key=lambda name: name.count("{")):
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path) and method.lower() in document()["paths"][template]:
            return Endpoint(template, method)
    return None


def path_of(operation: Operation) -> str | None:
    """The documented path of an operation; None if it stands elsewhere."""
    wanted = re.sub(r"\{[^}]+\}", "{}", operation.path)
    return next((p for p in document()["paths"] if re.sub(r"\{[^}]+\}", "{}", p) == wanted), None)


def described(operation: Operation) -> Mapping[str, Any]:
    """What the document says of an operation.

    Raises:
        KeyError: if nothing.
    """
    return _endpoint_of(operation).described


def _endpoint_of(operation: Operation) -> Endpoint:
    path = path_of(operation)
    if path is None:
        raise KeyError(f"{operation.name}: Didit's OpenAPI document has no path {operation.path}; compare it with the pinned document")
    return Endpoint(path, operation.method)


def content(operation: Operation, kind: str) -> Mapping[str, Any]:
    """The schema of the body of one content type; empty if it takes none."""
    found: Mapping[str, Any] = resolved(described(operation).get("requestBody", {}).get("content", {}).get(kind, {}).get("schema", {}))
    return found


def fields(operation: Operation) -> dict[str, Any]:
    """Every documented field of the request: of all bodies, and of the query."""
    found: dict[str, Any] = {}
    for kind in described(operation).get("requestBody", {}).get("content", {}):
        found |= content(operation, kind).get("properties", {})
    queried = (resolved(one) for one in described(operation).get("parameters", []))
    return found | {one["name"]: one["schema"] for one in queried if one["in"] == "query"}


@dataclass(frozen=True)
class Example:
    """A documented request: its title, the content type, and the body."""

    operation: Operation
    title: str
    kind: str
    body: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.operation.name}-{self.kind.partition('/')[2]}-{self.title}"


def _examples(operation: Operation) -> Iterator[Example]:
    for kind, body in described(operation).get("requestBody", {}).get("content", {}).items():
        schema = resolved(body["schema"])
        given = {title: resolved(one).get("value") for title, one in body.get("examples", {}).items()}
        given |= {"example": body.get("example"), "schema": schema.get("example")}
        members = {name: resolved(one) for name, one in schema.get("properties", {}).items()}
        known = {name: one["example"] for name, one in members.items() if "example" in one}
        needed = {name: known[name] for name in schema.get("required", ()) if name in known}
        given |= {f"member {name}": {**needed, name: value} for name, value in known.items()}
        yield from (Example(operation, title, kind, value) for title, value in given.items() if isinstance(value, dict))


def examples() -> list[Example]:
    """Every documented request of every operation that we have."""
    return [example for operation in OPERATIONS.values() if path_of(operation) is not None for example in _examples(operation)]


def answers(operation: Operation) -> Iterator[tuple[int, str, Any]]:
    """Every documented answer: status, title and body."""
    for status, one in described(operation).get("responses", {}).items():
        body = resolved(one).get("content", {}).get("application/json", {})
        given = {title: resolved(found).get("value") for title, found in body.get("examples", {}).items()}
        if "example" in body:
            given["example"] = body["example"]
        yield from ((int(status), title, value) for title, value in given.items())


def faults_of_answer(name: str, status: int, body: Any) -> list[str]:
    """What the document has against an answer to an operation (``Endpoint.shape_faults``)."""
    return [f"{name} {status}: {fault}" for fault in _endpoint_of(OPERATIONS[name]).shape_faults(status, body)]


def as_json_schema(node: Any) -> Any:
    """A schema of OpenAPI 3.0 as JSON Schema: ``nullable`` becomes a type, and references are put in."""
    node = resolved(node)
    if isinstance(node, list):
        return [as_json_schema(one) for one in node]
    if not isinstance(node, dict):
        return node
    unused = {"nullable", "example", "discriminator", "xml"}
    found = {name: as_json_schema(one) for name, one in node.items() if name not in {*unused, "properties"}}
    if "properties" in node:
        found["properties"] = {name: as_json_schema(one) for name, one in node["properties"].items()}
    if not node.get("nullable"):
        return found
    if "type" not in found or {"oneOf", "anyOf", "allOf"} & set(found):
        return {"anyOf": [found, {"type": "null"}]}
    return found | {"type": [found["type"], "null"]} | ({"enum": [*found["enum"], None]} if "enum" in found else {})


def _at(path: Iterable[str | int]) -> str:
    return "".join("[]" if isinstance(part, int) else f".{part}" for part in path)


def _members(schema: Any) -> dict[str, Any]:
    """Of an object's schema."""
    found: dict[str, Any] = dict(schema.get("properties", {}))
    for part in schema.get("allOf", ()):
        found |= _members(resolved(part))
    return found


def _member_faults(schema: Any, value: Any, path: str) -> list[str]:
    schema = resolved(schema)
    alternatives = [*schema.get("oneOf", ()), *schema.get("anyOf", ())]
    if alternatives:
        return min((_member_faults(one, value, path) for one in alternatives), key=len)
    if isinstance(value, list):
        return [fault for one in value for fault in _member_faults(schema.get("items", {}), one, path + "[]")]
    if not isinstance(value, dict) or not (members := _members(schema)):
        return []
    open_ended = bool(schema.get("additionalProperties"))
    found = [f"{path}.{name}: not documented" for name in value if name not in members and not open_ended]
    found += [f"{path}.{name}: missing" for name in members if name not in value]
    return found + [
        fault for name, one in value.items() if name in members for fault in _member_faults(members[name], one, f"{path}.{name}")
    ]


def wrong_values(schema: Any, *, form: bool) -> Iterator[Any]:
    """Values that the schema of a member forbids, and that no reading of it allows."""
    kind, most, least = schema.get("type"), schema.get("maxLength"), schema.get("minLength", 0)
    low, high = schema.get("minimum"), schema.get("maximum")
    formed = {"date": "2026-13-40", "date-time": "yesterday", **dict.fromkeys(("uuid", "email", "uri", "ip"), "nope")}
    yield from ["zz-no-choice"] if "enum" in schema else []
    if kind == "string":
        yield from ["a" * (most + 1)] if most else []
        yield from ["a" * (least - 1)] if least else []
        yield from ["!!!!"] if "pattern" in schema else []
        yield from [formed[schema["format"]]] if schema.get("format") in formed else []
    elif kind in {"integer", "number"}:
        yield from ["abc", *([] if low is None else [low - 1]), *([] if high is None else [high + 1])]
        yield from [(low or 0) + 0.5] if kind == "integer" else []
    elif kind == "boolean":
        yield "maybe"
    if not form and kind is not None:
        others: dict[str, tuple[Any, ...]] = {"object": ("text", [1], 7), "array": ({"a": 1}, 7)}
        yield from others.get(kind, ({"a": 1}, [[]]))
        yield from wrong_items(resolved(schema.get("items", {})))


def wrong_items(schema: Any) -> Iterator[list[Any]]:
    """Lists of one item that its schema forbids."""
    others: dict[str, tuple[Any, ...]] = {"string": ({"a": 1},), "object": ("x",)}
    yield from ([value] for value in others.get(schema.get("type", ""), ()))
    yield from [["zz-no-choice"]] if "enum" in schema else []


def wrong_bodies(schema: Any, valid: dict[str, Any], *, form: bool, depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """Bodies with one member that is forbidden or missing, and its name."""
    for name in schema.get("required", ()):
        if name in valid:
            yield name, {key: value for key, value in valid.items() if key != name}
    for name, rule in ((name, resolved(rule)) for name, rule in schema.get("properties", {}).items()):
        if rule.get("format") == "binary":
            continue
        yield from ((name, {**valid, name: value}) for value in wrong_values(rule, form=form))
        if rule.get("properties") and depth == 0 and not form:
            yield from ((name, {**valid, name: body}) for _, body in wrong_bodies(rule, valid.get(name, {}), form=form, depth=1))
