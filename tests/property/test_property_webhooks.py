"""The canonical form against JavaScript and against Didit's own algorithm; verification of everything that could be posted."""

from __future__ import annotations

import json
import os
import queue
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import orjson
import pytest
from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st
from signing import NOW, SECRET, canonical, delivery, digest, signed, simple

from processor.contract.schemas import schema_folder
from processor.contract.strict_json import dumps, loads
from processor.webhooks.canonical import canonical_forms, script_number
from processor.webhooks.events import build_event
from processor.webhooks.signatures import SignatureRefused, Verified, verify

SCHEMA = jsonschema_rs.validator_for(orjson.loads((schema_folder() / "event.v1.json").read_bytes()))
SIZE_MAX = 1 << 20

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = texts | st.sampled_from(["__proto__", "constructor", "10", "9", "2", "", "é", "\U0001f600", "\uffff", "toJSON", "length"])
numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", fullmatch=True) | st.floats(
    allow_nan=False, allow_infinity=False
).map(repr)
written_text = st.builds(lambda text, ascii_only: json.dumps(text, ensure_ascii=ascii_only), texts, st.booleans())
space = st.sampled_from(["", "", " ", "\n\t"])


def _written_object(members: dict[str, str], gap: str, *, ascii_only: bool) -> str:
    return "{" + ",".join(f"{gap}{json.dumps(n, ensure_ascii=ascii_only)}{gap}:{v}" for n, v in members.items()) + gap + "}"


written = st.recursive(
    st.sampled_from(["null", "true", "false", "[]", "{}"]) | numbers | written_text,
    lambda inner: (
        st.builds(lambda items, gap: "[" + f"{gap},".join(items) + "]", st.lists(inner, max_size=4), space)
        | st.builds(_written_object, st.dictionaries(names, inner, max_size=4), space, ascii_only=st.booleans())
    ),
    max_leaves=15,
)
"""JSON texts in many spellings: white space, escapes, exponents, digits beyond a double."""

SCRIPT = """
const byCodePoint = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));
const form = (v) =>
  Array.isArray(v) ? "[" + v.map(form).join(",") + "]"
  : v !== null && typeof v === "object"
    ? "{" + Object.keys(v).sort(byCodePoint).map((k) => JSON.stringify(k) + ":" + form(v[k])).join(",") + "}"
  : JSON.stringify(v);
require("readline").createInterface({input: process.stdin}).on("line", (line) => console.log(form(JSON.parse(JSON.parse(line)))));
"""


class Node:
    """One JavaScript process: a JSON text in, its canonical form out."""

    def __init__(self, command: str) -> None:
        self._process = subprocess.Popen([command, "-e", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def form(self, text: str) -> bytes:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(text).encode() + b"\n")  # as a JSON string: a text may hold line ends
        self._process.stdin.flush()
        return self._lines.get(timeout=30.0)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10.0)
        self._reader.join(10.0)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.removesuffix(b"\n"))
        self._process.stdout.close()


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    command = shutil.which("node")
    if command is None:
        if os.environ.get("CI"):
            pytest.fail("node is needed in CI: it is the second opinion on the canonical form")
        pytest.skip("node is not here (apt-get install nodejs): the canonical form is not compared with JavaScript's")
    found = Node(command)
    yield found
    found.close()


def forms(text: str) -> list[bytes]:
    return list(canonical_forms(loads(text.encode(), depth_max=64), size_bytes_max=SIZE_MAX))


@settings(max_examples=full(500), deadline=None)
@given(written)
def test_the_last_form_is_javascripts(node: Node, text: str) -> None:
    assert forms(text)[-1] == node.form(text)


@settings(max_examples=full(300), deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**25), 10**25))
def test_every_number_is_printed_as_javascript_prints_it(node: Node, number: float) -> None:
    assert script_number(number).encode() == node.form(repr(number))


@settings(max_examples=full(500), deadline=None)
@given(written)
def test_the_first_form_is_that_of_didits_server(text: str) -> None:
    found = forms(text)
    assert found[0] == canonical(json.loads(text))
    assert len(found) <= 2
    for form in found:
        again = forms(form.decode())
        assert again[found.index(form) if len(again) > 1 else 0] == form, "a form is its own form"


SAFE = delivery(decision={"score": 95.4, "limit": 100.0, "tiny": 5e-05, "name": "Zoë \u2028", "big": 2**60, "empty": {}, "list": [1, None]})
WIRE, HEADERS = signed(SAFE)
COVERED = {form for form in forms(WIRE.decode()) if digest(form) == HEADERS["X-Signature-V2"]} | {WIRE}
FOUR = {name: SAFE[name] for name in ("timestamp", "session_id", "status", "webhook_type")}

