"""Calls through an egress proxy: a tunnel (RFC 9110, 9.3.6) to a TLS server, of which the proxy sees the name and nothing else."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from certificates import authority, need_openssl

from processor.didit.egress_proxy import egress_proxy
from processor.settings import ConfigurationError, DiditSettings, load_settings

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CALLER = """
import asyncio, sys
import orjson
from processor.didit.calls import FileContent, HttpCall
from processor.didit.catalog import OPERATIONS
from processor.didit.client import DiditClient
from processor.settings import load_settings

CALLS = [
    (HttpCall(OPERATIONS["session.create"], "/v3/session/", (), b'{"a":1}', "ref.0"), ()),
    (HttpCall(OPERATIONS["session.create"], "/v3/session/", (), b'{"a":1}', "ref.1"), ()),
    (HttpCall(OPERATIONS["id_verification"], "/v3/id-verification/", (), None, "ref.2"),
     (FileContent("front_image", b"png", "image/png"),)),
]

async def main():
    async with DiditClient(load_settings().didit) as client:
        answers = [await client.send(call, files) for call, files in CALLS]
    print(orjson.dumps([[type(a).__name__, getattr(a, "status", None), getattr(a, "code", None)] for a in answers]).decode())

asyncio.run(main())
"""


@dataclass
class Proxy:
    """Makes tunnels to one place, whatever name is asked for."""

    target: int
    status: str = "200 Connection established"
    heads: list[bytes] = field(default_factory=list)
    passed: bytearray = field(default_factory=bytearray)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
        if self.status.startswith("200"):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(self._pass(reader, inner_writer), self._pass(inner_reader, writer))
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.passed += data
            writer.write(data)
        writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            break
        if b"chunked" in head:
            await reader.readuntil(b"\r\n0\r\n\r\n")
        else:
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.write(ANSWER)
    writer.close()


def _certificate(folder: Path) -> ssl.SSLContext:
    need_openssl()
    authority(folder, "ca", "-addext", "subjectAltName=DNS:didit.example")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "ca.pem", folder / "ca.key")
    return context


@asynccontextmanager
async def proxied(folder: Path, status: str = "200 Connection established") -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, ssl=_certificate(folder))
    proxy = Proxy(server.sockets[0].getsockname()[1], status)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        listener.close()
        server.close()


async def call(folder: Path, **variables: str) -> tuple[list[list[object]], str]:
    """What became of three calls, in a process of their own: certificates are trusted by the whole process; and its log."""
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {"VP_DIDIT__BASE_URL": "https://didit.example", "VP_DIDIT__API_KEY": "the-api-key"}
    environment |= {"SSL_CERT_FILE": str(folder / "ca.pem")} | variables
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", CALLER, env=environment, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return orjson.loads(out.splitlines()[-1]), err.decode() + out.decode()


def _basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


async def test_calls_go_through_a_tunnel_of_which_the_proxy_sees_the_name_alone(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("proxy-word\n")
    login = {"VP_DIDIT__PROXY_USERNAME": "we", "VP_DIDIT__PROXY_PASSWORD_FILE": str(password)}
    async with proxied(tmp_path) as proxy:
        answers, _ = await call(tmp_path, VP_DIDIT__PROXY=proxy.url, **login)
    assert answers == [["Reply", 200, None]] * 3
    assert len(proxy.heads) == 2, "the tunnel is kept for the next call; a form has another one"
    head = proxy.heads[0].decode()
    assert head.startswith("CONNECT didit.example:443 HTTP/1.1\r\n")
    assert f"Proxy-Authorization: {_basic('we:proxy-word')}\r\n" in head
    assert b"the-api-key" not in proxy.heads[0] + bytes(proxy.passed)


async def test_the_environment_says_it_only_if_asked(tmp_path: Path) -> None:
    async with proxied(tmp_path) as proxy:
        asked, _ = await call(tmp_path, VP_DIDIT__PROXY="environment", HTTPS_PROXY=proxy.url)
        assert (asked, len(proxy.heads)) == ([["Reply", 200, None]] * 3, 2)
        excepted = {"HTTPS_PROXY": proxy.url, "NO_PROXY": "didit.example"}
        for variables in ({"HTTPS_PROXY": proxy.url}, excepted | {"VP_DIDIT__PROXY": "environment"}):
            direct, _ = await call(tmp_path, **variables)
            assert direct == [["NoReply", None, "connect_failed"]] * 3  # no such name
        assert len(proxy.heads) == 2


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "403 Forbidden"])
async def test_a_proxy_that_makes_no_tunnel_has_let_nothing_through(tmp_path: Path, status: str) -> None:
    async with proxied(tmp_path, status) as proxy:
        answers, log = await call(tmp_path, VP_DIDIT__PROXY=proxy.url)
    assert answers == [["NoReply", None, "connect_failed"]] * 3
    assert "proxy_refused" in log
    assert status[:3] in log


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"proxy": "https://proxy:3128"}, "VP_DIDIT__PROXY must be http://host:port"),
        ({"proxy": "proxy:3128"}, "VP_DIDIT__PROXY must be http://host:port"),
        ({"proxy": "http://proxy:port"}, "VP_DIDIT__PROXY must be http://host:port"),
        ({"proxy": "http://proxy:3128/path"}, "VP_DIDIT__PROXY must be http://host:port"),
        ({"proxy": "http://we:proxy-word@proxy:3128"}, "VP_DIDIT__PROXY must hold no login"),
        ({"proxy": "http://proxy:3128", "base_url": "http://127.0.0.1:80"}, "needs an https VP_DIDIT__BASE_URL"),
        ({"proxy": "http://proxy:3128", "proxy_username": "we"}, "needs both VP_DIDIT__PROXY_USERNAME"),
        ({"proxy": "http://proxy:3128", "proxy_password": "proxy-word"}, "needs both VP_DIDIT__PROXY_USERNAME"),
        ({"proxy_username": "we", "proxy_password": "proxy-word"}, "is of no use without VP_DIDIT__PROXY"),
        (
            {"proxy_password_file": "/nowhere/at/all"},
            "VP_DIDIT__PROXY_PASSWORD_FILE: /nowhere/at/all cannot be read (No such file or directory)",
        ),
    ],
)
def test_faults_name_the_variable_and_no_secret(settings: dict[str, str], fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(didit=settings)
    assert fault in str(caught.value)
    assert "proxy-word" not in str(caught.value)


def test_a_login_of_the_environment_is_used_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://we:proxy%2Dword@proxy.example:3128")
    found = egress_proxy(DiditSettings(proxy="environment"))
    assert found is not None
    assert (str(found.url), found.headers["Proxy-Authorization"]) == ("http://proxy.example:3128", _basic("we:proxy-word"))
    assert "word" not in repr(found)
    assert egress_proxy(DiditSettings()) is None
