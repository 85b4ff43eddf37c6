"""The catalogue, the contract and the simulator know the same operations, and each row is whole."""

from __future__ import annotations

import orjson
import pytest

from processor.contract.schemas import operations, schema_folder
from processor.didit.catalog import OPERATIONS, REQUESTABLE, Idempotency, first_call, is_polled, next_call
from processor.didit.lookups import LOOKUPS
from processor.didit.operations_management import MANAGEMENT
from processor.settings import load_settings
from processor.simulator.config import DOCUMENTED_LIMITS, Config, Switches
from processor.simulator.routes import ROUTES, find_route, scopes_of
from processor.simulator.simulator import Simulator

SESSION = "11111111-2222-4333-8444-555555555555"
OWN_METADATA = {"user.create", "user.update", "list.add_entry"}  # theirs is the user's, not that of a call
FREE = ("session.", "sandbox.", "user.", "list.", "webhook.", "event.", "aml_monitoring.")  # POSTs that bill nothing


def test_every_operation_of_the_contract_is_in_the_catalogue_and_none_is_missing() -> None:
    assert set(operations()) == REQUESTABLE


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_single_call_is_the_first_and_the_last(name: str) -> None:
    assert first_call(name) is next_call(name, polled=False) is next_call(name, polled=True) is OPERATIONS[name]
    assert not is_polled(name)


def test_every_reconcilable_operation_says_how_it_is_looked_up() -> None:
    assert set(LOOKUPS) == {name for name, row in OPERATIONS.items() if row.idempotency is Idempotency.RECONCILABLE}


def test_a_verification_is_created_and_then_polled() -> None:
    assert is_polled("verification")
    assert first_call("verification").name == "session.create"
    found = [next_call("verification", polled=polled) for polled in (False, True)]
    assert [call and call.name for call in found] == ["session.create", "session.decision"]


@pytest.mark.parametrize("name", [None, "", "unread", "aml.v2"])
def test_what_is_no_operation_makes_no_call(name: str | None) -> None:
    assert next_call(name, polled=False) is None
    assert not is_polled(name or "")


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_row_fits_its_schema_its_budget_and_the_simulator(name: str) -> None:
    row = OPERATIONS[name]
    schema = orjson.loads((schema_folder() / f"input.{name}.v1.json").read_bytes())
    members = set(schema["properties"])
    assert {*row.path_fields, *row.query, *row.files} <= members
    assert set(row.path_fields) <= set(schema.get("required", ()))
    assert {n for n, rule in row.files.items() if rule.required} <= set(schema.get("required", ()))
    assert ("metadata" in members) is (row.carries_id or name in OWN_METADATA)
    assert row.method != "GET" or members == {*row.path_fields, *row.query}, "a GET has no body: what is in neither would be dropped"
    assert set(row.scopes) <= set(load_settings().rate_limits)
    generic = "generic-get" if row.method == "GET" else "generic-write"
    assert generic in row.scopes or row.scopes == ("ingest-write",)
    assert row.path.endswith("/"), "Didit redirects a path without it"
    assert row.timeout_s <= load_settings().didit.timeout_s
    assert row.idempotency is not Idempotency.SAFE or row.method != "POST" or name.startswith(FREE), "a check is billed"
    path = row.path.format(**dict.fromkeys(row.path_fields, SESSION))
    found = find_route(row.method, path)
    assert found is not None
    assert found[0].name in {name, name.replace("_shared", "")} or name.startswith("session."), found[0].name
    if row.versioned:
        assert find_route(row.method, path.replace("/v3/", "/v2/")) is not None


def test_what_operators_manage_is_in_the_catalogue_and_only_a_note_cannot_be_repeated() -> None:
    assert {row.name for row in MANAGEMENT} <= set(OPERATIONS)
    assert [row.name for row in MANAGEMENT if row.idempotency is not Idempotency.SAFE] == ["session.add_review"]


def test_the_simulator_answers_every_route_that_it_has() -> None:
    assert {route.name for route in ROUTES} == set(Simulator(Config()).state.handlers), "a standalone check needs its row in CHECKS too"


@pytest.mark.parametrize("version", ["v3", "v2"])
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_operation_may_be_called_as_often_as_the_simulator_allows_and_no_oftener(name: str, version: str) -> None:
    """Both follow Didit's page "Rate limiting", each with a table of its own."""
    row = OPERATIONS[name]
    path = row.path.replace("/v3/", f"/{version}/") if row.versioned else row.path
    found = find_route(row.method, path.format(**dict.fromkeys(row.path_fields, SESSION)))
    assert found is not None
    limits = load_settings(didit={"api_version": version}).rate_limits
    ours = min(limits[scope].limit for scope in row.scopes)
    assert ours == min(DOCUMENTED_LIMITS[scope] for scope in scopes_of(found[0], version, Switches()))
