"""Transactions and monitoring events (Didit, "Transactions", "Monitoring events"; scope: "Rate limiting")."""

from __future__ import annotations

from types import MappingProxyType

from processor.didit.operation import Idempotency, Operation

_INGEST = ("ingest-write",)  # instead of generic-write
_UUID = MappingProxyType({"uuid": str, "status": str})

TRANSACTIONS = (
    Operation(
        "transaction.create",
        "POST",
        "/v3/transactions/",
        _INGEST,
        Idempotency.RECONCILABLE,  # by transaction_id, which Didit takes once
        success_statuses=frozenset({200, 201}),
        required_output=_UUID,
    ),
    Operation("transaction.get", "GET", "/v3/transactions/{transaction_uuid}/", ("generic-get",), Idempotency.SAFE, required_output=_UUID),
    Operation(
        "transaction.list",
        "GET",
        "/v3/transactions/",
        ("generic-get",),
        Idempotency.SAFE,
        required_output=MappingProxyType({"results": list}),
        query=("limit", "offset"),
    ),
    Operation(
        "event.create",
        "POST",
        "/v3/events/",
        _INGEST,
        Idempotency.SAFE,  # event_id: a second time it is answered from the first
        success_statuses=frozenset({200, 201}),
        required_output=MappingProxyType({"event_uuid": str}),
    ),
    Operation(
        "event.create_batch",
        "POST",
        "/v3/events/batch/",
        _INGEST,
        Idempotency.SAFE,  # the same for each event
        success_statuses=frozenset({201, 207}),  # 207: some of them are rejected
        required_output=MappingProxyType({"results": list}),
    ),
)
