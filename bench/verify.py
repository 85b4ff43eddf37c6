"""What the audit of very many records holds in memory and on disk, and what it costs; without Kafka: synthetic records, real judge."""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator

from bench.harness import WORKFLOW_ID, emit
from processor.contract.records import Record, Source, result_id
from processor.stream.offsets import Finished
from processor.stream.topics import TopicNames
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
        judge = RequestJudge(
            JudgingRules(now_ms, 0, 0, 0, 3_600_000, 40_000, 500, now_ms, intake.topics, {(0, 0): (0, requests)}, done, done), findings
        )
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, nargs="+", default=[50_000, 200_000, 1_000_000])
    args = parser.parse_args()
    emit({"runs": [run(requests) for requests in args.requests]})  # ascending: the memory is the most so far


if __name__ == "__main__":
    main()
