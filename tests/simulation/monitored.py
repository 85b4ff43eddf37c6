"""What monitoring says of a world at its end, where it is not what it should be: `processor status`, and each replica's own port."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from processor.monitoring.diagnosis import Area, FindingKind, Tone, diagnose
from processor.monitoring.factories import monitor_for_command
from processor.settings import Settings
from simulation.loop import State

if TYPE_CHECKING:
    from simulation.world import World

_PORT = 8070  # VP_OBSERVE__PORT
_LOOK_S = 60.0
_SETTLED_S, _LOOK_AGAIN_S = 120.0, 3.0  # partitions that were added may have no owner for a minute (`ownerless.py`), and be taken over then
_SAMPLE = re.compile(rb"^(vp_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LENGTH = re.compile(rb"(?i)content-length: (\d+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_BY_STAMPS = "vp_budget_over_limit_total"  # when calls were is told by the brokers' clocks
# what nothing of is left when every request has its final result; by metric, the values of its label ``state`` that are left out
_NOTHING_LEFT = {
    "vp_lanes": ("open",),
    "vp_lane_records": (),
    "vp_lane_bytes": (),
    "vp_lag_records": (),
    "vp_delayed_records": (),
    "vp_permits_waiting": (),
    "vp_partition_blocked_seconds": (),
    _BY_STAMPS: (),
    "vp_budget_malformed_records_total": (),
}
Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]  # by metric, by labels


def samples_of(text: bytes) -> Samples:
    """Counters and gauges of ours, as a scrape tells them."""
    found: Samples = {}
    for name, labels, value in _SAMPLE.findall(text):
        key = tuple(_LABEL.findall(labels.decode()))
        found.setdefault(name.decode(), {})[key] = float(value)
    return found


def left_of(samples: Samples, *, stepped: bool = False) -> list[str]:
    """What is not 0, and ought to be when nothing is left to do. ``stepped``: brokers' clocks were set, so stamps tell no times."""
    return [
        f"{name}{dict(labels)} is {value:g}"
        for name, left_out in _NOTHING_LEFT.items()
        for labels, value in samples.get(name, {}).items()
        if value and dict(labels).get("state") not in left_out and not (stepped and name == _BY_STAMPS)
    ]


async def _ask(path: str) -> tuple[int, bytes]:
    reading, writing = await asyncio.open_connection("127.0.0.1", _PORT)
    writing.write(f"GET {path} HTTP/1.1\r\nHost: replica\r\n\r\n".encode())
    head = await reading.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    assert length is not None
    body = await reading.readexactly(int(length[1]))
    writing.close()
    return int(head.split()[1]), body


async def _of_replica(*, stepped: bool) -> list[str]:
    """On its own host."""
    found = []
    for path in ("/livez", "/readyz"):
        status, body = await _ask(path)
        if status != 200:
            found.append(f"{path}: {status} {body.decode()[:300]}")
    _, text = await _ask("/metrics")
    return found + left_of(samples_of(text), stepped=stepped)


async def _of_group(world: World) -> list[str]:
    return [text for settings in world.applications for text in await _of_application(world, settings)]


async def _of_application(world: World, settings: Settings) -> list[str]:
    async with monitor_for_command(settings) as monitor:
        seen = await monitor.overview()
    known = {FindingKind.BUDGET_LOG_LOST} if world.lost_log is not None else set()  # for a promise and a window after it
    known |= {FindingKind.CLOCK_WRONG} if world.broker_step_s else set()  # one host's may have been set the other way
    bad = [one for one in diagnose(seen).findings if one.tone is Tone.BAD and one.area is not Area.DIDIT and one.kind not in known]
    found = [f"{one.kind} {one.subject} {dict(one.figures)}" for one in bad]
    found += [f"{p.topic}[{p.partition}]: {p.unfinished} unfinished" for p in seen.partitions if p.unfinished]
    return found + ([f"{seen.waiting.count} wait"] if seen.waiting.count else [])


async def look(world: World) -> list[str]:
    """What is not as it should be for long, by host; nothing where installations share a budget log, or replicas a name."""
    if world.plan.installations > 1 or world.plan.one_name:
        return []
    until = world.loop.time() + _SETTLED_S
    while (found := await _look(world)) and world.loop.time() < until:
        await asyncio.sleep(_LOOK_AGAIN_S)
    return found


async def _look(world: World) -> list[str]:
    hosts = [world.network.hosts[name] for name in world.replicas]
    async with asyncio.timeout(_LOOK_S):
        found = [("status", text) for text in await world.network.hosts["operator"].spawn(_of_group(world), "status")]
        for host in hosts:
            if host.state is State.UP:
                found += [(host.name, text) for text in await host.spawn(_of_replica(stepped=world.broker_step_s > 0), "scrape")]
    return [f"{name}: {text}" for name, text in found]
