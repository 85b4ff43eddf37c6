"""A hundred thousand damaged requests: each is accepted or rejected with a reason, none raises, and nothing of it is shown."""

from __future__ import annotations

import json
import random
from pathlib import Path

from effort import full

from processor.contract.decode import Accepted, Rejected, decode
from processor.contract.headers import hop_headers
from processor.contract.records import Headers, Hop, Record, Source
from processor.didit.calls import build_call
from processor.didit.catalog import OPERATIONS

COUNT = full(100_000)
SEEDS = (Path(__file__).parent.parent / "contract" / "fixtures" / "requests.v1.jsonl").read_bytes().splitlines()
PIECES = (
    *(b'"', b"\\", b"\\u0000", b"\\ud800", b"\\udc00", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"NaN", b"Infinity", b"-"),
    *(b"1e999", b"1" * 400, b"1e9" + b"9" * 30, b"0x1", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xa8"),
    *(b"\xef\xbb\xbf", b"\r\n", b" ", b"request_id", b"operation", b"input", b"session.create", b"../", b"%00", b"vp_request_id"),
    *(b'{"a":' * 40, b"[" * 50, b"1.0000000000000000000001"),
)
PLANTED = b"Zwetschgenweg"


def damaged(draw: random.Random) -> bytes:
    raw = bytearray(draw.choice(SEEDS).replace(b"Ann", PLANTED))
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        at = draw.randrange(len(raw) + 1)
        kind = draw.randrange(6)
        if kind == 0:
            raw[at:at] = draw.choice(PIECES)
        elif kind == 1:
            del raw[at : at + draw.randrange(1, 12)]
        elif kind == 2:
            raw[at : at + 1] = bytes([draw.randrange(256)])
        elif kind == 3:
            begin = draw.randrange(len(raw) + 1)
            raw[at:at] = raw[begin : begin + draw.randrange(60)]
        elif kind == 4:
            other = draw.choice(SEEDS)
            raw[at:] = other[draw.randrange(len(other)) :]
        else:
            raw[at : at + len(PIECES[0])] = draw.choice(PIECES)
    return bytes(raw)


def damaged_headers(draw: random.Random) -> Headers:
    if draw.random() < 0.6:
        return ()
    hop = Hop(Source("t", 1, 2), 3, hop=1, attempt=2, due_ms=4, last_error="x", session_id="11111111-2222-4333-8444-555555555555")
    headers = list(hop_headers(hop))
    for _ in range(draw.choice((0, 1, 2))):
        name, value = draw.choice(headers)
        change = draw.randrange(4)
        if change == 0:
            headers.append((name, value))
        elif change == 1:
            headers.append((name, draw.choice(PIECES)))
        elif change == 2:
            headers = [h for h in headers if h[0] != name]
        else:
            headers.append(("vp-" + draw.choice(PIECES).decode("latin-1"), None))
        if not headers:
            break
    return tuple(headers)


def test_a_hundred_thousand_damaged_requests() -> None:
    draw = random.Random(20_261_125)
    accepted = 0
    for number in range(COUNT):
        value = damaged(draw)
        found = decode(Record(Source("t", 0, number), b"key", value, damaged_headers(draw), 1_764_000_000_000))
        if isinstance(found, Rejected):
            assert found.error.code
            assert PLANTED.decode() not in found.error.message + (found.error.field or "")
            continue
        assert isinstance(found, Accepted)
        accepted += 1
        if found.request.operation in OPERATIONS:
            call = build_call(OPERATIONS[found.request.operation], found.request, found.hop)
            assert json.loads(call.body or b"null") is None or call.operation.method != "GET"
            assert not any(ord(char) < 32 or char == " " for char in call.path + call.reference + (call.idempotency_key or ""))
    assert COUNT // 100 < accepted < COUNT, "the damage must leave some whole"
