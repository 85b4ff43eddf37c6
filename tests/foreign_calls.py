"""What public clients of Didit call, retold: method, path, headers and members of the body. Their code is not here.

Sources: Didit's ``skills`` of July 2026 (the scripts, their test-suite, what their pages describe), Didit's demo application of January
2026, and what clients of API v1 in Go, PHP, Python, Swift and TypeScript agree on. ``tests/foreign/calls.jsonl`` has a call a line, in the
order in which they are made. A word in braces stands for something that an earlier answer gave (``takes``); ``before`` are control calls
that stand for a person's acts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_DONE = (200, 201, 204)


@dataclass(frozen=True)
class ForeignCall:
    """One call of a client. ``files``: names of files by part; ``wants``: statuses with which that client goes on."""

    client: str
    what: str
    method: str
    path: str
    json: Any = None
    form: Mapping[str, str] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] | None = None
    wants: tuple[int, ...] = _DONE
    takes: Mapping[str, str] = field(default_factory=dict)
    before: tuple[tuple[str, Any], ...] = ()
    auth: str = "key"  # or what stands in the header Authorization; empty for neither

    def __str__(self) -> str:
        return f"{self.client}: {self.what}: {self.method} {self.path}"

    @property
    def route(self) -> str:
        """As ``MISSING`` names it."""
        return f"{self.method} {self.path}"


def calls() -> list[ForeignCall]:
    """Every call, in order."""
    lines = (Path(__file__).parent / "foreign" / "calls.jsonl").read_text().splitlines()
    return [ForeignCall(**json.loads(line)) for line in lines]


_OUTSIDE = "not in Didit's OpenAPI: an older form of lists and webhook destinations"
_LONG_FORM = "workflows in their older form are refused by Didit too"
# calls that Didit's OpenAPI refuses as well, and why; the calls after them are made of what was there before
REFUSED = {
    "skills: scripts: onboarding: set up: POST /v3/workflows/": _LONG_FORM,
    "skills: scripts: workflow create: POST /v3/workflows/": _LONG_FORM,
    "skills: scripts: workflow update: PATCH /v3/workflows/{other_workflow}/": _LONG_FORM,
    "skills: test-suite: workflow create: POST /v3/workflows/": _LONG_FORM,
    "skills: test-suite: KYC workflow: POST /v3/workflows/": _LONG_FORM,
}
# calls that the simulator has no route for, and why. What begins to work must leave this table
MISSING = {
    "GET /v3/blocklist/": _OUTSIDE,
    "POST /v3/blocklist/add/": _OUTSIDE,
    "POST /v3/blocklist/remove/": _OUTSIDE,
    "GET /v3/webhook/": _OUTSIDE,
    "PATCH /v3/webhook/": _OUTSIDE,
}
