"""Rows of the catalogue for what operators manage: users, lists, corrections of sessions, webhook destinations, workflows, credits.

Paths, bodies and answers are those of Didit's OpenAPI 3.0.0; lists and deliveries of webhooks stand on its pages "Lists" and "Webhooks"
of the management API alone.
"""

from __future__ import annotations

from types import MappingProxyType

from processor.didit.operation import Idempotency, Operation

_CREATED = frozenset({200, 201})


def _read(name: str, path: str, /, *, query: tuple[str, ...] = (), **required: type) -> Operation:
    return Operation(name, "GET", path, ("generic-get",), Idempotency.SAFE, required_output=MappingProxyType(required), query=query)


def _write(
    name: str,
    method: str,
    path: str,
    /,
    *scopes: str,
    query: tuple[str, ...] = (),
    idempotency: Idempotency = Idempotency.SAFE,
    **required: type,
) -> Operation:
    """Nothing of this is billed; what is there already, or gone, is answered so, and nothing comes twice."""
    return Operation(
        name,
        method,
        path,
        (*scopes, "generic-write"),
        idempotency,
        success_statuses=_CREATED,
        required_output=MappingProxyType(required),
        query=query,
    )


def _delete(name: str, path: str) -> Operation:
    """A second time it is a 404."""
    return Operation(name, "DELETE", path, ("generic-write",), Idempotency.SAFE, success_statuses=frozenset({200, 204}))


_PAGE = ("limit", "offset")
_USER = "/v3/users/{vendor_data}/"

_USERS = (
    _read("user.list", "/v3/users/", query=_PAGE, results=list),
    _read("user.get", _USER, didit_internal_id=str, status=str),
    _write("user.create", "POST", "/v3/users/create/", didit_internal_id=str, status=str),
    _write("user.update", "PATCH", _USER, didit_internal_id=str, status=str),
    _write("user.update_status", "PATCH", f"{_USER}update-status/", didit_internal_id=str, status=str),
    _write("user.delete", "POST", "/v3/users/delete/", deleted=int),
)

_ENTRIES = "/v3/lists/{list_uuid}/entries/"

_LISTS = (
    _read("list.list", "/v3/lists/", query=("list_type", "entry_type", "ordering", *_PAGE), results=list),
    _write("list.create", "POST", "/v3/lists/", uuid=str, list_type=str),
    _read("list.entries", _ENTRIES, query=("search", *_PAGE), results=list),
    _write("list.add_entry", "POST", _ENTRIES, uuid=str, value=str),  # a value that is there once more would match the same
    _delete("list.delete_entry", f"{_ENTRIES}{{entry_uuid}}/"),
)

_SESSION = "/v3/session/{session_id}/"
_REVIEWS = "/v3/sessions/{session_id}/reviews/"
_NODE = ("node_id",)

_CORRECTIONS = (
    _write("session.update_data", "PATCH", f"{_SESSION}update-data/", "session-update-kyc", query=_NODE),
    _write("session.update_poa_data", "PATCH", f"{_SESSION}update-poa-data/", "session-update-poa", query=_NODE),
    _write("session.update_feature", "PATCH", f"{_SESSION}features/{{node_id}}/update-status/", session_id=str, new_status=str),
    _write("session.update_aml_hit", "PATCH", f"{_SESSION}update-aml-hit-status/", query=_NODE, hit_id=str),
    _write("session.update_aml_hits", "PATCH", f"{_SESSION}bulk-update-aml-hit-status/", query=_NODE, updated_hits=list),
    _read("session.reviews", _REVIEWS, query=(*_PAGE, "ordering"), results=list),
    _write("session.add_review", "POST", _REVIEWS, idempotency=Idempotency.SINGLE, created_at=str),  # each call is a note more
    _write("session.delete_many", "POST", "/v3/sessions/delete/", results=list),
)

_DESTINATIONS = "/v3/webhook/destinations/"
_DESTINATION = f"{_DESTINATIONS}{{destination_uuid}}/"

_WEBHOOKS = (  # answers with a secret go into the result, and nowhere else
    _read("webhook.list", _DESTINATIONS),
    _write("webhook.create", "POST", _DESTINATIONS, uuid=str, secret_shared_key=str),
    _read("webhook.get", _DESTINATION, uuid=str, secret_shared_key=str),
    _write("webhook.update", "PATCH", _DESTINATION, uuid=str),
    _delete("webhook.delete", _DESTINATION),
    _read("webhook.deliveries", f"{_DESTINATION}deliveries/", query=(*_PAGE, "date_from", "date_to"), results=list),
    _write("webhook.resend", "POST", f"{_DESTINATION}deliveries/{{delivery_uuid}}/resend/"),  # webhooks come at least once anyway
)

_ACCOUNT = (
    _read("workflow.list", "/v3/workflows/", query=_PAGE, results=list),
    _read("billing.balance", "/v3/billing/balance/", balance=str),
)

MANAGEMENT = (*_USERS, *_LISTS, *_CORRECTIONS, *_WEBHOOKS, *_ACCOUNT)
