"""Headers that tools of others look for, beside ours: CloudEvents on results, Spring's and Kafka Connect's on dead letters. Pure.

Sources: CloudEvents 1.0.2 and its Kafka Protocol Binding, binary content mode; ``KafkaHeaders`` and ``DeadLetterPublishingRecoverer`` of
Spring for Apache Kafka 3; ``DeadLetterQueueReporter`` of Kafka Connect. All texts are UTF-8. Of Spring's, partition is an int of 4 bytes,
offset and timestamp are longs of 8, all big-endian, as ``ByteBuffer`` writes them; Connect writes numbers as texts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from processor.contract.records import ErrorInfo, Headers, Hop

DeadLetterDialect = Literal["spring", "connect"]

COPIED_BYTES_MAX = 256  # of one header
_PRODUCT = "verification-processor"
_STAGE = "TASK_PUT"  # of Connect's ``Stage``: putting a record into the system outside


def copied_headers(headers: Headers, names: Collection[str]) -> Headers:
    """A caller's own headers that go with its request to every record that comes of it, e.g. ``correlation-id``.

    Of several with one name the first counts; one that is longer than ``COPIED_BYTES_MAX`` or has no value is left out.

    Args:
        headers: of the record.
        names: allow-listed, in any case.
    """
    found: dict[str, tuple[str, bytes]] = {}
    for name, raw in headers:
        if (low := name.lower()) in names and low not in found and raw is not None and len(raw) <= COPIED_BYTES_MAX:
            found[low] = (name, raw)
    return tuple(found.values())


def cloudevent_headers(document: Mapping[str, Any], source: str) -> Headers:
    """A result as a CloudEvent: its value stays as it is, and is the data.

    A copy of a result has the same ``ce_id`` and ``ce_source``: CloudEvents takes the two for one event, as readers of ours do.

    Args:
        document: the value of the record, ``schemas/result.v1.json``.
        source: ``ce_source``, a URI reference; empty for no headers at all.
    """
    if not source:
        return ()
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": document["result_id"],
        "ce_source": source,
        "ce_type": f"verification.result.{document['kind']}",
        "ce_time": document["finished_at"],
        "ce_dataschema": "urn:verification-processor:result.v1",
        "content-type": "application/json",
    }
    return tuple((name, str(text).encode()) for name, text in attributes.items())


def dead_letter_headers(hop: Hop, error: ErrorInfo, message: str, dialects: Collection[DeadLetterDialect]) -> Headers:
    """Where the caller's record stands, and why it cannot succeed, as Spring and Connect say it.

    What has no meaning here is left out: stack traces, the type of the timestamp, the id of a task.

    Args:
        hop: names the caller's own record, which waits in no delay topic.
        error: why.
        message: its text, in plain ASCII.
        dialects: whose names.
    """
    kind, told, first = f"verification.{error.type}".encode(), f"{error.code}: {message}".encode(), hop.first
    found: Headers = ()
    if "spring" in dialects:
        found += (
            ("kafka_dlt-original-topic", first.topic.encode()),
            ("kafka_dlt-original-partition", _integer(first.partition, 4)),
            ("kafka_dlt-original-offset", _integer(first.offset, 8)),
            ("kafka_dlt-original-timestamp", _integer(hop.first_ms, 8)),
            ("kafka_dlt-exception-fqcn", kind),
            ("kafka_dlt-exception-message", told),
        )
    if "connect" in dialects:
        texts = {"topic": first.topic, "partition": first.partition, "offset": first.offset, "connector.name": _PRODUCT, "stage": _STAGE}
        found += tuple((f"__connect.errors.{name}", str(text).encode()) for name, text in texts.items())
        found += (("__connect.errors.exception.class.name", kind), ("__connect.errors.exception.message", told))
    return found


def _integer(number: int, size_bytes: int) -> bytes:
    """As Java writes it; a number that a caller's header made up is cut to what fits."""
    return min(max(number, 0), (1 << (8 * size_bytes - 1)) - 1).to_bytes(size_bytes)
