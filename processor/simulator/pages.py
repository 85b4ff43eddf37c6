"""Pages of a list: the envelope with absolute URLs (Didit, "List users", "List sessions"). Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from processor.simulator.messages import ApiRequest, ApiResponse

_LIMIT_MAX = 200


def page_response(
    request: ApiRequest, rows: Sequence[Any], row_of: Callable[[Any], dict[str, Any]], *, size: int = 50, limit_min: int = 1
) -> ApiResponse:
    """The page of ``rows`` that the query asks for; ``size`` is that of a page without ``limit``, a lower one counts as ``limit_min``."""
    limit = max(limit_min, _number(request.query.get("limit"), size, _LIMIT_MAX))
    offset = _number(request.query.get("offset"), 0, 10**9)
    body = {
        "count": len(rows),
        "next": _url(request, limit, offset + limit) if offset + limit < len(rows) else None,
        "previous": _url(request, limit, max(0, offset - limit)) if offset > 0 else None,
        "results": [row_of(row) for row in rows[offset : offset + limit]],
    }
    return ApiResponse(200, body)


def _number(text: str | None, default: int, most: int) -> int:
    return min(int(text[:10]), most) if text is not None and text.isascii() and text.isdigit() else default


def _url(request: ApiRequest, limit: int, offset: int) -> str:
    path = quote(request.match.string)
    return f"{request.base_url}{path}?{urlencode({**request.query, 'limit': str(limit), 'offset': str(offset)})}"
