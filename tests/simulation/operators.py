"""Operators in the middle of a world: they redrive dead letters, release and end what waits, by the functions of the product's commands."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from uuid import uuid4

from processor.clock import clock_ms
from processor.contract.pauses import PauseAct, PauseKind
from processor.repair.dead_letter_index import DeadLetterIndex
from processor.repair.delayed_index import DelayedIndex
from processor.repair.model import DeadLetterStatus, Selection
from processor.repair.pause import publish_pause
from processor.repair.person_erase import erase_person, plan_erasure
from processor.repair.plan import make_plan
from processor.repair.redrive import RepairFencedError, discard, limits_of, redrive
from processor.repair.release import publish_releases, releases_of
from processor.settings import Settings
from processor.stream.errors import KafkaFailedError, TopicMissingError

if TYPE_CHECKING:
    from simulation.world import World

HOSTS = ("repairs-0", "repairs-1")
ERASE = "erase"
_TRIES, _AGAIN_S = 5, 5.0
_BY = "operator"
_PAUSED = (None, "aml")  # what is paused: all, or one operation, whose doubts are looked up

_ERASED_S = 100.0

Act = Callable[[Settings, random.Random], Awaitable[str]]


async def _redrive(settings: Settings, in_doubt: bool) -> str:
    index = DeadLetterIndex(settings)
    try:
        await index.refresh()
        selection, busy = Selection(in_doubt=in_doubt), index.repairs.busy_ms
        plan = make_plan(index.dead_letters, selection, limits_of(settings), now_ms=clock_ms(), busy=busy)
        done = await redrive(settings, plan.chosen, by=_BY)
    finally:
        await index.close()
    return f"{done.count} redriven, left out {dict(plan.left_out) | dict(done.left_out)}"


async def _pause(settings: Settings, draw: random.Random, kind: PauseKind) -> str:
    operations = _PAUSED if kind is PauseKind.RESUMED else (draw.choice(_PAUSED),)
    for operation in operations:
        await publish_pause(settings, PauseAct(kind, operation, _BY, "a trial", clock_ms(), str(uuid4())))
    return f"{kind}: {operations}"


async def _release(settings: Settings, draw: random.Random, *, end: bool) -> str:
    index = DelayedIndex(settings)
    try:
        await index.refresh()
        chosen = [record for record in index.records if draw.random() < 0.7]
        await publish_releases(settings, releases_of(chosen, str(uuid4()), end=end), by=_BY, at_ms=clock_ms())
    finally:
        await index.close()
    return f"{len(chosen)} {'ended' if end else 'released'}"


async def _discard(settings: Settings, draw: random.Random) -> str:
    index = DeadLetterIndex(settings)
    try:
        await index.refresh()
        chosen = [letter for letter in index.dead_letters if letter.status is DeadLetterStatus.OPEN and draw.random() < 0.5]
        done = await discard(settings, chosen, by=_BY)
    finally:
        await index.close()
    return f"{done.count} discarded, left out {dict(done.left_out)}"


async def _erase(world: World, settings: Settings) -> str:
    """Of one person, the same one each time: who was interrupted goes on."""
    person = f"Planted-Person-{_person_of(world)}"
    plan, _ = await plan_erasure(settings, person, lambda _what, _done, _of: None)
    world.asked.erased.update(plan.ends)
    done = await erase_person(settings, person, plan, by=_BY, within_s=_ERASED_S)
    world.erasures.append(done)
    return f"{done.ended} ended, {done.deleted} deleted, {len(done.left)} left, {len(done.failed)} failed"


def request_of_person(world: World) -> str:
    """The request of the person who is erased."""
    return f"r-{_person_of(world):04d}"


def _person_of(world: World) -> int:
    return world.seed % world.plan.requests


ACTS: dict[str, Act] = {
    "redrive": lambda settings, _: _redrive(settings, in_doubt=False),
    "redrive doubts": lambda settings, _: _redrive(settings, in_doubt=True),
    "discard": _discard,
    "release": lambda settings, draw: _release(settings, draw, end=False),
    "end": lambda settings, draw: _release(settings, draw, end=True),
    "pause": lambda settings, draw: _pause(settings, draw, PauseKind.PAUSED),
    "resume": lambda settings, draw: _pause(settings, draw, PauseKind.RESUMED),
}


def act(world: World, kind: str, name: str) -> None:
    """Begin an act on an operator's host; one that fails is tried again, as people do."""
    host = world.network.hosts[name]
    world.insisted |= kind == "redrive doubts"
    world.acting.append((host, host.spawn(_act(world, kind, name), kind)))


async def _act(world: World, kind: str, name: str) -> None:
    for left in reversed(range(_TRIES)):
        try:
            settings = world.settings("operator")
            told = await (_erase(world, settings) if kind == ERASE else ACTS[kind](settings, world.draw))
        except (KafkaFailedError, RepairFencedError) as exc:
            world.timeline.add(f"{kind}: {type(exc).__name__}", name)
            if isinstance(exc, TopicMissingError) or (not left and isinstance(exc, KafkaFailedError)):
                world.failed_acts.append(f"{kind}: {type(exc).__name__}: {exc}")  # all topics are there, and brokers are away for less long
            await asyncio.sleep(_AGAIN_S)
        else:
            world.timeline.add(f"{kind}: {told}", name)
            return


def kill(world: World, name: str) -> None:
    """End whatever an operator's command is in the middle of; the next one is another process."""
    world.kill(name)
    world.network.revive(name)


def are_acting(world: World) -> bool:
    """Whether an act is under way. One that has failed for another reason than the brokers' raises here.

    Those of hosts that were killed are over.
    """
    for _host, task in world.acting:
        if task.done():
            task.result()
    return any(not task.done() and world.network.hosts[host.name] is host for host, task in world.acting)
