"""Who may see the page: on loopback everybody on this machine, elsewhere whoever has the operators' token.

A web site that an operator visits must not get in through the browser: the Host header must name loopback (against DNS rebinding),
cookies are SameSite=Strict, and every form carries a token and is checked for where it comes from.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from processor.console.sign_in_tries import SignInTries
from processor.settings import ObserveSettings

SESSION_S = 8 * 3600
_SESSIONS_MAX = 100
_TOKEN_LENGTH_MIN = 16
_TRY_COOKIE_CHARS_MAX = 64
_FORWARDED = "X-Forwarded-Proto"

log = structlog.get_logger(__name__)


class DeniedError(Exception):
    """Ends a request with an answer. The text is shown; ``login``: offer the form."""

    def __init__(self, status: int, text: str, *, login: bool = False) -> None:
        super().__init__(text)
        self.status, self.text, self.login = status, text, login


@dataclass(frozen=True, slots=True)
class PageUser:
    """Somebody who may see the page."""

    csrf: str  # what the forms of this user must carry
    signed_in: bool  # by the form, and can sign out
    by_header: bool = False  # a script: no browser sends this header by itself, so nothing can be forged


class Access:
    """Decides who may see the page, and keeps the sessions."""

    def __init__(self, settings: ObserveSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.enabled = settings.page
        self._loopback = is_loopback(settings.host)
        self._fixed = settings.token.get_secret_value() if settings.token else None
        self._file = settings.token_file
        self._clock = clock
        self._sessions: OrderedDict[str, tuple[float, bytes]] = OrderedDict()  # id -> end, digest of the token that opened it
        self._tries = SignInTries()
        self._secret = secrets.token_bytes(32)

    async def user(self, request: web.Request) -> PageUser:
        """Who asks.

        Raises:
            DeniedError: if the user may not.
        """
        wanted = self._wanted()
        if wanted is None:
            return self._neighbour(request)
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            await self._compare(given.strip(), wanted, request)
            return PageUser("", signed_in=False, by_header=True)
        session = request.cookies.get(cookie_name(request), "")
        ends, opened_by = self._sessions.get(session, (0.0, b""))
        if ends <= self._clock() or not hmac.compare_digest(opened_by, wanted):
            self._sessions.pop(session, None)
            raise DeniedError(401, "Sign in with the operators' token.", login=True)
        return PageUser(self._csrf(session), signed_in=True)

    async def sign_in(self, given: str, request: web.Request) -> str:
        """Open a session and give its id.

        Raises:
            DeniedError: if the token is wrong, or too many were tried.
        """
        wanted = self._wanted()
        if wanted is None:
            raise DeniedError(404, "No token is configured; there is nothing to sign in to.")
        await self._compare(given.strip(), wanted, request)
        now = self._clock()
        for session in [s for s, (ends, _) in self._sessions.items() if ends <= now]:
            del self._sessions[session]
        while len(self._sessions) >= _SESSIONS_MAX:
            self._sessions.popitem(last=False)
        session = secrets.token_urlsafe(32)
        self._sessions[session] = (now + SESSION_S, wanted)
        return session

    def sign_out(self, request: web.Request) -> None:
        """End the session of a request."""
        self._sessions.pop(request.cookies.get(cookie_name(request), ""), None)

    def check_form(self, user: PageUser, csrf: str) -> None:
        """A form must be one of this visitor's.

        Raises:
            DeniedError: if it is not.
        """
        if not user.by_header and not hmac.compare_digest(csrf.encode(), user.csrf.encode()):
            raise DeniedError(403, "The form is too old, or of another replica. Go back, reload the page, and send it again.")

    def _neighbour(self, request: web.Request) -> PageUser:
        if not self._loopback:
            raise DeniedError(
                403,
                "This port is not on loopback and no operators' token is set. Set VP_OBSERVE__TOKEN or VP_OBSERVE__TOKEN_FILE "
                "(16 characters or more) and sign in with it, or bind the port to 127.0.0.1 and forward it to your machine.",
            )
        if not is_loopback(host_of(request.host)):
            raise DeniedError(403, "Without a token the page is for this machine only. Open it as http://localhost or http://127.0.0.1.")
        return PageUser(self._csrf("loopback"), signed_in=False)

    def _wanted(self) -> bytes | None:
        """A digest of the token in force; None where none is configured."""
        token = self._fixed
        if self._file is not None:
            token = _read(self._file)
            if len(token) < _TOKEN_LENGTH_MIN:
                raise DeniedError(503, "VP_OBSERVE__TOKEN_FILE cannot be read or holds less than 16 characters: nobody can sign in.")
        return None if token is None else _digest(token.strip())

    async def _compare(self, given: str, wanted: bytes, request: web.Request) -> None:
        key = _try_key(request)
        wait_s = self._tries.begin(key, self._clock())
        if wait_s is None:
            raise DeniedError(429, "Too many tries at once. Wait some seconds, then try again.", login=True)
        if wait_s:
            try:
                await asyncio.sleep(wait_s)
            finally:
                self._tries.end_wait(key)
        if not hmac.compare_digest(_digest(given), wanted):
            self._tries.failed(key, self._clock())
            log.warning("page_refused", route=request.path)
            raise DeniedError(401, "This is not the operators' token.", login=True)

    def _csrf(self, session: str) -> str:
        return hmac.new(self._secret, session.encode(), hashlib.sha256).hexdigest()


def check_origin(request: web.Request) -> None:
    """A form must come from a page of ours, as far as the browser says where it comes from.

    Under ``Referrer-Policy: no-referrer`` browsers send ``Origin: null`` with our own forms:
    ``Sec-Fetch-Site`` or the form's token decides.

    Raises:
        DeniedError: if another site sends it.
    """
    fetch_site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin", "null")
    foreign = fetch_site != "same-origin" if fetch_site is not None else origin != "null" and origin.partition("://")[2] != request.host
    if foreign:
        raise DeniedError(403, "This form was sent by another web site. Open the page itself and send it from there.")


def is_secure(request: web.Request) -> bool:
    """Whether the browser came by https, here or at a proxy before us."""
    return request.secure or request.headers.get(_FORWARDED, "").split(",")[0].strip().lower() == "https"


def cookie_name(request: web.Request) -> str:
    """Cookies do not tell ports apart; two replicas forwarded to one machine must not sign each other out."""
    port = request.host.rpartition(":")[2]
    return f"vp_session_{port}" if port.isascii() and port.isdigit() else "vp_session"


def try_cookie_name(request: web.Request) -> str:
    """The cookie by which tries of one browser are told from those of others behind its address."""
    return cookie_name(request).replace("session", "try", 1)


def _try_key(request: web.Request) -> str:
    """Who tries: anybody may invent a cookie, but gains no more by it than a few tries of those that all share."""
    cookie = request.cookies.get(try_cookie_name(request), "")[:_TRY_COOKIE_CHARS_MAX]
    return f"browser {cookie}" if cookie else f"address {request.remote}"


def host_of(header: str) -> str:
    """The name of a Host header, without its port; empty if it is malformed."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
