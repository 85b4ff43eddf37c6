"""The HTTP edge. Makes one call and says what came back; never retries, never follows a redirect, never raises.

A call is built first and sent then: what fails before its head was written has left nothing at Didit, whatever the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from functools import partial
from typing import Self

import aiohttp
import structlog
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from processor import __version__
from processor.bounds.byte_budget import ByteBudget, ByteReservation
from processor.bounds.time_limit import TimeLimit
from processor.contract.codes import ErrorCode
from processor.didit.answers import Answer, NoReply, Reply
from processor.didit.calls import FileContent, HttpCall
from processor.didit.egress_proxy import EgressProxy, arguments, egress_proxy
from processor.didit.kept_connections import KeptConnections, read_final
from processor.settings import DiditSettings, header_fault

log = structlog.get_logger(__name__)

_CONNECT_S = 10.0
_KEEP_ALIVE_S = 30.0  # of a form; see KeptConnections for all else
_CHUNK_BYTES = 65_536
_ANSWERS_BYTES_MAX = 64 * 1024 * 1024  # of all answers that are being read


class _Left:
    """What of one call has left."""

    __slots__ = ("head",)

    def __init__(self) -> None:
        self.head = False

    def note_head(self) -> None:
        """The head goes out now."""
        self.head = True


_LEFT: ContextVar[_Left] = ContextVar("_LEFT")  # of the call that this task makes


class _NotingRequest(aiohttp.ClientRequest):
    """Notes that its head goes out now: from here on Didit may have seen it."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """See ``aiohttp.ClientRequest.send``."""
        _LEFT.get().note_head()
        return await super().send(conn)


class _BoundedResponse(aiohttp.ClientResponse):
    """Passes by as few interim answers as ``KeptConnections`` does: aiohttp passes by any number, and lets nobody else run meanwhile."""

    async def start(self, connection: Connection) -> Self:
        """See ``aiohttp.ClientResponse.start``."""
        protocol = connection.protocol
        if protocol is None:
            raise aiohttp.ClientConnectionResetError("the connection was closed before the answer")
        protocol.read = partial(read_final, protocol.read)  # type: ignore[method-assign]  # for this answer alone
        try:
            await super().start(connection)
        finally:
            del protocol.read
        return self


class DiditClient:
    """One connection pool. Use as an async context manager.

    What has its body in memory goes out over ``KeptConnections``; a form with files by aiohttp's session, which waits while its peer
    reads slowly.
    """

    def __init__(self, settings: DiditSettings) -> None:
        self._settings = settings
        self._base = settings.base_url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._connections: KeptConnections | None = None
        self._proxy: EgressProxy | None = None
        # not the session's own: aiohttp tells those to the proxy, too
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"verification-processor/{__version__}"}
        self._answers = ByteBudget(_ANSWERS_BYTES_MAX)

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S)  # the budget bounds the calls
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
        self._proxy = egress_proxy(self._settings)
        self._connections = KeptConnections(connector, self._base, timeout, self._proxy)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=timeout,
            auto_decompress=False,  # we ask for identity; an answer that is packed all the same is unreadable, not a bomb
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            request_class=_NotingRequest,
            response_class=_BoundedResponse,
        )
        # aiohttp repeats a call on a kept-alive connection that was closed; that would be a second call on one permit
        self._session._retry_connection = False  # noqa: SLF001 - no public way; pinned by a test
        self.refresh_key()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connections is not None:
            self._connections.close()
        if self._session is not None:
            await self._session.close()

    @property
    def answers_bytes(self) -> int:
        """Reserved now for answers that are being read."""
        return self._answers.held_bytes

    def refresh_key(self) -> bool:
        """Read the API key again (a mounted file may have changed); whether it is another one.

        One that no header can carry leaves the old one in force.
        """
        if self._session is None or self._connections is None:
            return False
        try:
            key = self._settings.key() or ""
        except OSError:
            key = ""
        if (fault := header_fault(key)) is not None:
            hint = "the file with the API key is not usable now; the key that was read before stays in force"
            log.error("api_key_unusable", fault=fault, hint=hint)
            return False
        is_new = self._headers.get("x-api-key") != key
        self._headers["x-api-key"] = key
        self._connections.set_headers(self._headers)
        return is_new

    async def send(self, call: HttpCall, files: Sequence[FileContent] = ()) -> Answer:
        """Make the call within its deadline."""
        if self._session is None:
            raise RuntimeError("the client is not open")
        if self._session.closed:
            return NoReply(sent=False, code=ErrorCode.CALL_NOT_SENT)
        left = _Left()
        try:
            with TimeLimit(min(call.operation.timeout_s, self._settings.timeout_s)):
                return await (self._send_form(call, files, left) if files else self._send_plain(call, left))
        except TimeoutError:
            sent = left.head
            return NoReply(sent=sent, code=ErrorCode.TIMEOUT if sent else ErrorCode.CONNECT_FAILED, open=sent)
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as exc:  # the second is an answer that is no HTTP
            if left.head:
                return NoReply(sent=True, code=ErrorCode.RESET)
            if isinstance(exc, aiohttp.ClientHttpProxyError):
                log.error(
                    "proxy_refused",
                    status=exc.status,
                    hint="the proxy of VP_DIDIT__PROXY makes no tunnel to Didit: its rules, or its login",
                )
            connecting = isinstance(exc, aiohttp.ClientConnectionError | aiohttp.ClientHttpProxyError | OSError)
            return NoReply(sent=False, code=ErrorCode.CONNECT_FAILED if connecting else ErrorCode.CALL_NOT_SENT)

    async def _send_plain(self, call: HttpCall, left: _Left) -> Reply:
        if self._connections is None:
            raise RuntimeError("the client is not open")
        target, headers = self._target(call), _headers(call)
        with self._answers.reservation() as held:

            async def read(content: aiohttp.StreamReader, length: int | None) -> tuple[bytes, bool]:
                return await self._read(content, length, held)

            return await self._connections.send(call.operation.method, target, headers, call.body, left.note_head, read)

    async def _send_form(self, call: HttpCall, files: Sequence[FileContent], left: _Left) -> Reply:
        if self._session is None:
            raise RuntimeError("the client is not open")
        _LEFT.set(left)
        url = URL(self._base + self._target(call), encoded=True)
        form, headers, proxy = _form(call, files), self._headers | _headers(call), arguments(self._proxy)
        sending = self._session.request(call.operation.method, url, data=form, headers=headers, allow_redirects=False, **proxy)
        async with sending as response:
            with self._answers.reservation() as held:
                body, truncated = await self._read(response.content, response.content_length, held)
                if truncated:
                    response.close()
            return Reply(response.status, response.headers, body, truncated)

    def _target(self, call: HttpCall) -> str:
        """Path and query.

        Raises:
            ValueError: if it cannot be written.
        """
        path = call.path.replace("/v3/", f"/{self._settings.api_version}/", 1) if call.operation.versioned else call.path
        if header_fault(path):
            raise ValueError("a path cannot be written")
        return URL(path, encoded=True).with_query(call.query).raw_path_qs if call.query else path

    async def _read(self, content: aiohttp.StreamReader, length: int | None, held: ByteReservation) -> tuple[bytes, bool]:
        """The body of an answer, and whether it was longer than what is read of it."""
        size_max, within_s = self._settings.response_bytes_max, self._settings.timeout_s  # the call's own deadline comes first
        if length is not None and length <= size_max:
            if not held.try_grow_to(length):
                await held.grow_to(length, within_s=within_s)
            return content.read_nowait() if content.is_eof() else await content.read(), False
        parts: list[bytes] = []
        size = 0
        await held.grow_to(_CHUNK_BYTES, within_s=within_s)
        async for part in content.iter_chunked(_CHUNK_BYTES):
            size += len(part)
            if size > size_max:
                return b"".join(parts), True
            if size > _CHUNK_BYTES:
                await held.grow_to(size_max, within_s=within_s)  # all that it may need: two that grow bit by bit could wait for each other
            parts.append(part)
        return b"".join(parts), False


def _headers(call: HttpCall) -> dict[str, str]:
    """Those of this call alone.

    Raises:
        ValueError: if one cannot be written.
    """
    headers = {"X-Request-Id": call.reference}
    if call.idempotency_key is not None:
        headers["Idempotency-Key"] = call.idempotency_key
    if any(map(header_fault, headers.values())):
        raise ValueError("a header cannot be written")
    if call.body is not None:
        headers["Content-Type"] = "application/json"
    return headers


def _form(call: HttpCall, files: Sequence[FileContent]) -> aiohttp.FormData:
    """A multipart body (RFC 7578); file names are ours."""
    form = aiohttp.FormData(quote_fields=False)
    for name, text in call.fields:
        form.add_field(name, text)
    for file in files:
        form.add_field(file.name, file.content, filename=file.file_name, content_type=file.content_type)
    return form
