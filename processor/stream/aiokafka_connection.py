"""aiokafka's connection with a login that may change, and that is renewed before the brokers end its session.

What aiokafka 0.14 lacks: it reads passwords and certificates once; it takes a token that was refused for accepted (RFC 7628 3.2.3: the
refusal is an answer, and the client must end the exchange); and it lets a session run out (KIP-368), upon which the brokers cut the
connection in the middle of work. Here a connection logs in again after 85 % of its session, as Java's client does: requests wait for
that moment, and none is sent twice.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason, OAuthAuthenticator, create_conn
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError, KafkaError
from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslHandShakeRequest

from processor.stream.connect_faults import TLS_CUT, HttpAnswerError, NoTokenError, TlsAnswerError, TlsCutError
from processor.stream.login import Login

_RENEW_SHARE, _RENEW_SPREAD = 0.85, 0.1  # of a session's life; spread, so that not all connections log in at once
_SESSION_S_LEAST = 1.1  # brokers take a login once a second (KIP-368)
_TOKEN_AGAIN_S = 1.0
_OF_LOGIN = (SaslHandShakeRequest, SaslAuthenticateRequest)
_ALERT_OF_TLS = 0x1503  # RFC 8446 5.1: an alert, version 3.x; a reader of Kafka's frames takes it for a length
_HTTP = int.from_bytes(b"HTTP")  # RFC 9112 4: how a status line begins, taken for a length
_ABORT = b"\x01"  # RFC 7628 3.2.3


async def open_connection(host: str, port: int, **options: Any) -> AIOKafkaConnection:
    """As aiokafka's ``create_conn``, whose place it takes; a client that has no ``Login`` gets aiokafka's own.

    Raises:
        KafkaError, OSError: if there is no connection; ``connect_fault_of`` tells why.
    """
    login = options["sasl_oauth_token_provider"]
    if not isinstance(login, Login):
        return await create_conn(host, port, **options)
    try:
        connection = Connection(host, port, **options | {"ssl_context": login.ssl_context()})
        await connection.connect()
    except (KafkaError, OSError) as exc:
        login.failed(exc)
        raise
    login.connected()
    return connection


class Connection(AIOKafkaConnection):  # type: ignore[misc]
    """One to a broker."""

    _timer: asyncio.TimerHandle | None = None
    _renewal: asyncio.Task[None] | None = None
    _renewed: asyncio.Future[None] | None = None  # while it logs in again
    _up = False
    _session_s = 0.0

    @property
    def _login(self) -> Login:
        login: Login = self._sasl_oauth_token_provider
        return login

    async def connect(self) -> Any:
        """As aiokafka's, with errors that say what was wrong."""
        try:
            return await super().connect()
        except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, *TLS_CUT) as exc:
            if self._ssl_context is None or self._up:
                raise
            raise TlsCutError(f"{self.host}:{self.port} ended the TLS handshake") from exc
        except KafkaConnectionError as exc:
            raise _told(exc) from exc.__cause__

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:
        """As aiokafka's; a request waits while the connection logs in again."""
        if isinstance(request, _OF_LOGIN):
            return self._authenticating(super().send(request, expect_response))
        if self._renewed is not None:
            return self._send_after(self._renewed, request, expect_response)
        sent: Awaitable[Any] = super().send(request, expect_response)
        return sent

    def authenticator_oauth(self) -> OAuthAuthenticator:
        """One that hears a refusal."""
        return _OAuthAuthenticator(sasl_oauth_token_provider=self._login)

    def close(self, reason: Any = None, exc: BaseException | None = None) -> Any:
        """As aiokafka's."""
        if self._timer is not None:
            self._timer.cancel()
        if self._renewal is not None and not self._renewal.done() and self._renewal is not asyncio.current_task():
            self._renewal.cancel()
        return super().close(reason, exc)

    def _create_reader_task(self) -> Any:
        self._up = True
        return super()._create_reader_task()

    async def _do_sasl_handshake(self) -> None:
        self._sasl_plain_password, self._session_s = self._login.password(), 0.0
        try:
            await super()._do_sasl_handshake()
        except (ValueError, KeyError) as exc:  # SCRAM: the other side cannot know our password
            raise AuthenticationFailedError(f"{self.host}:{self.port} does not prove that it knows the password") from exc
        if self._session_s > 0:
            share = _RENEW_SHARE + random.random() * _RENEW_SPREAD  # noqa: S311 - spreads load
            delay_s = max(_SESSION_S_LEAST, self._session_s * share)
            self._timer = self._loop.call_later(delay_s, _call, weakref.WeakMethod(self._begin_renewal))

    def _begin_renewal(self) -> None:
        if self.connected():
            self._renewal = self._loop.create_task(self._renew(), name="Kafka login")
            self._renewal.add_done_callback(self._end_renewal)

    def _end_renewal(self, renewal: asyncio.Task[None]) -> None:
        if not renewal.cancelled():
            renewal.result()  # an error that is not Kafka's: the loop says so

    async def _authenticating(self, sent: Awaitable[Any]) -> Any:
        response = await sent
        self._session_s = max(0, getattr(response, "session_lifetime_ms", 0)) / 1000
        return response

    async def _send_after(self, renewed: asyncio.Future[None], request: Any, expect_response: bool) -> Any:
        await asyncio.shield(renewed)
        return await self.send(request, expect_response)

    async def _renew(self) -> None:
        """Log in again. If that does not work the connection ends, and the next one says why."""
        try:
            async with asyncio.timeout(self._session_s + self._request_timeout):
                await self._wait_for_token()
                self._renewed = self._loop.create_future()
                await self._do_sasl_handshake()
            self._login.connected()
        except (KafkaError, OSError) as exc:  # a TimeoutError is an OSError
            self._login.failed(exc)
            self.close(CloseReason.AUTH_FAILURE, exc)
        finally:
            if (renewed := self._renewed) is not None:
                self._renewed = None
                renewed.set_result(None)

    async def _wait_for_token(self) -> None:
        """Before requests are held: an issuer that is away for a moment must not hold them."""
        end = self._loop.time() + self._session_s * (1 - _RENEW_SHARE - _RENEW_SPREAD)
        while self._login.uses_tokens:
            try:
                await self._login.token()
            except NoTokenError as exc:
                if self._loop.time() + _TOKEN_AGAIN_S > end:
                    raise
                self._login.failed(exc)
                await asyncio.sleep(_TOKEN_AGAIN_S)
            else:
                return


class _OAuthAuthenticator(OAuthAuthenticator):  # type: ignore[misc]
    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """The next message of ours; None at the end. A refusal is an answer that is not empty."""
        if self._token_sent and payload:
            return _ABORT, True
        message: tuple[bytes, bool] | None = await super().step(payload)
        return message


def _call(reference: weakref.WeakMethod[Callable[[], None]]) -> None:
    """A timer must not keep a connection that nobody holds any more."""
    if (method := reference()) is not None:
        method()


def _told(error: KafkaConnectionError) -> BaseException:
    """The error behind one that only says that the connection has ended."""
    cause: BaseException | None = error.__cause__
    if isinstance(cause, ssl.SSLError):
        return cause
    if isinstance(cause, asyncio.IncompleteReadError) and (cause.expected or 0) >> 16 == _ALERT_OF_TLS:
        return TlsAnswerError(str(error))
    if isinstance(cause, asyncio.IncompleteReadError) and cause.expected == _HTTP:
        return HttpAnswerError(str(error))
    same: BaseException = error
    return same
