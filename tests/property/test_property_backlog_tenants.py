"""A tenant with a flood and tenants with a few requests, on fleets in virtual time: the few do not wait behind it, wherever it lies."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from memory_fleet import PARTITIONS, Fleet
from virtual_time import run_virtual

WINDOW_S = 60.0
# Shares are counted on a tenth of the defaults: lines of 10, and 30 calls in 6 s.
BUDGET = {"queue_max": 10, "limits": {"generic-write": {"limit": 30, "window_s": 6.0}}}
COUNTED_S, CALLS = 24.0, 120
KEYS = {zlib.crc32(key) % PARTITIONS: key.decode() for key in (b"k%d" % n for n in range(50))}  # by partition
SMALL = [f"small-{n}" for n in range(10)]


async def flood(
    replicas: int, count: int, *, one_partition: bool, name: str | None = "flood", **groups: Mapping[str, Any]
) -> tuple[list[float], Fleet]:
    """When the results of ten tenants with a request each came, seconds after their publication behind a flood of another tenant."""
    fleet, loop = Fleet(replicas, **groups), asyncio.get_running_loop()
    await fleet.start()
    try:
        key = KEYS[0] if one_partition else ""
        for tenant in SMALL[:1]:  # tenants are named here; else nobody would know of any before the flood is read
            fleet.request("first", "aml", tenant=tenant)
        async with asyncio.timeout(600):
            await fleet.topics.done.wait()
            for number in range(count):
                fleet.request(f"flood-{number}", "aml", key=key, **({} if name is None else {"tenant": name}))
                if number % 20 == 0:
                    await asyncio.sleep(0.001)  # no two are of the same age for long
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


def test_those_behind_a_flood_that_is_longer_than_a_lane_reads_ahead_leave_within_a_window_too() -> None:
    """Some of the flood stand in the line from its beginning, and wait for a turn as long as older ones of it go before."""
    waited_s, fleet = run_virtual(flood(1, 3000, one_partition=True, lanes={"work_max": 120, "ahead_max": 300}))
    assert max(waited_s) < WINDOW_S / 2, waited_s
    assert not fleet.topics.sent_away.keys() & set(SMALL)
    assert max(fleet.topics.sent_away.values()) == 1


def test_a_flood_that_names_no_tenant_is_one_tenant() -> None:
    waited_s, _ = run_virtual(flood(1, 600, one_partition=True, name=None))
    assert max(waited_s) < WINDOW_S / 2, waited_s


async def shares(where: dict[str, tuple[int, ...]], each: int, weights: dict[str, float]) -> Counter[str]:
    """Calls by tenant, from 15 s after all are published on; ``where``: partitions of each tenant's requests."""
    fleet, loop = Fleet(4, budget=BUDGET | {"tenant_weights": weights}), asyncio.get_running_loop()
    await fleet.start()
    try:
        for tenant, partitions in where.items():
            for number in range(each):
                for partition in partitions:
                    fleet.request(f"{tenant}-{partition}-{number}", "aml", key=KEYS[partition], tenant=tenant)
        began = loop.time()
        await asyncio.sleep(15 + COUNTED_S)
        ended = [name for name, at in fleet.topics.finals.items() if at - began >= 15]
        return Counter(name.split("-")[0] for name in ended)
    finally:
        await fleet.stop()


@pytest.mark.parametrize(
    ("where", "each", "weights"),
    [
        ({"flood": (0, 1, 2)} | {f"t{n}": (3,) for n in range(10)}, 40, {}),
        ({"flood": (0, 1, 2, 3), "t0": (3,)}, 160, {"t0": 3.0}),
    ],
)
def test_tenants_have_their_shares_over_all_replicas(where: dict[str, tuple[int, ...]], each: int, weights: dict[str, float]) -> None:
    called = run_virtual(shares(where, each, weights))
    assert called.total() >= 0.93 * CALLS, "the budget is in use: a call counts for a window, its answer and the slack"
    for tenant in where:
        part = weights.get(tenant, 1.0) / sum(weights.get(name, 1.0) for name in where)
        # asks that stand in the log already and the age of what replicas say cost some of it; without it the flood has 75 and 77 %
        assert abs(called[tenant] / called.total() - part) < 0.12, called
