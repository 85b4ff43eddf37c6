"""The egress proxy between us and Didit, if there is one. TLS is ours from end to end: the proxy sees Didit's name and no call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict
from urllib.parse import unquote, urlsplit

import aiohttp
from yarl import URL

from processor.settings import DiditSettings


class ProxyArguments(TypedDict):
    """Of ``aiohttp.ClientRequest``, and of a session's requests."""

    proxy: URL | None
    proxy_headers: dict[str, str] | None


@dataclass(frozen=True, slots=True)
class EgressProxy:
    """Where it is, and what is told to it and not to Didit.

    ``Host`` is among the headers because aiohttp would add it to them, and then not find the connection it has kept.
    """

    url: URL
    headers: dict[str, str] = field(repr=False)


def egress_proxy(settings: DiditSettings) -> EgressProxy | None:
    """The proxy that the settings, or the environment if they say so, name."""
    parts = settings.proxy_parts()
    if parts is None or parts.hostname is None:
        return None
    headers, login = {"Host": urlsplit(settings.base_url).netloc}, settings.proxy_login()
    if login is None and parts.username is not None:
        login = unquote(parts.username), unquote(parts.password or "")
    if login is not None:
        headers["Proxy-Authorization"] = aiohttp.encode_basic_auth(*login, encoding="utf-8")
    return EgressProxy(URL.build(scheme=parts.scheme, host=parts.hostname, port=parts.port), headers)


def arguments(proxy: EgressProxy | None) -> ProxyArguments:
    """The same as aiohttp wants it."""
    if proxy is None:
        return {"proxy": None, "proxy_headers": None}
    return {"proxy": proxy.url, "proxy_headers": dict(proxy.headers)}
