"""Metrics and health of real processes: they agree with the topics and the ledger, and are honest when things go wrong."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rig import Rig, create_request, running

from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import FleetError, ProcessorProcess

pytestmark = pytest.mark.broker


def scrape(*replicas: ProcessorProcess) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Samples by name and labels, summed over replicas."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for replica in replicas:
        status, body = replica.get("/metrics")
        assert status == 200
        for family in text_string_to_metric_families(body.decode()):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                found[key] = found.get(key, 0.0) + sample.value
    return found


def total(samples: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return sum(value for (n, have), value in samples.items() if n == name and frozenset(labels.items()) <= have)


def check_form(body: bytes) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        assert "CI" not in os.environ, "promtool is needed in CI"
        pytest.skip("promtool is not here: all but the form of the exposition was checked (`make deploy-check` installs it)")
    done = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def ready(replica: ProcessorProcess) -> dict[str, Any]:
    status, body = replica.get("/readyz")
    found: dict[str, Any] = orjson.loads(body)
    assert (status == 200) == found["ok"]
    return found


async def until_ready(rig: Rig, *replicas: ProcessorProcess) -> None:
    await rig.until(lambda: all(ready(r)["ok"] for r in replicas), "readiness")


async def test_metrics_agree_with_topics_and_ledger(kafka: LocalKafka, tmp_path: Path) -> None:
    faults = ("--faults", '{"rates": {"error_503": 0.1}}')
    async with running(kafka, tmp_path, simulator_options=faults) as rig:
        replicas = await rig.start("one", "two")
        requests = [create_request(n) for n in range(200)] + [(b"k", b"no json"), (b"k", b"{}")]
        await rig.publish(requests)
        await rig.wait_finals(201)
        await rig.until(lambda: total(scrape(*replicas), "vp_results_total") == 202, "202 results")
        await rig.until(lambda: total(scrape(*replicas), "vp_lag_records") == 0, "no lag, with the markers skipped")
        samples = scrape(*replicas)
        await rig.read_rest()
        statuses = Counter(result["status"] for result in rig.finals)
        assert statuses["rejected"] == 2
        for status, count in statuses.items():
            assert total(samples, "vp_results_total", status=status) == count, status
        assert total(samples, "vp_dead_letters_total", reason="invalid_request") == len(await rig.records("dead-letters")) == 2
        assert total(samples, "vp_retries_total", reason="http_5xx", counted="yes") == len(rig.watch.seen.retries) > 0
        ledger = rig.simulator.ledger()
        counted = [call for call in ledger["calls"] if "session-create" in call["scopes"]]
        assert total(samples, "vp_calls_total", scope="session-create") == len(counted)
        assert total(samples, "vp_answers_total", operation="session.create", verdict="success") == 200
        assert total(samples, "vp_budget_over_limit_total") == 0
        assert total(samples, "vp_attempts_count") == 202
        check_form(replicas[0].get("/metrics")[1])


async def test_the_number_of_series_does_not_depend_on_the_input(kafka: LocalKafka, tmp_path: Path) -> None:  # S09
    async with running(kafka, tmp_path) as rig:
        (one,) = await rig.start("one")
        await rig.publish([create_request(0), (b"k", b"no json")])
        await rig.wait_finals(2)
        before = len(scrape(one))
        odd = [orjson.dumps({"request_id": f"odd-{n}", "operation": f"operation-{n}", "input": {f"field-{n}": n}}) for n in range(200)]
        wrong = [orjson.dumps({"request_id": f"w-{n}", "operation": "aml", "input": {f"field-{n}": n}, f"x{n}": 1}) for n in range(200)]
        many = [create_request(n, priority=("urgent", "bulk")[n % 2]) for n in range(1, 201)]
        await rig.publish([*many, *((None, value) for value in [*odd, *wrong])])
        await rig.wait_finals(602)
        assert len(scrape(one)) - before < 50, "two hundred of each kind"


async def test_health_is_honest_and_liveness_is_calm(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, OBSERVE__STALL_S="2") as rig:
        (one,) = await rig.start("one")
        await until_ready(rig, one)
        assert one.get("/livez")[0] == one.get("/startupz")[0] == 200
        # another member: the partitions move, and both end up ready
        (two,) = await rig.start("two")
        await until_ready(rig, one, two)
        assert ready(one)["partitions"]["open"] + ready(two)["partitions"]["open"] == 4 + 3 * 2
        two.child.kill()
        # a frozen process cannot answer, and one that has thawed is alive again
        one.child.freeze()
        with pytest.raises((TimeoutError, OSError)):
            await asyncio.to_thread(_quickly, one)
        one.child.thaw()
        await rig.until(lambda: one.get("/livez")[0] == 200, "liveness after the thaw")
        await until_ready(rig, one)


def _quickly(replica: ProcessorProcess) -> None:
    import socket  # noqa: PLC0415 - for this test alone

    port = [event["port"] for event in replica.events("observe_listening")][-1]
    with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
        link.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        link.recv(10)


async def test_a_start_without_kafka_waits_says_so_and_can_be_stopped(tmp_path: Path) -> None:
    from processor.devkit.processes import processor_environment  # noqa: PLC0415

    environment = processor_environment("127.0.0.1:1", "http://127.0.0.1:2", "none")
    one = ProcessorProcess("one", environment, tmp_path)
    one.start()
    try:
        await asyncio.to_thread(one.wait_event, "kafka_unreachable")
        assert one.get("/livez")[0] == one.get("/startupz")[0] == 200
        found = ready(one)
        assert found["phase"] == "waiting_for_kafka"
        assert "127.0.0.1:1" in found["reasons"][0]
    finally:
        await asyncio.to_thread(one.child.stop, 20.0)
    assert one.child.exit_status == 0, "it ended by itself before it was killed"


async def test_brokers_that_hang_kill_nobody_and_hold_up_no_stop(own_kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(own_kafka, tmp_path) as rig:
        (one,) = await rig.start("one")
        await until_ready(rig, one)
        await rig.publish([create_request(n) for n in range(100)])
        await rig.wait_finals(20)
        (broker,) = own_kafka.brokers
        broker.freeze()  # connections stay, nothing answers
        try:
            await rig.until(lambda: not ready(one)["ok"], "unreadiness")
            assert one.get("/livez")[0] == 200
            reasons = " ".join(ready(one)["reasons"])  # whichever of the clients notices first
            assert any(part in reasons for part in ("the budget log", "Kafka", "partitions")), reasons
            one.child.terminate()
            assert await asyncio.to_thread(one.child.wait, 2 * rig.settings.lanes.shutdown_s) in {0, 3}  # at its limit it ends itself
        finally:
            broker.thaw()
        one.start()
        await rig.wait_finals(100)
        judged = await rig.judge([f"r-{n:06d}" for n in range(100)])
        assert judged.ok, judged


async def test_two_processes_with_one_instance_id(kafka: LocalKafka, tmp_path: Path) -> None:  # S01
    async with running(kafka, tmp_path) as rig:
        (first,) = await rig.start("one")
        await until_ready(rig, first)
        second = rig.processor("two", KAFKA__INSTANCE_ID="one")
        second.start()
        await asyncio.to_thread(second.wait_event, "instance_id_taken")
        assert ready(second)["phase"] == "standing_by"
        assert second.get("/livez")[0] == 200
        await until_ready(rig, first)
        await rig.publish([create_request(n) for n in range(50)])
        await rig.wait_finals(50)
        rebalances = total(scrape(first), "vp_rebalances_total")
        await rig.publish([create_request(n) for n in range(50, 60)])
        await rig.wait_finals(60)
        assert total(scrape(first), "vp_rebalances_total") == rebalances < 4, "no storm"
        await asyncio.to_thread(first.child.stop, 20.0)
        await asyncio.to_thread(second.wait_event, "instance_id_free")
        await rig.publish([create_request(n) for n in range(60, 80)])
        await rig.wait_finals(80)
        judged = await rig.judge([f"r-{n:06d}" for n in range(80)])
        assert judged.ok, judged


async def test_two_processes_with_one_instance_id_that_start_together(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        both = [rig.processor(name, KAFKA__INSTANCE_ID="one") for name in ("left", "right")]
        for process in both:
            process.start()
        await rig.until(lambda: any(list(p.events("instance_id_taken")) for p in both), "one of them to stand by")
        await rig.publish([create_request(n) for n in range(20)])
        await rig.wait_finals(20)
        assert sum(bool(list(p.events("instance_id_taken"))) for p in both) == 1


async def test_a_port_that_is_taken_refuses_the_start(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        (one,) = await rig.start("one")
        (event,) = one.events("observe_listening")
        other = rig.processor("two", OBSERVE__PORT=str(event["port"]))
        other.start()
        await asyncio.to_thread(other.wait_event, "observe_cannot_listen")
        await rig.until(lambda: not other.child.alive, "the end of the second")
        assert other.child.exit_status == 2
        assert re.search("VP_OBSERVE__PORT", other.log_path.read_text())
        with pytest.raises(FleetError):
            other.get("/livez")
