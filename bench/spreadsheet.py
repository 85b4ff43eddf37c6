"""What `processor batch` holds in memory for a spreadsheet: reading it, and writing the table of results. No Kafka."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

from processor.client.batch import read_batch, write_answers
from processor.contract.encode import result_output
from processor.contract.records import Result, Source, Status

OUTPUT = {"request_id": "0" * 36, "aml": {"status": "Approved", "total_hits": 0, "hits": [], "warnings": []}}


def peak_mb() -> float:
    """Of this process, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_people(path: Path, rows: int) -> None:
    """A sheet of people, as a spreadsheet writes it."""
    with path.open("w", encoding="utf-8-sig") as file:
        file.write("input.full_name;input.date_of_birth;input.nationality;input.vendor_data\n")
        file.writelines(f"Ann Example Number{n};1990-05-{1 + n % 28:02};ES;user-{n}\n" for n in range(rows))


def main() -> None:
    """Print one line of figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=300_000)
    rows = parser.parse_args().rows
    before_mb, began = peak_mb(), time.process_time()
    with tempfile.TemporaryDirectory() as name:
        source, results, table = (Path(name) / each for each in ("people.csv", "results.jsonl", "people.done.csv"))
        write_people(source, rows)
        read = read_batch(source, "aml")
        read_mb, read_s = peak_mb(), time.process_time() - began
        with results.open("wb") as file:
            for item in read:
                result = Result(item.request_id, "aml", Status.SUCCEEDED, Source("v.requests", 0, 1), 1, 0, 0, output=OUTPUT)
                file.write((result_output(result).value or b"") + b"\n")
        write_answers(read, results, table)
        size_mb = table.stat().st_size / 1e6
    written_s = time.process_time() - began
    sys.stdout.write(
        f'{{"rows": {rows}, "imports_mb": {before_mb:.0f}, "read_mb": {read_mb:.0f}, "written_mb": {peak_mb():.0f}, '
        f'"read_cpu_s": {read_s:.1f}, "all_cpu_s": {written_s:.1f}, "table_mb": {size_mb:.1f}}}\n'
    )


if __name__ == "__main__":
    main()
