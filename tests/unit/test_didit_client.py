"""The HTTP edge against a raw server that misbehaves: one call, no retry, no redirect, bounded in time and size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp.connector import Connection
from structlog.testing import capture_logs

from processor.contract.codes import ErrorCode
from processor.didit import client as client_module
from processor.didit import kept_connections as connections_module
from processor.didit.answers import Answer, NoReply, Reply
from processor.didit.calls import FileContent, FilePart, HttpCall
from processor.didit.catalog import OPERATIONS
from processor.didit.client import DiditClient
from processor.didit.kept_connections import KeptConnections
from processor.settings import DiditSettings

Behaviour = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """Reads whole requests and lets a behaviour answer."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour, self.requests, self.connections = behaviour, list[bytes](), 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
                self.requests.append(head + await reader.readexactly(length))
                await self.behaviour(self.requests[-1], writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def server(behaviour: Behaviour) -> AsyncIterator[RawServer]:
    raw = RawServer(behaviour)
    listener = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield raw
    finally:
        listener.close()


def answer(raw: bytes) -> Behaviour:
    async def behave(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return behave


def http(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


POST = HttpCall(OPERATIONS["session.create"], "/v3/session/", (), b'{"a":1}', "ref.0")
GET = HttpCall(OPERATIONS["session.list"], "/v3/sessions/", (("vendor_data", "ü &"),), None, "ref.1")


async def send(url: str, call: HttpCall = POST, times: int = 1, **settings: object) -> list[Answer]:
    async with DiditClient(DiditSettings(base_url=url, api_key="secret-key", **settings)) as client:
        return [await client.send(call) for _ in range(times)]


async def test_a_call_carries_what_it_must_and_nothing_else() -> None:
    async with server(answer(http("201 Created", b'{"ok":1}', "Retry-After: 5"))) as raw:
        replies = await send(raw.url, times=2)
        await send(raw.url, GET)
    assert isinstance(replies[0], Reply)
    assert (replies[0].status, replies[0].body, replies[0].headers.get("retry-after")) == (201, b'{"ok":1}', "5")
    head, body = raw.requests[0].split(b"\r\n\r\n")
    names = {line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:]}
    assert names == {
        b"host",
        b"x-api-key",
        b"accept",
        b"accept-encoding",
        b"user-agent",
        b"x-request-id",
        b"content-type",
        b"content-length",
    }
    assert b"x-api-key: secret-key" in head
    assert body == b'{"a":1}'
    assert (
        raw.requests[2].startswith(b"GET /v3/sessions/?vendor_data=%C3%BC+%26 HTTP/1.1")
        or b"%C3%BC%20%26" in raw.requests[2].split(b"\r\n")[0]
    )
    assert raw.connections == 2, "the connection of one client is kept"


async def test_the_version_moves_creates_and_decisions_and_nothing_else() -> None:
    decision = HttpCall(OPERATIONS["session.decision"], "/v3/session/x/decision/", (), None, "ref.2")
    async with server(answer(http("200 OK", b"{}"))) as raw:
        for call in (POST, decision, GET):
            await send(raw.url, call, api_version="v2")
    assert [r.split(b" ")[1].partition(b"?")[0] for r in raw.requests] == [b"/v2/session/", b"/v2/session/x/decision/", b"/v3/sessions/"]


async def test_a_file_goes_out_under_our_name_and_a_key_in_its_header() -> None:
    image = FileContent("user_image", b"\x89PNG", "image/png")
    rule = OPERATIONS["face_match"].files["user_image"]
    call = HttpCall(
        OPERATIONS["face_match"],
        "/v3/face-match/",
        (),
        None,
        "ref.3",
        "key-1",
        (FilePart("user_image", "file:///x/Ann.png", rule),),
        (("vendor_data", "ü"),),
    )
    async with server(answer(http("200 OK", b"{}"))) as raw:
        async with DiditClient(DiditSettings(base_url=raw.url, api_key="secret-key")) as client:
            await client.send(call, [image])
        await asyncio.sleep(0.1)
    sent = b"".join(raw.requests)
    assert b"Content-Type: multipart/form-data; boundary=" in sent
    assert b"Idempotency-Key: key-1" in sent
    assert b'name="user_image"; filename="user_image.png"' in sent
    assert "ü".encode() in sent
    assert b"Ann" not in sent


async def test_redirects_are_not_followed_and_the_key_goes_nowhere() -> None:
    async with server(answer(http("200 OK", b"{}"))) as other:
        for status in ("301 Moved", "302 Found", "307 Temporary", "308 Permanent"):
            async with server(answer(http(status, b"", f"Location: {other.url}/v3/session/"))) as raw:
                (reply,) = await send(raw.url)
                assert isinstance(reply, Reply)
                assert reply.status == int(status[:3])
                assert len(raw.requests) == 1
        assert other.requests == []


async def test_a_reset_after_the_request_is_in_doubt_and_never_repeated() -> None:
    async def reset(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    for call in (POST, GET):
        async with server(reset) as raw:
            assert await send(raw.url, call) == [NoReply(sent=True, code=ErrorCode.RESET)]
            assert len(raw.requests) == 1


async def test_a_kept_connection_that_closes_is_not_tried_again_by_the_library() -> None:
    async def once(request: bytes, writer: asyncio.StreamWriter) -> None:
        if b"GET" in request and len(raw.requests) > 1:
            writer.transport.abort()
        else:
            writer.write(http("200 OK", b"{}"))

    async with server(once) as raw:
        first, second = await send(raw.url, GET, times=2)
        assert isinstance(first, Reply)
        assert second == NoReply(sent=True, code=ErrorCode.RESET)
        assert len(raw.requests) == 2, "aiohttp would repeat an idempotent call here: a second call on one permit"


async def test_nothing_listens() -> None:
    async with server(answer(b"")) as raw:
        pass
    (reply,) = await send(raw.url)
    assert reply == NoReply(sent=False, code=ErrorCode.CONNECT_FAILED)


async def test_a_connection_that_does_not_come_about_in_time_has_sent_nothing() -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.sleep(30)

    async with DiditClient(DiditSettings(base_url="http://127.0.0.1:1", api_key="secret-key", timeout_s=0.1)) as client:
        client._session.connector.connect = never  # type: ignore[union-attr, method-assign]  # noqa: SLF001 - no other way to hang there
        assert await client.send(POST) == NoReply(sent=False, code=ErrorCode.CONNECT_FAILED)


@pytest.mark.parametrize(
    "call",
    [replace(POST, reference="ref\r\nx: y"), replace(POST, idempotency_key="schlüssel"), replace(POST, reference="")],
    ids=["line break", "not ASCII", "empty"],
)
async def test_a_header_that_cannot_be_written_has_sent_nothing(call: HttpCall) -> None:
    async with server(answer(http("200 OK", b"{}"))) as raw:
        assert await send(raw.url, call) == [NoReply(sent=False, code=ErrorCode.CALL_NOT_SENT)]
        assert raw.requests == []


async def test_a_path_that_cannot_be_written_has_sent_nothing() -> None:
    async with server(answer(http("200 OK", b"{}"))) as raw:
        call = replace(POST, path="/v3/session/ HTTP/1.1\r\nx: y")
        assert await send(raw.url, call) == [NoReply(sent=False, code=ErrorCode.CALL_NOT_SENT)]
        assert raw.requests == []


async def test_a_delete_without_a_body_says_that_it_has_none() -> None:
    call = HttpCall(OPERATIONS["session.delete"], "/v3/session/x/delete/", (), None, "ref.4")
    async with server(answer(b"HTTP/1.1 204 No Content\r\n\r\n")) as raw:
        (reply,) = await send(raw.url, call)
    assert isinstance(reply, Reply)
    assert (reply.status, reply.body) == (204, b"")
    assert b"\r\nContent-Length: 0\r\n" in raw.requests[0]


@pytest.mark.parametrize("files", [[], [FileContent("user_image", b"\x89PNG", "image/png")]], ids=["plain", "form"])
async def test_interim_answers_without_end_are_no_answer(files: list[FileContent]) -> None:
    """They kept the event loop busy until the call's deadline, and heartbeats out."""
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    for count, expected in ((20, Reply), (21, NoReply)):
        peer = server(answer(count * interim + http("201 Created", b"{}")))
        async with peer as raw, DiditClient(DiditSettings(base_url=raw.url, api_key="k")) as client:
            told = await client.send(POST, files)
        assert type(told) is expected
    assert told == NoReply(sent=True, code=ErrorCode.RESET)


async def test_interim_answers_are_passed_by() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    async with server(answer(interim + http("201 Created", b"{}"))) as raw:
        replies = await send(raw.url, times=2)
    assert [reply.status for reply in replies if isinstance(reply, Reply)] == [201, 201]
    assert raw.connections == 1


@pytest.mark.parametrize(
    "raw_answer",
    [
        http("200 OK", b"{}", "Connection: close"),
        http("200 OK", b"x" * 10_000)[:-1],  # is cut off, and its end is still to come
        http("200 OK", b"{}") + http("200 OK", b"{}"),  # nobody asked for the second one
    ],
    ids=["closes", "too long", "two answers"],
)
async def test_a_connection_whose_answer_leaves_a_doubt_is_not_kept(raw_answer: bytes) -> None:
    async with server(answer(raw_answer)) as raw:
        replies = await send(raw.url, times=2, response_bytes_max=2000)
        assert [reply.status for reply in replies if isinstance(reply, Reply)] == [200, 200]
        assert raw.connections == 2


async def test_what_comes_unasked_on_a_kept_connection_is_nobodys_answer() -> None:
    go, gone = asyncio.Event(), asyncio.Event()

    async def twice(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http("200 OK", b"{}"))
        if gone.is_set():
            return
        await go.wait()
        writer.write(http("418 Nobody asked", b"{}"))
        await writer.drain()
        gone.set()

    async with server(twice) as raw, DiditClient(DiditSettings(base_url=raw.url, api_key="k")) as client:
        first = await client.send(POST)
        go.set()
        await gone.wait()
        await asyncio.sleep(0.05)  # it has come
        second = await client.send(POST)
        assert [reply.status for reply in (first, second) if isinstance(reply, Reply)] == [200, 200]
        assert raw.connections == 2


async def test_the_connection_used_last_is_used_first_and_one_not_wanted_for_long_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with server(answer(http("200 OK", b"{}"))) as raw, DiditClient(DiditSettings(base_url=raw.url, api_key="k")) as client:
        await asyncio.gather(client.send(POST), client.send(POST))
        kept = list(client._connections._kept)  # type: ignore[union-attr]  # noqa: SLF001 - what a peer does not see
        assert len(kept) == raw.connections == 2
        for _ in range(3):
            await client.send(POST)
        assert [connection for connection, _ in client._connections._kept] == [connection for connection, _ in kept]  # type: ignore[union-attr]  # noqa: SLF001 - as above
        monkeypatch.setattr(connections_module, "_KEEP_S", 0.0)
        await client.send(POST)
        assert raw.connections == 3
        assert all(connection.closed for connection, _ in kept)


async def test_a_connection_that_closes_before_the_head_has_sent_nothing() -> None:
    async with server(answer(http("200 OK", b"{}"))) as raw:
        async with aiohttp.TCPConnector() as connector:
            connections, left = KeptConnections(connector, raw.url, aiohttp.ClientTimeout()), list[bool]()

            async def closing(*args: object, **options: object) -> Connection:
                connection = await connect(*args, **options)  # type: ignore[arg-type]
                assert connection.transport is not None
                connection.transport.close()
                return connection

            connect, connector.connect = connector.connect, closing  # type: ignore[method-assign]
            with pytest.raises(aiohttp.ClientConnectionResetError):
                await connections.send("POST", "/", {}, b"{}", lambda: left.append(True), _unread)
        assert (raw.requests, left) == ([], [])


async def _unread(content: aiohttp.StreamReader, length: int | None) -> tuple[bytes, bool]:
    raise AssertionError((content, length))


async def test_a_closed_client_sends_nothing() -> None:
    async with server(answer(http("200 OK", b"{}"))) as raw:
        async with DiditClient(DiditSettings(base_url=raw.url, api_key="secret-key")) as client:
            pass
        assert await client.send(POST) == NoReply(sent=False, code=ErrorCode.CALL_NOT_SENT)
        assert raw.requests == []


async def test_a_hanging_answer_ends_at_the_deadline() -> None:
    async def hang(_: bytes, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with server(hang) as raw:
        assert await send(raw.url, timeout_s=0.2) == [NoReply(sent=True, code=ErrorCode.TIMEOUT, open=True)]


async def test_a_body_that_never_ends_ends_at_the_deadline() -> None:
    async with server(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")) as raw:
        (reply,) = await send(raw.url, timeout_s=0.2)
    assert reply == NoReply(sent=True, code=ErrorCode.TIMEOUT, open=True)


async def test_a_cut_body_is_in_doubt() -> None:
    async def cut(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    async with server(cut) as raw:
        assert await send(raw.url) == [NoReply(sent=True, code=ErrorCode.RESET)]


@pytest.mark.parametrize("chunked", [True, False])
async def test_too_large_an_answer_is_cut_off(chunked: bool) -> None:
    body = b"x" * 10_000
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n" + body + b"\r\n0\r\n\r\n"
    async with server(answer(head if chunked else http("200 OK", body))) as raw:
        (reply,) = await send(raw.url, response_bytes_max=2000)
    assert isinstance(reply, Reply)
    assert reply.truncated
    assert len(reply.body) <= 2000


@pytest.mark.parametrize("chunked", [True, False])
async def test_answers_in_flight_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch, *, chunked: bool) -> None:
    monkeypatch.setattr(client_module, "_ANSWERS_BYTES_MAX", size_bytes := 320_000 if chunked else 150_000)  # not all of them
    bodies, body, go = 0, b"x" * 100_000, asyncio.Event()

    async def behave(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal bodies
        bodies += 1
        head = b"Transfer-Encoding: chunked\r\n\r\n186a0\r\n" if chunked else b"Content-Length: 100000\r\n\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + body[:-1])
        await go.wait()
        writer.write(body[-1:] + (b"\r\n0\r\n\r\n" if chunked else b""))

    async with server(behave) as raw, DiditClient(DiditSettings(base_url=raw.url, api_key="k", response_bytes_max=120_000)) as client:
        calls = [asyncio.create_task(client.send(GET)) for _ in range(3)]
        async with asyncio.timeout(5.0):
            while bodies < 3 or not client.answers_bytes:
                await asyncio.sleep(0.01)
        assert client.answers_bytes <= size_bytes
        go.set()
        assert [reply.body == body for reply in await asyncio.gather(*calls) if isinstance(reply, Reply)] == [True] * 3
        assert client.answers_bytes == 0


async def test_a_packed_answer_is_left_packed() -> None:
    async with server(answer(http("200 OK", b"\x1f\x8b\x08\x00", "Content-Encoding: gzip"))) as raw:
        (reply,) = await send(raw.url)
    assert isinstance(reply, Reply)
    assert reply.body == b"\x1f\x8b\x08\x00"
    assert b"accept-encoding: identity" in raw.requests[0].lower()


async def test_an_answer_that_is_no_http_is_in_doubt() -> None:
    async with server(answer(b"SSH-2.0-OpenSSH\r\n\r\n")) as raw:
        (reply,) = await send(raw.url)
    assert isinstance(reply, NoReply)
    assert reply.sent


async def test_a_cancelled_call_ends_at_once() -> None:
    arrived = asyncio.Event()

    async def hang(_: bytes, __: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.sleep(30)

    async with server(hang) as raw:
        task = asyncio.create_task(send(raw.url))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_the_key_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    async with server(answer(http("200 OK", b"{}"))) as raw, DiditClient(DiditSettings(base_url=raw.url, api_key_file=file)) as client:
        await client.send(GET)
        file.write_text("new")
        await client.send(GET)
        assert [client.refresh_key(), client.refresh_key()] == [True, False]
        await client.send(GET)
    assert [b"x-api-key: new" in r.lower() for r in raw.requests] == [False, False, True]


@pytest.mark.parametrize("broken", [b"", b"one\ntwo", "schlüssel".encode(), b"\xff\xfes\x00e\x00", None])
async def test_a_key_that_no_header_can_carry_leaves_the_old_one_in_force(tmp_path: Path, broken: bytes | None) -> None:
    file = tmp_path / "key"
    file.write_text("old-secret\n")
    async with server(answer(http("200 OK", b"{}"))) as raw, DiditClient(DiditSettings(base_url=raw.url, api_key_file=file)) as client:
        if broken is None:
            file.unlink()
        else:
            file.write_bytes(broken)
        with capture_logs() as logged:
            assert not client.refresh_key()
        reply = await client.send(POST)
    assert isinstance(reply, Reply)
    assert b"x-api-key: old-secret\r\n" in raw.requests[0].lower()
    assert [entry["event"] for entry in logged] == ["api_key_unusable"]
    assert not any(part in str(logged) for part in ("one", "two", "schl", "old-secret"))
