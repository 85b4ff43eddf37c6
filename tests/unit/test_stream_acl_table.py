"""Who may do what with which topic, group and transactional id."""

from __future__ import annotations

import pytest

from processor.settings import load_settings
from processor.stream.acl_table import AclGrant, AclOperation, AclResource, AclRole, grants_of, merged
from processor.stream.topics import topic_names, topic_specs

R, W, D, C = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS
SETTINGS = load_settings(kafka={"topic_prefix": "v", "group": "g"}, retry={"delays_s": [10, 60]})


def may(role: AclRole, name: str, settings: object = SETTINGS) -> set[AclOperation]:
    """What a role may do with a topic."""
    return {o for grant in grants_of(role, settings) if grant.covers(AclResource.TOPIC, name) for o in grant.operations}  # type: ignore[arg-type]


@pytest.mark.parametrize("topic", [spec.name for spec in topic_specs(SETTINGS, partitions=1, replication=1)])
def test_the_job_creates_and_checks_every_topic(topic: str) -> None:
    assert may(AclRole.JOB, topic) >= {AclOperation.CREATE, C}


@pytest.mark.parametrize("role", [role for role in AclRole if role not in {AclRole.PROCESSORS, AclRole.CHECKER}])
def test_nobody_else_writes_the_budget_log(role: AclRole) -> None:
    assert W not in may(role, "v.budget")


@pytest.mark.parametrize("role", [AclRole.ONLOOKER, AclRole.SCALER, AclRole.JOB])
def test_who_looks_or_prepares_writes_nothing(role: AclRole) -> None:
    assert not [grant for grant in grants_of(role, SETTINGS) if W in grant.operations]


def test_what_faces_the_internet_has_the_events_alone() -> None:
    assert grants_of(AclRole.RECEIVERS, SETTINGS) == (AclGrant(AclResource.TOPIC, "v.events", frozenset({W, C})),)


def test_names_follow_the_settings() -> None:
    shared = load_settings(kafka={"topic_prefix": "v.shop", "group": "g-shop"}, budget={"topic": "company.budget"})
    found = {(grant.resource, grant.name, grant.prefixed) for role in AclRole for grant in grants_of(role, shared)}
    assert {name for resource, name, _ in found if resource is AclResource.TOPIC and not name.startswith("v.shop.")} == {"company.budget"}
    assert (AclResource.TOPIC, "v.shop.retry.", True) in found
    assert {name for resource, name, _ in found if resource is AclResource.TRANSACTIONAL_ID} == {"g-shop-", "g-shop-repairs"}
    assert may(AclRole.PROCESSORS, topic_names(shared).inputs[-1], shared) == {R, W, C}


def test_processors_that_receive_webhooks_write_events() -> None:
    assert W not in may(AclRole.PROCESSORS, "v.events")
    assert W in may(AclRole.PROCESSORS, "v.events", load_settings(kafka={"topic_prefix": "v"}, webhooks={"in_run": True}))


def test_several_roles_of_one_principal_are_one_grant_for_each_resource() -> None:
    both = merged([*grants_of(AclRole.SCALER, SETTINGS), *grants_of(AclRole.CALLERS, SETTINGS), *grants_of(AclRole.ONLOOKER, SETTINGS)])
    assert len({(grant.resource, grant.name) for grant in both}) == len(both)
    assert next(grant for grant in both if grant.name == "v.requests").operations == {R, W}, "Describe comes with them"
    assert next(grant for grant in both if grant.name == "g").operations == {D}
