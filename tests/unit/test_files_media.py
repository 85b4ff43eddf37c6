"""Files of decisions: which links are seen and followed, and what stands in the folder afterwards, whatever the host does."""

from __future__ import annotations

import asyncio
import hashlib
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openapi
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from processor.contract.codes import ErrorCode
from processor.didit.catalog import OPERATIONS
from processor.files import media as media_module
from processor.files.media import (
    MEMBERS,
    OTHERS,
    LeftMedia,
    MediaLink,
    StoredMedia,
    file_name,
    file_stem,
    is_own,
    media_links,
    media_type,
    redirected_link,
)
from processor.files.media_store import MediaStore
from processor.files.rules import FileError
from processor.settings import FileSettings

SESSION = "11111111-2222-4333-8444-555555555555"
OWN = "https://verification.didit.me"
JPEG = b"\xff\xd8\xff\xe0" + b"x" * 100
NOT_FILES = {  # documented members with a URL that is no file of this person or company, with the reason
    "session_url": "the page of the flow",
    "callback": "the caller's own page",
    "kyc_session_url": "the page of another session",
    "kyb_sub_session_url": "the page of another session",
    **dict.fromkeys(("url", "source_url", "thumbnail", "other_sources", "logo_path"), "a page or a picture of somebody else's on the web"),
    **dict.fromkeys(("front_image_url", "match_image_url"), "in `matches`: an image of another person"),
}


def test_the_links_of_a_decision_are_found_with_their_places() -> None:
    decision = {
        "session_url": "https://verify.didit.me/x",
        "id_verifications": [
            {
                "front_image": "https://a/1",
                "back_image": None,
                "extra_files": ["https://a/2", "", 7, "https://a/3"],
                "first_name": "https://a/n",
            },
            {"wallet_verification": {"portrait": "https://a/4"}, "matches": [{"front_image": "https://a/other"}]},
        ],
        "document_ai_documents": [{"items": [{"file_url": "https://a/5"}]}],
        "liveness_checks": None,
    }
    assert {link.member: link.url[-1] for link in media_links(decision)} == {
        "id_verifications[0].front_image": "1",
        "id_verifications[0].extra_files[0]": "2",
        "id_verifications[0].extra_files[3]": "3",
        "id_verifications[1].wallet_verification.portrait": "4",
        "document_ai_documents[0].items[0].file_url": "5",
    }
    deep: Any = {"front_image": "https://a/1"}
    for _ in range(50):
        deep = {"x": deep}
    nothing: Any
    for nothing in (deep, None, "x", 7, [[]]):
        assert media_links(nothing) == []
    assert len(media_links({"extra_files": ["https://a/1"] * 5000})) == 1000


def test_every_documented_link_is_stored_or_left_out_for_a_reason() -> None:
    content = openapi.resolved(openapi.described(OPERATIONS["session.media"])["responses"]["200"])["content"]
    found: set[tuple[str, bool]] = set()

    def walk(node: Any, name: str, inside: bool, depth: int) -> None:
        node = openapi.resolved(node)
        if not isinstance(node, dict) or depth > 14:
            return
        if node.get("format") == "uri" or (node.get("type") == "string" and "URL" in node.get("description", "")):
            found.add((name, inside))
        for part in (node.get("items", {}), *(one for kind in ("oneOf", "anyOf", "allOf") for one in node.get(kind, ()))):
            walk(part, name, inside, depth + 1)
        for inner, one in node.get("properties", {}).items():
            walk(one, inner, inside or inner == OTHERS, depth + 1)

    walk(content["application/json"]["schema"], "", inside=False, depth=0)
    unsorted = {name for name, inside in found if name not in MEMBERS and name not in NOT_FILES and not inside}
    assert unsorted == set(), "stored, or left out for a reason"
    assert len(found) > 20


@pytest.mark.parametrize(
    "url", ["https://bucket.s3.amazonaws.com/a?X-Amz-Signature=1", "https://media.example.com:443/a", "https://8.8.8.8/a"]
)
def test_links_lead_to_the_internet(url: str) -> None:
    assert not is_own(url, OWN)


@pytest.mark.parametrize(
    "url",
    [
        "http://media.example.com/a",
        "https://media.example.com:8443/a",
        "https://u:p@media.example.com/a",
        "https://127.0.0.1/a",
        "https://[::1]/a",
        "https://169.254.169.254/latest",
        "https://168.63.129.16/a",
        "file:///etc/passwd",
        "//media.example.com/a",
        "https:///a",
        "https://[/a",
        "https://media.example.com:99999/a",
        " https://media.example.com/a",
        "https://media.example.com/a\r\nX: y",
        "http://verification.didit.me/a",
        "https://verification.didit.me:444/a",
        "https://verification.didit.me@127.0.0.1/a",
        "x" * 50,
    ],
)
def test_everything_else_is_not_followed(url: str) -> None:
    with pytest.raises(FileError) as caught:
        is_own(url, OWN)
    assert (caught.value.code, caught.value.lasting) == (ErrorCode.MEDIA_NOT_PUBLIC, True)
    assert url[8:20] not in caught.value.hint


