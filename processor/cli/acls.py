"""`processor acls`: the rights that each principal needs in Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import orjson
import typer

from processor.cli import render_acls
from processor.cli.options import fail, settings_or_fail, write_json
from processor.cli.render_acls import PrincipalRights
from processor.settings import Settings
from processor.stream.acl_table import AclRole, grants_of, merged

app = typer.Typer()


class AclFormat(StrEnum):
    """How rights are written."""

    COMMANDS = "commands"
    STRIMZI = "strimzi"


@app.command()
def acls(
    *,
    role: Annotated[list[AclRole] | None, typer.Option(help="only this role; may be repeated; default all")] = None,
    principal: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=TYPE:NAME", help="who has a role, e.g. callers=User:shop; may be repeated; default User:<prefix>-<role>"
        ),
    ] = None,
    form: Annotated[AclFormat, typer.Option("--format", help="commands of kafka-acls, or Strimzi's KafkaUser")] = AclFormat.COMMANDS,
    command_config: Annotated[
        Path | None, typer.Option(help="for the commands: client properties file of kafka-acls, with a login that may grant rights")
    ] = None,
    cluster: Annotated[str, typer.Option(help="for Strimzi: the name of its Kafka")] = "kafka",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON array instead, a principal each")] = False,
) -> None:
    """Print the rights that each principal needs in Kafka, as commands or for Strimzi (docs/deploy.md).

    From the settings alone: topics, group, delays, webhooks. Kafka is not contacted. A principal that is named for several roles
    has the rights of all of them.
    """
    settings = settings_or_fail()
    found = rights_by_principal(settings, role or list(AclRole), _principals(settings, principal or []))
    if as_json:
        write_json(orjson.dumps(render_acls.as_json(found)))
    elif form is AclFormat.COMMANDS:
        typer.echo(render_acls.as_commands(found, settings.kafka.bootstrap, None if command_config is None else str(command_config)))
    else:
        try:
            typer.echo(render_acls.as_strimzi(found, cluster, _authentication(settings)), nl=False)
        except ValueError as exc:
            fail(str(exc))


def rights_by_principal(settings: Settings, roles: Iterable[AclRole], principals: Mapping[AclRole, str]) -> list[PrincipalRights]:
    """What each principal needs, in the order of the roles."""
    by_principal: dict[str, list[AclRole]] = {}
    for role in AclRole:
        if role in set(roles):
            by_principal.setdefault(principals[role], []).append(role)
    return [
        PrincipalRights(principal, tuple(theirs), merged(grant for role in theirs for grant in grants_of(role, settings)))
        for principal, theirs in by_principal.items()
    ]


def _principals(settings: Settings, named: Sequence[str]) -> dict[AclRole, str]:
    """Who has each role; the page is in the processors' process, so it is theirs unless it is named."""
    cn = "CN=" if settings.kafka.security_protocol == "SSL" else ""  # how brokers name the owner of a certificate
    found = {role: f"User:{cn}{settings.kafka.topic_prefix}-{role}" for role in AclRole}
    given: dict[AclRole, str] = {}
    by_word = {role.value: role for role in AclRole}
    for text in named:
        word, _, principal = text.partition("=")
        kind, _, name = principal.partition(":")
        if word not in by_word or not kind or not name:
            fail(f"--principal {text}: write ROLE=TYPE:NAME, e.g. callers=User:shop; the roles are {', '.join(AclRole)}")
        given[by_word[word]] = principal
    found |= given
    return found if AclRole.PAGE in given else found | {AclRole.PAGE: found[AclRole.PROCESSORS]}


def _authentication(settings: Settings) -> str | None:
    """How Strimzi is to let the users in: it makes certificates, or passwords for SCRAM-SHA-512."""
    kafka = settings.kafka
    if kafka.security_protocol == "SSL":
        return "tls"
    return "scram-sha-512" if kafka.sasl_mechanism == "SCRAM-SHA-512" else None