places = st.tuples(
    st.integers(0, len(WIRE)), st.integers(0, 12), st.binary(max_size=12) | st.sampled_from([b" ", b"\\u00", b'","', b"0", b"}"])
)
headers_given = st.dictionaries(
    st.sampled_from([*HEADERS, "X-Timestamp"]),
    st.sampled_from([*HEADERS.values(), *(value.upper() for value in HEADERS.values()), str(NOW), "0" * 64, ""]) | st.text(max_size=70),
    max_size=4,
)


def judged(body: bytes, headers: dict[str, str]) -> Verified | SignatureRefused:
    found = verify(body, headers, [b"another-secret", SECRET.encode()], NOW, tolerance_s=300.0, size_bytes_max=SIZE_MAX)
    if isinstance(found, Verified):
        assert (found.text in COVERED) if found.variant != "simple" else (found.text is None and found.members == FOUR)
        event = orjson.loads(build_event(found).value)
        SCHEMA.validate(event)
        assert event["payload"] in (SAFE, None)
        assert (event["session_id"], event["status"]) == (SAFE["session_id"], SAFE["status"])
    return found


@settings(max_examples=full(1000), deadline=None)
@given(st.lists(places, max_size=3), headers_given)
def test_damaged_bytes_and_headers_never_raise_and_never_pass_for_something_else(edits: list[tuple[int, int, bytes]], headers: Any) -> None:
    body = WIRE
    for begin, length, put in edits:
        body = body[:begin] + put + body[begin + length :]
    judged(body, headers)
    judged(body, HEADERS)


@settings(max_examples=full(500), deadline=None)
@given(
    st.dictionaries(st.sampled_from([*SAFE, "extra", "decision"]), written.map(json.loads), min_size=1, max_size=3),
    headers_given,
    st.randoms(),
)
def test_changed_members_are_never_believed(changes: dict[str, Any], headers: dict[str, str], order: random.Random) -> None:
    members = list((SAFE | changes).items())
    order.shuffle(members)
    body = dumps(dict(members))
    judged(body, headers)
    found = judged(body, HEADERS)
    if isinstance(found, Verified) and found.variant == "v2":
        assert canonical(dict(members)) in COVERED


@settings(max_examples=full(500), deadline=None)
@given(written, headers_given, st.booleans())
def test_whatever_is_signed_becomes_an_event_or_is_refused(text: str, headers: dict[str, str], whole: bool) -> None:
    body = text.encode() if whole else dumps(SAFE | {"decision": json.loads(text)})
    own = {"X-Signature-V2": digest(forms(body.decode())[-1]), "X-Signature": digest(body)}
    for given_headers in (headers, headers | own, {"X-Signature": digest(body)}):
        found = verify(body, given_headers, [SECRET.encode()], NOW, tolerance_s=300.0, size_bytes_max=SIZE_MAX)
        if isinstance(found, Verified):
            SCHEMA.validate(orjson.loads(build_event(found).value))
        if not whole and given_headers is not headers:
            assert isinstance(found, Verified), found
    value = json.loads(body)
    if isinstance(value, dict):
        found = verify(
            body, {"X-Signature-Simple": digest(simple(value))}, [SECRET.encode()], NOW, tolerance_s=300.0, size_bytes_max=SIZE_MAX
        )
        assert isinstance(found, Verified) is not whole


@settings(max_examples=full(500), deadline=None)
@given(st.binary(max_size=200), headers_given)
def test_any_bytes_at_all_are_refused(body: bytes, headers: dict[str, str]) -> None:
    assert isinstance(judged(body, headers), SignatureRefused)


def test_a_hundred_thousand_damaged_deliveries_are_refused_or_believed_as_signed() -> None:
    rng = random.Random(20_261_125)
    passed = 0
    count = full(100_000)
    for _ in range(count):
        body = bytearray(WIRE)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(body))
            match rng.randrange(4):
                case 0:
                    body[at] ^= 1 << rng.randrange(8)
                case 1:
                    del body[at : at + rng.randint(1, 8)]
                case 2:
                    body[at:at] = rng.randbytes(rng.randint(1, 4))
                case _:
                    body[at:at] = body[(begin := rng.randrange(len(body))) : begin + rng.randint(1, 30)]
        passed += isinstance(judged(bytes(body), HEADERS), Verified)
    assert 0 < passed < count, "some damage leaves the four fields of the Simple signature whole"
