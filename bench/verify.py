"""What the audit of very many records holds in memory and on disk, and what it costs.

Without Kafka: synthetic records, real judge. With ``--kafka``: the command itself, on the topics of a real broker (``audited_topics``).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import orjson

from bench.audited_topics import PER_S, Installation, fill
from bench.harness import WORKFLOW_ID, emit
from processor.contract.records import Record, Source, result_id
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import processor_environment, settings_of
from processor.stream.offsets import Finished
from processor.stream.topics import TopicNames, topic_names
from processor.verify.bills import Bills
from processor.verify.findings import Findings
from processor.verify.intake import Intake
from processor.verify.judge import JudgingRules, RequestJudge
from processor.verify.spill import FactSpill

NAMES = TopicNames("bench", (5, 60), "bench.budget")
BEGAN_MS = 1_800_000_000_000
LOST_EVERY = 100_003  # requests, so that the judge has something to find


def records(requests: int) -> Iterator[Record]:
    """All requests, then all results: what belongs together lies as far apart as it can."""
    for n in range(requests):
        value = (
            f'{{"request_id":"b-{n:09d}","operation":"session.create","input":{{"workflow_id":"{WORKFLOW_ID}","vendor_data":"user-{n}"}}}}'
        )
        yield Record(Source(NAMES.requests, 0, n), b"k", value.encode(), (), BEGAN_MS + n)
    for n in range(requests):
        if n % LOST_EVERY == LOST_EVERY - 1:
            continue
        key = f"b-{n:09d}"
        value = (
            f'{{"result_id":"{result_id(key, "final")}","request_id":"{key}","operation":"session.create","kind":"final",'
            f'"status":"succeeded","output":null,"error":null,"attempts":1,'
            f'"source":{{"topic":"{NAMES.requests}","partition":0,"offset":{n}}}}}'
        )
        yield Record(Source(NAMES.results, 0, n), key.encode(), value.encode(), (), BEGAN_MS + requests + n)


def run(requests: int) -> dict[str, float]:
    began = time.process_time()
    intake, findings = Intake(NAMES, Bills()), Findings()
    now_ms = BEGAN_MS + 10 * requests
    with FactSpill(2 * requests) as spill:
        for record in records(requests):
            spill.add(intake.take(record))
        read_s = time.process_time() - began
        done = {(0, 0): Finished(requests)}
        letters, ranges = intake.number_of(NAMES.dead_letters), {(0, 0): (0, requests)}
        rules = JudgingRules(now_ms, 0, 0, 0, 3_600_000, 40_000, 500, now_ms, intake.topics, letters, ranges, done, done)
        judge = RequestJudge(rules, findings)
        for facts in spill.read():
            judge.take(facts)
        size_bytes, parts = spill.size_bytes, spill.parts
    lost = requests // LOST_EVERY
    if (findings.total, judge.figures.requests) != (2 * lost, requests):  # each is missing, and its commit is wrong
        raise RuntimeError(f"{findings.counts}, {judge.figures.requests} requests")
    return {
        "requests": requests,
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "disk_mb": round(size_bytes / 1e6, 1),
        "files": parts,
        "read_us_per_record": round(1e6 * read_s / (2 * requests), 1),
        "judge_us_per_record": round(1e6 * (time.process_time() - began - read_s) / (2 * requests), 1),
        "lost_and_found": lost,
    }


def run_on_kafka(bootstrap: str, requests: int) -> dict[str, float]:
    """Fill topics, and audit them as a user would."""
    prefix = f"audited-{uuid.uuid4().hex[:8]}"
    limits = {scope: {"limit": 60 * 2 * PER_S, "window_s": 60} for scope in ("session-create", "generic-write")}
    environment = processor_environment(bootstrap, "http://127.0.0.1:1", prefix, BUDGET__LIMITS=json.dumps(limits))
    settings = settings_of(environment)
    began_ms = int(1000 * (time.time() - 3600 - requests / PER_S))
    began = time.monotonic()
    installation = Installation(bootstrap, topic_names(settings), settings.kafka.group, requests, began_ms)
    records = fill(installation)
    filled_s, began = time.monotonic() - began, time.monotonic()
    command = [sys.executable, "-m", "processor", "verify", "--json"]
    child = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE)
    assert child.stdout is not None
    told = child.stdout.read()
    _, _, use = os.wait4(child.pid, 0)
    took_s = time.monotonic() - began
    report = orjson.loads(told)
    counts, figures = {kind: count for kind, count in report["counts"].items() if count}, report["figures"]
    # a request without a result is missing, and its commit is wrong
    expected = {"missing_result": installation.lost, "offset_beyond_work": installation.lost} if installation.lost else {}
    if (counts, figures["requests"]) != (expected, requests):
        raise RuntimeError(f"{counts}, {figures}, not {expected}")
    return {
        "requests": requests,
        "records": records,
        "rss_mb": round(use.ru_maxrss / 1024, 1),
        "disk_mb": round(figures["spilled_bytes"] / 1e6, 1),
        "filled_s": round(filled_s, 1),
        "took_s": round(took_s, 1),
        "cpu_s": round(use.ru_utime + use.ru_stime, 1),
        "cpu_us_per_record": round(1e6 * (use.ru_utime + use.ru_stime) / records, 1),
        "lost_and_found": installation.lost,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, nargs="+", default=[50_000, 200_000, 1_000_000])
    parser.add_argument("--kafka", action="store_true", help="topics of a real broker, with about four records for each request")
    args = parser.parse_args()
    if args.kafka:
        with LocalKafka() as kafka:
            emit({"runs": [run_on_kafka(kafka.bootstrap, requests) for requests in args.requests]})
        return
    emit({"runs": [run(requests) for requests in args.requests]})  # ascending: the memory is the most so far


if __name__ == "__main__":
    main()
