"""Routes, and what every answer has in common: who may ask, a deadline, the headers, and a clear page for whatever goes wrong."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import MultiDict, MultiMapping

from processor.console import dead_letters, pauses, results, views, waiting
from processor.console.auth import Access, DeniedError, PageUser, check_origin, is_secure, try_cookie_name
from processor.console.context import PageContext, PageRequest, PageSite, PageView, message, root_of
from processor.console.faults import LoggedFaultError, log_fault
from processor.console.forms import BadInputError
from processor.console.login import sign_in, sign_out
from processor.console.ports import Operations, RefusedError, UnavailableError
from processor.console.runbooks import Links
from processor.observe.application import DEFAULT_APPLICATION, working_for

ANSWER_S = 10.0
_READS_MAX = 8  # at a time; the others wait for their turn within their deadline
_FORM = "application/x-www-form-urlencoded"
_FORM_BYTES_MAX, _FORM_FIELDS_MAX = 65_536, 1000  # 500 positions and a note
_FILES = {"page.css": "text/css", "page.js": "text/javascript"}
_FOLDER = Path(__file__).parent / "files"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

View = Callable[[PageContext, PageRequest], Awaitable[PageView]]
Show = Callable[[PageRequest], Awaitable[PageView]]
_READS: tuple[tuple[str, View], ...] = (
    ("/", views.overview),
    ("/results", results.listed),
    ("/waiting", waiting.listed),
    ("/waiting/release", waiting.plan(waiting.RELEASE)),
    ("/waiting/end", waiting.plan(waiting.END)),
    ("/request", views.request_history),
    ("/dead-letters", dead_letters.listed),
    ("/dead-letters/redrive", dead_letters.plan_redrive),
    ("/dead-letters/discard", dead_letters.plan_discard),
    ("/pauses", pauses.listed),
    ("/pauses/change", pauses.plan),
)
_ACTS: tuple[tuple[str, View], ...] = (
    ("/dead-letters/redrive", dead_letters.redrive),
    ("/dead-letters/discard", dead_letters.discard),
    ("/pauses/change", pauses.change),
    ("/waiting/release", waiting.act(waiting.RELEASE)),
    ("/waiting/end", waiting.act(waiting.END)),
)


def add_page(
    app: web.Application,
    applications: Mapping[str, Operations],
    access: Access,
    *,
    now: Callable[[], float] = time.time,
    group: str = "",
    links: Links | None = None,
) -> None:
    """Add the page's routes to an application that is not running yet.

    ``/`` is the overview of the only application, or an index of several, whose pages are below ``/app/<name>``.

    Args:
        app: that of the monitoring port. Its other answers get the page's headers too, where they have none of their own.
        applications: what the page reads and does, for each one by its name.
        access: who may; ``Access(settings.observe)``. Adds nothing where the page is off.
        now: epoch seconds.
        group: name of the set-up, for the title; the consumer group.
        links: what it leads to outside of itself.
    """
    if not access.enabled:
        return
    several = len(applications) > 1
    site = PageSite(access, now, tuple(applications) if several else (), group, links or Links())
    contexts = {name: PageContext(site, operations) for name, operations in applications.items()}
    for name, page_context in contexts.items():
        root, handlers = root_of(name) if several else "", _Handlers(site, name, shown_as=name if several else "")
        for path, view in _READS:  # the overview has its own bound, and must not wait behind slow searches
            app.router.add_get(root + path, handlers.read(partial(view, page_context), queued=view is not views.overview))
        for path, view in _ACTS:
            app.router.add_post(root + path, handlers.action(partial(view, page_context)))
        app.on_cleanup.append(page_context.close)
    of_all = _Handlers(site)
    if several:
        app.router.add_get("/", of_all.read(partial(views.index(contexts), site), queued=False))
        for path in (*(path for path, _ in _READS[1:]), *map(root_of, applications)):
            app.router.add_get(path, _to_the_start)
    app.router.add_post("/sign-out", of_all.action(partial(sign_out, site)))
    app.router.add_post("/sign-in", of_all.enter(partial(sign_in, site)))
    for name, kind in _FILES.items():
        app.router.add_get(f"/page/{name}", _file(_FOLDER / name, kind))
    app.on_response_prepare.append(_add_headers)


class _Handlers:
    """Wraps the views of one application, or of all, into handlers.

    Args:
        site: who may, and the templates.
        application: for which the handlers work; the log says so.
        shown_as: its name on the page; empty where it is the only one.
    """

    def __init__(self, site: PageSite, application: str = DEFAULT_APPLICATION, *, shown_as: str = "") -> None:
        self._site, self._application, self._shown_as = site, application, shown_as
        self._seats = asyncio.Semaphore(_READS_MAX)

    def read(self, view: Show, *, queued: bool) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def show(request: web.Request) -> PageView:
            page_request = self._page_request(request, await self._site.access.user(request))
            if not queued:
                return await view(page_request)
            async with self._seats:
                return await view(page_request)

        return self._handler(show)

    def action(self, view: Show) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def show(request: web.Request) -> PageView:
            user = await self._site.access.user(request)
            check_origin(request)
            fields = await _fields(request)
            self._site.access.check_form(user, str(fields.get("csrf", "")))
            return await view(self._page_request(request, user, fields))

        return self._handler(show)

    def enter(self, view: Show) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def show(request: web.Request) -> PageView:
            check_origin(request)
            return await view(self._page_request(request, None, await _fields(request)))

        return self._handler(show)

    def _page_request(self, request: web.Request, user: PageUser | None, fields: MultiMapping[str] | None = None) -> PageRequest:
        return PageRequest(request, user, request.query if fields is None else fields, round(self._site.now() * 1000))

    def _handler(self, show: Callable[[web.Request], Awaitable[PageView]]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            stranger = False
            try:
                with working_for(self._application):
                    async with asyncio.timeout(ANSWER_S):
                        shown = await show(request)
            except web.HTTPException:
                raise
            except Exception as exc:  # noqa: BLE001 - every failure has its page; its own text is shown only where it is ours
                shown, stranger = _failure(exc, request), isinstance(exc, DeniedError) and exc.login
            # who was not let in is not judged once more: that would count as another try
            page_request = self._page_request(request, None if stranger else await self._known(request))
            response = self._site.render(shown, page_request, self._shown_as)
            if stranger and (name := try_cookie_name(request)) not in request.cookies:
                response.set_cookie(name, secrets.token_urlsafe(16), path="/", httponly=True, samesite="Strict", secure=is_secure(request))
            return response

        return handle

    async def _known(self, request: web.Request) -> PageUser | None:
        try:
            return await self._site.access.user(request)
        except DeniedError:
            return None


def _failure(exc: Exception, request: web.Request) -> PageView:
    if isinstance(exc, DeniedError) and exc.login:
        return PageView("sign_in.html", {"problem": exc.text, "back": request.path_qs if request.method == "GET" else "/"}, exc.status)
    status, title, text = _problem(exc, request)
    return message(status, title, text)


def _problem(exc: Exception, request: web.Request) -> tuple[int, str, str]:
    match exc:
        case DeniedError():
            return exc.status, "Not allowed", exc.text
        case BadInputError():
            return 400, "That is not a valid input", str(exc)
        case RefusedError():
            return 409, "That is not possible", str(exc)
        case UnavailableError():
            return 503, "Kafka cannot be asked now", f"{exc} Reload the page to try again; calls and retries go on without it."
        case TimeoutError():
            return 503, "No answer in time", f"It took longer than {ANSWER_S:.0f} seconds. Narrow the search, or try again later."
    if not isinstance(exc, LoggedFaultError):
        log_fault(request.path, exc)
    return 500, "A fault of the processor", "Its log says where, as page_failed. Report it. Requests are not concerned."


async def _fields(request: web.Request) -> MultiMapping[str]:
    """The fields of a form, UTF-8 whatever it says of itself: anybody may send one, and it is read in the loop of the lanes."""
    if request.content_type != _FORM:
        raise BadInputError(f"A form is sent as {_FORM}.")
    raw = await _body(request)
    try:
        return MultiDict(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=_FORM_FIELDS_MAX))
    except ValueError:
        raise BadInputError("The form could not be read.") from None


async def _body(request: web.Request) -> bytearray:
    raw = bytearray()
    try:
        async for chunk in request.content.iter_any():
            raw += chunk
            if len(raw) > _FORM_BYTES_MAX:
                break
    except (ValueError, web.RequestPayloadError, ConnectionError):
        raise BadInputError("The form could not be read.") from None
    if len(raw) > _FORM_BYTES_MAX:
        raise BadInputError("The form is too large. Choose fewer records, or filter them.")
    return raw


def _file(path: Path, kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    body = path.read_bytes()

    async def serve(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8")

    return serve


async def _to_the_start(request: web.Request) -> web.StreamResponse:
    """A page of no application where there are several: one has to be chosen first. Or one's overview without ``/``."""
    raise web.HTTPSeeOther(f"{request.path}/" if request.path.startswith(root_of("")) else "/")


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
