"""`processor acls`: the table of rights as commands, as Strimzi's users and for programs."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from deploy_files import module
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from processor.cli.acls import app
from processor.settings import load_settings
from processor.stream.acl_table import AclRole, grants_of

RUN = CliRunner()
# What the CRD says, in our words, of what we write: kafkausers.kafka.strimzi.io v1, install/cluster-operator/044-Crd-kafkauser.yaml of
# strimzi-kafka-operator 8541da1 (sha256 c7e91b9b027a516b43dc7d369e781ee23a6ea177ae15fe0c33af6f722e26e05f). Strict, where Kubernetes drops
# what it does not know.
_OPERATIONS = "Read Write Create Delete Alter Describe ClusterAction AlterConfigs DescribeConfigs IdempotentWrite All"
_NAME = {"type": "string", "minLength": 1}


def closed(required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required.split(), "properties": properties}


_NAMED = closed("type name", type={"enum": ["topic", "group", "transactionalId"]}, name=_NAME, patternType={"enum": ["literal", "prefix"]})
_RESOURCE = {"oneOf": [_NAMED, closed("type", type={"const": "cluster"})]}
_ACL = closed(
    "resource operations",
    resource=_RESOURCE,
    operations={"type": "array", "minItems": 1, "uniqueItems": True, "items": {"enum": _OPERATIONS.split()}},
)
KAFKA_USER = closed(
    "apiVersion kind metadata spec",
    apiVersion={"const": "kafka.strimzi.io/v1"},
    kind={"const": "KafkaUser"},
    metadata=closed(
        "name labels",
        name={"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"},
        labels={"type": "object", "required": ["strimzi.io/cluster"], "additionalProperties": {"type": "string"}},
    ),
    spec=closed(
        "authorization",
        userName=_NAME,
        authentication=closed("type", type={"enum": ["tls", "tls-external", "scram-sha-512"]}),
        authorization=closed("type acls", type={"const": "simple"}, acls={"type": "array", "minItems": 1, "items": _ACL}),
    ),
)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VP_KAFKA__BOOTSTRAP", "kafka:9092")
    monkeypatch.setenv("VP_KAFKA__TOPIC_PREFIX", "v")
    monkeypatch.setenv("VP_KAFKA__GROUP", "g")


def told(*words: str, status: int = 0) -> str:
    done = RUN.invoke(app, words)
    assert done.exit_code == status, done.output
    return done.output


def users(*words: str) -> list[Any]:
    found = list(module("yaml").safe_load_all(told("--format", "strimzi", *words)))
    for user in found:
        assert not list(Draft202012Validator(KAFKA_USER).iter_errors(user)), user
    return found


def test_strimzi_users_have_the_rights_of_the_table() -> None:
    found = {user["metadata"]["name"]: user["spec"] for user in users("--cluster", "main")}
    assert set(found) == {f"v-{role}" for role in AclRole if role is not AclRole.PAGE}, "the page is the processors'"
    for role in set(AclRole) - {AclRole.PROCESSORS, AclRole.PAGE}:
        acls = {
            (a["resource"].get("name", "kafka-cluster"), a["resource"].get("patternType", "literal"), *a["operations"])
            for a in found[f"v-{role}"]["authorization"]["acls"]
        }
        wanted = grants_of(role, load_settings())
        assert acls == {(g.name, "prefix" if g.prefixed else "literal", *(o.title for o in sorted(g.operations))) for g in wanted}
    assert all(spec["authentication"] == {"type": "scram-sha-512"} for spec in found.values())


def test_a_name_that_kubernetes_does_not_take_stands_beside_it() -> None:
    (user,) = users("--role", "callers", "--principal", "callers=User:Shop_1")
    assert (user["metadata"]["name"], user["spec"]["userName"]) == ("shop-1", "Shop_1")
    assert "is no user" in told("--format", "strimzi", "--role", "job", "--principal", "job=Group:x", status=2)


def test_with_certificates_the_principal_is_the_name_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VP_KAFKA__SECURITY_PROTOCOL", "SSL")
    assert "--allow-principal User:CN=v-job " in told("--role", "job")
    (user,) = users("--role", "job")
    assert (user["metadata"]["name"], user["spec"]["authentication"]["type"]) == ("v-job", "tls")


def test_commands_are_words_for_a_shell() -> None:
    script = told("--role", "scaler", "--principal", "scaler=User:O'Hara", "--command-config", "/a b")
    comment, *commands = script.splitlines()
    assert comment == "# scaler: User:O'Hara"
    words = ["kafka-acls", "--bootstrap-server", "kafka:9092", "--command-config", "/a b", "--add", "--allow-principal", "User:O'Hara"]
    words += ["--operation", "Describe"]
    assert [shlex.split(command) for command in commands] == [[*words, "--topic", "v.requests"], [*words, "--group", "g"]]


def test_who_has_several_roles_is_told_once() -> None:
    both = ("--principal", "onlooker=User:ops", "--principal", "repairer=User:ops")
    (one,) = json.loads(told("--json", "--role", "onlooker", "--role", "repairer", *both))
    assert one["roles"] == ["onlooker", "repairer"]
    by_name = {grant["name"]: grant["operations"] for grant in one["grants"]}
    assert by_name["v.repairs"] == ["Read", "Write"]
    assert by_name["g"] == ["Describe"]
    assert len(by_name) == len(one["grants"])


@pytest.mark.parametrize("text", ["onlookers=User:a", "callers", "callers=a", "callers=User:"])
def test_a_principal_that_cannot_be_read_is_refused_with_the_roles(text: str) -> None:
    assert "the roles are processors, page," in told("--principal", text, status=2)
