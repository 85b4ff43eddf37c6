"""Fetches images and videos of a decision into a folder: bounded in time, size and number, readable by this user alone."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
import structlog

from processor.contract.codes import CodeKind, ErrorCode
from processor.files.fetch import NOT_THERE, web_response
from processor.files.media import (
    FILES_MAX,
    HEAD_BYTES,
    LeftMedia,
    MediaLink,
    StoredMedia,
    file_name,
    file_stem,
    is_own,
    media_type,
    redirected_link,
)
from processor.files.rules import FileError
from processor.settings import FileSettings

_CHUNK_BYTES = 65_536
_AT_ONCE_MAX = 8  # requests of this process that fetch media; each fetches one file after the other

log = structlog.get_logger(__name__)


class MediaStore:
    """A folder that is written to. A file comes whole or not at all, and none is ever changed.

    Args:
        settings: with ``media_folder``.
        own: base URL of the API: links to its own host are followed wherever that is.
        connector_options: for tests that stand in for the internet.

    Raises:
        ValueError: if there is no folder.
    """

    def __init__(self, settings: FileSettings, own: str, connector_options: dict[str, Any] | None = None) -> None:
        if settings.media_folder is None:
            raise ValueError("no folder")
        self._folder, self._size_max, self._media_s, self._own = settings.media_folder, settings.media_bytes_max, settings.media_s, own
        self._options = connector_options or {}
        self._turns = asyncio.Semaphore(_AT_ONCE_MAX)

    async def fetch(
        self, links: Sequence[MediaLink], session_id: str, reference: str, within_s: float | None
    ) -> dict[str, StoredMedia | LeftMedia]:
        """Fetch files one after the other, by member.

        Args:
            links: of one decision; those beyond ``FILES_MAX`` are left out.
            session_id: a UUID; names the folder below ours.
            reference: the same for every attempt of one request, in letters, digits and hyphens.
            within_s: all of it takes no longer, s, the wait for others included; None: as long as that takes. The files themselves have
                ``VP_FILES__MEDIA_S``.

        Raises:
            FileError: another attempt may help: the host did not give a file, or the folder could not be written.
        """
        try:
            async with asyncio.timeout(within_s), self._turns, asyncio.timeout(self._media_s):  # many that wait do not time out
                found = {link.member: await self._one(link, session_id, reference) for link in links[:FILES_MAX]}
        except TimeoutError:
            raise FileError(ErrorCode.MEDIA_UNAVAILABLE, "the files did not come in time", lasting=False) from None
        return found | {link.member: LeftMedia(link.member, ErrorCode.MEDIA_TOO_MANY) for link in links[FILES_MAX:]}

    async def _one(self, link: MediaLink, session_id: str, reference: str) -> StoredMedia | LeftMedia:
        folder = self._folder / str(uuid.UUID(session_id))
        part = folder / f".{file_stem(link.member)}-{reference}.part"  # a process that died has left the same one
        try:
            file = await asyncio.to_thread(_begin, folder, part)
            try:
                with file:
                    size, sha256, head = await self._download(link.url, file)
                    await asyncio.to_thread(_flush, file)
                kind = media_type(head)
                target = folder / file_name(link.member, sha256, kind)
                await asyncio.to_thread(_finish, part, target)
            finally:
                part.unlink(missing_ok=True)
        except FileError as exc:
            if exc.lasting:  # of the redirects, which are too many, another module has spoken
                return LeftMedia(link.member, exc.code if exc.code.kind is CodeKind.MEDIA else ErrorCode.MEDIA_NOT_PUBLIC)
            raise
        except OSError as exc:
            fault = errno.errorcode.get(exc.errno or 0, type(exc).__name__)
            log.error("media_not_stored", fault=fault, hint="see that VP_FILES__MEDIA_FOLDER is there, has room and belongs to this user")
            raise FileError(ErrorCode.MEDIA_NOT_STORED, fault, lasting=False) from None
        return StoredMedia(link.member, target.as_uri(), kind, size, sha256)

    async def _download(self, url: str, file: BinaryIO) -> tuple[int, str, bytes]:
        """Size, digest and first bytes of what was written."""
        # a name may lead anywhere only where the operators have named it themselves
        own = {"resolver": aiohttp.ThreadedResolver()} if is_own(url, self._own) else {}
        digest, size, head = hashlib.sha256(), 0, b""
        try:
            async with web_response(url, lambda at, to: redirected_link(at, to, self._own), {**own, **self._options}) as response:
                self._check(response)
                async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                    size += len(chunk)
                    if size > self._size_max:
                        raise FileError(ErrorCode.MEDIA_TOO_LARGE, "longer than VP_FILES__MEDIA_BYTES_MAX")
                    digest.update(chunk)
                    head = head if len(head) >= HEAD_BYTES else (head + chunk)[:HEAD_BYTES]
                    await asyncio.to_thread(file.write, chunk)
        except (aiohttp.ClientError, ConnectionError, ValueError):
            raise FileError(ErrorCode.MEDIA_UNAVAILABLE, "the file's host did not give it", lasting=False) from None
        if not size:
            raise FileError(ErrorCode.MEDIA_MISSING, "the file is empty")
        return size, digest.hexdigest(), head

    def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status in NOT_THERE:
            raise FileError(ErrorCode.MEDIA_MISSING, f"the file's host answered {response.status}")
        if response.status != 200:  # noqa: PLR2004 - RFC 9110
            raise FileError(ErrorCode.MEDIA_UNAVAILABLE, f"the file's host answered {response.status}", lasting=False)
        if (response.content_length or 0) > self._size_max:
            raise FileError(ErrorCode.MEDIA_TOO_LARGE, "longer than VP_FILES__MEDIA_BYTES_MAX")


def _begin(folder: Path, part: Path) -> BinaryIO:
    """The folder above must be there: where a volume is not mounted, nothing is written beside it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb")


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _finish(part: Path, target: Path) -> None:
    """Put a whole file in its place, and see that its name outlives a crash."""
    part.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
