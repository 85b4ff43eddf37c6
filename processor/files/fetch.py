"""Reads files by reference, bounded in time and size. Their content stays in memory and goes to Didit alone."""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from processor.bounds.byte_budget import ByteBudget, ByteReservation
from processor.contract.codes import ErrorCode
from processor.didit.calls import FileContent, FilePart
from processor.files.rules import Allowed, FileError, FileLocation, Located, check_content, is_public, locate, redirected, too_large
from processor.settings import FileSettings

_REDIRECTS_MAX = 3
_CHUNK_BYTES = 65_536
_FILES_BYTES_MAX = 128 * 1024 * 1024  # of all files that are being read or sent
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LASTING = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.EINVAL})
NOT_THERE = frozenset({401, 403, 404, 410})


class PublicResolver(AbstractResolver):
    """Resolves a name to its public addresses only, so that no name leads into our own network, whenever its answer changes."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Addresses to connect to.

        Raises:
            OSError: if none is public.
        """
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        public = [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST)
            for kind, _, proto, _, address in found
            if is_public(str(address[0]))
        ]
        if not public:
            raise OSError("no public address")
        return public

    async def close(self) -> None:
        """Nothing is held."""


class FileReader:
    """Reads what ``settings`` allow. ``connector_options`` are for tests that stand in for the internet."""

    def __init__(self, settings: FileSettings, connector_options: dict[str, Any] | None = None) -> None:
        self._allowed = Allowed(settings.roots, settings.hosts, settings.prefixes)
        self._fetch_s = settings.fetch_s
        self._options = connector_options or {}
        self._in_flight = ByteBudget(_FILES_BYTES_MAX)

    @property
    def longest_s(self) -> float:
        """Reading one file takes no longer."""
        return self._fetch_s

    def reservation(self) -> AbstractContextManager[ByteReservation]:
        """What the files of one call hold; to be left when they are sent."""
        return self._in_flight.reservation()

    async def fetch(self, parts: Sequence[FilePart], held: ByteReservation) -> list[FileContent]:
        """Read all files of a call, once there is room for the largest that they may be.

        Raises:
            FileError: with ``field``, for the first that cannot be sent.
        """
        size_max = sum(part.rule.size_bytes_max for part in parts)
        found = [await self._one(part, held, size_max) for part in parts]
        held.shrink_to(sum(len(file.content) for file in found))
        return found

    async def _one(self, part: FilePart, held: ByteReservation, size_max: int) -> FileContent:
        try:
            located = locate(part.reference, self._allowed)
            async with asyncio.timeout(self._fetch_s):
                await held.grow_to(size_max, within_s=self._fetch_s)
                content = await self._read(located, part.rule.size_bytes_max)
            if content is None:
                raise too_large(part.rule)
            return FileContent(part.name, content, check_content(content, part.rule))
        except TimeoutError:
            fault = FileError(ErrorCode.FILE_UNAVAILABLE, "the file could not be read in time", lasting=False)
        except FileError as exc:
            fault = exc
        fault.field = part.name
        raise fault

    async def _read(self, located: Located, size_max: int) -> bytes | None:
        """The content, or None if it is longer."""
        if located.location is FileLocation.WEB:
            return await self._download(located.where, size_max)
        read = _read_disk if located.location is FileLocation.DISK else _read_store
        return await asyncio.to_thread(read, located.where, self._allowed.roots, size_max)

    async def _download(self, url: str, size_max: int) -> bytes | None:
        try:
            async with web_response(url, lambda at, location: redirected(at, location, self._allowed), self._options) as response:
                return await _body(response, size_max)
        except (aiohttp.ClientError, OSError, ValueError):
            raise FileError(ErrorCode.FILE_UNAVAILABLE, "the file's host did not give it", lasting=False) from None


@asynccontextmanager
async def web_response(url: str, follow: Callable[[str, str], str], options: Mapping[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to a GET, after at most three redirects. No cookies, no proxy of the environment, no name that leads into our own network.

    Args:
        url: as it is to be sent.
        follow: where a redirect leads, from its URL and ``Location``; raises FileError for one that is not to be followed.
        options: of the connector, before ours.

    Raises:
        FileError: ``file_not_allowed``, or what ``follow`` raises.
        aiohttp.ClientError, OSError, ValueError: the host did not answer.
    """
    connector = aiohttp.TCPConnector(**{"resolver": PublicResolver(), "use_dns_cache": False, "limit": 1, **options})
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
    ) as session:
        for _ in range(_REDIRECTS_MAX + 1):
            async with session.get(URL(url, encoded=True), allow_redirects=False, headers={"Accept-Encoding": "identity"}) as response:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                url = follow(url, response.headers.get("Location", ""))
    raise FileError(ErrorCode.FILE_NOT_ALLOWED, f"more than {_REDIRECTS_MAX} redirects")


async def _body(response: aiohttp.ClientResponse, size_max: int) -> bytes | None:
    if response.status in NOT_THERE:
        raise FileError(ErrorCode.FILE_MISSING, f"the file's host answered {response.status}")
    if response.status != 200:  # noqa: PLR2004 - RFC 9110
        raise FileError(ErrorCode.FILE_UNAVAILABLE, f"the file's host answered {response.status}", lasting=False)
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(_CHUNK_BYTES):
        size += len(part)
        if size > size_max:
            return None
        parts.append(part)
    return b"".join(parts)


def _read_disk(path: str, roots: Sequence[str], size_max: int) -> bytes | None:
    """A regular file whose true place, all links followed, is below a root."""
    try:
        true = Path(path).resolve(strict=True)
        if not any(true.is_relative_to(Path(root).resolve()) for root in roots):
            raise FileError(ErrorCode.FILE_NOT_ALLOWED, "a link leads out of VP_FILES__ROOTS")
        descriptor = os.open(true, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe must not make us wait
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileError(ErrorCode.FILE_MISSING, "it is no regular file")
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(size_max + 1)
    except FileNotFoundError:
        raise FileError(ErrorCode.FILE_MISSING, "there is no such file") from None
    except (OSError, ValueError, RuntimeError) as exc:
        if isinstance(exc, OSError) and exc.errno not in _LASTING:  # no free file descriptor, a disk or a server of files that fails
            raise FileError(ErrorCode.FILE_UNAVAILABLE, "the file could not be read", lasting=False) from None
        raise FileError(ErrorCode.FILE_MISSING, "the file cannot be read") from None
    return content if len(content) <= size_max else None


def _read_store(url: str, _roots: Sequence[str], size_max: int) -> bytes | None:
    """An object of a store that fsspec knows; its package and credentials are the operators' to provide."""
    try:
        fsspec: Any = importlib.import_module("fsspec")  # an extra
    except ImportError:
        raise FileError(ErrorCode.FILE_UNAVAILABLE, "fsspec is not installed: install the extra [s3] or [gs]", lasting=False) from None
    try:
        with fsspec.open(url, "rb") as file:
            content: bytes = file.read(size_max + 1)
    except FileNotFoundError:
        raise FileError(ErrorCode.FILE_MISSING, "there is no such object") from None
    except Exception:  # noqa: BLE001 - each store has errors of its own, and their texts may quote the reference
        raise FileError(ErrorCode.FILE_UNAVAILABLE, "the store did not give the object", lasting=False) from None
    return content if len(content) <= size_max else None
