"""Dead letters written directly to the topic, and the command line as a person uses it. For tests of repairs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer
from commands import Told, run_command
from rig import Rig

from processor.contract.codes import ErrorType, http_code
from processor.contract.encode import dead_letter_output
from processor.contract.records import ErrorInfo, Hop, Output, Record, Source
from processor.repair.dead_letter import dead_letter_of
from processor.repair.model import DeadLetter
from processor.stream.topics import topic_names

NOW = 1_764_000_000_000
CREATE = {"workflow_id": "9f9b1234-0000-4000-8000-1234567890ab"}
MAIL = {"email": "a@example.org"}
DOUBT = ErrorInfo(ErrorType.IN_DOUBT, http_code(500), "look in the console", 500)
EXHAUSTED = ErrorInfo(ErrorType.EXHAUSTED, http_code(503), "every attempt failed", 503)


def dead_letter(
    prefix: str,
    number: int,
    *,
    operation: str = "aml",
    given: Mapping[str, Any] | None = None,
    error: ErrorInfo = EXHAUSTED,
    failed_ms: int | None = None,
    **hop: Any,
) -> Output:
    """One that a processor would have written; ``hop`` as of ``Hop``."""
    body = {"request_id": f"dead-{number:05d}", "operation": operation, "input": dict(given or {"full_name": f"Ann {number}"})}
    first = Source(f"{prefix}.requests", 0, 1_000_000 + number)
    record = Record(first, f"key-{number % 97}".encode(), orjson.dumps(body))
    now_ms = int(time.time() * 1000)
    kept = Hop(first, now_ms - 60_000, **{"hop": 5, "attempt": 5, "last_error": error.code, **hop})
    failed_ms, attempts = failed_ms or now_ms - 30_000 + number, kept.attempt + 1
    return dead_letter_output(record, kept, error, attempts=attempts, failed_ms=failed_ms, value_bytes_max=1_000_000)


def letter(number: int = 0, *, offset: int | None = None, **more: Any) -> DeadLetter:
    """One as it is read back, at 2:<offset>; ``more`` as of ``dead_letter``."""
    output = dead_letter("v", number, failed_ms=more.pop("failed_ms", NOW - 1000 + number), **more)
    at = number if offset is None else offset
    return dead_letter_of(Record(Source("v.dead-letters", 2, at), output.key, output.value, output.headers, NOW))


def mail(number: int = 0, **more: Any) -> DeadLetter:
    return letter(number, operation="email.send", given=MAIL, **more)


def create(number: int = 0, **more: Any) -> DeadLetter:
    return letter(number, operation="session.create", given=CREATE, **more)


async def write_dead_letters(rig: Rig, dead_letters: Sequence[Output]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=rig.bootstrap, linger_ms=5)
    await producer.start()
    try:
        sent = [await producer.send(f"{rig.prefix}.dead-letters", o.value, o.key, headers=list(o.headers)) for o in dead_letters]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def cli(rig: Rig, *arguments: str) -> Told:
    """A command against this set-up."""
    return await run_command(rig.environment, *arguments)


async def delayed_records(rig: Rig) -> list[Record]:
    """Everything in the delay topics."""
    delays = [topic.removeprefix(f"{rig.prefix}.") for topic in topic_names(rig.settings).inputs[1:]]
    return [record for topic in delays for record in await rig.records(topic)]


def headers_of(record: Record) -> dict[str, str]:
    return {name: (raw or b"").decode() for name, raw in record.headers}
