"""The settings of docs/managed-kafka.md are settings: each block loads, with its files in the place of the mounted ones."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from certificates import authority, certificate

from processor.settings import ConfigurationError, load_settings
from processor.stream.acl_table import AclOperation, AclResource, AclRole, grants_of

PAGE = (Path(__file__).parent.parent.parent / "docs" / "managed-kafka.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)

# https://docs.aws.amazon.com/msk/latest/developerguide/kafka-actions.html: what is equivalent to which right of Kafka's
IAM_ACTIONS = {
    (AclResource.TOPIC, AclOperation.READ): "ReadData",
    (AclResource.TOPIC, AclOperation.WRITE): "WriteData",
    (AclResource.TOPIC, AclOperation.CREATE): "CreateTopic",
    (AclResource.TOPIC, AclOperation.DESCRIBE): "DescribeTopic",
    (AclResource.TOPIC, AclOperation.DESCRIBE_CONFIGS): "DescribeTopicDynamicConfiguration",
    (AclResource.GROUP, AclOperation.READ): "AlterGroup",
    (AclResource.GROUP, AclOperation.DESCRIBE): "DescribeGroup",
    (AclResource.TRANSACTIONAL_ID, AclOperation.WRITE): "AlterTransactionalId",
    (AclResource.CLUSTER, AclOperation.DESCRIBE_CONFIGS): "DescribeClusterDynamicConfiguration",
}


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mounted")
    authority(folder, "ca")
    certificate(folder, "user")
    for file in ("password", "client-secret", "token"):
        (folder / file).write_text("x")
    for name in ("ca", "user"):
        (folder / f"{name}.crt").write_text((folder / f"{name}.pem").read_text())
    return folder


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_each_recipe_loads(block: str, mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = dict(line.split("=", 1) for line in block.splitlines())
    for name, value in variables.items():
        monkeypatch.setenv(name, str(mounted / Path(value).name) if name.endswith("_FILE") else value)
    if variables.get("VP_KAFKA__SASL_MECHANISM") == "AWS_MSK_IAM" and importlib.util.find_spec("aws_msk_iam_sasl_signer") is None:
        with pytest.raises(ConfigurationError) as raised:
            load_settings()
        assert str(raised.value).count("\n") == 1
        assert str(raised.value).endswith("pip install verification-processor[msk]")
        return
    kafka = load_settings().kafka
    assert kafka.is_tls
    assert kafka.client_options()["ssl_context"].check_hostname


def test_the_services_are_all_there() -> None:
    mechanisms = [found for block in BLOCKS for found in re.findall(r"SASL_MECHANISM=(.*)", block)]
    assert sorted(mechanisms) == ["AWS_MSK_IAM", "OAUTHBEARER", "OAUTHBEARER", "PLAIN", "SCRAM-SHA-512", "SCRAM-SHA-512"]


@pytest.mark.parametrize("role", AclRole)
def test_iam_is_told_every_right_that_a_role_needs(role: AclRole) -> None:
    grants = grants_of(role, load_settings())
    needed = {IAM_ACTIONS[grant.resource, operation] for grant in grants for operation in grant.operations}
    assert needed
    named = set(re.findall(r"`(?:kafka-cluster:)?(\w+)`", PAGE.split("**IAM.**")[1].split("```")[0]))
    assert needed <= named, f"docs/managed-kafka.md does not name {needed - named}"
