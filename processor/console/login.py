"""Signing in and out."""

from __future__ import annotations

from aiohttp import web

from processor.console.auth import SESSION_S, cookie_name, is_secure
from processor.console.context import PageRequest, PageSite, PageView


async def sign_in(site: PageSite, page_request: PageRequest) -> PageView:
    """Take the token, open a session, and go back to the page that asked for it."""
    session = await site.access.sign_in(page_request.fields.get("token", ""), page_request.http)
    answer = web.HTTPSeeOther(_back(page_request.fields.get("back", "/")))
    answer.set_cookie(
        cookie_name(page_request.http),
        session,
        max_age=SESSION_S,
        path="/",
        httponly=True,
        samesite="Strict",
        secure=is_secure(page_request.http),
    )
    raise answer


async def sign_out(site: PageSite, page_request: PageRequest) -> PageView:
    """End the session."""
    site.access.sign_out(page_request.http)
    answer = web.HTTPSeeOther("/")
    answer.del_cookie(cookie_name(page_request.http), path="/")
    raise answer


def _back(path: str) -> str:
    r"""Only a path of ours: ``//host`` and ``/\host`` lead elsewhere."""
    return path if path.startswith("/") and path[1:2] not in {"/", "\\"} and path.isprintable() else "/"
