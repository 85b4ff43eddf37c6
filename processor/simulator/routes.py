"""The routes that exist, and how each one counts. Adding an endpoint is one row and one function. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from processor.simulator.config import Switches


@dataclass(frozen=True, slots=True)
class Route:
    """A documented endpoint."""

    name: str
    method: str
    pattern: re.Pattern[str]
    by_session: bool = False  # the owner of the id is looked up before the credentials
    keyed: bool = False  # takes an Idempotency-Key


def _row(name: str, method: str, pattern: str, *, by_session: bool = False, keyed: bool = False) -> Route:
    return Route(name, method, re.compile(pattern), by_session, keyed)


ROUTES = (
    _row("session.create", "POST", r"/(?P<version>v2|v3)/session/"),
    _row("session.decision", "GET", r"/(?P<version>v1|v2|v3)/session/(?P<id>[^/]+)/decision/", by_session=True),
    _row("session.list", "GET", r"/v3/sessions/"),
    _row("session.update_status", "PATCH", r"/v3/session/(?P<id>[^/]+)/update-status/", by_session=True),
    _row("session.delete", "DELETE", r"/v3/session/(?P<id>[^/]+)/delete/", by_session=True),
    _row("aml", "POST", r"/v3/aml/", keyed=True),
    _row("email.send", "POST", r"/v3/email/send/"),
)


def find_route(method: str, path: str) -> tuple[Route, re.Match[str]] | None:
    """The route of a call."""
    for route in ROUTES:
        if route.method == method and (match := route.pattern.fullmatch(path)) is not None:
            return route, match
    return None


def needs_slash(path: str) -> bool:
    """Whether the path would be a route with a slash at its end: Didit redirects such a call."""
    return not path.endswith("/") and any(route.pattern.fullmatch(path + "/") for route in ROUTES)


def scopes_of(route: Route, version: str, switches: Switches) -> tuple[str, ...]:
    """Every scope that a call counts in, the endpoint's own first."""
    if route.name == "session.create":
        return ("session-create", "generic-write") if switches.create_counts_in_generic_write else ("session-create",)
    if route.name == "session.decision":
        own = version != "v3" or switches.v3_decision_counts_in_decision_scope
        return ("session-decision", "generic-get") if own else ("generic-get",)
    return ("generic-get",) if route.method == "GET" else ("generic-write",)
