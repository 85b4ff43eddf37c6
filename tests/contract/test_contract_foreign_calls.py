"""Every call of public clients of Didit (``tests/foreign_calls.py``) against the simulator; and a receiver of theirs."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import openapi
import pytest
from didit_api import SECRET, WORKFLOW, FrozenClock, hooked
from foreign_calls import MISSING, REFUSED, ForeignCall, calls

from processor.simulator.config import Behaviour
from processor.simulator.testing import DiditSimulator, started

ROOT = Path(__file__).parent.parent.parent
IMAGE = b"\x89PNG\r\n\x1a\n SCORE=90"
WORD = re.compile(r"\{(\w+)\}")
CALLS = calls()
# what the documents that we have do not hold, and the simulator answers by other pages of Didit's
ELSEWHERE = re.compile(r"/auth/v2/|/v1/session/")


class Caller:
    """A client that keeps what answers give it, as the scripts of a person do who copies ids from one to the next."""

    def __init__(self, simulator: DiditSimulator, http: httpx.Client) -> None:
        self.simulator, self._http = simulator, http
        self._known: dict[str, str] = {"workflow": WORKFLOW}

    def make(self, call: ForeignCall) -> httpx.Response:
        for path, body in call.before:
            self.simulator.control(self._filled(path), body)
        headers = {"x-api-key": self.simulator.api_key} if call.auth == "key" else {"Authorization": self._filled(call.auth)}
        response = self._http.request(
            call.method,
            self._filled(call.path),
            headers=headers if call.auth else {},
            params=call.params,
            json=self._filled(call.json),
            data=call.form,
            files={part: (name, IMAGE) for part, name in call.files.items()} or None,
        )
        if response.is_success and response.content:
            self._known |= {word: str(_member(response.json(), member)) for word, member in call.takes.items()}
        return response

    def _filled(self, value: Any) -> Any:
        if isinstance(value, str):
            return WORD.sub(lambda match: self._word(match[1]), value)
        if isinstance(value, dict):
            return {name: self._filled(child) for name, child in value.items()}
        return [self._filled(child) for child in value] if isinstance(value, list) else value

    def _word(self, word: str) -> str:
        if word.endswith("_code"):
            sent = {row["kind"]: row["code"] for row in self.simulator.control("codes")["codes"]}
            return str(sent.get(word.removesuffix("_code"), ""))
        return self._known.get(word, str(uuid.UUID(int=7, version=4)))


def _member(document: Any, path: str) -> Any:
    for part in path.split("."):
        document = document[int(part) if part.isdigit() else part]
    return document


def is_without_route(response: httpx.Response) -> bool:
    return response.status_code == 404 and response.headers["content-type"].startswith("text/html")


@pytest.fixture(scope="module")
def answers() -> Iterator[Mapping[int, httpx.Response]]:
    """By number of the call."""
    with started() as simulator, httpx.Client(base_url=simulator.url, follow_redirects=True, timeout=30) as http:
        caller = Caller(simulator, http)
        yield {number: caller.make(call) for number, call in enumerate(CALLS)}


@pytest.mark.parametrize("number", range(len(CALLS)), ids=[str(call) for call in CALLS])
def test_a_call_works_or_is_known_to_be_missing(answers: Mapping[int, httpx.Response], number: int) -> None:
    call, response = CALLS[number], answers[number]
    if call.route in MISSING:
        assert is_without_route(response), f"it works now: take {call.route!r} out of MISSING (tests/foreign_calls.py)"
        return
    assert not is_without_route(response), "the simulator has no route for it"
    if str(call) in REFUSED:
        assert response.status_code == 400
        assert response.status_code not in call.wants, "that client goes on: take it out of REFUSED"
    else:
        assert response.status_code in call.wants, response.text[:300]


def _is_documented(call: ForeignCall) -> bool:
    path = WORD.sub("x", call.path)
    return openapi.endpoint(call.method, path if path.endswith("/") else f"{path}/") is not None


def test_what_is_missing_is_called_and_its_reason_is_true() -> None:
    assert MISSING.keys() <= {call.route for call in CALLS}, "take what nobody calls out of MISSING"
    assert REFUSED.keys() <= set(map(str, CALLS)), "take what nobody calls out of REFUSED"
    for call in CALLS:
        known = _is_documented(call) or ELSEWHERE.match(call.path) is not None
        assert known != MISSING.get(call.route, "").startswith("not in Didit's OpenAPI"), call


def test_the_page_has_the_figures() -> None:
    text = (ROOT / "docs" / "simulator.md").read_text()
    made = Counter(call.client for call in CALLS)
    lacking = Counter(call.client for call in CALLS if call.route in MISSING or str(call) in REFUSED)
    for client, count in made.items():
        row = f"| {client} | {count} | {count - lacking[client]} |"
        assert row in text, f"docs/simulator.md, Foreign clients: {row}"
    for reason in {*MISSING.values(), *REFUSED.values()}:
        assert reason in text, f"docs/simulator.md, Foreign clients: the reason {reason!r}"


@pytest.mark.slow
async def test_a_receiver_in_node_verifies_our_webhooks_in_three_ways() -> None:
    """As Didit's demo does: the raw body, the body parsed and written again with sorted keys, four of its members."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on PATH: `apt-get install nodejs`, 18 or newer")
    metadata = {"whole": 1.0, "half": 0.5, "deep": [{"é": 2.0, "name": "Zoë 👩‍💻 \u2028"}]}
    behaviour = Behaviour(after_s=50, odds={"In Review > Resubmitted > Approved": 1.0})
    async with hooked(behaviour=behaviour, clock=FrozenClock()) as (a, found):
        await a.create("user-é-1", metadata=metadata)
        for _ in range(25):
            await a.advance(10)
        assert len(found.arrived) == 4
        lines = [json.dumps({"headers": headers, "raw": raw.decode()}) for headers, raw in found.arrived]
        headers, raw = found.arrived[0]
        lines.append(json.dumps({"headers": headers, "raw": raw.decode().replace("In Progress", "Approved")}))
    argv = [node, str(ROOT / "tests" / "foreign" / "verify.mjs"), SECRET]
    done = await asyncio.to_thread(subprocess.run, argv, input="\n".join(lines), capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [*["x-signature x-signature-v2 x-signature-simple"] * 4, ""]