def test_a_redirect_stays_on_its_side() -> None:
    assert is_own(f"{OWN}/media/a", OWN)
    assert redirected_link(f"{OWN}/a", "/b", OWN) == f"{OWN}/b"
    assert redirected_link("https://a.example/a", "https://b.example/b", OWN) == "https://b.example/b"
    for url, location in ((f"{OWN}/a", "https://a.example/"), ("https://a.example/a", OWN), ("https://a.example/a", "http://a.example/")):
        with pytest.raises(FileError):
            redirected_link(url, location, OWN)


@pytest.mark.parametrize(
    ("head", "kind", "extension"),
    [
        (JPEG, "image/jpeg", "jpg"),
        (b"\x89PNG\r\n\x1a\n", "image/png", "png"),
        (b"%PDF-1.7", "application/pdf", "pdf"),
        (b"\x00\x00\x00\x18ftypisom", "video/mp4", "mp4"),
        (b"\x1aE\xdf\xa3", "video/webm", "webm"),
        (b"<html>", "application/octet-stream", "bin"),
        (b"", "application/octet-stream", "bin"),
    ],
)
def test_the_first_bytes_tell_what_it_is_and_its_name(head: bytes, kind: str, extension: str) -> None:
    assert media_type(head[: media_module.HEAD_BYTES]) == kind
    assert file_name("a[0].front_image", "0123456789abcdef" * 4, kind) == f"a-0-front-image-0123456789abcdef.{extension}"


