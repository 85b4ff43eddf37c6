"""The monitoring port: metrics for Prometheus, health for Kubernetes. The operators' page is added to the same application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from processor.observe.health import HealthReport, Vitals, live, ready, started
from processor.observe.metrics import REGISTRY

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def build_app(vitals: Callable[[], Vitals], refresh: Callable[[], None]) -> web.Application:
    """``GET /livez /readyz /startupz /metrics``.

    Args:
        vitals: gives what the process knows of itself now.
        refresh: sets the gauges, before each scrape.
    """
    app = web.Application()

    def probe(judge: Callable[[Vitals], HealthReport]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_: web.Request) -> web.StreamResponse:
            seen = vitals()
            return _answer(judge(seen), seen)

        return answer

    async def scrape(_: web.Request) -> web.StreamResponse:
        refresh()
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST, **_HEADERS})

    for path, judge in (("/livez", live), ("/readyz", ready), ("/startupz", started)):
        app.router.add_get(path, probe(judge))
    app.router.add_get("/metrics", scrape)
    return app


def _answer(health: HealthReport, v: Vitals) -> web.Response:
    body = {
        "ok": health.ok,
        "reasons": health.reasons,
        "notes": health.notes,
        "phase": v.phase,
        "phase_s": round(v.phase_s, 1),
        "partitions": {
            "open": v.lanes_open,
            "restoring": v.lanes_restoring,
            "leaderless": v.lanes_leaderless,
            "unfenced": v.lanes_unfenced,
        },
    }
    return web.Response(status=200 if health.ok else 503, body=orjson.dumps(body), content_type="application/json", headers=_HEADERS)
