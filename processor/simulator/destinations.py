"""Webhook destinations that were made by the API, and what was delivered to each. Pure (Didit's OpenAPI 3.0.0, "Webhook destinations")."""

from __future__ import annotations

import random
import string
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from processor.simulator.random_ids import random_uuid
from processor.simulator.timestamps import iso
from processor.simulator.validation import REQUIRED

EVENTS = (
    *("status.updated", "data.updated", "user.status.updated", "user.data.updated", "business.status.updated", "business.data.updated"),
    *("activity.created", "transaction.created", "transaction.status.updated", "travel_rule.status.updated"),
)
VERSIONS = ("v1", "v2", "v3")
_KEPT_MAX = 10_000  # deliveries of one destination
DESTINATIONS_MAX = 100
_SECRET_CHARS = string.ascii_letters + string.digits + "-_"
_LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class SentWebhook:
    """One attempt, with the body that it carried."""

    uuid: str
    url: str
    body: dict[str, Any]
    at: float  # epoch seconds
    status: int | None  # of the receiver's answer; None: there was none, or it is not sent yet

    @property
    def failed(self) -> bool:
        """Whether the receiver has not taken it."""
        return self.status is None or not 200 <= self.status < 300  # noqa: PLR2004 - RFC 9110

    def row(self) -> dict[str, Any]:
        """As a list of deliveries shows it."""
        return {
            "uuid": self.uuid,
            "session_id": self.body["session_id"],
            "request_url": self.url,
            "response_status": self.status,
            "response_time_ms": None,
            "status": "failed" if self.failed else "success",
            "webhook_type": self.body["webhook_type"],
            "created_at": iso(self.at),
        }


@dataclass(slots=True, eq=False)
class Destination:
    """Where events of an application go."""

    uuid: str
    application: str
    label: str
    url: str
    secret: str
    created_at: float
    enabled: bool = True
    webhook_version: str = "v3"
    subscribed_events: list[str] = field(default_factory=list)
    updated_at: float = 0.0
    sent: deque[SentWebhook] = field(default_factory=lambda: deque(maxlen=_KEPT_MAX))

    def row(self) -> dict[str, Any]:
        """As the list shows it: without the secret."""
        failed = sum(sent.failed for sent in self.sent)
        return self._head() | {
            "subscribed_events_count": len(self.subscribed_events),
            "deliveries_count": len(self.sent),
            "failed_deliveries_count": failed,
            "average_response_time_ms": None,
            "error_rate_percentage": self._error_rate(failed),
            "last_delivery_at": iso(self.sent[-1].at) if self.sent else None,
        }

    def detail(self) -> dict[str, Any]:
        """With the secret."""
        failed = sum(sent.failed for sent in self.sent)
        summary = {
            "total_deliveries": len(self.sent),
            "failed_deliveries": failed,
            "error_rate_percentage": self._error_rate(failed),
            **dict.fromkeys(("min_response_time_ms", "avg_response_time_ms", "max_response_time_ms")),
            "last_delivery_at": iso(self.sent[-1].at) if self.sent else None,
        }
        return self._head() | {"secret_shared_key": self.secret, "summary": summary}

    def _head(self) -> dict[str, Any]:
        names = ("uuid", "label", "url", "enabled", "webhook_version", "subscribed_events")
        return {name: getattr(self, name) for name in names} | {"created_at": iso(self.created_at), "updated_at": iso(self.updated_at)}

    def _error_rate(self, failed: int) -> int:
        return round(100 * failed / len(self.sent)) if self.sent else 0


class Destinations:
    """All destinations of all applications."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._by_id: dict[str, Destination] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def of(self, application: str) -> list[Destination]:
        """Those of an application, the oldest first."""
        return [one for one in self._by_id.values() if one.application == application]

    def subscribed(self, application: str, webhook_type: str) -> list[Destination]:
        """Those that want an event."""
        return [one for one in self.of(application) if one.enabled and webhook_type in one.subscribed_events]

    def get(self, application: str, destination_id: str) -> Destination | None:
        """One of an application."""
        found = self._by_id.get(destination_id)
        return found if found is not None and found.application == application else None

    def add(self, application: str, body: dict[str, Any], now: float) -> Destination:
        """Make one; its secret is drawn."""
        secret = "".join(self._rng.choices(_SECRET_CHARS, k=43))
        made = Destination(random_uuid(self._rng), application, str(body["label"]), str(body["url"]), secret, now)
        self.change(made, body, now)
        self._by_id[made.uuid] = made
        return made

    def change(self, destination: Destination, body: dict[str, Any], now: float) -> None:
        """Set what the body names."""
        for name in ("label", "url", "enabled", "webhook_version", "subscribed_events"):
            if name in body:
                setattr(destination, name, body[name])
        destination.updated_at = now

    def remove(self, destination: Destination) -> None:
        """Delete it with its deliveries."""
        del self._by_id[destination.uuid]

    def new_id(self) -> str:
        """A new UUID."""
        return random_uuid(self._rng)


def destination_error(body: dict[str, Any], others: list[Destination], *, complete: bool) -> dict[str, Any] | None:
    """What is documented against a destination; None if nothing. ``complete``: it must name everything."""
    for name in ("label", "url") if complete else ():
        if not body.get(name):
            return {name: REQUIRED}
    if body.get("webhook_version", "v3") not in VERSIONS:
        return {"webhook_version": [f'"{body["webhook_version"]}" is not a valid choice.']}
    return _url_error(body, others) or _events_error(body)


def _url_error(body: dict[str, Any], others: list[Destination]) -> dict[str, Any] | None:
    if "url" not in body:
        return None
    parts = urlsplit(str(body["url"]))
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return {"url": ["Enter a valid URL."]}
    if any(one.url == body["url"] for one in others):
        return {"url": ["This webhook destination already exists for the application."]}
    return None


def _events_error(body: dict[str, Any]) -> dict[str, Any] | None:
    events = body.get("subscribed_events")
    if "subscribed_events" in body and (not isinstance(events, list) or not events):
        return {"subscribed_events": ["At least one subscribed event is required."]}
    unknown = [str(event) for event in events or () if event not in EVENTS]
    return {"subscribed_events": [f"Unsupported webhook events: {', '.join(unknown)}"]} if unknown else None
