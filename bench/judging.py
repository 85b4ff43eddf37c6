"""How long one hostile record of the largest size keeps the event loop, side by side with an honest request."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import orjson

from bench.harness import emit
from processor.contract.decode import VALUE_BYTES_MAX, decode
from processor.contract.records import Record, Source

HONEST = orjson.dumps(
    {"request_id": "r-1", "operation": "session.create", "input": {"workflow_id": "9f9b1234-0000-4000-8000-1234567890ab"}}
)


def _fill(head: bytes, unit: bytes, tail: bytes) -> bytes:
    return head + unit * ((VALUE_BYTES_MAX - len(head) - len(tail)) // len(unit)) + tail


HOSTILE: dict[str, Callable[[], bytes]] = {
    "small objects": lambda: _fill(b'{"a":[{}', b',{"b":1}', b"]}"),
    "a key twice in the last of them": lambda: _fill(b'{"a":[{}', b',{"b":1}', b',{"b":1,"b":1}]}'),
    "one key again and again": lambda: _fill(b'{"a":1', b',"a":1', b"}"),
    "exponents": lambda: _fill(b'{"a":[1', b",1e300", b"]}"),
    "longest numbers": lambda: _fill(b'{"a":[1', b"," + b"9" * 999, b"]}"),
    "long fractions": lambda: _fill(b'{"a":[1', b",0." + b"1" * 990, b"]}"),
    "digits in a string": lambda: _fill(b'{"a":"', b"1", b'"}'),
    "open brackets": lambda: b"[" * VALUE_BYTES_MAX,
    "brackets in strings": lambda: _fill(b'{"a":["x"', b',"[{"', b"]}"),
    "quotes": lambda: _fill(b'{"a":"', b'\\"', b'"}'),
    "escapes": lambda: _fill(b'{"a":"', b"\\ud83d\\ude00", b'"}'),
    "half a surrogate at the end": lambda: _fill(b'{"a":["x"', b',"\\u0041\\u0041\\u0041\\u0041"', b',"\\ud800"]}'),
    "one long text": lambda: _fill(b'{"request_id":"r","operation":"session.create","input":{"vendor_data":"', b"x", b'"}}'),
}


def cpu_ms(body: bytes, tries: int) -> float:
    """The least of so many tries."""
    record = Record(Source("bench", 0, 0), b"k", body)
    spent = []
    for _ in range(tries):
        began = time.process_time()
        decode(record)
        spent.append(time.process_time() - began)
    return 1000 * min(spent)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tries", type=int, default=5)
    tries = parser.parse_args().tries
    cpu_ms(HONEST, 100)  # schemas are compiled at their first use
    honest = cpu_ms(HONEST, 1000)
    found = {name: round(cpu_ms(make(), tries), 2) for name, make in HOSTILE.items()}
    emit({"honest_ms": round(honest, 4), **found, "worst_ms": max(found.values())})


if __name__ == "__main__":
    main()
