"""Who may do what in a cluster with ACLs: each role's rights, from the settings. Pure.

The one source: a processor's check at its start (``rights``), the table of docs/deploy.md, `processor acls`, and the test that runs every
command under its own principal with exactly these rights (tests/integration/test_integration_secured.py).

Read and Write imply Describe (https://kafka.apache.org/documentation/#operations_resources_and_protocols), so it stands alone only where
neither is granted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Self

from processor.settings import Settings
from processor.stream.topics import TopicNames, topic_names


class AclOperation(IntEnum):
    """Kafka's operations, by their number: also the bit that stands for them in "authorized operations" (KIP-430)."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10

    @property
    def title(self) -> str:
        """As ``kafka-acls`` writes it, e.g. ``DescribeConfigs``."""
        return self.name.title().replace("_", "")


class AclResource(StrEnum):
    """What rights are granted on; the value is the option of ``kafka-acls``."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"
    CLUSTER = "cluster"  # of which there is one


class AclRole(StrEnum):
    """Whoever does one kind of work, and no other."""

    about: str  # for a page

    def __new__(cls, value: str, about: str) -> Self:
        """A role's name, and what it is for."""
        role = str.__new__(cls, value)
        role._value_, role.about = value, about
        return role

    PROCESSORS = "processors", "`processor run`"
    PAGE = "page", "what its page needs besides, to redrive, discard, release, end and pause"
    RECEIVERS = "receivers", "`processor webhooks`"
    CALLERS = "callers", "`processor publish`, `results`, `batch`, or any client, in a group of theirs"
    JOB = "job", "`processor topics apply`, `topics check`"
    CHECKER = "checker", "`processor check`, whose calls are counted in the budget log"
    ONLOOKER = "onlooker", "`processor status`, `top`, `lag`, `budget`, `retry list`, `deadletters list`, `results find`, `verify`"
    REPAIRER = "repairer", "`processor deadletters redrive`, `discard`"
    RELEASER = "releaser", "`processor retry release`, `retry end`, `partitions skip`"
    ERASER = "eraser", "`processor person find`, `person erase`"
    PAUSER = "pauser", "`processor pause`, `resume`"
    SCALER = "scaler", "KEDA's scaler"


@dataclass(frozen=True, slots=True)
class AclGrant:
    """What one role may do with one resource."""

    resource: AclResource
    name: str
    operations: frozenset[AclOperation]
    prefixed: bool = False  # the name is the beginning of names

    def covers(self, resource: AclResource, name: str) -> bool:
        """Whether it is about that resource."""
        return self.resource is resource and (name.startswith(self.name) if self.prefixed else name == self.name)


R, W, D, C = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS
_CREATE = AclOperation.CREATE
_CLUSTER = "kafka-cluster"  # Kafka's own name for it
_Topics = dict[str, set[AclOperation]]  # by the name of a topic; delay topics by the beginning of theirs


def grants_of(role: AclRole, settings: Settings) -> tuple[AclGrant, ...]:
    """What a role needs, and nothing more: topics in the order of docs/deploy.md, then the group and transactional ids."""
    names, group = topic_names(settings), settings.kafka.group
    topics = _TOPICS[role](names, settings)
    found = [
        AclGrant(AclResource.TOPIC, name, frozenset(operations), prefixed=name == _delays(names))
        for name, operations in topics.items()
        if operations
    ]
    if role in _OF_GROUP:
        found.append(AclGrant(AclResource.GROUP, group, frozenset({_OF_GROUP[role]})))
    if role is AclRole.CALLERS:
        found.append(AclGrant(AclResource.GROUP, f"{names.prefix}-callers", frozenset({R}), prefixed=True))
    if role is AclRole.PROCESSORS:
        found.append(AclGrant(AclResource.TRANSACTIONAL_ID, f"{group}-", frozenset({W}), prefixed=True))
    if role in {AclRole.REPAIRER, AclRole.ERASER}:
        found.append(AclGrant(AclResource.TRANSACTIONAL_ID, f"{group}-repairs", frozenset({W})))
    if role in {AclRole.JOB, AclRole.ERASER}:  # the broker's configuration says how often it deletes
        found.append(AclGrant(AclResource.CLUSTER, _CLUSTER, frozenset({C})))
    return tuple(found)


