"""Receivers of webhooks in a world: `processor webhooks` on hosts of their own, behind a load balancer that the simulated API sends to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from processor.simulator.config import Behaviour, WebhookOptions
from processor.webhooks import service
from processor.webhooks.secrets import SecretSource
from simulation.kafka.partition_log import PartitionLog
from simulation.loop import Host
from simulation.observed import CommittedReader

if TYPE_CHECKING:
    from simulation.world import World

PORT = 8081
SECRET = "whsec-planted-in-the-simulation"
SETTINGS: dict[str, Any] = {"host": "0.0.0.0", "port": PORT, "secrets": [SECRET]}  # noqa: S104 - of a simulated host
_OUTCOMES = {"Approved": 4.0, "Declined": 2.0, "In Review > Approved": 1.0, "Abandoned": 0.5, "Expired": 0.5}

Told = tuple[str | None, str | None, str | None]  # session, type, status


async def receive(world: World, host: Host) -> int:
    """A receiver's process, until it ends; its exit status."""
    settings = world.settings(host.name)
    return await service._run_until_signal(settings, SecretSource(settings.webhooks))  # noqa: SLF001 - run() is this in a loop of its own


def users_of(world: World) -> tuple[Behaviour, WebhookOptions]:
    """What people do with the links that they get, and how their verdicts are told; nobody does anything where nobody is told."""
    if not world.plan.receivers:
        return Behaviour(), WebhookOptions()
    options = WebhookOptions(
        url=f"http://127.0.0.1:{PORT}{world.settings('operator').webhooks.path}", secret=SECRET,
        retry_s=(3.0, 12.0), lost=0.05, doubled=0.1, jitter_s=2.0,
    )  # fmt: skip
    return Behaviour(after_s=8.0, odds=_OUTCOMES), options


def events_of(logs: list[PartitionLog]) -> frozenset[Told]:
    """What the events topic tells."""
    found = [orjson.loads(r.value or b"{}") for log in logs for r in CommittedReader(log).read()]
    return frozenset((event.get("session_id"), event.get("webhook_type"), event.get("status")) for event in found)


def acknowledged_by(ledger: dict[str, Any]) -> frozenset[Told]:
    """What some receiver has acknowledged to the simulated API."""
    taken = [attempt for attempt in ledger["webhooks"] if attempt["answer"] == 200]
    return frozenset((attempt["session_id"], attempt["webhook_type"], attempt["status"]) for attempt in taken)
