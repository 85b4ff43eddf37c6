"""The ledger: every call, session, check and webhook attempt. Tests and the demo are judged by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from processor.simulator.config import RateLimit
from processor.simulator.limits import max_in_window


@dataclass(slots=True)
class RecordedCall:
    """One call. ``at`` (arrival) and ``answered_at`` are epoch seconds; ``status`` 0: no response was sent.

    ``content`` is a digest of what was asked, the same for the same call made again; None if it did not get to its endpoint.
    """

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
    content: str | None = None
    credits: int = 0  # that it has cost


def content_digest(path: str, query: Mapping[str, str], body: Any) -> str:
    """A digest of a call's content; ``body`` is parsed JSON or a form, so that a boundary or the order of members makes no difference."""
    text = json.dumps([path, dict(query), body], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def key_digest(api_key: str) -> str:
    """A short digest that stands for an API key in the ledger."""
    return hashlib.sha256(api_key.encode()).hexdigest()[:12]


class Ledger:
    """All entries in memory, and as JSON lines in the file ``path`` if one is given. Calls are in order of arrival."""

    def __init__(self, limits: Mapping[str, RateLimit], path: str | None = None, *, file: BinaryIO | None = None) -> None:
        self.calls: list[RecordedCall] = []
        self.sessions: list[dict[str, Any]] = []
        self._session_by_id: dict[str, dict[str, Any]] = {}
        self.reused: list[dict[str, Any]] = []
        self.checks: list[dict[str, Any]] = []
        self.webhooks: list[dict[str, Any]] = []
        self._limits = limits
        self._file: BinaryIO | None = Path(path).open("ab", buffering=0) if path else file  # noqa: SIM115 - open for the life of the ledger

    def successor(self, limits: Mapping[str, RateLimit]) -> Ledger:
        """An empty ledger that goes on in the same file: what ends late is still written there."""
        return Ledger(limits, file=self._file)

    def add_call(self, call: RecordedCall) -> None:
        """Add a call at its arrival."""
        self.calls.append(call)

    def finish_call(self, call: RecordedCall) -> None:
        """Write a call to the file when it has ended."""
        self._write("call", asdict(call))

    def add_session(self, session: dict[str, Any]) -> None:
        """Add a created session; it is billed, unless it is in a sandbox or expires without being opened."""
        self.sessions.append(session)
        self._session_by_id[session["session_id"]] = session
        self._write("session", session)

    def expire_session(self, session_id: str, at: float) -> None:
        """Note when a session expired, epoch seconds: nobody has opened it, so nothing of it was checked."""
        session = self._session_by_id.get(session_id)
        if session is not None:
            session["expired_at"] = at
            self._write("expired", {"session_id": session_id, "at": at})

    def add_reused_session(self, session: dict[str, Any]) -> None:
        """Add a create call that returned an unfinished session instead of a new one."""
        self.reused.append(session)
        self._write("reused", session)

    def add_check(self, check: dict[str, Any]) -> None:
        """Add a standalone check that ran, with the credits billed."""
        self.checks.append(check)
        self._write("check", check)

    def add_webhook_attempt(self, attempt: dict[str, Any]) -> None:
        """Add an attempt to deliver a webhook; number 0 stands for an event that was never sent."""
        self.webhooks.append(attempt)
        self._write("webhook", attempt)

    def scope_usage(self) -> dict[str, dict[str, dict[str, float]]]:
        """Key digest -> scope -> ``limit``, ``window_s``, counted ``calls``, and ``max_in_window``: the most calls in any window."""
        times: dict[tuple[str, str], list[float]] = {}
        for call in self.calls:
            if call.counted:
                for scope in call.scopes:
                    times.setdefault((call.key, scope), []).append(call.at)
        usage: dict[str, dict[str, dict[str, float]]] = {}
        for (key, scope), at in times.items():
            limit = self._limits[scope]
            usage.setdefault(key, {})[scope] = {
                "limit": limit.limit,
                "window_s": limit.window_s,
                "calls": len(at),
                "max_in_window": max_in_window(at, limit.window_s),
            }
        return usage

    def document(self, since: int = 0) -> dict[str, Any]:
        """The response of ``GET /_sim/ledger``; of the calls only those from index ``since`` on."""
        return {
            "calls": [asdict(call) for call in self.calls[since:]],
            "sessions": self.sessions,
            "reused": self.reused,
            "checks": self.checks,
            "webhooks": self.webhooks,
            "scopes": self.scope_usage(),
        }

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, kind: str, record: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(orjson.dumps({"kind": kind, **record}) + b"\n")
