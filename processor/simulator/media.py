"""Files that decisions link to: presigned links that end after an hour, and what they give. Pure but for the state given.

Didit's OpenAPI calls the links short-lived and presigned; that an ended one is a 403 in XML is how S3 answers, whose parameters they carry.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from aiohttp import web

from processor.simulator.identity import MEDIA

PATH = "/media/"
_LIVES_S = 3600
_DATE = "%Y%m%dT%H%M%SZ"
_LINK = re.compile(re.escape(MEDIA.encode()) + rb'/([^"?\\]*)')
_STARTS = {  # the first bytes tell what a file is
    "jpg": ("image/jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"),
    "png": ("image/png", b"\x89PNG\r\n\x1a\n"),
    "pdf": ("application/pdf", b"%PDF-1.7\n"),
    "mp4": ("video/mp4", b"\x00\x00\x00\x18ftypisom"),
}
_ENDED = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>'


class MediaHost:
    """Gives files to whoever has a link. ``ended``: so many further GETs are refused as if the link had ended. ``delay_s``: of each."""

    def __init__(self) -> None:
        self.ended = 0
        self.delay_s = 0.0
        self.given = 0

    def respond(self, path: str, signed: str, now: float) -> web.Response:
        """Respond to a GET.

        Args:
            path: of the request.
            signed: its ``X-Amz-Date``.
            now: by the clock of sessions, epoch s.
        """
        kind, start = _STARTS.get(path.rpartition(".")[2], ("application/octet-stream", b""))
        if self.ended or not _is_live(signed, now):
            self.ended = max(0, self.ended - 1)
            return web.Response(status=403, body=_ENDED, content_type="application/xml")
        self.given += 1
        return web.Response(body=start + path.encode(), content_type=kind)


def linked(raw: bytes, base_url: str, now: float) -> bytes:
    """A body whose links lead here and begin to live now."""
    date = datetime.fromtimestamp(now, UTC).strftime(_DATE)
    return _LINK.sub(lambda found: f"{base_url}{PATH}{found[1].decode()}?X-Amz-Date={date}&X-Amz-Expires={_LIVES_S}".encode(), raw)


def _is_live(signed: str, now: float) -> bool:
    try:
        return now < datetime.strptime(signed, _DATE).replace(tzinfo=UTC).timestamp() + _LIVES_S
    except ValueError:
        return False
