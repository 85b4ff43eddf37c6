"""Every documented member of every request: what Didit's OpenAPI forbids the simulator refuses, and what it allows the simulator takes."""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import jsonschema_rs
import openapi
import pytest
from didit_api import KEY, SANDBOX_KEY, UNKNOWN, WORKFLOW, Api, api
from effort import full
from hypothesis import given, settings
from hypothesis import strategies as st
from test_contract_simulator_openapi import path_of

from processor.simulator.applications import SANDBOX_APPLICATION
from processor.simulator.config import DOCUMENTED_LIMITS, RateLimit
from processor.simulator.request_members import MEMBERS, OF_STATE, member_faults
from processor.simulator.routes import ROUTES, Route

LIMITS = {name: RateLimit(1_000_000) for name in DOCUMENTED_LIMITS}
IMAGE = b"\xff\xd8\xff\xe0" + b"x" * 100
ADDRESS = "0x" + "a" * 40
PAYMENT = {
    "transaction_category": "finance",
    "transaction_details": {"direction": "outbound", "amount": 15, "currency": "EUR"},
    "subject": {"vendor_data": "u", "full_name": "Maria Garcia"},
}
ODD: tuple[Any, ...] = ([], {}, "", -1, 10**18, True, [[]], {"a": {}}, ["a"], "\x00", "²", 0.5)
# a valid body of each route with a path of its own; <n> is another number of six digits each time
REFUSED = {400, 422}  # the second of a wallet without its network (page "API errors")
FIXED: dict[str, tuple[str, dict[str, Any]]] = {
    "session.create": ("/v3/session/", {"workflow_id": WORKFLOW}),
    "session.delete_many": ("/v3/sessions/delete/", {"session_numbers": ["1"]}),
    "aml": ("/v3/aml/", {"full_name": "Ann Beta"}),
    "database_validation": ("/v3/database-validation/", {"issuing_state": "ESP", "identification_number": "X1"}),
    "email.send": ("/v3/email/send/", {"email": "a<n>@example.org"}),
    "email.check": ("/v3/email/check/", {"email": "a<n>@example.org", "code": "000000"}),
    "email.risk": ("/v3/email/risk/", {"email": "a<n>@example.org"}),
    "phone.send": ("/v3/phone/send/", {"phone_number": "+34600<n>"}),
    "phone.check": ("/v3/phone/check/", {"phone_number": "+34600<n>", "code": "000000"}),
    "phone.risk": ("/v3/phone/risk/", {"phone_number": "+34600<n>"}),
    "ip.risk": ("/v3/ip/risk/", {"ip_address": "203.0.113.9"}),
    "transaction.create": ("/v3/transactions/", {"transaction_id": "t<n>", **PAYMENT}),
    "transaction.token": ("/v3/transactions/sdk-token/", {"vendor_data": "u"}),
    "user.create": ("/v3/users/create/", {"vendor_data": "n<n>"}),
    "user.delete": ("/v3/users/delete/", {"vendor_data_list": ["nobody"]}),
    "user.update": ("/v3/users/known/", {"display_name": "x"}),
    "user.update_status": ("/v3/users/known/update-status/", {"status": "FLAGGED"}),
    "kyb.search": ("/v3/kyb/search/", {"country_code": "GB", "name": "Tesco"}),
    "wallet_screening": ("/v3/wallet-screening/", {"wallet_address": ADDRESS, "blockchain": "ETH"}),
    "aml_monitoring.users": ("/v3/users/aml-monitoring/", {"is_enabled": True, "vendor_data_list": ["known"]}),
    "aml_monitoring.businesses": ("/v3/businesses/aml-monitoring/", {"is_enabled": True, "vendor_data_list": ["known"]}),
    "webhook.create": (
        "/v3/webhook/destinations/",
        {"label": "x", "url": "https://e.org/<n>", "subscribed_events": ["status.updated"]},
    ),
    "questionnaire.create": (
        "/v3/questionnaires/",
        {"title": "t", "languages": ["en"], "form_elements": [{"element_type": "short_text", "label": {"en": "x"}}]},
    ),
    "workflow.create": ("/v3/workflows/", {"features": [{"feature": "OCR"}]}),
    "billing.top_up": ("/v3/billing/top-up/", {"amount_in_dollars": 50}),
    "travel_rule.update_settings": ("/v3/travel-rule/settings/", {"legal_name": "x"}),
    "travel_rule.add_wallet": ("/v3/travel-rule/wallet-addresses/", {"address": "0x" + "a" * 34 + "<n>"}),
    "travel_rule.widget": ("/v3/travel-rule/widget-session/", {"chain": "ethereum", "wallet_address": "0x" + "a" * 34 + "<n>"}),
    "travel_rule.inbound": (
        "/v3/travel-rule/inbound/",
        {"chain": "ethereum", "txid": "t<n>", "wallet_address": "0x" + "a" * 34 + "<n>", "amount": "5", "currency": "ETH"},
    ),
}
OF_SESSION: dict[str, dict[str, Any]] = {
    "session.update_status": {"new_status": "Declined"},
    "session.delete": {"face_retention_days": 5},
    "session.share": {"for_application_id": SANDBOX_APPLICATION},
    "session.add_review": {"comment": "x"},
    "session.update_data": {"first_name": "A"},
    "session.update_feature": {"new_status": "In Review"},
}
_HIT = {"hit_id": "sim-hit", "review_status": "False Positive"}
OF_HIT: dict[str, dict[str, Any]] = {"session.update_aml_hit": _HIT, "session.update_aml_hits": {"hit_updates": [_HIT]}}
OF_MADE = {  # what is changed, and the change
    "webhook.update": ("webhook.create", {"label": "z"}),
    "workflow.update": ("workflow.create", {"workflow_label": "z"}),
    "questionnaire.update": ("questionnaire.create", {"title": "z"}),
    "travel_rule.update_wallet": ("travel_rule.add_wallet", {"holder_name": "z"}),
}
OF_COMPANY = ("kyb.select", "kyb.shareholders", "kyb.ubo")
FORMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("passive_liveness", "face_search", "age_estimation"), ("user_image",)),
    "face_match": ("user_image", "ref_image"),
    "id_verification": ("front_image",),
    **dict.fromkeys(("poa", "document_ai"), ("document",)),
}
UNTESTED = {  # documented, with the reason
    "session.update_poa_data": "needs a workflow with a proof of address; its rules are those of update_data",
    "imports.create": "not enabled, as at Didit",
    "travel_rule.update": "needs a transfer that waits",
    "travel_rule.ownership": "the same",
}
BY_NAME = {route.name: route for route in ROUTES}


