"""Tokens from a file, from an issuer on loopback with TLS, and from the cache in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import authority, certificate, openssl
from login_kafka import CLIENT_SECRET, Issuer, issuing

from processor.settings import KafkaSettings
from processor.stream.oauth_tokens import CachedTokens, FileTokens, Token, TokenError, fetch_token, token_source


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    folder = tmp_path_factory.mktemp("issuer")
    authority(folder, "ca")
    authority(folder, "stranger")
    certificate(folder, "issuer")
    openssl(folder, "genrsa", "-out", "token.key", "2048")
    with issuing(folder) as found:
        yield found


def kafka_of(issuer: Issuer, **changed: Any) -> KafkaSettings:
    kafka = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "oauth_token_url": f"{issuer.url}/token",
        "oauth_client_id": "processor",
        "oauth_client_secret": CLIENT_SECRET,
        "oauth_ca_file": issuer.folder / "ca.pem",
    }
    return KafkaSettings(**kafka | changed)


def test_a_token_is_asked_for_by_client_credentials(issuer: Issuer) -> None:
    token = fetch_token(kafka_of(issuer, oauth_scope="kafka.write"))
    assert token.text.count(".") == 2
    assert token.life_s == issuer.life_s
    assert issuer.asked[-1] == {"login": f"processor:{CLIENT_SECRET}", "grant_type": ["client_credentials"], "scope": ["kafka.write"]}


@pytest.mark.parametrize(
    ("changed", "said", "lasting"),
    [
        ({"oauth_client_secret": "wrong-secret"}, "refuses (invalid_client). Check VP_KAFKA__OAUTH_CLIENT_ID", True),
        ({"oauth_token_url": "https://127.0.0.1:1/token"}, "does not answer (ConnectionRefusedError)", False),
        ({"oauth_ca_file": "stranger.pem"}, "Check VP_KAFKA__OAUTH_CA_FILE", True),
    ],
)
def test_why_there_is_no_token_is_told_without_the_secret(issuer: Issuer, changed: dict[str, str], said: str, lasting: bool) -> None:
    if "oauth_ca_file" in changed:
        changed = {"oauth_ca_file": str(issuer.folder / changed["oauth_ca_file"])}
    with pytest.raises(TokenError) as raised:
        fetch_token(kafka_of(issuer, **changed))
    assert said in str(raised.value)
    assert raised.value.lasting is lasting
    assert "secret" not in str(raised.value).replace("VP_KAFKA__OAUTH_CLIENT_SECRET", "").lower()


@pytest.mark.parametrize("instead", ["missing", "/proc/self/mem"], ids=["missing", "unreadable"])
def test_a_secret_that_is_being_replaced_is_asked_for_again(issuer: Issuer, tmp_path: Path, instead: str) -> None:
    """An endpoint that is shown no secret says ``invalid_client``, as of a wrong one."""
    file = tmp_path / "secret"
    file.write_text(CLIENT_SECRET)
    kafka = kafka_of(issuer, oauth_client_secret=None, oauth_client_secret_file=file)
    assert fetch_token(kafka).text
    file.unlink()
    file.symlink_to(instead)
    with pytest.raises(TokenError, match="VP_KAFKA__OAUTH_CLIENT_SECRET_FILE") as raised:
        fetch_token(kafka)
    assert not raised.value.lasting


@pytest.mark.parametrize("left", [None, "no certificate"], ids=["missing", "empty"])
def test_certificate_authorities_that_are_being_replaced_are_read_again(issuer: Issuer, tmp_path: Path, left: str | None) -> None:
    file = tmp_path / "ca.pem"
    whole = (issuer.folder / "ca.pem").read_text()
    file.write_text(whole)
    kafka = kafka_of(issuer, oauth_ca_file=file)
    file.unlink() if left is None else file.write_text(left)
    with pytest.raises(TokenError, match=r"cannot be read now .* Check VP_KAFKA__OAUTH_CA_FILE") as raised:
        fetch_token(kafka)
    assert not raised.value.lasting
    file.write_text(whole)
    assert fetch_token(kafka).text


def test_no_proxy_of_the_environment_gets_the_secret(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert fetch_token(kafka_of(issuer)).text


async def test_a_token_is_shared_and_renewed_before_it_expires() -> None:
    now, fetched = [0.0], []

    def fetch() -> Token:
        fetched.append(now[0])
        return Token(f"t{len(fetched)}", 100.0)

    tokens = CachedTokens(fetch, clock=lambda: now[0])
    assert await asyncio.gather(*(tokens.token() for _ in range(5))) == ["t1"] * 5
    now[0] = 79.0
    assert await tokens.token() == "t1"
    now[0] = 81.0
    assert await tokens.token() == "t2"
    assert fetched == [0.0, 81.0]


async def test_the_old_token_serves_while_no_new_one_is_to_be_had() -> None:
    now, away = [0.0], [False]

    def fetch() -> Token:
        if away[0]:
            raise TokenError("away", lasting=False)
        return Token("t", 100.0)

    tokens = CachedTokens(fetch, clock=lambda: now[0])
    await tokens.token()
    now[0], away[0] = 95.0, True
    assert await tokens.token() == "t"
    now[0] = 101.0
    with pytest.raises(TokenError, match="away"):
        await tokens.token()


async def test_a_token_file_is_read_at_each_login(tmp_path: Path) -> None:
    file = tmp_path / "token"
    tokens = FileTokens(file)
    with pytest.raises(TokenError, match="cannot be read"):
        await tokens.token()
    for text in ("one", "two"):
        file.write_text(f"{text}\n")
        assert await tokens.token() == text
    file.write_text("two words")
    with pytest.raises(TokenError, match="holds no token"):
        await tokens.token()


def test_only_mechanisms_with_tokens_have_a_source(issuer: Issuer) -> None:
    assert token_source(KafkaSettings()) is None
    assert token_source(KafkaSettings(security_protocol="SASL_SSL", sasl_username="a", sasl_password="b")) is None
    assert isinstance(token_source(kafka_of(issuer)), CachedTokens)
