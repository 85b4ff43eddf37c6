"""A tenant with a flood and tenants with a few requests, on fleets in virtual time: the few do not wait behind it, wherever it lies."""

from __future__ import annotations

import asyncio
import zlib

import pytest
from memory_fleet import PARTITIONS, Fleet
from virtual_time import run_virtual

WINDOW_S = 60.0
KEYS = {zlib.crc32(key) % PARTITIONS: key.decode() for key in (b"k%d" % n for n in range(50))}  # by partition
SMALL = [f"small-{n}" for n in range(10)]


async def flood(replicas: int, count: int, *, one_partition: bool, name: str | None = "flood") -> tuple[list[float], Fleet]:
    """When the results of ten tenants with a request each came, seconds after their publication behind a flood of another tenant."""
    fleet, loop = Fleet(replicas), asyncio.get_running_loop()
    await fleet.start()
    try:
        key = KEYS[0] if one_partition else ""
        for tenant in SMALL[:1]:  # tenants are named here; else nobody would know of any before the flood is read
            fleet.request("first", "aml", tenant=tenant)
        async with asyncio.timeout(600):
            await fleet.topics.done.wait()
            for number in range(count):
                fleet.request(f"flood-{number}", "aml", key=key, **({} if name is None else {"tenant": name}))
            for tenant in SMALL:
                fleet.request(tenant, "aml", key=key, tenant=tenant)
            began = loop.time()
            while not fleet.topics.finals.keys() >= set(SMALL):
                await asyncio.sleep(0.5)
        return [fleet.topics.finals[tenant] - began for tenant in SMALL], fleet
    finally:
        await fleet.stop()


@pytest.mark.parametrize(("replicas", "one_partition"), [(1, True), (1, False), (2, False), (4, False), (4, True)])
def test_ten_requests_leave_within_a_window_behind_the_flood_of_another_tenant(replicas: int, one_partition: bool) -> None:
    waited_s, fleet = run_virtual(flood(replicas, 600, one_partition=one_partition))
    assert max(waited_s) < WINDOW_S / 2, waited_s
    assert not fleet.topics.sent_away.keys() & set(SMALL), "the flood is sent away, not they"
    assert max(fleet.topics.sent_away.values()) == 1


def test_a_flood_that_names_no_tenant_is_one_tenant() -> None:
    waited_s, _ = run_virtual(flood(1, 600, one_partition=True, name=None))
    assert max(waited_s) < WINDOW_S / 2, waited_s
