"""Programmatic registration at Didit: an account, a code by e-mail, an API key. For `processor register`.

Source: Didit, "Programmatic registration": two calls under ``/auth/v2/programmatic``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

_TIMEOUT_S = 30.0
_ANSWER_BYTES_MAX = 1024 * 1024
_TOO_MANY, _SERVER_FAULT = 429, 500


class RegistrationError(Exception):
    """Didit did not register; the text says why and what to do, without what was entered."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A new application."""

    organization: str
    application: str
    api_key: str


async def register(url: str, email: str, password: str) -> None:
    """The first call: Didit sends a code to the address.

    Raises:
        RegistrationError: if it does not.
    """
    await _post(url, "register", {"email": email, "password": password}, 201)


async def verify(url: str, email: str, code: str) -> Registered:
    """The second call: the code for an application and its key.

    Raises:
        RegistrationError: if the code is not right, or the answer holds no key.
    """
    answer = await _post(url, "verify-email", {"email": email, "code": code}, 200)
    try:
        application, organization = answer["application"], answer["organization"]
        return Registered(str(organization["name"]), str(application["name"]), str(application["api_key"]))
    except (KeyError, TypeError):
        raise RegistrationError("Didit's answer holds no API key; look in its console, https://business.didit.me") from None


def write_key(path: Path, api_key: str) -> None:
    """Write a key for its owner alone, for ``VP_DIDIT__API_KEY_FILE``.

    Raises:
        FileExistsError: rather than replace anything.
        OSError: if it cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(api_key + "\n")


def check_url(url: str) -> str:
    """The base URL, if a password may be sent there.

    Raises:
        RegistrationError: if it is none, or not https, but for loopback.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise RegistrationError("the URL cannot be read") from None
    loopback = parts.hostname in {"127.0.0.1", "localhost", "::1"}
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise RegistrationError("the URL must be https (http only on loopback)")
    return url.rstrip("/")


async def _post(url: str, route: str, body: dict[str, str], success: int) -> Any:
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()) as session:
            address = f"{check_url(url)}/programmatic/{route}/"
            async with session.post(
                address, data=orjson.dumps(body), headers={"Content-Type": "application/json"}, allow_redirects=False
            ) as answer:
                raw = await _body(answer.content)
                if answer.status != success:
                    raise RegistrationError(_reason(route, answer.status))
                return orjson.loads(raw)
    except (aiohttp.ClientError, TimeoutError, OSError):
        raise RegistrationError(f"{url} does not answer; try again") from None
    except orjson.JSONDecodeError:
        raise RegistrationError("Didit's answer is no JSON; try again later") from None


async def _body(content: aiohttp.StreamReader) -> bytes:
    """All of an answer, which may come in pieces; of one that is too long the beginning, which is no JSON."""
    raw = bytearray()
    async for part in content.iter_any():
        raw += part
        if len(raw) > _ANSWER_BYTES_MAX:
            break
    return bytes(raw)


def _reason(route: str, status: int) -> str:
    if status == _TOO_MANY:
        return "Didit takes five registrations an hour from one address; wait an hour"
    if status >= _SERVER_FAULT:
        return f"Didit answered {status}; it does so for reserved mail domains such as example.com, else try again later"
    if route == "register":
        return f"Didit answered {status}: the address is known already, or the password too weak (8 characters of all four kinds)"
    return f"Didit answered {status}: the code is wrong or older than ten minutes; run `processor register` again for a new one"
