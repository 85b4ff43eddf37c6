"""The monitoring port: metrics for Prometheus, health for Kubernetes. The operators' page is added to the same application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from processor.observe.health import HealthReport, Vitals, all_live, any_works, live, ready, started
from processor.observe.metrics import REGISTRY

_Judge = Callable[[Vitals], HealthReport]
_Joint = Callable[[Mapping[str, HealthReport]], HealthReport]
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def build_app(vitals: Callable[[], Mapping[str, Vitals]], refresh: Callable[[], None]) -> web.Application:
    """``GET /livez /readyz /startupz /metrics``.

    Args:
        vitals: gives what the process knows of each of its applications now.
        refresh: sets the gauges, before each scrape.
    """
    app = web.Application()

    def probe(judge: _Judge, joined: _Joint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_: web.Request) -> web.StreamResponse:
            seen = vitals()
            reports = {name: judge(v) for name, v in seen.items()}
            return _answer(joined(reports), reports, seen)

        return answer

    async def scrape(_: web.Request) -> web.StreamResponse:
        refresh()
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST, **_HEADERS})

    for path, judge, joined in (("/livez", live, all_live), ("/readyz", ready, any_works), ("/startupz", started, any_works)):
        app.router.add_get(path, probe(judge, joined))
    app.router.add_get("/metrics", scrape)
    return app


def _answer(health: HealthReport, reports: Mapping[str, HealthReport], seen: Mapping[str, Vitals]) -> web.Response:
    if len(seen) == 1:
        body = _body(health, next(iter(seen.values())))
    else:
        applications = {name: _body(report, seen[name]) for name, report in reports.items()}
        body = {"ok": health.ok, "reasons": health.reasons, "notes": health.notes, "applications": applications}
    return web.Response(status=200 if health.ok else 503, body=orjson.dumps(body), content_type="application/json", headers=_HEADERS)


def _body(health: HealthReport, v: Vitals) -> dict[str, Any]:
    return {
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
            "refused": v.lanes_refused,
        },
    }