def documented(route: Route) -> Mapping[str, Any]:
    """The schema of a route's body; empty if it has none."""
    endpoint = openapi.endpoint(route.method, path_of(route, UNKNOWN)) if route.auth == "key" else None
    content = openapi.resolved(endpoint.described.get("requestBody", {})).get("content", {}) if endpoint is not None else {}
    kind = "multipart/form-data" if route.form == "only" else "application/json"
    found: Mapping[str, Any] = openapi.resolved(content.get(kind, {}).get("schema", {}))
    return found if found.get("properties") else {}


async def target(a: Api, name: str, number: int) -> tuple[str, dict[str, Any]]:
    """The path of a call that is valid, and its body; a fresh one for each number."""
    route, n = BY_NAME[name], f"{number:06d}"
    body: dict[str, Any]
    if name in FORMS:
        path, body = path_of(route, ""), {"fields": '[{"key":"a"}]'} if name == "document_ai" else {}
    elif name in FIXED:
        path, body = FIXED[name]
    elif name in OF_SESSION:
        path, body = re.sub("features/[^/]+", "features/node-1", path_of(route, await settled(a, n))), OF_SESSION[name]
    elif name in OF_HIT:
        screened = (await a.call("POST", "/v3/aml/", {"full_name": "Hit Person"}))[1]
        path, body = path_of(route, screened["request_id"]), OF_HIT[name]
    elif name in OF_COMPANY:
        found = (await a.call("POST", *FIXED["kyb.search"]))[1]
        path, body = path_of(route, ""), {"kyb_response_id": found["kyb_registry"]["companies"][0]["kyb_response_id"]}
    elif name == "session.import_shared":
        shared = (await a.call("POST", f"/v3/session/{await settled(a, n)}/share/", OF_SESSION["session.share"]))[1]
        path = path_of(route, "")
        body = {"share_token": shared["share_token"], "trust_review": True, "workflow_id": WORKFLOW}
    else:
        made, body = OF_MADE[name]
        path, first = FIXED[made]
        document = (await a.call("POST", path, fresh(first, n)))[1]
        path += str(document.get("uuid") or document["questionnaire_id"]) + "/"
    return path, fresh(body, n)


def fresh(body: dict[str, Any], n: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(body).replace("<n>", n))
    return found


async def settled(a: Api, n: str) -> str:
    session_id: str = (await a.create(f"v{n}"))["session_id"]
    await a.control(f"sessions/{session_id}/finish", {})
    return session_id


async def send(a: Api, name: str, path: str, body: dict[str, Any]) -> int:
    """The status of a call."""
    if name in FORMS:
        return (await a.form(path, {key: str(value) for key, value in body.items()}, KEY, **dict.fromkeys(FORMS[name], IMAGE)))[0]
    return (await a.call(BY_NAME[name].method, path, body, SANDBOX_KEY if name == "session.import_shared" else KEY))[0]


TESTED = sorted({*FIXED, *OF_SESSION, *OF_HIT, *OF_MADE, *OF_COMPANY, *FORMS, "session.import_shared"})


def test_every_documented_body_is_tested() -> None:
    assert {route.name for route in ROUTES if documented(route)} == {*TESTED, *UNTESTED}


