"""Rights as ``kafka-acls`` commands, as Strimzi's ``KafkaUser``, and as JSON. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from processor.stream.acl_table import AclGrant, AclOperation, AclResource, AclRole

_STRIMZI_RESOURCES = {
    AclResource.TOPIC: "topic",
    AclResource.GROUP: "group",
    AclResource.TRANSACTIONAL_ID: "transactionalId",
    AclResource.CLUSTER: "cluster",
}
_USER = re.compile(r"User:(?:CN=)?(.+)")
_KUBERNETES_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class PrincipalRights:
    """All that is granted to one principal."""

    principal: str  # as Kafka writes it, e.g. ``User:app`` or ``User:CN=app``
    roles: tuple[AclRole, ...]
    grants: tuple[AclGrant, ...]  # one for each resource


def as_commands(found: Iterable[PrincipalRights], bootstrap: str, command_config: str | None) -> str:
    """A shell script, a comment before the commands of each principal.

    Args:
        found: whose rights.
        bootstrap: host:port of the brokers.
        command_config: file with the login of somebody who may grant, for ``--command-config``; None leaves it out.
    """
    options = ["--bootstrap-server", bootstrap, *(["--command-config", command_config] if command_config else [])]
    lines: list[str] = []
    for rights in found:
        lines += ["", f"# {', '.join(rights.roles)}: {rights.principal}"]
        for (resource, operations, prefixed), names in _alike(rights.grants).items():
            words = ["kafka-acls", *options, "--add", "--allow-principal", rights.principal]
            words += [word for operation in sorted(operations) for word in ("--operation", operation.title)]
            words += ["--resource-pattern-type", "prefixed"] if prefixed else []
            words += ["--cluster"] if resource is AclResource.CLUSTER else [word for name in names for word in (f"--{resource}", name)]
            lines.append(shlex.join(words))
    return "\n".join(lines[1:])


def as_strimzi(found: Iterable[PrincipalRights], cluster: str, authentication: str | None) -> str:
    """YAML documents, a ``KafkaUser`` (kafka.strimzi.io/v1) for each principal.

    Args:
        found: whose rights.
        cluster: name of Strimzi's ``Kafka``.
        authentication: ``scram-sha-512`` or ``tls``; None for users that something else makes.

    Raises:
        ValueError: for a principal that is no user.
    """
    return "---\n".join(_kafka_user(rights, cluster, authentication) for rights in found)


def as_json(found: Iterable[PrincipalRights]) -> list[dict[str, Any]]:
    """For programs: a principal each."""
    return [
        {
            "principal": rights.principal,
            "roles": list(rights.roles),
            "grants": [
                {
                    "resource": grant.resource,
                    "name": grant.name,
                    "pattern": "prefixed" if grant.prefixed else "literal",
                    "operations": _titles(grant.operations),
                }
                for grant in rights.grants
            ],
        }
        for rights in found
    ]


def _kafka_user(rights: PrincipalRights, cluster: str, authentication: str | None) -> str:
    user = _USER.fullmatch(rights.principal)
    if user is None:
        raise ValueError(f"{rights.principal} is no user: Strimzi makes users, written User:name")
    name = user[1]
    plain = _KUBERNETES_NAME.fullmatch(name) is not None
    lines = [
        f"# {', '.join(rights.roles)}",
        "apiVersion: kafka.strimzi.io/v1",
        "kind: KafkaUser",
        "metadata:",
        f"  name: {_quoted(name if plain else _kubernetes_name(name))}",
        "  labels:",
        f"    strimzi.io/cluster: {_quoted(cluster)}",
        "spec:",
        *([] if plain else [f"  userName: {_quoted(name)}"]),
        *([] if authentication is None else ["  authentication:", f"    type: {authentication}"]),
        "  authorization:",
        "    type: simple",
        "    acls:",
    ]
    for grant in rights.grants:
        resource = {"type": _STRIMZI_RESOURCES[grant.resource]}
        if grant.resource is not AclResource.CLUSTER:
            resource |= {"name": grant.name, "patternType": _pattern(grant)}
        lines.append(f"      - resource: {_flow(resource)}")
        lines.append(f"        operations: [{', '.join(_titles(grant.operations))}]")
    return "\n".join(lines) + "\n"


def _alike(grants: Iterable[AclGrant]) -> dict[tuple[AclResource, frozenset[AclOperation], bool], list[str]]:
    """Names that one command can grant the same operations on."""
    found: dict[tuple[AclResource, frozenset[AclOperation], bool], list[str]] = {}
    for grant in grants:
        found.setdefault((grant.resource, grant.operations, grant.prefixed), []).append(grant.name)
    return found


def _titles(operations: Iterable[AclOperation]) -> list[str]:
    return [operation.title for operation in sorted(operations)]


def _pattern(grant: AclGrant) -> str:
    return "prefix" if grant.prefixed else "literal"


def _kubernetes_name(name: str) -> str:
    return re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.") or "user"


def _flow(values: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {_quoted(value)}" for key, value in values.items()) + "}"


def _quoted(text: str) -> str:
    """A text as YAML reads it back, whatever it looks like: a JSON string is one in YAML, too."""
    return json.dumps(text)
