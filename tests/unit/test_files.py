"""Files by reference: what may be read, from where, how much of it; and that nothing else ever is."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import resource
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from processor.didit.calls import FileContent, FilePart
from processor.didit.catalog import FileRule
from processor.files import fetch as fetch_module
from processor.files.fetch import FileReader, PublicResolver
from processor.files.rules import Allowed, FileError, FileLocation, check_content, content_type, is_public, locate, redirected
from processor.settings import FileSettings

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 100
RULE = FileRule(1000, frozenset({"image/png", "image/jpeg"}))
ALLOWED = Allowed(("/data/people",), ("files.example.com",), ("s3://bucket/people/",))


@pytest.mark.parametrize(
    ("reference", "location", "where"),
    [
        ("file:///data/people/a.png", FileLocation.DISK, "/data/people/a.png"),
        ("file:///data/people/%C3%A9/a b.png", FileLocation.DISK, "/data/people/é/a b.png"),
        ("file://localhost/data/people/a", FileLocation.DISK, "/data/people/a"),
        ("https://files.example.com/a?sig=1", FileLocation.WEB, "https://files.example.com/a?sig=1"),
        ("https://FILES.example.com:443/a", FileLocation.WEB, "https://FILES.example.com:443/a"),
        ("s3://bucket/people/a.png", FileLocation.STORE, "s3://bucket/people/a.png"),
    ],
)
def test_what_lies_within_is_allowed(reference: str, location: FileLocation, where: str) -> None:
    found = locate(reference, ALLOWED)
    assert (found.location, found.where) == (location, where)


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "a.png",
        "/data/people/a.png",
        "file:///data/people",
        "file:///data/people/../secrets",
        "file:///data/people/%2e%2e/secrets",
        "file:///data/peoples/a",
        "file://other/data/people/a",
        "file:///data/people/a?x",
        "file:///data/people/a%00b",
        "file:data/people/a",
        "http://files.example.com/a",
        "https://files.example.com:8443/a",
        "https://files.example.com.evil.example/a",
        "https://user@files.example.com/a",
        "https://files.example.com@evil.example/a",
        "https://evil.example/files.example.com",
        "https://files.example.com\\@evil.example/",
        "https://[::1]/a",
        "https://127.0.0.1/a",
        "https://files.example.com:99999/a",
        "https://[/a",
        "s3://bucket/people/",
        "s3://bucket/people/../other/a",
        "s3://bucket/people/%2e%2e/other",
        "s3://bucket/people/x::https://files.example.com/a",
        "s3://bucket/people/x%3a%3ahttps://files.example.com/a",
        "zip://a::s3://bucket/people/a.zip",
        " https://files.example.com/a",
        "https://files.example.com/a ",
        "\u2003s3://bucket/people/a",
        "s3://bucket/peopleother/a",
        "s3://other/people/a",
        "gs://bucket/people/a",
        "data:image/png;base64,AA",
        "https://files.example.com/a\r\nX: y",
        "file:///data/people/a\n",
    ],
)
def test_everything_else_is_refused_without_showing_it(reference: str) -> None:
    with pytest.raises(FileError) as caught:
        locate(reference, ALLOWED)
    assert (caught.value.code, caught.value.lasting) == ("file_not_allowed", True)
    assert not reference or reference not in str(caught.value)


def test_nothing_is_allowed_by_default() -> None:
    for reference in ("file:///etc/passwd", "https://files.example.com/a", "s3://bucket/people/a"):
        with pytest.raises(FileError):
            locate(reference, Allowed())


def test_an_address_must_be_public_even_where_somebody_has_allowed_it() -> None:
    opened = Allowed(hosts=("127.0.0.1", "169.254.169.254", "8.8.8.8"))
    assert locate("https://8.8.8.8/a", opened).location is FileLocation.WEB
    for host in ("127.0.0.1", "169.254.169.254"):
        with pytest.raises(FileError):
            locate(f"https://{host}/a", opened)


def test_a_redirect_is_held_to_the_same_rules() -> None:
    assert redirected("https://files.example.com/a", "/b", ALLOWED) == "https://files.example.com/b"
    for location in ("https://evil.example/", "http://files.example.com/a", "file:///data/people/a", "//169.254.169.254/", ""):
        if location:
            with pytest.raises(FileError):
                redirected("https://files.example.com/a", location, ALLOWED)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - an example
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("2002:808:808::", False),
        ("2001:0:53aa:64c::1", False),  # Teredo
        ("2001:db8::1", False),
        ("64:ff9b::a9fe:a9fe", False),  # NAT64 of 169.254.169.254
        ("64:ff9b::808:808", False),
        ("64:ff9b:1::7f00:1", False),
        ("::127.0.0.1", False),  # IPv4-compatible
        ("::8.8.8.8", False),
        ("::ffff:0:7f00:1", False),  # IPv4-translated
        ("::ffff:8.8.8.8", False),
        ("fd00:ec2::254", False),  # metadata of AWS, Oracle, Azure, Alibaba
        ("192.0.0.192", False),
        ("168.63.129.16", False),
        ("100.100.100.200", False),
        ("192.88.99.1", False),
        ("ff02::1", False),
        ("not an address", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@given(st.ip_addresses())
def test_nothing_is_public_that_python_does_not_call_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert not is_public(str(address)) or address.is_global


async def test_a_name_that_leads_into_our_own_network_is_not_resolved() -> None:
    with pytest.raises(OSError, match="public"):
        await PublicResolver().resolve("localhost", 443)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8", "image/webp"),
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
        (b"%PDF-1.7", "application/pdf"),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"<svg>", None),
        (b"GIF89a", None),
        (b"", None),
    ],
)
def test_types_are_told_by_content(content: bytes, kind: str | None) -> None:
    assert content_type(content) == kind


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "file_empty"), (PNG * 10, "file_too_large"), (b"%PDF-1.7", "file_type"), (b"<html>", "file_type")]
)
def test_a_file_that_didit_would_not_take_is_refused(content: bytes, code: str) -> None:
    with pytest.raises(FileError) as caught:
        check_content(content, RULE)
    assert caught.value.code == code


async def fetch(reference: str, options: dict[str, Any] | None = None, **settings: Any) -> FileContent:
    reader = FileReader(FileSettings(**settings), options)
    with reader.reservation() as held:
        (found,) = await reader.fetch([FilePart("user_image", reference, RULE)], held)
    return found


async def code_of(reference: str, options: dict[str, Any] | None = None, **settings: Any) -> tuple[str, bool, str]:
    with pytest.raises(FileError) as caught:
        await fetch(reference, options, **settings)
    return caught.value.code, caught.value.lasting, caught.value.field


async def test_files_in_flight_are_bounded_in_bytes_until_they_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "_FILES_BYTES_MAX", RULE.size_bytes_max + len(PNG) - 1)
    (tmp_path / "a.png").write_bytes(PNG)
    reader, part = FileReader(FileSettings(roots=(str(tmp_path),), fetch_s=0.2)), FilePart("user_image", f"file://{tmp_path}/a.png", RULE)
    with reader.reservation() as first, reader.reservation() as second:
        await reader.fetch([part], first)
        with pytest.raises(FileError) as caught:
            await reader.fetch([part], second)
        assert (caught.value.code, caught.value.lasting, caught.value.field) == ("file_unavailable", False, "user_image")
        waiting = asyncio.create_task(reader.fetch([part], second))
        await asyncio.sleep(0)
        first.release()  # it is sent
        assert len(await waiting) == 1


async def test_a_file_below_a_root_is_read(tmp_path: Path) -> None:
    (tmp_path / "a b.png").write_bytes(PNG)
    assert await fetch(f"file://{tmp_path}/a%20b.png", roots=(str(tmp_path),)) == FileContent("user_image", PNG, "image/png")


async def test_no_link_pipe_or_folder_leads_out_or_makes_us_wait(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret.png").write_bytes(PNG)
    (root / "link.png").symlink_to(outside / "secret.png")
    (root / "up").symlink_to(outside)
    (root / "loop").symlink_to(root / "loop")
    (root / "inner.png").write_bytes(PNG)
    (root / "inside.png").symlink_to(root / "inner.png")
    (root / "folder.png").mkdir()
    os.mkfifo(root / "pipe.png")
    (root / "big.png").write_bytes(PNG * 100)
    roots = (str(root),)
    assert (await fetch(f"file://{root}/inside.png", roots=roots)).content == PNG
    for name in ("link.png", "up/secret.png"):
        assert await code_of(f"file://{root}/{name}", roots=roots) == ("file_not_allowed", True, "user_image")
    for name in ("loop", "folder.png", "pipe.png", "none.png"):
        assert await asyncio.wait_for(code_of(f"file://{root}/{name}", roots=roots), 60) == ("file_missing", True, "user_image")
    assert (await code_of(f"file://{root}/big.png", roots=roots))[0] == "file_too_large"


async def test_a_disk_that_fails_now_is_read_again_later(tmp_path: Path) -> None:
    """It ended a paid request for good, as a file that is not there; a failure in the middle of it was no answer at all."""
    unavailable = ("file_unavailable", False, "user_image")
    (tmp_path / "a.png").write_bytes(PNG)
    assert await code_of("file:///proc/self/mem", roots=("/proc/self",)) == unavailable, "its first page gives EIO"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        found = await code_of(f"file://{tmp_path}/a.png", roots=(str(tmp_path),))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == unavailable
    long = await code_of(f"file://{tmp_path}/{'a' * 300}.png", roots=(str(tmp_path),))
    assert long == ("file_missing", True, "user_image")


async def test_a_store_is_read_through_fsspec() -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://bucket/people/a.png", "wb") as file:
        file.write(PNG)
    prefixes = ("memory://bucket/people/",)
    assert (await fetch("memory://bucket/people/a.png", prefixes=prefixes)).content == PNG
    assert await code_of("memory://bucket/people/none.png", prefixes=prefixes) == ("file_missing", True, "user_image")
    assert (await code_of("memory://bucket/other/a.png", prefixes=prefixes))[0] == "file_not_allowed"


class HereResolver(AbstractResolver):
    """Every name is a server of this test."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        assert port == 443
        return [ResolveResult(hostname=host, host="127.0.0.1", port=self._port, family=family, proto=0, flags=socket.AI_NUMERICHOST)]

    async def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    names = "subjectAltName=DNS:files.example.com,DNS:evil.example"
    subject = ["-subj", "/CN=files.example.com", "-addext", names, "-days", "2", "-nodes"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-keyout", str(key), "-out", str(cert), *subject]
    subprocess.run(made, check=True, capture_output=True)
    return key, cert


@asynccontextmanager
async def files_host(certificate: tuple[Path, Path], handler: Any) -> AsyncIterator[dict[str, Any]]:
    key, cert = certificate
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield {"resolver": HereResolver(port), "ssl": ssl.create_default_context(cafile=str(cert))}
    finally:
        await runner.cleanup()


HOPS = {
    "/hop": "/a.png",
    "/away": "https://evil.example/a.png",
    "/down": "http://files.example.com/a.png",
    "/loop": "/loop",
}
ANSWERS = {"/a.png": (200, PNG), "/gone": (404, b""), "/broken": (500, b""), "/slow": (200, PNG), "/big": (200, PNG * 100_000)}
FAULTS = {
    "/away": ("file_not_allowed", True),
    "/down": ("file_not_allowed", True),
    "/loop": ("file_not_allowed", True),
    "/gone": ("file_missing", True),
    "/broken": ("file_unavailable", False),
    "/slow": ("file_unavailable", False),
    "/big": ("file_too_large", True),
    "/other": ("file_type", True),
}


async def test_the_web_gives_files_and_faults(certificate: tuple[Path, Path]) -> None:
    seen: list[tuple[str, dict[str, str]]] = []
    end = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append((request.path, dict(request.headers)))
        if request.path in HOPS:
            return web.Response(status=302, headers={"Location": HOPS[request.path]})
        if request.path == "/slow":
            await end.wait()
        status, body = ANSWERS.get(request.path, (200, b"<html>"))
        return web.Response(status=status, body=body, headers={"Set-Cookie": "a=b"})

    async with files_host(certificate, handler) as options:
        opened: dict[str, Any] = {"hosts": ("files.example.com",), "fetch_s": 30.0}
        base = "https://files.example.com"
        assert (await fetch(f"{base}/a.png?sig=a%2Fb", options, **opened)).content == PNG
        assert (await fetch(f"{base}/hop", options, **opened)).content == PNG
        for path, fault in FAULTS.items():
            limits = {**opened, "fetch_s": 0.5} if path == "/slow" else opened
            assert await code_of(base + path, options, **limits) == (*fault, "user_image"), path
        assert not any({"cookie", "x-api-key"} & {h.lower() for h in headers} for _, headers in seen)
        assert sum(path == "/loop" for path, _ in seen) == 4
        end.set()


async def test_without_a_trusted_certificate_nothing_is_read(certificate: tuple[Path, Path]) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=PNG)

    async with files_host(certificate, handler) as options:
        del options["ssl"]
        assert (await code_of("https://files.example.com/a.png", options, hosts=("files.example.com",)))[0] == "file_unavailable"


def test_settings_that_open_too_much_are_refused() -> None:
    for wrong in (
        {"roots": ("relative",)},
        {"roots": ("/",)},
        {"hosts": ("A B",)},
        {"prefixes": ("s3://bucket",)},
        {"prefixes": ("file:///x/",)},
    ):
        with pytest.raises(ValueError, match="VP_FILES"):
            FileSettings(**wrong)