@pytest.mark.parametrize("name", TESTED)
async def test_a_member_that_the_document_forbids_is_refused(name: str) -> None:
    schema, form, number, taken = documented(BY_NAME[name]), name in FORMS, 0, []
    async with api(limits=LIMITS) as a:
        await a.call("POST", "/v3/users/create/", {"vendor_data": "known"})
        path, valid = await target(a, name, number)
        assert await send(a, name, path, valid) < 300, "the body that is changed is valid"
        path, valid = await target(a, name, 1)
        for member, body in openapi.wrong_bodies(schema, valid, form=form):  # a refusal changes nothing
            if (status := await send(a, name, path, body)) not in REFUSED:
                taken.append(f"{status} {member}: {body.get(member)!r:.60}")
    assert taken == []


@pytest.mark.parametrize("name", TESTED)
async def test_what_is_billed_is_refused_without_credits(name: str) -> None:
    async with api(limits=LIMITS) as a:
        organization = a.sim.state.directory.organization
        await a.call("POST", "/v3/users/create/", {"vendor_data": "known"})
        path, valid = await target(a, name, 0)
        before = organization.credits
        assert await send(a, name, path, valid) < 300
        billed = organization.credits < before
        path, valid = await target(a, name, 1)
        await a.control("credits", {"credits": 0})
        assert (await send(a, name, path, valid) in {400, 403}) == billed
        assert organization.credits == 0


@pytest.mark.parametrize("name", TESTED)
async def test_no_value_of_any_member_breaks_the_simulator(name: str) -> None:
    async with api(limits=LIMITS) as a:
        await a.call("POST", "/v3/users/create/", {"vendor_data": "known"})
        path, valid = await target(a, name, 0)
        for number, (member, value) in enumerate(itertools.product(documented(BY_NAME[name])["properties"], ODD), 1):
            status = await send(a, name, path, {**valid, member: value})
            assert status < 500, (member, value)
            if status < 300:
                path, valid = await target(a, name, number)


STRICTER = {  # members of which the simulator takes less than the document says, with the reason
    "callback": "any text; but the answer that repeats it has a URI",
    "expires_in_minutes": "any number; a clock ends",
}
json_values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


FORMED: dict[str, st.SearchStrategy[Any]] = {
    "date": st.dates(date(1900, 1, 1)).map(str),
    "date-time": st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    "uuid": st.uuids().map(str),
    "email": st.emails(domains=st.just("example.org")),
    "uri": st.just("https://example.org/a?b=c"),
    "ip": st.ip_addresses().map(str),
}


def _reads(read: Callable[[str], Any]) -> Callable[[str], bool]:
    def is_read(text: str) -> bool:
        try:
            return str(read(text)) == text.lower()
        except ValueError:
            return False

    return is_read


FORMATS = {"ip": _reads(ipaddress.ip_address), "uuid": _reads(uuid.UUID), "date": _reads(date.fromisoformat)}  # unknown to draft 4


def near(schema: Any) -> st.SearchStrategy[Any]:
    """Values that a schema may well allow."""
    schema = openapi.resolved(schema)
    longest = min(schema.get("maxLength", 40), 600)
    bounds = {"min_value": schema.get("minimum", -1000), "max_value": schema.get("maximum", 1000)}
    members = {name: near(rule) for name, rule in schema.get("properties", {}).items()}
    kinds: dict[Any, st.SearchStrategy[Any]] = {
        "string": FORMED.get(schema.get("format", ""), st.text(min_size=min(schema.get("minLength", 0), longest), max_size=longest)),
        "integer": st.integers(**bounds),
        "number": st.integers(**bounds) | st.floats(**bounds),
        "boolean": st.booleans(),
        "array": st.lists(near(schema["items"]) if "items" in schema else json_values, max_size=3),
        "object": st.fixed_dictionaries({}, optional=members) if members else st.dictionaries(st.text(max_size=5), json_values, max_size=3),
    }
    if "enum" in schema:
        return st.sampled_from([word for word in schema["enum"] if word is not None])
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True).filter(lambda one: len(one) <= longest)
    return kinds.get(schema.get("type"), json_values)


@settings(max_examples=full(1000))
@given(st.data())
def test_a_member_that_the_document_allows_is_not_refused(data: st.DataObject) -> None:
    tables = {**MEMBERS, **OF_STATE}
    name = data.draw(st.sampled_from(sorted(tables)))
    schema = documented(BY_NAME[name])
    member = data.draw(st.sampled_from(sorted(set(tables[name]) & set(schema["properties"]))))
    rule = openapi.resolved(schema["properties"][member])
    value = data.draw(near(rule) | json_values)
    judge = jsonschema_rs.Draft4Validator(openapi.as_json_schema(rule), validate_formats=True, formats=FORMATS)
    allowed = judge.is_valid(value)
    if allowed and member not in STRICTER and BY_NAME[name].form != "only":
        assert member_faults({member: tables[name][member]}, {member: value}) is None, (name, member, value)


def test_every_member_of_the_table_is_documented() -> None:
    for name, rules in {**MEMBERS, **OF_STATE}.items():
        assert set(rules) <= set(documented(BY_NAME[name])["properties"]), name
