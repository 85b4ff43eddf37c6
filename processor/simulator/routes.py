"""The table of routes: authentication, body format and rate limits of each. A new endpoint is one row and one function. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from processor.simulator.config import Switches

BodyForm = Literal["no", "also", "only", "url"]  # the body may or must be multipart instead of JSON, or is a URL-encoded form
AuthScheme = Literal["key", "bearer", "token", "none"]  # x-api-key, Authorization, Session-Token


@dataclass(frozen=True, slots=True)
class Route:
    """A documented endpoint."""

    name: str
    method: str
    pattern: re.Pattern[str]
    has_session_id: bool = False  # the session is looked up before the credentials are checked
    idempotent: bool = False  # takes an Idempotency-Key
    auth: AuthScheme = "key"
    form: BodyForm = "no"
    scope: str | None = None  # the endpoint's own rate limit, besides the generic one
    wrong_key_status: int | None = None  # where it differs from the other routes


def _row(
    name: str,
    method: str,
    pattern: str,
    *,
    idempotent: bool = False,
    auth: AuthScheme = "key",
    form: BodyForm = "no",
    scope: str | None = None,
    wrong_key_status: int | None = None,
) -> Route:
    has_session_id = "{id}" in pattern
    text = pattern.replace("{id}", r"(?P<id>[^/]+)").replace("{name}", r"(?P<name>[^/]+)")
    return Route(name, method, re.compile(text), has_session_id, idempotent, auth, form, scope, wrong_key_status)


ROUTES = (
    # the most frequent first: they are matched in this order
    _row("session.create", "POST", r"/(?P<version>v2|v3)/session/", scope="session-create"),
    _row("session.decision", "GET", r"/(?P<version>v1|v2|v3)/session/{id}/decision/", scope="session-decision"),
    _row("session.list", "GET", r"/v3/sessions/"),
    _row("session.create_v1", "POST", r"/v1/session/", scope="session-create"),
    _row("session.update_status", "PATCH", r"/(?P<version>v1|v3)/session/{id}/update-status/"),
    _row("session.delete", "DELETE", r"/v3/session/{id}/delete/"),
    _row("session.delete_many", "POST", r"/v3/sessions/delete/"),
    _row("session.pdf", "GET", r"/(?P<version>v1|v3)/session/{id}/generate-pdf/", scope="session-generate-pdf"),
    _row("session.share", "POST", r"/v3/session/{id}/share/", wrong_key_status=401),
    _row("session.import_shared", "POST", r"/v3/session/import-shared/"),
    _row("session.update_data", "PATCH", r"/v3/session/{id}/update-data/", scope="session-update-kyc"),
    _row("session.update_poa_data", "PATCH", r"/v3/session/{id}/update-poa-data/", scope="session-update-poa"),
    _row("session.update_feature", "PATCH", r"/v3/session/{id}/features/{name}/update-status/"),
    _row("session.update_aml_hit", "PATCH", r"/v3/session/{id}/update-aml-hit-status/"),
    _row("session.update_aml_hits", "PATCH", r"/v3/session/{id}/bulk-update-aml-hit-status/"),
    _row("session.reviews", "GET", r"/v3/sessions/{id}/reviews/"),
    _row("session.add_review", "POST", r"/v3/sessions/{id}/reviews/"),
    _row("session.arm", "POST", r"/v3/session/{id}/sandbox/arm/", auth="token"),
    _row("sandbox.simulate", "POST", r"/v3/session/{id}/simulate/"),
    _row("sandbox.scenarios", "GET", r"/v1/sandbox/scenarios/"),
    _row("imports.create", "POST", r"/v3/session/imports/", form="also"),
    _row("imports.template", "GET", r"/v3/session/imports/template/"),
    _row("imports.get", "GET", r"/v3/session/imports/{name}/"),
    _row("imports.errors", "GET", r"/v3/session/imports/{name}/errors/"),
    _row("questionnaire.list", "GET", r"/v3/questionnaires/"),
    _row("questionnaire.create", "POST", r"/v3/questionnaires/"),
    _row("questionnaire.get", "GET", r"/v3/questionnaires/{name}/"),
    _row("questionnaire.update", "PATCH", r"/v3/questionnaires/{name}/"),
    _row("questionnaire.delete", "DELETE", r"/v3/questionnaires/{name}/"),
    _row("id_verification", "POST", r"/v3/id-verification/", form="only"),
    _row("passive_liveness", "POST", r"/v3/passive-liveness/", form="only"),
    _row("face_match", "POST", r"/v3/face-match/", form="only"),
    _row("face_search", "POST", r"/v3/face-search/", form="only"),
    _row("age_estimation", "POST", r"/v3/age-estimation/", form="only"),
    _row("poa", "POST", r"/v3/poa/", form="only"),
    _row("document_ai", "POST", r"/v3/document-ai/", form="only"),
    _row("aml", "POST", r"/v3/aml/", idempotent=True),
    _row("database_validation", "POST", r"/v3/database-validation/", form="also"),
    _row("email.send", "POST", r"/v3/email/send/"),
    _row("email.check", "POST", r"/v3/email/check/"),
    _row("email.risk", "POST", r"/v3/email/risk/"),
    _row("phone.send", "POST", r"/v3/phone/send/"),
    _row("phone.check", "POST", r"/v3/phone/check/"),
    _row("phone.risk", "POST", r"/v3/phone/risk/"),
    _row("ip.risk", "POST", r"/v3/ip/risk/"),
    _row("transaction.create", "POST", r"/v3/transactions/", scope="ingest-write"),
    _row("transaction.list", "GET", r"/v3/transactions/"),
    _row("transaction.get", "GET", r"/v3/transactions/{name}/"),
    _row("transaction.token", "POST", r"/v3/transactions/sdk-token/"),
    _row("transaction.submit", "POST", r"/v1/transactions/", auth="none"),
    _row("transaction.submitted", "GET", r"/v1/transactions/{name}/", auth="none"),
    _row("travel_rule.update", "PATCH", r"/v3/transactions/{name}/travel-rule/"),
    _row("travel_rule.ownership", "POST", r"/v3/transactions/{name}/travel-rule/ownership/"),
    _row("travel_rule.settings", "GET", r"/v3/travel-rule/settings/"),
    _row("travel_rule.update_settings", "PUT", r"/v3/travel-rule/settings/"),
    _row("travel_rule.vasps", "GET", r"/v3/travel-rule/vasps/"),
    _row("travel_rule.wallets", "GET", r"/v3/travel-rule/wallet-addresses/"),
    _row("travel_rule.add_wallet", "POST", r"/v3/travel-rule/wallet-addresses/"),
    _row("travel_rule.update_wallet", "PATCH", r"/v3/travel-rule/wallet-addresses/{name}/"),
    _row("travel_rule.delete_wallet", "DELETE", r"/v3/travel-rule/wallet-addresses/{name}/"),
    _row("travel_rule.inbound", "POST", r"/v3/travel-rule/inbound/"),
    _row("travel_rule.widget", "POST", r"/v3/travel-rule/widget-session/"),
    _row("event.create", "POST", r"/v3/events/", scope="ingest-write"),
    _row("event.create_batch", "POST", r"/v3/events/batch/", scope="ingest-write"),
    _row("user.list", "GET", r"/v3/users/"),
    _row("user.create", "POST", r"/v3/users/create/"),
    _row("user.delete", "POST", r"/v3/users/delete/"),
    _row("kyb.search", "POST", r"/v3/kyb/search/"),
    _row("kyb.select", "POST", r"/v3/kyb/select/"),
    _row("kyb.shareholders", "POST", r"/v3/kyb/shareholders/"),
    _row("kyb.ubo", "POST", r"/v3/kyb/ubo/"),
    _row("wallet_screening", "POST", r"/v3/wallet-screening/"),
    _row("aml_monitoring.users", "POST", r"/v3/users/aml-monitoring/"),
    _row("aml_monitoring.businesses", "POST", r"/v3/businesses/aml-monitoring/"),
    _row("aml_monitoring.job", "GET", r"/v3/aml-monitoring/jobs/{name}/"),
    _row("user.get", "GET", r"/v3/users/{name}/"),
    _row("user.update", "PATCH", r"/v3/users/{name}/"),
    _row("user.update_status", "PATCH", r"/v3/users/{name}/update-status/"),
    _row("list.list", "GET", r"/v3/lists/"),
    _row("list.create", "POST", r"/v3/lists/"),
    _row("list.entries", "GET", r"/v3/lists/{name}/entries/"),
    _row("list.add_entry", "POST", r"/v3/lists/{name}/entries/"),
    _row("list.delete_entry", "DELETE", r"/v3/lists/{name}/entries/(?P<entry>[^/]+)/"),
    _row("webhook.list", "GET", r"/v3/webhook/destinations/"),
    _row("webhook.create", "POST", r"/v3/webhook/destinations/"),
    _row("webhook.get", "GET", r"/v3/webhook/destinations/{name}/"),
    _row("webhook.update", "PATCH", r"/v3/webhook/destinations/{name}/"),
    _row("webhook.delete", "DELETE", r"/v3/webhook/destinations/{name}/"),
    _row("webhook.deliveries", "GET", r"/v3/webhook/destinations/{name}/deliveries/"),
    _row("webhook.resend", "POST", r"/v3/webhook/destinations/{name}/deliveries/(?P<delivery>[^/]+)/resend/"),
    _row("workflow.list", "GET", r"/v3/workflows/"),
    _row("workflow.create", "POST", r"/v3/workflows/"),
    _row("workflow.get", "GET", r"/v3/workflows/{name}/"),
    _row("workflow.update", "PATCH", r"/v3/workflows/{name}/"),
    _row("workflow.delete", "DELETE", r"/v3/workflows/{name}/"),
    _row("billing.balance", "GET", r"/v3/billing/balance/"),
    _row("billing.top_up", "POST", r"/v3/billing/top-up/"),
    _row("oauth.token", "POST", r"/auth/v2/token/", auth="none", form="url"),
    _row("account.register", "POST", r"/auth/v2/programmatic/register/", auth="none"),
    _row("account.verify", "POST", r"/auth/v2/programmatic/verify-email/", auth="none"),
    _row("account.resend", "POST", r"/auth/v2/programmatic/resend-otp/", auth="none"),
    _row("account.login", "POST", r"/auth/v2/programmatic/login/", auth="none"),
    _row("account.organizations", "GET", r"/auth/v2/organizations/me/", auth="bearer"),
    _row("account.applications", "GET", r"/auth/v2/organizations/me/(?P<organization>[^/]+)/applications/", auth="bearer"),
    _row("account.application", "GET", r"/auth/v2/organizations/me/(?P<organization>[^/]+)/applications/{name}/", auth="bearer"),
)
_UUID_NAMES = frozenset(
    {
        *("imports.get", "imports.errors", "transaction.get", "list.entries", "list.add_entry", "list.delete_entry"),
        *("webhook.get", "webhook.update", "webhook.delete", "webhook.deliveries", "webhook.resend"),
        *("questionnaire.get", "questionnaire.update", "questionnaire.delete", "aml_monitoring.job"),
        *("workflow.get", "workflow.update", "workflow.delete"),
    }
)


def find_route(method: str, path: str) -> tuple[Route, re.Match[str]] | None:
    """The route of a call and the match of its path; None if there is no such route."""
    for route in ROUTES:
        if route.method == method and (match := route.pattern.fullmatch(path)) is not None:
            return route, match
    return None


def methods_of(path: str) -> list[str]:
    """The methods of a path, in their order in the table; empty if there is no such path."""
    return list(dict.fromkeys(route.method for route in ROUTES if route.pattern.fullmatch(path) is not None))


def uuid_of(route: Route, match: re.Match[str]) -> str | None:
    """The path segment that must be a UUID, if the route has one."""
    groups = match.groupdict()
    return groups.get("id", groups["name"] if route.name in _UUID_NAMES else None)


def needs_slash(path: str) -> bool:
    """Whether the path lacks only the slash at its end: Didit redirects such a call."""
    return not path.endswith("/") and any(route.pattern.fullmatch(path + "/") for route in ROUTES)


def scopes_of(route: Route, version: str, switches: Switches) -> tuple[str, ...]:
    """Every rate limit scope that a call counts in, the endpoint's own first; none on routes without an API key."""
    if route.auth != "key":
        return ()
    generic = "generic-get" if route.method == "GET" else "generic-write"
    if route.scope is None:
        return (generic,)
    if route.scope == "ingest-write":  # instead of generic-write, according to the newest page
        return (route.scope,)
    if route.name == "session.create" and not switches.create_counts_in_generic_write:
        return (route.scope,)
    if route.name == "session.decision" and version == "v3" and not switches.v3_decision_counts_in_decision_scope:
        return (generic,)
    return (route.scope, generic)
