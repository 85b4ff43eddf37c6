"""The settings of a login to Kafka: each fault by its variable, all at once, and none of them a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from certificates import authority, certificate, openssl
from pydantic import SecretStr

from processor.settings import ConfigurationError, Settings, load_settings

SCRAM: dict[str, Any] = {"security_protocol": "SASL_SSL", "sasl_username": "app", "sasl_password": "in-clear"}
OAUTH: dict[str, Any] = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "OAUTHBEARER",
    "oauth_token_url": "https://issuer.example/token",
    "oauth_client_id": "processor",
    "oauth_client_secret": "in-clear",
}


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pem")
    authority(folder, "ca")
    certificate(folder, "client")
    certificate(folder, "other")
    openssl(folder, "pkcs8", "-topk8", "-in", "client.key", "-out", "locked.key", "-passout", "pass:in-clear")
    (folder / "text.pem").write_text("in-clear\n")
    (folder / "cut.key").write_text((folder / "client.key").read_text()[:120])
    (folder / "password").write_text("in-clear\n")
    return folder


def faults(**kafka: Any) -> str:
    with pytest.raises(ConfigurationError) as raised:
        load_settings(kafka=kafka)
    assert "in-clear" not in str(raised.value)
    return str(raised.value)


def mtls(folder: Path, certificate: str = "client.pem", key: str = "client.key", **more: Any) -> dict[str, Any]:
    return {"security_protocol": "SSL", "ssl_certificate_file": folder / certificate, "ssl_key_file": folder / key, **more}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ssl_ca_file": "text.pem"}, "VP_KAFKA__SSL_CA_FILE: "),
        ({"ssl_ca_file": "."}, "is a folder"),
        ({"ssl_ca_file": "absent.pem"}, "cannot be read (No such file or directory)"),
        ({"ssl_certificate_file": "text.pem"}, "VP_KAFKA__SSL_CERTIFICATE_FILE: "),
        ({"ssl_key_file": "client.pem"}, "holds no private key"),
        ({"ssl_key_file": "other.key"}, "does not belong to the certificate"),
        ({"ssl_key_file": "cut.key"}, "was it cut?"),
        ({"ssl_key_file": "locked.key"}, "is encrypted, and VP_KAFKA__SSL_KEY_PASSWORD (or _FILE) is missing"),
    ],
)
def test_a_pem_file_that_cannot_be_used_is_named_by_its_variable(pem: Path, changed: dict[str, str], said: str) -> None:
    assert said in faults(**mtls(pem) | {name: pem / file for name, file in changed.items()})


def test_a_wrong_password_of_a_key_is_told_from_a_missing_one(pem: Path) -> None:
    assert "VP_KAFKA__SSL_KEY_PASSWORD (or _FILE) does not open" in faults(**mtls(pem, key="locked.key", ssl_key_password="wrong"))
    for right in ({"ssl_key_password": "in-clear"}, {"ssl_key_password_file": pem / "password"}):
        assert load_settings(kafka=mtls(pem, key="locked.key", **right)).kafka.client_options()["ssl_context"]


def test_all_faults_come_at_once(pem: Path) -> None:
    text = faults(
        **OAUTH | {"ssl_ca_file": pem / "text.pem", "sasl_username": "app", "oauth_token_url": "http://x", "aws_region": "eu-west-1"}
    )
    for name in ("SSL_CA_FILE", "SASL_USERNAME", "OAUTH_TOKEN_URL", "AWS_REGION"):
        assert f"VP_KAFKA__{name}" in text


@pytest.mark.parametrize(
    ("kafka", "said"),
    [
        (SCRAM | {"oauth_scope": "x"}, "VP_KAFKA__OAUTH_SCOPE is used with VP_KAFKA__SASL_MECHANISM OAUTHBEARER, not with SCRAM-SHA-512"),
        (SCRAM | {"aws_region": "eu-west-1"}, "VP_KAFKA__AWS_REGION is used with VP_KAFKA__SASL_MECHANISM AWS_MSK_IAM"),
        (OAUTH | {"sasl_password": "in-clear"}, "VP_KAFKA__SASL_PASSWORD is used with VP_KAFKA__SASL_MECHANISM PLAIN or"),
        (OAUTH | {"security_protocol": "SASL_PLAINTEXT"}, "needs VP_KAFKA__SECURITY_PROTOCOL SASL_SSL"),
        (OAUTH | {"security_protocol": "SSL"}, "VP_KAFKA__OAUTH_CLIENT_ID is used with VP_KAFKA__SECURITY_PROTOCOL SASL_SSL only"),
        (OAUTH | {"oauth_client_secret": ""}, "VP_KAFKA__OAUTH_CLIENT_SECRET is empty"),
        (OAUTH | {"oauth_token_url": "https://user:in-clear@issuer.example"}, "without a login in it"),
        (OAUTH | {"oauth_token_file": "/dev/null"}, "one of VP_KAFKA__OAUTH_TOKEN_FILE and VP_KAFKA__OAUTH_TOKEN_URL"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", "oauth_token_file": "/absent"}, "VP_KAFKA__OAUTH_TOKEN_FILE: "),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "AWS_MSK_IAM"}, "AWS_MSK_IAM needs VP_KAFKA__AWS_REGION"),
        (
            {"security_protocol": "SASL_SSL", "sasl_username": "app"},
            "VP_KAFKA__SASL_PASSWORD is missing (or set VP_KAFKA__SASL_PASSWORD_FILE)",
        ),
        (SCRAM | {"sasl_username": None}, "VP_KAFKA__SASL_USERNAME is missing"),
        (SCRAM | {"sasl_password": " "}, "VP_KAFKA__SASL_PASSWORD is empty"),
        (SCRAM | {"sasl_password": None, "sasl_password_file": "/dev/null"}, "VP_KAFKA__SASL_PASSWORD_FILE: /dev/null is empty"),
        (SCRAM | {"sasl_password": None, "sasl_password_file": "/absent"}, "VP_KAFKA__SASL_PASSWORD_FILE: /absent cannot be read"),
    ],
)
def test_settings_of_a_login_that_do_not_belong_together_are_named(kafka: dict[str, Any], said: str) -> None:
    assert said in faults(**kafka)


def test_msk_without_its_extra_names_it() -> None:
    kafka = {"security_protocol": "SASL_SSL", "sasl_mechanism": "AWS_MSK_IAM", "aws_region": "eu-west-1"}
    assert "pip install verification-processor[msk]" in faults(**kafka)


def test_every_secret_may_come_from_a_file() -> None:
    for group, described in Settings.model_fields.items():
        kind: Any = described.annotation
        for name, field in kind.model_fields.items():
            if SecretStr.__name__ in str(field.annotation):
                assert f"{name}_file" in kind.model_fields, f"{group}.{name}"
