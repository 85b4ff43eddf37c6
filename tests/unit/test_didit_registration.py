"""Registration against the simulator's account routes: two calls, then a key that works."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from typer.testing import CliRunner

from processor.cli.app import app
from processor.didit.registration import RegistrationError, check_url, register, verify, write_key
from processor.simulator.config import Config
from processor.simulator.server import running

PASSWORD = "Str0ng-enough!"


async def code_for(url: str, email: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/_sim/codes") as answer:
        rows: list[dict[str, Any]] = (await answer.json())["codes"]
    return next(str(row["code"]) for row in rows if email in row.values())


async def test_two_calls_make_a_key_that_works() -> None:
    async with running(Config()) as (_, url):
        auth = f"{url}/auth/v2"
        await register(auth, "ops@acme-identity.io", PASSWORD)
        with pytest.raises(RegistrationError, match="code is wrong"):
            await verify(auth, "ops@acme-identity.io", "AAAAAA")
        made = await verify(auth, "ops@acme-identity.io", await code_for(url, "ops@acme-identity.io"))
        async with aiohttp.ClientSession(headers={"x-api-key": made.api_key}) as http, http.get(f"{url}/v3/sessions/") as answer:
            assert answer.status == 200


async def test_refusals_say_what_to_do_and_not_what_was_entered() -> None:
    async with running(Config()) as (_, url):
        auth = f"{url}/auth/v2"
        for email, password, said in (
            ("ops@acme-identity.io", "feeble1", "too weak"),
            ("ops@example.com", PASSWORD, "reserved mail domains"),
        ):
            with pytest.raises(RegistrationError, match=said) as caught:
                await register(auth, email, password)
            assert email not in str(caught.value)
            assert password not in str(caught.value).split()
    with pytest.raises(RegistrationError, match="does not answer"):
        await register("http://127.0.0.1:1/auth/v2", "ops@acme-identity.io", PASSWORD)


async def test_an_answer_that_comes_in_pieces_is_read_to_its_end() -> None:
    parts = b'{"application": {"name": "shop", "api_key": "key-1"}, ', b'"organization": {"name": "Acme"}}'

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(b"".join(parts)))
        for part in parts:
            writer.write(part)
            for _ in range(50):  # turns of the loop, in which the other side reads what is there
                await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        made = await verify(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/auth/v2", "ops@acme-identity.io", "AAAAAA")
    assert (made.organization, made.application, made.api_key) == ("Acme", "shop", "key-1")


@pytest.mark.parametrize("url", ["http://apx.didit.me/auth/v2", "ftp://127.0.0.1/", "apx.didit.me"])
def test_a_password_is_sent_over_https_only(url: str) -> None:
    with pytest.raises(RegistrationError, match="https"):
        check_url(url)


def test_a_url_that_is_none_is_told_without_it() -> None:
    with pytest.raises(RegistrationError, match=r"^the URL cannot be read$"):
        check_url("https://[::1/auth")


def test_a_key_is_written_for_its_owner_alone_and_over_nothing(tmp_path: Path) -> None:
    path = tmp_path / "didit.key"
    write_key(path, "secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "secret\n"
    with pytest.raises(FileExistsError):
        write_key(path, "other")
    told = CliRunner().invoke(app, ["register", "ops@acme-identity.io", "--key-file", str(path)])
    assert told.exit_code == 2
    assert "nothing was done" in told.output
    told = CliRunner().invoke(app, ["register", "ops@acme-identity.io", "--key-file", str(tmp_path / "missing" / "didit.key")])
    assert told.exit_code == 2, "before a key is made that could not be kept"
    assert "nothing was done" in told.output
