"""Signing in and out."""

from __future__ import annotations

from aiohttp import web

from processor.console.auth import SESSION_S, cookie_name, is_secure
from processor.console.context import Shown, Site, Visit


async def sign_in(site: Site, visit: Visit) -> Shown:
    """Take the token, open a session, and go back to where he came from."""
    session = site.access.sign_in(visit.fields.get("token", ""), visit.request)
    answer = web.HTTPSeeOther(_back(visit.fields.get("back", "/")))
    answer.set_cookie(
        cookie_name(visit.request), session, max_age=SESSION_S, path="/", httponly=True, samesite="Strict", secure=is_secure(visit.request)
    )
    raise answer


async def sign_out(site: Site, visit: Visit) -> Shown:
    """End the session."""
    site.access.sign_out(visit.request)
    answer = web.HTTPSeeOther("/")
    answer.del_cookie(cookie_name(visit.request), path="/")
    raise answer


def _back(path: str) -> str:
    r"""Only a path of ours: ``//host`` and ``/\host`` lead elsewhere."""
    return path if path.startswith("/") and path[1:2] not in {"/", "\\"} and path.isprintable() else "/"
