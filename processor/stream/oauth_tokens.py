"""Where the tokens of OAUTHBEARER come from: a file, an OIDC token endpoint, AWS.

RFC 6749 4.4 (client credentials), 2.3.1 (the secret in an Authorization header, form-encoded), 5.1 and 5.2 (answers).
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote_plus, urlencode, urlsplit

import orjson

from processor.settings import KafkaSettings

_TOKEN_BYTES_MAX = 65_536
_ANSWER_S = 5.0  # of the endpoint, each step
_FETCH_S = 12.0  # of all steps
_FRESH_SHARE = 0.2  # of its life that a token must still have
_FRESH_S_MAX = 60.0
_LIFE_S = 300.0  # of a token whose endpoint does not tell (RFC 6749 5.1 only recommends that it does)
_SIGNED_S = 60.0  # a signature is as good as the credentials behind it, whose end the library does not tell
_ENDPOINT_PORT = 443
_OK = 200
_REFUSALS = (400, 401, 403)
_ERROR_CODES = frozenset(  # RFC 6749 5.2
    {"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
)


class TokenError(Exception):
    """There is no token. The text says why and what to do, and holds nothing of the token, the secret or the answer.

    Attributes:
        lasting: asking again does not help: the endpoint refuses what we are configured with.
    """

    def __init__(self, text: str, *, lasting: bool) -> None:
        super().__init__(text)
        self.lasting = lasting


class TokenSource(Protocol):
    """Gives tokens."""

    async def token(self) -> str:
        """One that can be used now.

        Raises:
            TokenError: if there is none.
        """


def token_source(kafka: KafkaSettings) -> TokenSource | None:
    """Where the tokens of these settings come from; None if the mechanism needs none."""
    if not kafka.is_login:
        return None
    if kafka.sasl_mechanism == "AWS_MSK_IAM":
        return CachedTokens(lambda: _signed_by_aws(kafka.aws_region or ""))
    if kafka.sasl_mechanism != "OAUTHBEARER":
        return None
    if kafka.oauth_token_file is not None:
        return FileTokens(kafka.oauth_token_file)
    return CachedTokens(lambda: fetch_token(kafka))


class FileTokens:
    """A token that somebody else keeps fresh in a file, as Kubernetes does; read at each login."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def token(self) -> str:
        """See ``TokenSource``."""
        try:
            with self._file.open("rb") as opened:
                text = opened.read(_TOKEN_BYTES_MAX).decode("ascii", errors="replace").strip()
        except OSError as exc:
            raise TokenError(f"VP_KAFKA__OAUTH_TOKEN_FILE: {self._file} cannot be read ({type(exc).__name__})", lasting=False) from None
        if not _is_token(text):
            raise TokenError(f"VP_KAFKA__OAUTH_TOKEN_FILE: {self._file} holds no token (RFC 6750: one line of b64token)", lasting=False)
        return text


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and for how long from its fetch it can be used."""

    text: str
    life_s: float


class CachedTokens:
    """A token that all clients of the process share; fetched in a thread, and again before it expires.

    While no new one is to be had the old one is given for as long as it can be used. Clients of several event loops may ask.
    """

    def __init__(self, fetch: Callable[[], Token], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch, self._clock = fetch, clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._since = 0.0

    async def token(self) -> str:
        """See ``TokenSource``."""
        if (text := self._usable(fresh=True)) is not None:
            return text
        try:
            return await asyncio.wait_for(asyncio.to_thread(self._renewed), _FETCH_S)
        except TimeoutError:
            error = TokenError("no token within the time for it; is VP_KAFKA__OAUTH_TOKEN_URL or AWS reachable from here?", lasting=False)
        except TokenError as exc:
            error = exc
        if (text := self._usable(fresh=False)) is not None:
            return text
        raise error

    def _usable(self, *, fresh: bool) -> str | None:
        if (token := self._token) is None:
            return None
        left_s = token.life_s - (self._clock() - self._since)
        return token.text if left_s > (min(_FRESH_S_MAX, token.life_s * _FRESH_SHARE) if fresh else 0.0) else None

    def _renewed(self) -> str:
        if not self._lock.acquire(timeout=_FETCH_S):
            raise TokenError("the token endpoint has not answered an earlier question yet", lasting=False)
        try:
            if (text := self._usable(fresh=True)) is not None:  # another client was quicker
                return text
            began = self._clock()
            self._token = token = self._fetch()
            self._since = began
            return token.text
        finally:
            self._lock.release()


def fetch_token(kafka: KafkaSettings) -> Token:
    """Ask the token endpoint. Directly: no proxy, no redirect, where a secret would go on to.

    Raises:
        TokenError: if it gives none.
    """
    url = urlsplit(kafka.oauth_token_url or "")
    where = f"the token endpoint {url.hostname} (VP_KAFKA__OAUTH_TOKEN_URL)"
    context = _trust(kafka.oauth_ca_file)
    try:
        connection = http.client.HTTPSConnection(url.hostname or "", url.port or _ENDPOINT_PORT, timeout=_ANSWER_S, context=context)
        try:
            connection.request("POST", f"{url.path or '/'}{f'?{url.query}' if url.query else ''}", *_question(kafka))
            response = connection.getresponse()
            status, body = response.status, response.read(_TOKEN_BYTES_MAX)
        finally:
            connection.close()
    except ssl.SSLCertVerificationError as exc:
        text = f"{where} has a certificate that is not trusted ({exc.verify_message}). Check VP_KAFKA__OAUTH_CA_FILE"
        raise TokenError(text, lasting=True) from None
    except (OSError, http.client.HTTPException) as exc:
        raise TokenError(f"{where} does not answer ({type(exc).__name__}). Check that it is up and reachable", lasting=False) from None
    return _token_of(status, body, where)


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    """Its file was right at the start, and may be being replaced."""
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except OSError as exc:  # also of OpenSSL, where it holds no certificate
        text = f"the certificate authorities of the token endpoint cannot be read now ({type(exc).__name__}). Check VP_KAFKA__OAUTH_CA_FILE"
        raise TokenError(text, lasting=False) from None


def _client_secret(kafka: KafkaSettings) -> str:
    """It was there at the start; an endpoint that is shown none refuses us, as if it were wrong."""
    try:
        found = kafka.client_secret()
    except OSError:
        found = None
    if not found:
        raise TokenError("the client secret cannot be read now. Check VP_KAFKA__OAUTH_CLIENT_SECRET_FILE", lasting=False)
    return found


def _question(kafka: KafkaSettings) -> tuple[bytes, dict[str, str]]:
    form = {"grant_type": "client_credentials"} | ({"scope": kafka.oauth_scope} if kafka.oauth_scope else {})
    login = f"{quote_plus(kafka.oauth_client_id or '')}:{quote_plus(_client_secret(kafka))}"
    headers = {
        "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
    }
    return urlencode(form).encode(), headers


def _token_of(status: int, body: bytes, where: str) -> Token:
    try:
        answer: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    if status in _REFUSALS:
        code = fields.get("error") if fields.get("error") in _ERROR_CODES else f"HTTP {status}"
        text = (
            f"{where} refuses ({code}). Check VP_KAFKA__OAUTH_CLIENT_ID, VP_KAFKA__OAUTH_CLIENT_SECRET (or _FILE) and VP_KAFKA__OAUTH_SCOPE"
        )
        raise TokenError(text, lasting=True)
    token, life_s = fields.get("access_token"), fields.get("expires_in", _LIFE_S)
    if status != _OK or not isinstance(token, str) or not _is_token(token):
        raise TokenError(f"{where} gives no token (HTTP {status}). Is it the issuer's token endpoint?", lasting=False)
    return Token(token, _seconds(life_s))


def _seconds(life: object) -> float:
    """``expires_in``, which some issuers send as a text."""
    try:
        return max(0.0, float(life))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return _LIFE_S


def _is_token(text: str) -> bool:
    """Whether a text can stand in a login: RFC 7628 3.1, RFC 6750 2.1."""
    return bool(text) and len(text) < _TOKEN_BYTES_MAX and text.isascii() and text.isprintable() and " " not in text


def _signed_by_aws(region: str) -> Token:
    from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415 - the extra [msk]

    try:
        text, _expiry_ms = MSKAuthTokenProvider.generate_auth_token(region)
    except Exception as exc:  # noqa: BLE001 - botocore's many; their texts may quote what they read
        hint = "Check the pod's role (IRSA, Pod Identity) or the AWS_* variables, and VP_KAFKA__AWS_REGION"
        raise TokenError(f"AWS gives no credentials to sign with ({type(exc).__name__}). {hint}", lasting=False) from None
    return Token(text, _SIGNED_S)