def merged(grants: Iterable[AclGrant]) -> tuple[AclGrant, ...]:
    """The same rights, one grant for each resource: for a principal that has several roles."""
    found: dict[tuple[AclResource, str, bool], AclGrant] = {}
    for grant in grants:
        key = (grant.resource, grant.name, grant.prefixed)
        operations = grant.operations | (found[key].operations if key in found else frozenset())
        if operations & {R, W}:
            operations -= {D}  # implied
        found[key] = AclGrant(grant.resource, grant.name, operations, grant.prefixed)
    return tuple(found.values())


def _delays(names: TopicNames) -> str:
    return f"{names.prefix}.retry."


def _processors(names: TopicNames, settings: Settings) -> _Topics:
    return {
        names.requests: {R, C},
        names.results: {R, W, C},  # read to answer who asks again
        _delays(names): {R, W, C},
        names.budget: {R, W, C},
        names.events: {R, W, C} if settings.webhooks.in_run else {R, C},
        names.dead_letters: {W, C},
        names.repairs: {R, W, C},  # written for a caller who takes a request back
        names.controls: {R, C},
        **{names.requests_of(application): {W, C} for application in names.applications},  # to hand requests on
    }


def _page(names: TopicNames, _: Settings) -> _Topics:
    return {names.dead_letters: {R}, names.repairs: {W}, names.controls: {W}}


def _receivers(names: TopicNames, _: Settings) -> _Topics:
    return {names.events: {W, C}}


def _callers(names: TopicNames, _: Settings) -> _Topics:
    return {names.requests: {W}, names.results: {R}}


def _job(names: TopicNames, _: Settings) -> _Topics:
    inputs = {names.requests, _delays(names)}  # whoever commits offsets on a topic must be able to read it
    return {name: {_CREATE, C, R if name in inputs else D} for name in _all(names)}


def _checker(names: TopicNames, _: Settings) -> _Topics:
    return {name: {C, R, W} if name == names.budget else {C, D} for name in _all(names)}


def _onlooker(names: TopicNames, _: Settings) -> _Topics:
    return {name: {R} for name in _all(names) if name != names.events}


def _repairer(names: TopicNames, _: Settings) -> _Topics:
    return {names.dead_letters: {R}, names.repairs: {R, W}, _delays(names): {W}}


def _releaser(names: TopicNames, _: Settings) -> _Topics:
    return {names.requests: {R}, _delays(names): {R}, names.budget: {R}, names.repairs: {W}}


def _eraser(names: TopicNames, _: Settings) -> _Topics:
    read = (names.results, _delays(names), names.events, names.dead_letters)
    seen: _Topics = {name: {R, C} if name in read else {D, C} for name in _all(names)}  # how long each keeps what it holds
    return seen | {names.requests: {R, W, C}, names.repairs: {R, W, C}}


def _pauser(names: TopicNames, _: Settings) -> _Topics:
    return {names.budget: {R}, names.controls: {R, W}}  # the budget log tells whether replicas obey


def _scaler(names: TopicNames, _: Settings) -> _Topics:
    return {names.requests: {D}}


def _all(names: TopicNames) -> tuple[str, ...]:
    """Every topic, in the order of the table; the delay topics as one."""
    return (
        names.requests,
        names.results,
        _delays(names),
        names.budget,
        names.events,
        names.dead_letters,
        names.repairs,
        names.controls,
    )


_TOPICS: dict[AclRole, Callable[[TopicNames, Settings], _Topics]] = {
    AclRole.PROCESSORS: _processors,
    AclRole.PAGE: _page,
    AclRole.RECEIVERS: _receivers,
    AclRole.CALLERS: _callers,
    AclRole.JOB: _job,
    AclRole.CHECKER: _checker,
    AclRole.ONLOOKER: _onlooker,
    AclRole.REPAIRER: _repairer,
    AclRole.RELEASER: _releaser,
    AclRole.ERASER: _eraser,
    AclRole.PAUSER: _pauser,
    AclRole.SCALER: _scaler,
}
_OF_GROUP = {
    AclRole.PROCESSORS: R,
    AclRole.JOB: R,
    AclRole.ONLOOKER: D,
    AclRole.RELEASER: D,
    AclRole.ERASER: D,
    AclRole.PAUSER: D,
    AclRole.SCALER: D,
}
