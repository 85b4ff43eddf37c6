"""Two applications in one process are told apart wherever a person or a script looks: metrics, probes, logs, page, commands."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import orjson
import pytest
from commands import run_command
from rig import WIDE_LIMITS, Rig, create_request, running
from test_integration_observe import check_form, scrape, total

from processor.client.topics import publish_requests
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import ProcessorProcess

pytestmark = pytest.mark.broker


async def test_two_applications_are_told_apart_wherever_somebody_looks(kafka: LocalKafka, tmp_path: Path) -> None:
    shop = {"shop": {"api_key": "sim-sandbox-key", "limits": WIDE_LIMITS}}
    async with running(kafka, tmp_path, partitions=1, APPLICATIONS=json.dumps(shop)) as rig:
        of_shop = rig.settings.for_application("shop")
        [one] = await rig.start("one")
        await asyncio.to_thread(one.wait_event, "partitions_assigned", count=2)
        await publish_requests(of_shop, [create_request(n) for n in range(3)] + [(b"bad", b"{}")])
        await publish_requests(rig.settings, [create_request(7)])
        await rig.until(lambda: total(scrape(one), "vp_results_total", application="shop") == 4, "results of shop")
        await rig.until(lambda: total(scrape(one), "vp_results_total", application="default") == 1, "the other result")
        _metrics_and_probes(one)
        _page(one)
        await _commands(rig)
        assigned = {event.get("application") for event in one.events("partitions_assigned")}
        assert assigned == {None, "shop"}, "the default one has no name in the log"


def _metrics_and_probes(one: ProcessorProcess) -> None:
    samples = scrape(one)
    check_form(one.get("/metrics")[1])
    assert total(samples, "vp_dead_letters_total", application="shop") == 1
    assert total(samples, "vp_dead_letters_total", application="default") == 0
    assert {total(samples, "vp_budget_joined", application=name) for name in ("default", "shop")} == {1}
    assert total(samples, "vp_calls_total", application="shop", scope="session-create") == 3
    assert total(samples, "vp_task_up", application="shop", task="lanes") == 1
    status, body = one.get("/readyz")
    seen = orjson.loads(body)
    assert (status, seen["ok"], {name: found["ok"] for name, found in seen["applications"].items()}) == (
        200,
        True,
        {"default": True, "shop": True},
    )


def _page(one: ProcessorProcess) -> None:
    status, index = one.get("/")
    assert (status, b'href="/app/shop/"' in index, b'href="/app/default/dead-letters"' in index) == (200, True, True)
    assert b"invalid_request" in one.get("/app/shop/dead-letters")[1]
    assert b"No dead letters" in one.get("/app/default/dead-letters")[1]


async def _commands(rig: Rig) -> None:
    told = await run_command(rig.environment, "status", "--json")
    found = orjson.loads(told.out)["applications"]
    assert {name: line["dead_letters"] for name, line in found.items()} == {"default": 0, "shop": 1}
    told = await run_command(rig.environment, "status")
    assert "processor status --application NAME" in told.text
    told = await run_command(rig.environment, "status", "--json", "--application", "shop")
    assert orjson.loads(told.out)["dead_letters"]["open"] == 1
    told = await run_command(rig.environment, "status", "--json", "--application", "default")
    assert orjson.loads(told.out)["dead_letters"]["open"] == 0
