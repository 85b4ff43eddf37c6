"""Who makes room when too many connections wait, and that a server of ours waits for nobody without end."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
import uvloop
from aiohttp import web

from processor.observe.metrics import REGISTRY
from processor.runtime.connections import ConnectionLimits, ConnectionTable, network_of
from processor.runtime.http_server import listening

LIMITS = ConnectionLimits(open_max=6, waiting_max=4, fair_s=1.0)


def test_the_longest_waiting_one_of_its_own_address_makes_room_once_it_had_a_fair_time() -> None:
    table = ConnectionTable(LIMITS)
    assert [table.admit(f"a{n}", "10.0.0.1", 0.1 * n) for n in range(4)] == [None] * 4
    table.serve("a0")
    assert table.admit("a4", "10.0.0.1", 0.5) is None, "one of them is served and waits no more"
    assert table.admit("a5", "10.0.0.1", 1.0) is None, "a1 waits for less than a second"
    table.close("a5")
    assert table.admit("a6", "10.0.0.1", 1.1) == "a1"
    table.close("a1")
    assert (len(table), table.waiting) == (5, 4)
    table.wait("a0", 1.2)
    assert table.waiting == 5


def test_among_all_the_address_with_the_most_that_wait_pays() -> None:
    table = ConnectionTable(LIMITS)
    assert table.admit("honest", "10.0.0.9", 0.0) is None
    for n in range(4):
        assert table.admit(f"slow{n}", "10.0.0.1", 0.0) is None
    assert table.admit("other", "10.0.0.8", 0.0) is None
    assert table.admit("late", "10.0.0.7", 0.0) == "slow0"


def test_where_all_are_served_the_new_one_is_the_one_that_waits() -> None:
    table = ConnectionTable(LIMITS)
    for n in range(6):
        assert table.admit(n, f"10.0.0.{n}", 0.0) is None
        table.serve(n)
    assert table.admit("new", "10.0.0.99", 0.0) == "new"


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:10.0.0.1") == network_of("10.0.0.1") == "10.0.0.1"
    assert network_of("fe80::1%eth0") == network_of("fe80::1")
    assert network_of("") == ""


def test_nothing_is_kept_of_what_is_closed() -> None:
    table = ConnectionTable(LIMITS)
    for n in range(1000):
        table.admit(n, f"10.1.{n % 200}.1", n)
        if n % 2:
            table.serve(n)
        table.close(n)
        table.close(n)
        table.wait(n, n)
    assert (len(table), table.waiting, vars(table)["_waiting_of"]) == (0, 0, {})


@asynccontextmanager
async def served(**limits: float) -> AsyncIterator[int]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    app = web.Application()
    app.router.add_post("/", answer)
    async with listening(app, "127.0.0.1", 0, limits=ConnectionLimits(**limits)) as port:  # type: ignore[arg-type]
        yield port


def closed(reason: str) -> float:
    return REGISTRY.get_sample_value("vp_connections_closed_total", {"reason": reason}) or 0.0


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("header", b""),
        ("header", HEAD + b"X: "),
        ("body", HEAD + b"Content-Length: 9\r\n\r\nx"),
        ("idle", HEAD + b"Content-Length: 1\r\n\r\nx"),
    ],
)
async def test_a_peer_that_stops_is_waited_for_no_longer_than_its_turn_takes(reason: str, sent: bytes) -> None:
    long = {"header_s": 30.0, "body_s": 30.0, "idle_s": 30.0}
    async with served(**long | {f"{reason}_s": 0.1}) as port:
        before = closed(reason)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(5.0):
            with suppress(ConnectionResetError):
                while await reader.read(1000):
                    pass
        assert closed(reason) == before + 1
        writer.close()


async def test_an_honest_peer_is_served_among_more_slow_ones_of_its_own_address_than_there_is_room_for() -> None:
    async with served(open_max=40, waiting_max=6, fair_s=0.0) as port:
        before = closed("crowded")
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _, writer in slow:
            writer.write(HEAD + b"Content-Length: 9\r\n\r\nx")
        async with aiohttp.ClientSession() as session:
            for _ in range(3):
                async with session.post(f"http://127.0.0.1:{port}/", data=b"12345") as answer:
                    assert (answer.status, await answer.text()) == (200, "5")
        async with asyncio.timeout(5.0):
            while closed("crowded") - before < 15:
                await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert closed("crowded") - before == 15, "six of twenty stayed, and one went for the honest one"
        for _, writer in slow:
            writer.close()


async def test_a_request_that_is_whole_is_answered_however_long_that_takes() -> None:
    go = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await go.wait()
        return web.Response(text="done")

    app = web.Application()
    app.router.add_get("/", answer)
    limits = ConnectionLimits(open_max=2, waiting_max=1, fair_s=0.0, header_s=0.2, body_s=0.05)
    async with listening(app, "127.0.0.1", 0, limits=limits) as port, aiohttp.ClientSession() as session:
        waiting = asyncio.create_task(session.get(f"http://127.0.0.1:{port}/"))
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD)
            await reader.read()  # until it is closed for being slow
            writer.close()
        go.set()
        assert (await waiting).status == 200


def test_it_serves_and_closes_on_the_loop_of_the_product_too() -> None:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=f"{len(await request.read())}")

    async def play() -> tuple[list[str], bytes]:
        app = web.Application()
        app.router.add_route("*", "/", hello)
        async with listening(app, "127.0.0.1", 0, limits=ConnectionLimits(header_s=0.2)) as port, aiohttp.ClientSession() as session:
            said = [await (await session.post(f"http://127.0.0.1:{port}/", data=b"x" * size)).text() for size in (0, 5, 100_000)]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n")
            rest = b""
            with suppress(ConnectionError):
                rest = await asyncio.wait_for(reader.read(), 5.0)
            writer.close()
            return said, rest

    assert uvloop.run(play()) == (["0", "5", "100000"], b"")


Run = Callable[[Coroutine[Any, Any, list[bytes]]], list[bytes]]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_slow_loop_of_ours_is_not_held_against_a_peer_that_has_sent_all(run: Run) -> None:
    """Between its connection and its answer lie several turns of the loop, and while each of them is long others come who need the room."""

    async def play() -> list[bytes]:
        loop = asyncio.get_running_loop()
        strangers: list[socket.socket] = []
        honest: list[socket.socket] = []
        async with served(open_max=400, waiting_max=2, fair_s=0.05) as port:
            address = ("127.0.0.1", port)

            def long_turn(turns: int) -> None:
                strangers.extend(socket.create_connection(address) for _ in range(3))
                honest.append(socket.create_connection(address))
                honest[-1].sendall(HEAD + b"Content-Length: 5\r\nConnection: close\r\n\r\n12345")
                time.sleep(0.06)
                if turns:
                    loop.call_soon(long_turn, turns - 1)

            long_turn(25)
            answers = [await asyncio.to_thread(read_all, peer) for peer in honest]
        for peer in strangers + honest:
            peer.close()
        return answers

    before = closed("crowded")
    assert [answer[:15] for answer in run(play())] == [b"HTTP/1.1 200 OK"] * 26
    assert closed("crowded") - before > 10, "those who sent nothing made room"


def read_all(peer: socket.socket) -> bytes:
    peer.settimeout(5.0)
    found = b""
    with suppress(OSError):
        while got := peer.recv(1000):
            found += got
    return found