def test_no_member_leads_out_of_the_folder() -> None:
    assert file_stem("../../etc/passwd\0") == "etc-passwd"
    assert (file_stem("[]"), len(file_stem("a" * 500))) == ("file", 100)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def host(handler: Handler) -> AsyncIterator[str]:
    """The API's own host on loopback, which alone may be reached without https."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def settings(folder: Path, **more: Any) -> FileSettings:
    return FileSettings(media_folder=folder, **more)


async def stored(folder: Path, own: str, path: str = "/a", reference: str = "r", **more: Any) -> StoredMedia | LeftMedia:
    store = MediaStore(settings(folder, **more), own)
    return (await store.fetch([MediaLink("x[0].front_image", f"{own}{path}")], SESSION, reference, None))["x[0].front_image"]


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def kept(found: StoredMedia | LeftMedia) -> Path:
    """Where a file is."""
    assert isinstance(found, StoredMedia)
    return Path(found.reference.removeprefix("file://"))


async def give(request: web.Request) -> web.StreamResponse:
    answers: dict[str, web.StreamResponse] = {
        "/a": web.Response(body=JPEG, content_type="text/html"),
        "/empty": web.Response(),
        "/gone": web.Response(status=403, body=b"<Error/>"),
        "/down": web.Response(status=503),
        "/away": web.Response(status=302, headers={"Location": "https://evil.example/"}),
        "/moved": web.Response(status=302, headers={"Location": "/a"}),
        "/round": web.Response(status=302, headers={"Location": "/round"}),
    }
    if request.path == "/cut":
        stream = web.StreamResponse(headers={"Content-Length": "1000"})
        await stream.prepare(request)
        await stream.write(JPEG)
        assert request.transport is not None
        request.transport.abort()
        return stream
    if request.path == "/long":
        stream = web.StreamResponse()
        stream.enable_chunked_encoding()
        await stream.prepare(request)
        for _ in range(40):
            await stream.write(b"x" * 1000)
        return stream
    if request.path == "/slow":
        await asyncio.sleep(30)
    return answers[request.path]


async def test_a_file_is_whole_named_by_its_content_and_for_this_user_alone(tmp_path: Path) -> None:
    async with host(give) as own:
        found = await stored(tmp_path, own, "/moved")
        again = await stored(tmp_path, own)
    path = kept(found)
    assert again == found == StoredMedia("x[0].front_image", path.as_uri(), "image/jpeg", len(JPEG), hashlib.sha256(JPEG).hexdigest())
    assert (path.parent, path.suffix) == (tmp_path / SESSION, ".jpg"), "the type is told by content, not by what the host says"
    assert path.read_bytes() == JPEG
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent)] == [0o600, 0o700]
    assert names(path.parent) == [path.name], "nothing else is left"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/gone", ErrorCode.MEDIA_MISSING),
        ("/empty", ErrorCode.MEDIA_MISSING),
        ("/long", ErrorCode.MEDIA_TOO_LARGE),
        ("/away", ErrorCode.MEDIA_NOT_PUBLIC),
    ],
)
async def test_what_no_other_attempt_would_store_is_left(path: str, code: ErrorCode, tmp_path: Path) -> None:
    async with host(give) as own:
        found = await stored(tmp_path, own, path, media_bytes_max=20_000)
    assert found == LeftMedia("x[0].front_image", code)
    assert names(tmp_path / SESSION) == []


@pytest.mark.parametrize("path", ["/down", "/cut", "/slow"])
async def test_what_may_come_in_another_attempt_leaves_nothing_behind(path: str, tmp_path: Path) -> None:
    async with host(give) as own:
        with pytest.raises(FileError) as caught:
            await stored(tmp_path, own, path, media_s=0.3)
    assert (caught.value.code, caught.value.lasting) == (ErrorCode.MEDIA_UNAVAILABLE, False)
    assert names(tmp_path / SESSION) == []


async def test_redirects_end_and_names_that_lead_into_our_own_network_are_not_followed(tmp_path: Path) -> None:
    async with host(give) as own:
        assert await stored(tmp_path, own, "/round") == LeftMedia("x[0].front_image", ErrorCode.MEDIA_NOT_PUBLIC)
        port = own.rpartition(":")[2]
        store = MediaStore(settings(tmp_path), OWN)
        with pytest.raises(FileError) as caught:
            await store.fetch([MediaLink("a", "https://localhost/a")], SESSION, "r", None)
        assert caught.value.code == ErrorCode.MEDIA_UNAVAILABLE
        found = await store.fetch([MediaLink("a", f"http://127.0.0.1:{port}/a")], SESSION, "r", None)
        assert found["a"] == LeftMedia("a", ErrorCode.MEDIA_NOT_PUBLIC), "only the API's own host may be there"


async def test_a_folder_that_is_not_there_is_not_made_and_says_so(tmp_path: Path) -> None:
    async with host(give) as own:
        with capture_logs() as logs, pytest.raises(FileError) as caught:
            await stored(tmp_path / "not mounted", own)
    assert (caught.value.code, caught.value.lasting) == (ErrorCode.MEDIA_NOT_STORED, False)
    assert [(entry["event"], entry["fault"]) for entry in logs] == [("media_not_stored", "ENOENT")]
    assert not (tmp_path / "not mounted").exists()


async def test_what_a_dead_process_left_is_used_up_by_the_next_attempt(tmp_path: Path) -> None:
    folder = tmp_path / SESSION
    folder.mkdir()
    (folder / ".x-0-front-image-r.part").write_bytes(b"half of it")
    async with host(give) as own:
        found = await stored(tmp_path, own)
    assert isinstance(found, StoredMedia)
    assert names(folder) == [found.reference.rpartition("/")[2]]


async def test_a_link_that_stands_in_for_the_part_is_not_written_through(tmp_path: Path) -> None:
    folder = tmp_path / SESSION
    folder.mkdir()
    (tmp_path / "victim").write_bytes(b"")
    (folder / ".x-0-front-image-r.part").symlink_to(tmp_path / "victim")
    async with host(give) as own:
        with capture_logs(), pytest.raises(FileError):
            await stored(tmp_path, own)
    assert (tmp_path / "victim").read_bytes() == b""


async def test_those_that_wait_for_others_do_not_time_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.files.media_store._AT_ONCE_MAX", 1)

    async def slowly(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return web.Response(body=JPEG)

    async with host(slowly) as own:
        store = MediaStore(settings(tmp_path, media_s=0.5), own)
        links = [MediaLink("a", f"{own}/a")]
        found = await asyncio.gather(*(store.fetch(links, SESSION, f"r{n}", None) for n in range(4)))
        assert all(isinstance(one["a"], StoredMedia) for one in found)
        late = await asyncio.gather(*(store.fetch(links, SESSION, f"r{n}", 0.3) for n in range(4)), return_exceptions=True)
        assert isinstance(late[-1], FileError), "but for the deadline of their request"


async def test_only_so_many_files_of_a_decision_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.files.media_store.FILES_MAX", 2)
    async with host(give) as own:
        links = [MediaLink(f"m{n}", f"{own}/a") for n in range(4)]
        found = await MediaStore(settings(tmp_path), own).fetch(links, SESSION, "r", None)
    assert [isinstance(one, StoredMedia) for one in found.values()] == [True, True, False, False]
    assert found["m3"] == LeftMedia("m3", ErrorCode.MEDIA_TOO_MANY)


def test_the_folder_must_be_an_absolute_one() -> None:
    for wrong in ("media", "/"):
        with pytest.raises(ValueError, match="VP_FILES__MEDIA_FOLDER"):
            FileSettings(media_folder=wrong)
    with pytest.raises(ValueError, match="no folder"):
        MediaStore(FileSettings(), OWN)
