"""What was asked of the simulator: every call, every session. The judge of tests and of the demo."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from processor.simulator.config import Limit
from processor.simulator.limits import max_in_window


@dataclass(slots=True)
class Call:
    """One call; ``at`` is its arrival, epoch seconds. ``status`` 0: no answer was sent."""

    at: float
    key: str
    method: str
    path: str
    route: str
    scopes: list[str]
    counted: bool
    reference: str | None
    status: int = 0
    answered_at: float | None = None
    acted: bool = False
    session_id: str | None = None
    fault: str | None = None


def key_digest(api_key: str) -> str:
    """A key as it may be shown."""
    return hashlib.sha256(api_key.encode()).hexdigest()[:12]


class Ledger:
    """Calls in order of arrival, created sessions, checks and webhooks; all also as JSON lines in a file, if one is given."""

    def __init__(self, limits: Mapping[str, Limit], path: str | None = None) -> None:
        self.calls: list[Call] = []
        self.sessions: list[dict[str, Any]] = []
        self.reused: list[dict[str, Any]] = []
        self.checks: list[dict[str, Any]] = []
        self.webhooks: list[dict[str, Any]] = []
        self._limits = limits
        self._file: BinaryIO | None = Path(path).open("ab", buffering=0) if path else None  # noqa: SIM115 - open for the life of the ledger

    def arrived(self, call: Call) -> None:
        """Note a call at its arrival."""
        self.calls.append(call)

    def answered(self, call: Call) -> None:
        """Note how it ended."""
        self._write("call", asdict(call))

    def created(self, session: dict[str, Any]) -> None:
        """Note a created session; it is billed, unless it is of a sandbox."""
        self.sessions.append(session)
        self._write("session", session)

    def returned(self, session: dict[str, Any]) -> None:
        """Note a create that was answered with an unfinished session."""
        self.reused.append(session)
        self._write("reused", session)

    def checked(self, check: dict[str, Any]) -> None:
        """Note a standalone check that acted, with the credits it was billed."""
        self.checks.append(check)
        self._write("check", check)

    def hooked(self, attempt: dict[str, Any]) -> None:
        """Note an attempt to deliver a webhook; attempt 0 was never made."""
        self.webhooks.append(attempt)
        self._write("webhook", attempt)

    def scopes(self) -> dict[str, dict[str, dict[str, float]]]:
        """Key digest -> scope -> limit, window, counted calls, and the most of any window."""
        times: dict[tuple[str, str], list[float]] = {}
        for call in self.calls:
            if call.counted:
                for scope in call.scopes:
                    times.setdefault((call.key, scope), []).append(call.at)
        found: dict[str, dict[str, dict[str, float]]] = {}
        for (key, scope), at in times.items():
            limit = self._limits[scope]
            found.setdefault(key, {})[scope] = {
                "limit": limit.limit,
                "window_s": limit.window_s,
                "calls": len(at),
                "max_in_window": max_in_window(at, limit.window_s),
            }
        return found

    def document(self, since: int = 0) -> dict[str, Any]:
        """Everything; of the calls only those from index ``since`` on."""
        return {
            "calls": [asdict(call) for call in self.calls[since:]],
            "sessions": self.sessions,
            "reused": self.reused,
            "checks": self.checks,
            "webhooks": self.webhooks,
            "scopes": self.scopes(),
        }

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, kind: str, record: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(orjson.dumps({"kind": kind, **record}) + b"\n")
